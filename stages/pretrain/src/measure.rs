//! What a trained model can do on held-out documents.

use crate::{
    PretrainError,
    chat::{Chat, END, special_id},
    decode::{DecodeOptions, generate},
    model::Model,
};
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

/// Accuracy on held-out word problems at one temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    pub temperature: f64,
    pub problems: usize,
    pub correct: usize,
    /// `correct / problems`
    pub accuracy: f64,
}

/// Samples a reply for every chat.
///
/// # Errors
/// The tokenizer fails.
pub fn replies(
    model: &Model,
    parameters: &[f32],
    tokenizer: &Tokenizer,
    chats: &[Chat],
    temperature: f64,
    seed: u64,
) -> Result<Vec<String>, PretrainError> {
    let failed = |error: tokenizers::Error| PretrainError::Tokenizer(error.to_string());
    let stop = special_id(tokenizer, END)?;
    let prompts = chats
        .iter()
        .map(|chat| Ok(tokenizer.encode_fast(chat.render_prompt(), false).map_err(failed)?.get_ids().to_vec()))
        .collect::<Result<Vec<_>, PretrainError>>()?;
    let options = DecodeOptions { temperature: temperature as f32, max_tokens: 160, stop, seed };
    generate(model, parameters, &prompts, options)
        .iter()
        .map(|tokens| tokenizer.decode(tokens, false).map_err(failed))
        .collect()
}

/// The text after the last `####`, without spaces around.
#[must_use]
pub fn final_answer(reply: &str) -> Option<&str> {
    reply.rsplit_once("####").map(|(_, answer)| answer.trim())
}

/// Accuracy of sampled replies on chats whose reply ends in `#### answer`; the others are left out.
///
/// # Errors
/// The tokenizer fails.
pub fn accuracy(
    model: &Model,
    parameters: &[f32],
    tokenizer: &Tokenizer,
    chats: &[Chat],
    temperature: f64,
    seed: u64,
) -> Result<Accuracy, PretrainError> {
    let chats: Vec<Chat> = chats.iter().filter(|c| final_answer(&c.reply).is_some()).cloned().collect();
    let replies = replies(model, parameters, tokenizer, &chats, temperature, seed)?;
    let right =
        |(chat, reply): (&Chat, &String)| final_answer(reply).is_some_and(|a| Some(a) == chat.answer.as_deref());
    let correct = chats.iter().zip(&replies).filter(|pair| right(*pair)).count();
    let share = correct as f64 / chats.len().max(1) as f64;
    Ok(Accuracy { temperature, problems: chats.len(), correct, accuracy: share })
}
