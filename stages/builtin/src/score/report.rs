//! What `score` did, as JSON.

use super::{
    metric::Normalization,
    params::{DiversityMetric, Missing, Scope, ScoreParams, Weights},
    ranking::Ranked,
};
use lsn_stage::{StageError, StageResult, record::ScoredRow};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Default, Serialize)]
struct DataSetCounts {
    rows: u64,
    training_rows: u64,
}

/// The choices that decide what a score means.
#[derive(Debug, Serialize)]
struct Conventions {
    normalize: Scope,
    diversity_metric: DiversityMetric,
    /// −1 where more of the metric is less diverse.
    diversity_sign: i8,
    quality_sign: i8,
    missing: Missing,
    weights: Weights,
    top_k: u32,
}

/// The report; serialises to its JSON form.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    rows: u64,
    prompts: u64,
    training_rows: u64,
    /// Prompts that no row of is trained on.
    prompts_without_training_rows: u64,
    /// Rows taken out because the generation failed or is empty.
    pub unusable: u64,
    /// Rows taken out because a label is missing.
    pub missing_label: u64,
    /// Rows without a quality or diversity label that applies to them, whatever became of them.
    pub without_quality: u64,
    pub without_diversity: u64,
    /// Rows taken out because the answer is wrong.
    pub incorrect: u64,
    /// Eligible rows that are not among the best of their prompt and seed.
    beyond_top_k: u64,
    pub unmatched_labels: u64,
    /// How values became comparable: every metric is turned so that more is better before it is standardised.
    conventions: Conventions,
    /// Moments over all rows; with `normalize: prompt` for information only.
    normalization: Normalization,
    datasets: BTreeMap<String, DataSetCounts>,
    ranking: Vec<Ranked>,
}

impl Report {
    pub fn new(normalization: &Normalization, params: &ScoreParams) -> Self {
        let ScoreParams { normalize, diversity_metric, missing, weights, top_k, .. } = *params;
        let diversity_sign = diversity_metric.sign();
        Self {
            conventions: Conventions {
                normalize,
                diversity_metric,
                diversity_sign,
                quality_sign: 1,
                missing,
                weights,
                top_k,
            },
            rows: 0,
            prompts: 0,
            training_rows: 0,
            prompts_without_training_rows: 0,
            unusable: 0,
            missing_label: 0,
            without_quality: 0,
            without_diversity: 0,
            incorrect: 0,
            beyond_top_k: 0,
            unmatched_labels: 0,
            normalization: *normalization,
            datasets: BTreeMap::new(),
            ranking: Vec::new(),
        }
    }

    pub fn prompt(&mut self, rows: &[ScoredRow], top_k: u32) {
        self.prompts += 1;
        self.rows += rows.len() as u64;
        let mut trained = 0;
        for row in rows {
            let counts = self.datasets.entry(row.generation.prompt.dataset.clone()).or_default();
            counts.rows += 1;
            match row.rank {
                Some(rank) if rank <= top_k => {
                    counts.training_rows += 1;
                    trained += 1;
                }
                Some(_) => self.beyond_top_k += 1,
                None => {}
            }
        }
        self.training_rows += trained;
        self.prompts_without_training_rows += u64::from(trained == 0);
    }

    /// What each filter removed, in words.
    pub fn filters(&self) -> String {
        format!(
            "{} failed or empty, {} wrong, {} without a label, {} below the best of their prompt and seed; {} of {} prompts have none",
            self.unusable,
            self.incorrect,
            self.missing_label,
            self.beyond_top_k,
            self.prompts_without_training_rows,
            self.prompts
        )
    }

    pub fn into_json(mut self, ranking: Vec<Ranked>) -> StageResult<Vec<u8>> {
        self.ranking = ranking;
        let mut text = serde_json::to_vec_pretty(&self)
            .map_err(|error| StageError::user(format!("cannot encode the report: {error}")))?;
        text.push(b'\n');
        Ok(text)
    }
}
