//! Judges that give every reply a score of its own: a language model's likelihood or typicality, a reward model's scalar.

use super::Measure;
use crate::label_memo::LabelMemo;
use lsn_digest::{Canonical, Digest};
use lsn_lm::LanguageModel;
use lsn_stage::{
    StageError, StageResult,
    dataset::Group,
    record::{FinishReason, Generation},
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The language model that scores each reply by itself.
pub(super) struct ScalarJudge {
    model: LanguageModel,
    digest: Digest,
    measure: Measure,
}

/// What a reply is scored on: its sum over tokens and their number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Evidence {
    pub sum: f64,
    pub tokens: u32,
}

impl ScalarJudge {
    pub fn new(model: LanguageModel, measure: Measure) -> StageResult<Self> {
        if measure == Measure::Reward && !model.is_reward_model() {
            return Err(StageError::user("input `judge` has no `score.weight`: it is no reward model")
                .hint("give a sequence-classification model with one label, or choose another `measure`"));
        }
        let digest = Digest::of(model.digest().to_string().as_bytes());
        Ok(Self { model, digest, measure })
    }

    fn key(&self, prompt: &[u32], reply: &[u32]) -> Digest {
        let mut key = Canonical::new("lsn/row/label.quality/1");
        key.digest(&self.digest).str(match self.measure {
            Measure::Likelihood => "likelihood",
            Measure::Typicality => "typicality",
            Measure::Reward => "reward",
            Measure::Pairwise => "pairwise",
        });
        for ids in [prompt, reply] {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            key.bytes(&bytes);
        }
        key.finish()
    }

    /// The evidence on every row of one prompt; each distinct reply is scored once. Failed rows have none.
    pub fn scores(&self, group: &Group<Generation>, memo: &LabelMemo) -> StageResult<Vec<Option<Evidence>>> {
        let Some(first) = group.rows.first() else { return Ok(Vec::new()) };
        let failed = |error| StageError::user(format!("judge, prompt {}: {error}", group.prompt_id));
        let (text, system) = (first.prompt.prompt.as_str(), first.prompt.system_prompt.as_deref());
        // A reward model sees the conversation as a whole.
        let prompt = match self.measure {
            Measure::Reward => Vec::new(),
            _ => self.model.encode_prompt(text, system).map_err(failed)?,
        };
        let mut replies = Vec::with_capacity(group.rows.len());
        for row in &group.rows {
            replies.push(self.reply(row)?);
        }
        let mut known: HashMap<&[u32], Evidence> = HashMap::new();
        let mut missing: Vec<&[u32]> = Vec::new();
        for reply in replies.iter().flatten() {
            if known.contains_key(reply.as_slice()) || missing.contains(&reply.as_slice()) {
                continue;
            }
            match memo.get(self.key(&prompt, reply))? {
                Some(evidence) => {
                    known.insert(reply, evidence);
                }
                None => missing.push(reply),
            }
        }
        for (reply, evidence) in missing.iter().zip(self.evidence(&prompt, &missing).map_err(failed)?) {
            memo.put(self.key(&prompt, reply), &evidence)?;
            known.insert(reply, evidence);
        }
        Ok(replies.iter().map(|reply| reply.as_ref().and_then(|ids| known.get(ids.as_slice()).copied())).collect())
    }

    /// The judge's ids of a reply; none for a failed row or an empty one that did not even end.
    fn reply(&self, row: &Generation) -> StageResult<Option<Vec<u32>>> {
        if row.finish_reason == FinishReason::Error {
            return Ok(None);
        }
        if self.measure == Measure::Reward {
            let (prompt, system) = (row.prompt.prompt.as_str(), row.prompt.system_prompt.as_deref());
            let ids = self.model.encode_reply(prompt, system, &row.generation);
            let ids = ids.map_err(|error| StageError::user(format!("judge: {error}")))?;
            return Ok((!row.generation.is_empty()).then_some(ids));
        }
        let encoded = self.model.tokenizer().and_then(|tokenizer| tokenizer.encode(&row.generation, false));
        let mut ids = encoded.map_err(|error| StageError::user(format!("judge: {error}")))?;
        if row.finish_reason == FinishReason::Stop {
            ids.extend(self.model.eos_ids().first());
        }
        Ok(if ids.is_empty() { None } else { Some(ids) })
    }

    fn evidence(&self, prompt: &[u32], replies: &[&[u32]]) -> Result<Vec<Evidence>, lsn_lm::LmError> {
        match self.measure {
            Measure::Reward | Measure::Pairwise => {
                let of = |reward| Evidence { sum: f64::from(reward), tokens: 1 };
                replies.par_iter().map(|ids| self.model.reward(ids).map(of)).collect()
            }
            Measure::Likelihood => {
                let scored = self.model.score_continuations(prompt, replies)?;
                Ok(scored
                    .into_iter()
                    .map(|tokens| Evidence {
                        sum: tokens.iter().map(|&p| f64::from(p)).sum(),
                        tokens: tokens.len() as u32,
                    })
                    .collect())
            }
            Measure::Typicality => replies
                .par_iter()
                .map(|reply| {
                    let logits = self.model.continuation_logits(prompt, reply)?;
                    let vocabulary = logits.len() / reply.len();
                    let rows = logits.chunks_exact(vocabulary).zip(reply.iter());
                    let sum = rows.map(|(row, &id)| excess(row, id as usize)).sum();
                    Ok(Evidence { sum, tokens: reply.len() as u32 })
                })
                .collect(),
        }
    }
}

/// `ln p(token) + H`: how much more likely a token is than the distribution expects of its tokens.
pub(super) fn excess(logits: &[f32], token: usize) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let (mut sum, mut weighted) = (0.0, 0.0);
    for &logit in logits {
        let shifted = f64::from(logit) - max;
        let weight = shifted.exp();
        sum += weight;
        if weight > 0.0 {
            weighted += weight * shifted;
        }
    }
    f64::from(logits[token]) - max - weighted / sum
}
