//! What can go wrong in training.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why training, or a step before it, failed.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    #[error("cannot {what} `{}`: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` line {line}: {message}", path.display())]
    Document { path: PathBuf, line: usize, message: String },
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    #[error("{0}")]
    Config(String),
    #[error(
        "document {index} has {tokens} tokens, more than the {limit} that fit; raise shard_tokens and max_position_embeddings"
    )]
    TooLong { index: usize, tokens: usize, limit: usize },
    #[error("no documents to train on")]
    NoDocuments,
    #[error("the loss at step {step} is not finite; lower the learning rate")]
    Diverged { step: u64 },
    #[error("checkpoint `{}`: {message}", path.display())]
    Checkpoint { path: PathBuf, message: String },
    #[error("interrupted at step {step}; the checkpoint is kept")]
    Interrupted { step: u64 },
}

impl PretrainError {
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }
}
