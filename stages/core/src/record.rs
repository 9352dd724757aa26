//! The records that flow between stages, with the field names of the reference implementation.
//!
//! Every record names the prompt that it belongs to. A data set keeps the rows of one prompt together, in the order that
//! [`Record::ORDER`] names.

use lsn_digest::{Canonical, Digest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt};

/// A row of a data set.
pub trait Record: Serialize + DeserializeOwned + Send + 'static {
    /// The record type, as in `PortKind::DataSet` and in `schema.json`.
    const TYPE: &'static str;
    /// Raised when a field changes its meaning or an old reader could not read a new row.
    const VERSION: u32;
    /// The fields that rows are sorted by, `prompt_id` first.
    const ORDER: &'static [&'static str];

    fn prompt_id(&self) -> PromptId;

    /// Appends the bytes by which the rows of one prompt are sorted.
    fn order(&self, out: &mut Vec<u8>);

    /// What makes this row useless to everybody, where something does: output contracts limit the rate of such rows.
    fn defect(&self) -> Option<&'static str> {
        None
    }
}

/// Names a prompt: hash of its data set's name, its text and its system prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PromptId(pub Digest);

impl PromptId {
    #[must_use]
    pub fn new(dataset: &str, prompt: &str, system_prompt: Option<&str>) -> Self {
        let mut canonical = Canonical::new("lsn/prompt-id/1");
        canonical.str(dataset).str(prompt);
        match system_prompt {
            Some(text) => canonical.str(text),
            None => canonical.none(),
        };
        Self(canonical.finish())
    }

    /// The shard of a data set of `shards` shards that holds this prompt's rows.
    #[must_use]
    pub fn shard(&self, shards: u32) -> u32 {
        let mut tail = [0; 8];
        tail.copy_from_slice(&self.0.as_bytes()[24..]);
        (u64::from_le_bytes(tail) % u64::from(shards.max(1))) as u32
    }
}

impl fmt::Display for PromptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.short())
    }
}

/// Names a generation by everything that decides its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GenerationId(pub Digest);

impl GenerationId {
    /// `pipeline` is the sampling pipeline in its canonical form (a learned sampler: its digest), `model` the digest of the
    /// model's content, `parameters` what else decides the text (maximum length, stop conditions, dtype).
    #[must_use]
    pub fn new(prompt: PromptId, pipeline: &Value, seed: u64, model: &Digest, parameters: &Value) -> Self {
        let mut canonical = Canonical::new("lsn/generation-id/1");
        canonical.digest(&prompt.0).json(pipeline).u64(seed).digest(model).json(parameters);
        Self(canonical.finish())
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.short())
    }
}

/// Which labels make sense for a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Many good answers exist: the diversity of a sampler's answers counts.
    Diversity,
    /// An answer can be checked by a program against `ground_truth`.
    Verifiable,
    /// The answer is a matter of fact.
    Factual,
}

/// A prompt and what is known about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    pub prompt_id: PromptId,
    /// Name of the source that the prompt comes from.
    pub dataset: String,
    pub prompt: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    #[serde(default)]
    pub checks: Vec<Check>,
    /// What a verifier needs: the final answer of a word problem, or the instructions of a checkable request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ground_truth: Option<Value>,
    /// All further fields of the source row, in their order.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Prompt {
    #[must_use]
    pub fn new(dataset: impl Into<String>, prompt: impl Into<String>, system_prompt: Option<String>) -> Self {
        let (dataset, prompt) = (dataset.into(), prompt.into());
        let prompt_id = PromptId::new(&dataset, &prompt, system_prompt.as_deref());
        Self { prompt_id, dataset, prompt, system_prompt, checks: vec![], ground_truth: None, extra: Map::new() }
    }

    #[must_use]
    pub fn has(&self, check: Check) -> bool {
        self.checks.contains(&check)
    }
}

impl Record for Prompt {
    const TYPE: &'static str = "prompt";
    const VERSION: u32 = 1;
    const ORDER: &'static [&'static str] = &["prompt_id"];

    fn prompt_id(&self) -> PromptId {
        self.prompt_id
    }

    fn order(&self, _out: &mut Vec<u8>) {}

    fn defect(&self) -> Option<&'static str> {
        self.prompt.is_empty().then_some("empty prompt")
    }
}

/// One logits processor of a sampling pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessorConfig {
    pub name: String,
    #[serde(default)]
    pub params: Map<String, Value>,
}

/// How a generation's tokens were chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SamplerInfo {
    /// Unique among the samplers of a data set; rows and labels refer to a sampler by it.
    pub name: String,
    /// The pipeline's processors in order; empty is plain sampling from the model.
    pub config: Vec<ProcessorConfig>,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// An end-of-sequence token or a stop string.
    Stop,
    /// The maximum length.
    Length,
    /// The row failed; `error` says how.
    Error,
}

