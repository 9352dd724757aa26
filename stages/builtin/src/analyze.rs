//! `analyze`: a trained sampler and what it was trained on → plots, tables and one HTML report.
//!
//! Rows are replayed teacher-forced on the token ids that were generated. At each position the raw logits, the target that
//! the row's own pipeline makes of them and the sampler's output are compared.

use crate::{
    analyze_replay::{Replayed, Replayer, choose_rows},
    analyze_sources::{evaluation, facts, graph, training},
    analyze_statistics::Statistics,
    label_memo::pool,
};
use lsn_lm::{LanguageModel, LoadOptions};
use lsn_report::Report;
use lsn_samplers::Checkpoint;
use lsn_stage::{
    ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult,
    record::{Record, ScoredRow},
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

/// Parameters of `analyze`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnalyzeParams {
    pub title: String,
    /// One line under the title.
    pub subtitle: String,
    /// How many rows are replayed; a random sample that depends on their ids alone.
    pub max_rows: usize,
    /// How many tokens of each row are replayed.
    pub max_positions: usize,
    /// Tokens per probability plot.
    pub top_k: usize,
    /// Samplers whose rows have no heuristic as target.
    pub exclude: Vec<String>,
    /// The stages of the pipeline for its drawing: each with the stages that it takes something from.
    pub pipeline: BTreeMap<String, Vec<String>>,
}

impl Default for AnalyzeParams {
    fn default() -> Self {
        Self {
            title: "Learned sampler".to_owned(),
            subtitle: String::new(),
            max_rows: 64,
            max_positions: 256,
            top_k: 20,
            exclude: vec!["learned".to_owned()],
            pipeline: BTreeMap::new(),
        }
    }
}

/// The stage type.
pub struct Analyze;

impl Stage for Analyze {
    type Params = AnalyzeParams;

    fn name(&self) -> &'static str {
        "analyze"
    }

    fn about(&self) -> &'static str {
        "shows what a sampler does to distributions, and how it was trained and evaluated, in one HTML report"
    }

    fn version(&self) -> u32 {
        2
    }

    fn inputs(&self, _params: &AnalyzeParams) -> Vec<Port> {
        let rows = PortKind::DataSet(ScoredRow::TYPE.to_owned());
        vec![
            Port::new("rows", rows, "rows with the pipelines that drew them, which are the targets"),
            Port::new("sampler", PortKind::Directory, "the sampler"),
            Port::new("model", PortKind::Directory, "the language model that wrote the rows"),
            Port::new("evaluation", PortKind::File, "`metrics` of `evaluate`").optional(),
            Port::new("log", PortKind::File, "`log` of `train`").optional(),
        ]
    }

    fn outputs(&self, _params: &AnalyzeParams) -> Vec<Port> {
        let about = "report.html, plots/*.svg, positions.csv, analysis.jsonl";
        vec![Port::new("report", PortKind::Directory, about)]
    }

    fn check(&self, params: &AnalyzeParams) -> Result<(), Vec<ParamIssue>> {
        let mut issues = Vec::new();
        let mut issue = |pointer: &str, message: String| {
            issues.push(ParamIssue { pointer: pointer.to_owned(), message, suggestion: None });
        };
        for (name, value) in
            [("/max_rows", params.max_rows), ("/max_positions", params.max_positions), ("/top_k", params.top_k)]
        {
            if value == 0 {
                issue(name, "is 0, expected at least 1".to_owned());
            }
        }
        if let Err(error) = graph(&params.pipeline) {
            issue("/pipeline", error.to_string());
        }
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: AnalyzeParams, ctx: &StageContext) -> StageResult<()> {
        let model = LanguageModel::load(&ctx.input("model")?.path, &LoadOptions::default())
            .map_err(|error| StageError::user(format!("input `model`: {error}")))?;
        let checkpoint = Checkpoint::load(&ctx.input("sampler")?.path)
            .map_err(|error| StageError::user(format!("input `sampler`: {error}")))?;
        let rows = choose_rows(&params, &ctx.input("rows")?.path)?;
        let replayer = Replayer::new(&model, &checkpoint.sampler, params.max_positions);
        let pool = pool(ctx)?;
        let mut statistics = Statistics::default();
        // As many rows at once as there are threads: more would only hold more logits in memory.
        for (done, chunk) in rows.chunks(ctx.threads()).enumerate() {
            ctx.check_cancelled()?;
            let replayed: Vec<Replayed> =
                pool.install(|| chunk.par_iter().map(|row| replayer.replay(row)).collect::<StageResult<_>>())?;
            for (row, replayed) in chunk.iter().zip(replayed) {
                statistics.add(&row.generation.sampler_info.name, replayed);
            }
            ctx.progress(((done + 1) * ctx.threads()).min(rows.len()) as u64, Some(rows.len() as u64), "rows");
        }
        let mut analysis = statistics.analysis();
        for (why, record) in statistics.remarkable() {
            ctx.check_cancelled()?;
            let row = &rows[record.row];
            analysis.examples.push(pool.install(|| replayer.example(row, record, why, params.top_k))?);
        }
        ctx.metric("analysis/raw_kl", analysis.raw_kl);
        ctx.metric("analysis/learned_kl", analysis.learned_kl);
        let report = Report {
            title: params.title.clone(),
            subtitle: params.subtitle.clone(),
            evaluation: ctx.input_opt("evaluation").map(|file| evaluation(&file.path)).transpose()?,
            training: ctx.input_opt("log").map(|file| training(&file.path)).transpose()?.unwrap_or_default(),
            analysis: Some(analysis),
            graph: graph(&params.pipeline).map_err(|error| StageError::user(format!("`pipeline`: {error}")))?,
            provenance: facts(&params, ctx, &model, &checkpoint),
        };
        write(ctx.output("report")?, &report, &statistics, &rows)
    }
}

fn write(directory: &Path, report: &Report, statistics: &Statistics, rows: &[ScoredRow]) -> StageResult<()> {
    let io = |error: std::io::Error| StageError::io(format!("cannot write {}", directory.display()), &error);
    let plots = directory.join("plots");
    fs::create_dir_all(&plots).map_err(io)?;
    fs::write(directory.join("report.html"), report.to_html()).map_err(io)?;
    for plot in report.plots() {
        fs::write(plots.join(format!("{}.svg", plot.name)), plot.svg).map_err(io)?;
    }
    let failed = |error: csv::Error| StageError::user(format!("cannot write positions.csv: {error}"));
    let mut table = csv::Writer::from_path(directory.join("positions.csv")).map_err(failed)?;
    for mean in report.analysis.iter().flat_map(|analysis| &analysis.by_position) {
        table.serialize(mean).map_err(failed)?;
    }
    table.flush().map_err(io)?;
    let mut lines = BufWriter::new(File::create(directory.join("analysis.jsonl")).map_err(io)?);
    for record in statistics.records() {
        let line = serde_json::json!({
            "generation_id": rows[record.row].generation.generation_id,
            "sampler": rows[record.row].generation.sampler_info.name,
            "measures": record,
        });
        writeln!(lines, "{line}").map_err(io)?;
    }
    lines.flush().map_err(io)
}
