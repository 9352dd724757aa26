//! What can go wrong with a model, each error naming the file, tensor or field.

use std::path::PathBuf;

/// A failure to load or use a language model.
#[derive(Debug, thiserror::Error)]
pub enum LmError {
    #[error("cannot read `{path}`: {source}")]
    Read { path: PathBuf, source: std::io::Error },

    #[error("`{path}` is not valid: {message}")]
    Malformed { path: PathBuf, message: String },

    #[error(
        "no `{file}` in model folder `{dir}`; a model folder needs config.json and model.safetensors (or its shards)"
    )]
    MissingFile { dir: PathBuf, file: &'static str },

    #[error("unknown architecture `{0}`; known: llama, mistral, qwen2, qwen3, gemma2, gemma3_text, gemma3 (text part)")]
    UnknownArchitecture(String),

    #[error("config field `{field}`: {message}")]
    Config { field: String, message: String },

    #[error("tensor `{name}` is missing from the weights")]
    MissingTensor { name: String },

    #[error("tensor `{name}` has shape {found:?}, the config says {expected:?}")]
    Shape { name: String, expected: Vec<usize>, found: Vec<usize> },

    #[error("tensor `{name}` has dtype {dtype}; supported: F32, F16, BF16")]
    Dtype { name: String, dtype: String },

    #[error("model `{0}` has no tokenizer.json; only calls on token ids work")]
    NoTokenizer(String),

    #[error("tokenizer: {0}")]
    Tokenizer(String),

    #[error(
        "model `{0}` has no chat template (neither chat_template.jinja nor `chat_template` in tokenizer_config.json)"
    )]
    NoChatTemplate(String),

    /// The template itself refused the conversation through `raise_exception`.
    #[error("chat template refused the conversation: {0}")]
    TemplateRaised(String),

    #[error("chat template: {0}")]
    Template(String),

    #[error("hub: {repo}: {message}")]
    Hub { repo: String, message: String },

    #[error("token id {id} is outside the vocabulary of {vocab}")]
    TokenOutOfRange { id: u32, vocab: usize },

    #[error("an empty token sequence has no next token; give at least one token, such as the beginning-of-text token")]
    EmptyPrompt,

    #[error("{tokens} tokens exceed the model's {limit} positions; shorten the prompt or lower max_tokens")]
    TooLong { tokens: usize, limit: usize },

    #[error("layer {layer} does not exist; the model has hidden states 0 (embeddings) to {layers}")]
    NoSuchLayer { layer: usize, layers: usize },

    #[error("{0}")]
    Device(#[from] candle_core::Error),
}

/// `Result` of this crate.
pub type LmResult<T> = Result<T, LmError>;
