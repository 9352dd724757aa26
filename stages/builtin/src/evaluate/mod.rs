//! `evaluate`: does the learned sampler beat every fixed heuristic on held-out prompts?
//!
//! The stage joins nothing and generates nothing itself: generations of the sampler and of every heuristic on the same prompts
//! and seeds are labelled and scored together by the same stages as the training data, and `evaluate` takes the scored rows.

mod collect;
mod statistics;
mod table;

use collect::Collected;
use lsn_stage::{
    ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult,
    dataset::DataSetReader,
    record::{Record, ScoredRow},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub(crate) use statistics::{Entry, Estimate, Evaluation};
use std::fs;

/// Parameters of `evaluate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateParams {
    /// `sampler_info.name` of the learned sampler's rows.
    pub sampler: String,
    /// Resamples of the prompts; 0 leaves the intervals out.
    pub bootstrap: u32,
    /// Coverage of the intervals.
    pub confidence: f64,
    /// Seed of the resampling.
    pub seed: u64,
    /// For pass@k; null takes the smallest number of generations that a sampler has of a prompt.
    pub k: Option<u32>,
}

impl Default for EvaluateParams {
    fn default() -> Self {
        Self { sampler: "learned".to_owned(), bootstrap: 2000, confidence: 0.95, seed: 0, k: None }
    }
}

/// The stage type.
pub struct Evaluate;

impl Stage for Evaluate {
    type Params = EvaluateParams;

    fn name(&self) -> &'static str {
        "evaluate"
    }

    fn about(&self) -> &'static str {
        "compares a learned sampler with every fixed heuristic on held-out prompts"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, _params: &EvaluateParams) -> Vec<Port> {
        let rows = PortKind::DataSet(ScoredRow::TYPE.to_owned());
        vec![Port::new("scored", rows, "scored rows of the learned sampler and of every heuristic")]
    }

    fn outputs(&self, _params: &EvaluateParams) -> Vec<Port> {
        vec![
            Port::new("metrics", PortKind::File, "all samplers, all metrics, with intervals (JSON)"),
            Port::new("table", PortKind::File, "one line per sampler (CSV)"),
            Port::new("text", PortKind::File, "the table for people"),
        ]
    }

    fn check(&self, params: &EvaluateParams) -> Result<(), Vec<ParamIssue>> {
        let mut issues = Vec::new();
        let mut issue = |pointer: &str, message: String| {
            issues.push(ParamIssue { pointer: pointer.to_owned(), message, suggestion: None });
        };
        if params.sampler.is_empty() {
            issue("/sampler", "is empty, expected the name of a sampler".to_owned());
        }
        if !(params.confidence > 0.0 && params.confidence < 1.0) {
            issue("/confidence", format!("is {}, expected a number above 0 and below 1", params.confidence));
        }
        if params.k == Some(0) {
            issue("/k", "is 0, expected at least 1".to_owned());
        }
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: EvaluateParams, ctx: &StageContext) -> StageResult<()> {
        let mut collected = Collected::default();
        for group in DataSetReader::<ScoredRow>::open(&ctx.input("scored")?.path)?.groups()? {
            ctx.check_cancelled()?;
            collected.add(group?.rows);
        }
        let evaluation = Evaluation::new(&collected, &params)?;
        let write = |name: &str, content: &[u8]| -> StageResult<()> {
            let path = ctx.output(name)?;
            fs::write(path, content).map_err(|error| StageError::io(format!("cannot write output `{name}`"), &error))
        };
        let json = serde_json::to_vec_pretty(&evaluation)
            .map_err(|error| StageError::user(format!("cannot write output `metrics`: {error}")))?;
        write("metrics", &json)?;
        write("table", &table::csv(&evaluation)?)?;
        let text = table::text(&evaluation);
        text.lines().for_each(|line| ctx.note(line));
        ctx.metric("rank", f64::from(evaluation.verdict.rank));
        write("text", text.as_bytes())
    }
}

#[cfg(test)]
mod tests;
