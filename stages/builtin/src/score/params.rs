//! Parameters of `score`.

use lsn_stage::ParamIssue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much each metric counts; only ratios matter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// For prompts with the check `diversity`.
    pub diversity: f64,
    /// For all rows.
    pub quality: f64,
    /// For prompts whose answers can be verified: 1 for a correct row, 0 for a wrong one.
    pub verifiable: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { diversity: 0.1, quality: 0.9, verifiable: 0.9 }
    }
}

impl Weights {
    pub(super) fn in_order(self) -> [f64; 3] {
        [self.diversity, self.quality, self.verifiable]
    }
}

/// Further weights: every combination gives a column of `combined_scores`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Combine {
    pub diversity: Vec<f64>,
    pub quality: Vec<f64>,
    pub verifiable: Vec<f64>,
}

impl Combine {
    pub(super) fn weights(&self) -> impl Iterator<Item = [f64; 3]> {
        self.diversity
            .iter()
            .flat_map(move |&a| self.quality.iter().flat_map(move |&b| self.verifiable.iter().map(move |&c| [a, b, c])))
    }
}

/// Over which rows a metric has mean 0 and standard deviation 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All rows: prompts on which samplers differ much count more.
    #[default]
    All,
    /// The rows of the prompt: every prompt counts the same.
    Prompt,
}

/// Which number stands for diversity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiversityMetric {
    /// Von Neumann entropy of the embeddings' cosine kernel, bits.
    #[default]
    EmbeddingEntropy,
    /// Its logarithm, which is what the reference uses; near 0 it is around −20 and swamps everything else.
    LogEmbeddingEntropy,
    /// Effective number of different texts.
    VendiScore,
    /// Self-BLEU with its sign flipped, so that more is more diverse.
    SelfBleu,
    /// Logarithm of self-BLEU with its sign flipped.
    LogSelfBleu,
}

impl DiversityMetric {
    /// 1 where more is more diverse, −1 where more is less.
    pub(super) fn sign(self) -> i8 {
        match self {
            Self::EmbeddingEntropy | Self::LogEmbeddingEntropy | Self::VendiScore => 1,
            Self::SelfBleu | Self::LogSelfBleu => -1,
        }
    }
}

/// What happens to a row without a label that applies to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It counts as average.
    #[default]
    Mean,
    /// It counts as the worst value of any row: for comparing samplers, where an answer that fails must cost.
    Worst,
    /// It is not eligible for training.
    DropRow,
    /// The task fails.
    Fail,
}

/// Parameters of `score`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreParams {
    /// The score is the mean of the metrics that apply to a row, with these weights.
    pub weights: Weights,
    /// Over which rows metrics are standardised. Verdicts stay 0 and 1.
    pub normalize: Scope,
    /// Which number stands for diversity.
    pub diversity_metric: DiversityMetric,
    /// What happens to a row without a label that applies to it.
    pub missing: Missing,
    /// Whether wrong answers to verifiable prompts may be trained on.
    pub keep_incorrect: bool,
    /// How many of the best rows of each (prompt, seed) are trained on; of equal scores, those that come first in the data set.
    pub top_k: u32,
    /// Further weights, as columns.
    pub combine: Combine,
    /// Resamples of the prompts for the ranking's intervals.
    pub bootstrap: u32,
    /// Coverage of the intervals.
    pub confidence: f64,
    /// Seed of the resampling.
    pub seed: u64,
}

impl Default for ScoreParams {
    fn default() -> Self {
        Self {
            weights: Weights::default(),
            normalize: Scope::All,
            diversity_metric: DiversityMetric::EmbeddingEntropy,
            missing: Missing::Mean,
            keep_incorrect: false,
            top_k: 5,
            combine: Combine::default(),
            bootstrap: 1000,
            confidence: 0.95,
            seed: 0,
        }
    }
}

impl ScoreParams {
    pub(super) fn issues(&self) -> Vec<ParamIssue> {
        let mut issues = Vec::new();
        let mut issue = |pointer: String, message: &str| {
            issues.push(ParamIssue { pointer, message: message.to_owned(), suggestion: None });
        };
        let names = ["diversity", "quality", "verifiable"];
        let weights = self.weights.in_order();
        for (name, weight) in names.iter().zip(weights) {
            if !(weight.is_finite() && weight >= 0.0) {
                issue(format!("/weights/{name}"), "must be 0 or more");
            }
        }
        if weights.iter().sum::<f64>() <= 0.0 {
            issue("/weights".into(), "at least one weight must be above 0");
        }
        let lists = [&self.combine.diversity, &self.combine.quality, &self.combine.verifiable];
        let filled = lists.iter().filter(|list| !list.is_empty()).count();
        for (name, list) in names.iter().zip(lists) {
            if list.is_empty() && filled > 0 {
                issue(format!("/combine/{name}"), "is empty, so there is no combination; give every list a value");
            }
            if list.iter().any(|weight| !(weight.is_finite() && *weight >= 0.0)) {
                issue(format!("/combine/{name}"), "weights must be 0 or more");
            }
        }
        if self.top_k == 0 {
            issue("/top_k".into(), "must be at least 1");
        }
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            issue("/confidence".into(), "must be between 0 and 1");
        }
        if self.bootstrap < 2 {
            issue("/bootstrap".into(), "must be at least 2");
        }
        issues
    }
}
