//! The scalar head of a reward model (transformers' `…ForSequenceClassification` with one label): the final hidden state of a
//! conversation's last token times `score.weight`.

use crate::{LanguageModel, LmError, LmResult, Weights, config::ModelConfig, template::Message};
use std::collections::BTreeMap;

/// Name of the head's tensor, `[1, hidden]`.
pub(crate) const HEAD: &str = "score.weight";

/// Reads the head of a folder that has one. Such folders have no head of a language model; where it is not tied, the
/// embeddings stand in for it, so that the network loads: its logits mean nothing.
pub(crate) fn read_head(config: &mut ModelConfig, weights: &Weights) -> LmResult<Option<Vec<f32>>> {
    if !weights.has(HEAD) {
        return Ok(None);
    }
    config.tied_head |= !weights.has("lm_head.weight");
    weights.read(HEAD, &[1, config.hidden_size]).map(Some)
}

impl LanguageModel {
    /// Whether the folder has a scalar head.
    #[must_use]
    pub fn is_reward_model(&self) -> bool {
        self.reward_head().is_some()
    }

    /// Ids of a user's prompt with the assistant's reply, as a finished conversation.
    ///
    /// # Errors
    /// No tokenizer, no template, or the template refuses the conversation.
    pub fn encode_reply(&self, prompt: &str, system: Option<&str>, reply: &str) -> LmResult<Vec<u32>> {
        let system = system.map(|system| Message::new("system", system));
        let turns = [Message::new("user", prompt), Message::new("assistant", reply)];
        let messages: Vec<_> = system.into_iter().chain(turns).collect();
        let text = self.chat_template()?.render(&messages, false, &BTreeMap::new())?;
        self.tokenizer()?.encode(&text, false)
    }

    /// The reward of a conversation, on the model's own scale; more is better.
    ///
    /// # Errors
    /// The folder has no scalar head; else as [`LanguageModel::logits`].
    pub fn reward(&self, ids: &[u32]) -> LmResult<f32> {
        let head = self.reward_head().ok_or_else(|| LmError::MissingTensor { name: HEAD.to_owned() })?;
        let layer = self.config().layers.len();
        let hidden = self.forward(ids, 0..0, &[layer])?.hidden.swap_remove(0);
        let last = &hidden[hidden.len() - head.len()..];
        Ok(last.iter().zip(head).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>() as f32)
    }
}