/// One answer to a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    pub generation_id: GenerationId,
    #[serde(flatten)]
    pub prompt: Prompt,
    pub sampler_info: SamplerInfo,
    pub seed: u64,
    /// The decoded answer without the end-of-sequence token.
    pub generation: String,
    /// The generated tokens, the end-of-sequence token included where there is one.
    pub token_ids: Vec<u32>,
    pub finish_reason: FinishReason,
    /// Natural-log probability of each token under the distribution it was drawn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<f32>>,
    /// Digest of the model that answered.
    pub model: String,
    /// What went wrong, where `finish_reason` is `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Record for Generation {
    const TYPE: &'static str = "generation";
    const VERSION: u32 = 1;
    const ORDER: &'static [&'static str] = &["prompt_id", "sampler_info.name", "seed", "generation_id"];

    fn prompt_id(&self) -> PromptId {
        self.prompt.prompt_id
    }

    fn order(&self, out: &mut Vec<u8>) {
        sampler_order(&self.sampler_info.name, Some(self.seed), out);
        out.extend_from_slice(self.generation_id.0.as_bytes());
    }

    fn defect(&self) -> Option<&'static str> {
        if self.finish_reason == FinishReason::Error {
            Some("failed generation")
        } else {
            self.generation.is_empty().then_some("empty generation")
        }
    }
}

fn sampler_order(sampler: &str, seed: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(sampler.as_bytes());
    out.push(0);
    if let Some(seed) = seed {
        out.extend_from_slice(&seed.to_be_bytes());
    }
}

/// How good a generation is among the generations of its prompt and seed (one row per generation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityLabel {
    pub prompt_id: PromptId,
    pub generation_id: GenerationId,
    /// `sampler_info.name` of the generation.
    pub sampler: String,
    pub seed: u64,
    /// Log-strength, mean 0 over the generations of (prompt, seed): P(a beats b) = σ(a − b).
    pub bradley_terry_rating: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// Games that entered the fit; byes do not.
    pub games: u32,
    /// Tournament points, byes included.
    pub points: f64,
}

impl Record for QualityLabel {
    const TYPE: &'static str = "quality";
    const VERSION: u32 = 1;
    const ORDER: &'static [&'static str] = &["prompt_id", "sampler", "seed", "generation_id"];

    fn prompt_id(&self) -> PromptId {
        self.prompt_id
    }

    fn order(&self, out: &mut Vec<u8>) {
        sampler_order(&self.sampler, Some(self.seed), out);
        out.extend_from_slice(self.generation_id.0.as_bytes());
    }
}

/// How different a sampler's generations for one prompt are (one row per prompt and sampler).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiversityLabel {
    pub prompt_id: PromptId,
    /// `sampler_info.name` of the generations.
    pub sampler: String,
    /// How many generations were compared.
    pub samples: u32,
    /// 0 to 100; more means less diverse.
    pub self_bleu: Option<f64>,
    /// Natural logarithm of `max(self_bleu, 1e-9)`.
    pub log_self_bleu: Option<f64>,
    /// Von Neumann entropy of the cosine kernel, in bits: base-2 logarithm of the Vendi score.
    pub embedding_entropy: Option<f64>,
    /// Natural logarithm of `max(embedding_entropy, 1e-9)`, which is what the reference stores under `embedding_entropy`.
    pub log_embedding_entropy: Option<f64>,
    /// Effective number of different generations.
    pub vendi_score: Option<f64>,
}

impl Record for DiversityLabel {
    const TYPE: &'static str = "diversity";
    const VERSION: u32 = 1;
    const ORDER: &'static [&'static str] = &["prompt_id", "sampler"];

    fn prompt_id(&self) -> PromptId {
        self.prompt_id
    }

    fn order(&self, out: &mut Vec<u8>) {
        sampler_order(&self.sampler, None, out);
    }
}

/// Whether a generation is correct (one row per generation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifiableLabel {
    pub prompt_id: PromptId,
    pub generation_id: GenerationId,
    /// `sampler_info.name` of the generation.
    pub sampler: String,
    pub seed: u64,
    /// 1 correct, 0 wrong, null where the prompt has nothing to check against.
    pub verifiable_reward: Option<f64>,
    /// Which verifier decided (`gsm8k`, `ifeval`, …), null where none applies.
    #[serde(default)]
    pub verifier: Option<String>,
    /// Why, in words.
    pub reason: String,
}

impl Record for VerifiableLabel {
    const TYPE: &'static str = "verifiable";
    const VERSION: u32 = 1;
    const ORDER: &'static [&'static str] = &["prompt_id", "sampler", "seed", "generation_id"];

    fn prompt_id(&self) -> PromptId {
        self.prompt_id
    }

    fn order(&self, out: &mut Vec<u8>) {
        sampler_order(&self.sampler, Some(self.seed), out);
        out.extend_from_slice(self.generation_id.0.as_bytes());
    }
}

