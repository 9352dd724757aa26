//! What can be wrong with a row, a network or a checkpoint.

use std::path::PathBuf;

/// A row of logits, or a pair of raw and target logits, that cannot be worked on.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RowError {
    #[error("logit of token {token} is {value}, expected a finite number or -inf")]
    NotANumber { token: usize, value: f32 },
    #[error("no token of the row has a finite logit, at least one must be left to draw from")]
    NoCandidate,
    #[error("raw and target logits have {raw} and {target} tokens, expected the same number")]
    Length { raw: usize, target: usize },
    #[error("the target keeps token {token}, whose raw logit is -inf")]
    KeptButRemoved { token: usize },
}

/// A network that cannot be built, trained, read or written.
#[derive(Debug, thiserror::Error)]
pub enum SamplerError {
    #[error("{0}")]
    Architecture(String),
    #[error("{logits} logits are not whole rows of {vocabulary}")]
    Shape { logits: usize, vocabulary: usize },
    #[error("row {row}: {source}")]
    Row { row: usize, source: RowError },
    #[error("{}: {message}", path.display())]
    File { path: PathBuf, message: String },
    #[error("tensor `{tensor}` is missing, found {found}")]
    MissingTensor { tensor: String, found: String },
    #[error("tensor `{tensor}` has shape {shape:?}, expected {expected:?}")]
    TensorShape { tensor: String, shape: Vec<usize>, expected: Vec<usize> },
    #[error("tensor `{tensor}` is not part of a {architecture}")]
    UnknownTensor { tensor: String, architecture: &'static str },
    #[error("no tensor of a {architecture} has a name that begins with `{group}`")]
    UnknownGroup { group: String, architecture: &'static str },
    #[error("tensor `{tensor}` has no gradient while others do, the network is not connected to its loss")]
    NoGradient { tensor: String },
    #[error("{parameter} is {value}, expected {expected}")]
    HyperParameter { parameter: &'static str, value: f64, expected: &'static str },
    #[error("{0}")]
    Device(String),
    #[error("training state: {0}")]
    State(String),
    #[error(
        "step {step}: the loss is {loss}, the norm of its gradient {grad_norm}; lower the learning rate or clip gradients (`max_grad_norm`)"
    )]
    Diverged { step: u64, loss: f64, grad_norm: f64 },
}

/// Bytes that are not a packed example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    #[error("the checksum of a packed example does not fit its content, it is damaged")]
    Checksum,
    #[error("a packed example is of version {found}, expected {expected}")]
    Version { found: u8, expected: u8 },
    #[error("a packed example {0}")]
    Malformed(&'static str),
}
