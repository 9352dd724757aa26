//! One answer: what names it, what is remembered of it, and the record that it becomes.

use super::AnswerParams;
use lsn_digest::{Canonical, Digest};
use lsn_lm::{FinishReason as Ending, Generated};
use lsn_stage::{
    RowKey,
    record::{FinishReason, Generation, GenerationId, Prompt, SamplerInfo},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of the row's behaviour: raised whenever the same key would give another answer, or is stored in another form.
const ROW: &str = "lsn/row/generate/2";
/// Domain of the keys of the rows' random numbers.
const RANDOM: &str = "lsn/generate-random/1";

/// Everything that decides one answer, but for how long it may become.
pub(super) struct Question<'a> {
    pub model: &'a Digest,
    pub prompt: &'a Prompt,
    /// The sampler's canonical form.
    pub canonical: &'a Value,
    pub seed: u64,
}

impl Question<'_> {
    /// Text and behaviour count; the data set's and the sampler's name and the place in a file do not.
    fn encode(&self, canonical: &mut Canonical) {
        canonical.digest(self.model).str(&self.prompt.prompt);
        match &self.prompt.system_prompt {
            Some(system) => canonical.str(system),
            None => canonical.none(),
        };
        canonical.json(self.canonical).u64(self.seed);
    }

    /// The name of the answer in the row memo.
    pub fn row_key(&self, params: &AnswerParams, logprobs: bool) -> RowKey {
        let mut canonical = Canonical::new(ROW);
        self.encode(&mut canonical);
        RowKey(canonical.json(&params.canonical()).bool(logprobs).finish())
    }

    /// Key of the answer's random numbers: a longer limit continues the same answer.
    pub fn random_key(&self) -> [u8; 32] {
        let mut canonical = Canonical::new(RANDOM);
        self.encode(&mut canonical);
        *canonical.finish().as_bytes()
    }

    /// Seed of the sampler's own draws.
    pub fn state_seed(&self) -> u64 {
        let mut seed = [0; 8];
        seed.copy_from_slice(&self.random_key()[24..]);
        u64::from_le_bytes(seed)
    }

    /// The record of an answer.
    pub fn record(&self, sampler: &SamplerInfo, answer: Answer, params: &AnswerParams) -> Generation {
        let id = GenerationId::new(self.prompt.prompt_id, self.canonical, self.seed, self.model, &params.canonical());
        let Answer { token_ids, text, finish_reason, logprobs, error } = answer;
        Generation {
            generation_id: id,
            prompt: self.prompt.clone(),
            sampler_info: sampler.clone(),
            seed: self.seed,
            generation: text,
            token_ids,
            finish_reason,
            logprobs,
            model: self.model.to_string(),
            error,
        }
    }
}

/// The seed that [`Question::state_seed`] gave when `generation` was drawn with a pipeline of this canonical form, so that a
/// replay makes the same draws. Generations from elsewhere, which name no model of ours, have none: 0.
pub(crate) fn state_seed(generation: &Generation, canonical: &Value) -> u64 {
    let Ok(model) = generation.model.parse::<Digest>() else { return 0 };
    let (prompt, seed) = (&generation.prompt, generation.seed);
    Question { model: &model, prompt, canonical, seed }.state_seed()
}

/// What the memo keeps of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    token_ids: Vec<u32>,
    text: String,
    finish_reason: FinishReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logprobs: Option<Vec<f32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Answer {
    pub fn new(generated: Generated) -> Self {
        Self {
            text: generated.text.unwrap_or_default(),
            finish_reason: match generated.finish_reason {
                Ending::Eos | Ending::StopString => FinishReason::Stop,
                Ending::Length => FinishReason::Length,
            },
            logprobs: generated.log_probs,
            token_ids: generated.token_ids,
            error: None,
        }
    }

    /// A row without an answer. What makes a row fail here (its prompt, its sampler) is part of its key, so the failure is as
    /// durable as an answer; a model that fails ends the task instead.
    pub fn failed(error: impl ToString) -> Self {
        Self {
            token_ids: Vec::new(),
            text: String::new(),
            finish_reason: FinishReason::Error,
            logprobs: None,
            error: Some(error.to_string()),
        }
    }

    pub fn is_failed(&self) -> bool {
        self.finish_reason == FinishReason::Error
    }

    pub fn tokens(&self) -> usize {
        self.token_ids.len()
    }
}