/// How much of a generation is in a corpus, word for word (one row per generation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OverlapLabel {
    pub prompt_id: PromptId,
    pub generation_id: GenerationId,
    /// `sampler_info.name` of the generation.
    pub sampler: String,
    pub seed: u64,
    /// Tokens of the generation, as the corpus counts them: of its index, or words between white space.
    pub tokens: u64,
    /// Tokens that the greedy cover with n-grams of the corpus covers; null where the corpus could not be asked.
    pub infinigram_total_coverage: Option<u64>,
    /// How often the cover goes on from a match with a token that no match covers.
    pub infinigram_breaks: Option<u64>,
    /// The longest n-gram of the generation that is in the corpus. Null, as what follows, where only the cover was measured.
    pub longest_match: Option<u64>,
    /// N-gram length → share of the generation's n-grams that are in the corpus; lengths that it has n-grams of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ngram_hit_rates: BTreeMap<usize, f64>,
    /// Sum over n from 5 to 11 of the share of tokens that no n-gram in the corpus covers; more means less copied.
    pub creativity_index: Option<f64>,
    /// Why the generation could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Record for OverlapLabel {
    const TYPE: &'static str = "overlap";
    const VERSION: u32 = 1;
    const ORDER: &'static [&'static str] = &["prompt_id", "sampler", "seed", "generation_id"];

    fn prompt_id(&self) -> PromptId {
        self.prompt_id
    }

    fn order(&self, out: &mut Vec<u8>) {
        sampler_order(&self.sampler, Some(self.seed), out);
        out.extend_from_slice(self.generation_id.0.as_bytes());
    }
}

/// A generation with its labels and its score; training rows are scored rows too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredRow {
    #[serde(flatten)]
    pub generation: Generation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bradley_terry_rating: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diversity: Option<DiversityScores>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifiable_reward: Option<f64>,
    /// Standardised, more is better; absent where the metric does not apply to the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalized_quality: Option<f64>,
    /// Standardised, more is better; absent where the metric does not apply to the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalized_diversity: Option<f64>,
    /// The score under further weights: `a<diversity>_b<quality>_c<verifiable>`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub combined_scores: BTreeMap<String, f64>,
    /// Weighted mean of what applies to the row; more is better.
    pub score: f64,
    /// Place among the eligible rows of (prompt, seed), from 1; absent where a filter took the row out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
}

/// The diversity of a row's sampler on the row's prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiversityScores {
    pub self_bleu: Option<f64>,
    pub log_self_bleu: Option<f64>,
    pub embedding_entropy: Option<f64>,
    pub log_embedding_entropy: Option<f64>,
    pub vendi_score: Option<f64>,
}

impl Record for ScoredRow {
    const TYPE: &'static str = "scored";
    const VERSION: u32 = 1;
    const ORDER: &'static [&'static str] = Generation::ORDER;

    fn prompt_id(&self) -> PromptId {
        self.generation.prompt.prompt_id
    }

    fn order(&self, out: &mut Vec<u8>) {
        self.generation.order(out);
    }

    fn defect(&self) -> Option<&'static str> {
        self.generation.defect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_keeps_further_fields_of_its_source_in_their_order() {
        let text = json!({
            "generation_id": Digest::of(b"g"), "prompt_id": Digest::of(b"p"), "dataset": "d", "prompt": "hi",
            "checks": ["diversity"], "zeta": 1, "alpha": {"k": [1.5]},
            "sampler_info": {"name": "greedy", "config": [{"name": "temperature", "params": {"temperature": 0}}]},
            "seed": 3, "generation": "x", "token_ids": [1, 2], "finish_reason": "stop", "model": "m",
            "score": 0.5, "rank": 1,
        })
        .to_string();
        let row: ScoredRow = serde_json::from_str(&text).unwrap();
        let extra: Vec<_> = row.generation.prompt.extra.keys().map(String::as_str).collect();
        assert_eq!(extra, ["zeta", "alpha"]);
        let again: ScoredRow = serde_json::from_str(&serde_json::to_string(&row).unwrap()).unwrap();
        assert_eq!(again, row);
    }

    #[test]
    fn ids_depend_on_every_part() {
        let id = PromptId::new("a", "b", None);
        assert_eq!(id, Prompt::new("a", "b", None).prompt_id);
        for other in [PromptId::new("ab", "", None), PromptId::new("a", "b", Some("")), PromptId::new("b", "a", None)] {
            assert_ne!(id, other);
        }
        let generation = |seed| GenerationId::new(id, &json!([]), seed, &Digest::of(b"m"), &json!({}));
        assert_eq!(generation(1), generation(1));
        assert_ne!(generation(1), generation(2));
    }
}
