//! Chats, their special tokens, and their form as token sequences.

use crate::PretrainError;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};
use tokenizers::Tokenizer;

/// Starts every document.
pub const BOS: &str = "<|bos|>";
/// Starts a system message.
pub const SYSTEM: &str = "<|system|>";
/// Starts a user message.
pub const USER: &str = "<|user|>";
/// Starts a reply.
pub const ASSISTANT: &str = "<|assistant|>";
/// Ends every message; generation stops at it.
pub const END: &str = "<|end|>";

/// All special tokens, in the order of their ids.
pub const SPECIAL_TOKENS: [&str; 5] = [BOS, SYSTEM, USER, ASSISTANT, END];

/// The Jinja template of `tokenizer_config.json`; it gives what [`Chat::render`] gives.
pub const CHAT_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}\
     {{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}\
     {% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/// A chat of one turn. Other fields of a corpus record are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    #[serde(default)]
    pub system: Option<String>,
    pub prompt: String,
    pub reply: String,
    /// What a right reply ends in, where that can be checked by comparing the text after `####`.
    #[serde(default)]
    pub answer: Option<String>,
}

impl Chat {
    /// Everything up to and with the token that starts the reply.
    #[must_use]
    pub fn render_prompt(&self) -> String {
        let system = self.system.as_ref().map_or_else(String::new, |text| format!("{SYSTEM}{text}{END}"));
        format!("{BOS}{system}{USER}{}{END}{ASSISTANT}", self.prompt)
    }

    /// The whole document.
    #[must_use]
    pub fn render(&self) -> String {
        format!("{}{}{END}", self.render_prompt(), self.reply)
    }
}

/// Reads chats, one JSON object a line.
///
/// # Errors
/// The file cannot be read, or a line is not a chat; the message names the line.
pub fn read_chats(path: &Path) -> Result<Vec<Chat>, PretrainError> {
    let file = File::open(path).map_err(|e| PretrainError::io("open", path, e))?;
    let mut chats = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| PretrainError::io("read", path, e))?;
        if line.trim().is_empty() {
            continue;
        }
        let chat = serde_json::from_str(&line).map_err(|error| PretrainError::Document {
            path: path.to_owned(),
            line: index + 1,
            message: error.to_string(),
        })?;
        chats.push(chat);
    }
    Ok(chats)
}

/// A chat as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub tokens: Vec<u32>,
    /// Position of the reply's first token.
    pub reply_start: usize,
}

/// Encodes chats.
///
/// # Errors
/// The tokenizer lacks the special tokens, or fails.
pub fn encode(tokenizer: &Tokenizer, chats: &[Chat]) -> Result<Vec<Encoded>, PretrainError> {
    let assistant = special_id(tokenizer, ASSISTANT)?;
    let texts: Vec<String> = chats.iter().map(Chat::render).collect();
    let encodings = tokenizer.encode_batch_fast(texts, false).map_err(|e| PretrainError::Tokenizer(e.to_string()))?;
    encodings
        .into_iter()
        .map(|encoding| {
            let tokens = encoding.get_ids().to_vec();
            let reply_start = tokens.iter().position(|&t| t == assistant).map(|at| at + 1);
            reply_start
                .map(|reply_start| Encoded { tokens, reply_start })
                .ok_or_else(|| PretrainError::Tokenizer(format!("`{ASSISTANT}` is not kept as one token")))
        })
        .collect()
}

/// The id of a special token.
///
/// # Errors
/// The tokenizer has no such token.
pub fn special_id(tokenizer: &Tokenizer, token: &str) -> Result<u32, PretrainError> {
    tokenizer.token_to_id(token).ok_or_else(|| {
        PretrainError::Tokenizer(format!("special token `{token}` is missing; train it with stage type `tokenizer`"))
    })
}
