//! What the report takes from other stages: evaluation, training log, the pipeline's shape, provenance.

use crate::{
    analyze::AnalyzeParams,
    evaluate::{Entry, Estimate, Evaluation},
    train::Line,
};
use lsn_lm::LanguageModel;
use lsn_report::{self as report, Edge, Fact, Graph, GraphError, MetricColumn, Node, TrainingPoint};
use lsn_samplers::Checkpoint;
use lsn_stage::{StageContext, StageError, StageResult};
use std::{collections::BTreeMap, fs, path::Path};

fn read(path: &Path, input: &str) -> StageResult<String> {
    fs::read_to_string(path).map_err(|error| StageError::io(format!("cannot read input `{input}`"), &error))
}

type ReadMetric = fn(&Entry) -> Option<Estimate>;

/// The metrics of `evaluate` as columns: key, label, which direction is good.
fn columns(k: u32) -> [(&'static str, String, Option<bool>, ReadMetric); 7] {
    [
        ("score", "Score".to_owned(), Some(true), |e| Some(e.score)),
        ("quality", "Quality".to_owned(), Some(true), |e| e.quality),
        ("pass_at_1", "Pass@1".to_owned(), Some(true), |e| e.pass_at_1),
        ("pass_at_k", format!("Pass@{k}"), Some(true), |e| e.pass_at_k),
        ("vendi", "Vendi score".to_owned(), Some(true), |e| e.vendi),
        ("self_bleu", "Self-BLEU".to_owned(), Some(false), |e| e.self_bleu),
        ("tokens", "Tokens".to_owned(), None, |e| Some(e.tokens)),
    ]
}

fn estimate(estimate: Estimate) -> report::Estimate {
    let [low, high] = estimate.interval.map_or([None, None], |ends| ends.map(Some));
    report::Estimate { value: estimate.mean, low, high }
}

/// Reads `metrics` of `evaluate`. Columns that no sampler has a value in are left out.
pub fn evaluation(path: &Path) -> StageResult<report::Evaluation> {
    let found: Evaluation = serde_json::from_str(&read(path, "evaluation")?)
        .map_err(|error| StageError::user(format!("input `evaluation` is not the `metrics` of `evaluate`: {error}")))?;
    let columns: Vec<_> = columns(found.k)
        .into_iter()
        .filter(|(.., read)| found.samplers.iter().any(|entry| read(entry).is_some()))
        .collect();
    let rows = found.samplers.iter().map(|entry| report::EvaluationRow {
        sampler: entry.name.clone(),
        learned: entry.learned,
        values: columns
            .iter()
            .filter_map(|(key, .., read)| Some(((*key).to_owned(), estimate(read(entry)?))))
            .collect(),
    });
    let verdict = &found.verdict;
    let best = found.samplers.iter().find(|entry| entry.name == verdict.best_heuristic);
    Ok(report::Evaluation {
        primary: "score".to_owned(),
        rows: rows.collect(),
        comparison: best.and_then(|best| best.against).map(|against| report::Comparison {
            best_fixed: verdict.best_heuristic.clone(),
            difference: estimate(against.difference),
            against: Some([verdict.better_than, verdict.undecided, verdict.worse_than]),
        }),
        prompts: Some(found.prompts.into()),
        columns: columns
            .iter()
            .map(|(key, label, better, _)| MetricColumn {
                key: (*key).to_owned(),
                label: label.clone(),
                higher_is_better: *better,
            })
            .collect(),
    })
}

/// Reads `log` of `train`.
pub fn training(path: &Path) -> StageResult<Vec<TrainingPoint>> {
    let mut points: BTreeMap<u64, TrainingPoint> = BTreeMap::new();
    for (number, line) in read(path, "log")?.lines().enumerate() {
        let line: Line = serde_json::from_str(line).map_err(|error| {
            StageError::user(format!("input `log`, line {}: {error}; expected the `log` of `train`", number + 1))
        })?;
        match line {
            Line::Train { step, kl, penalty, lr, .. } => {
                let point = points.entry(step).or_default();
                (point.step, point.kl, point.penalty, point.lr) = (step, kl, penalty, Some(lr));
            }
            Line::Validation { step, kl, penalty, raw_kl, .. } => {
                let point = points.entry(step).or_insert(TrainingPoint { step, kl, penalty, ..Default::default() });
                (point.validation_kl, point.validation_penalty, point.raw_kl) = (Some(kl), Some(penalty), Some(raw_kl));
            }
        }
    }
    Ok(points.into_values().collect())
}

/// The pipeline as the parameters describe it; none where they do not.
pub fn graph(stages: &BTreeMap<String, Vec<String>>) -> Result<Option<Graph>, GraphError> {
    if stages.is_empty() {
        return Ok(None);
    }
    let mut names: Vec<&String> = stages.keys().chain(stages.values().flatten()).collect();
    names.sort_unstable();
    names.dedup();
    let graph = Graph {
        nodes: names.into_iter().map(|id| Node { id: id.clone(), uses: String::new(), tasks: 1 }).collect(),
        edges: stages
            .iter()
            .flat_map(|(to, sources)| sources.iter().map(|from| Edge { from: from.clone(), to: to.clone() }))
            .collect(),
    };
    graph.check()?;
    Ok(Some(graph))
}

/// What went in.
pub fn facts(params: &AnalyzeParams, ctx: &StageContext, model: &LanguageModel, checkpoint: &Checkpoint) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push(Fact { name: name.to_owned(), value });
    let config = model.config();
    fact(
        "language model",
        format!("{:?}, {} layers, {} tokens", config.family, config.layers.len(), config.vocab_size),
    );
    let sampler = &checkpoint.sampler;
    fact("sampler", format!("{}, {} parameters", sampler.architecture().name(), sampler.parameters().len()));
    for name in ["model", "sampler", "rows", "evaluation", "log"] {
        if let Some(artifact) = ctx.input_opt(name) {
            fact(&format!("digest of {name}"), artifact.digest.to_string());
        }
    }
    if let serde_json::Value::Object(provenance) = &checkpoint.provenance {
        for (name, value) in provenance {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            fact(&format!("training: {}", name.replace('_', " ")), text);
        }
    }
    fact("rows replayed", format!("at most {} of {} tokens each", params.max_rows, params.max_positions));
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelines_are_drawn_from_what_each_stage_takes() {
        let stages = BTreeMap::from([("b".to_owned(), vec!["a".to_owned()]), ("c".to_owned(), vec!["b".to_owned()])]);
        let graph = super::graph(&stages).unwrap().unwrap();
        assert_eq!((graph.nodes.len(), graph.edges.len()), (3, 2));
        assert_eq!(super::graph(&BTreeMap::new()), Ok(None));
        let circle = BTreeMap::from([("a".to_owned(), vec!["a".to_owned()])]);
        assert_eq!(super::graph(&circle), Err(GraphError::Cycle));
    }
}
