//! What can be wrong with a configuration and with a row of logits.

/// A heuristic that is not well described.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("unknown processor `{name}`, expected one of {known}")]
    UnknownProcessor { name: String, known: String },
    #[error("processor `{processor}`: parameter `{param}` is missing, expected {expected}")]
    MissingParam { processor: &'static str, param: &'static str, expected: &'static str },
    #[error("processor `{processor}`: parameter `{param}` is {value}, expected {expected}")]
    BadParam { processor: &'static str, param: &'static str, value: String, expected: &'static str },
    #[error("processor `{processor}`: unknown parameter `{param}`, expected {known}")]
    UnknownParam { processor: &'static str, param: String, known: String },
    #[error("pipeline `{pipeline}`: {source}")]
    Pipeline { pipeline: String, source: Box<ConfigError> },
    #[error("pipeline `{pipeline}`: weight is {weight}, expected a finite number of at least 0")]
    Weight { pipeline: String, weight: f64 },
    #[error("pipeline {index} (counted from 0) has no name, give each pipeline a name of its own")]
    Unnamed { index: usize },
    #[error("two different pipelines are named `{0}`, give each pipeline a name of its own")]
    DuplicateName(String),
    #[error("heuristics file has no pipelines, list at least one under `sampling_pipelines`")]
    NoPipelines,
    #[error("grid: {0}")]
    Grid(String),
    #[error("{what} does not parse: {message}")]
    Syntax { what: &'static str, message: String },
    #[error("saved state of processor `{processor}` does not parse: {message}")]
    State { processor: &'static str, message: String },
}

/// A row of logits that no heuristic can work on.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RowError {
    #[error("logit of token {token} is {value}, expected a finite number or -inf")]
    NotANumber { token: usize, value: f32 },
    #[error("no token of the row has a finite logit, at least one must be left to draw from")]
    NoCandidate,
    #[error("processor `{processor}` needs further logits `{name}`, give them in the context")]
    MissingLogits { processor: &'static str, name: &'static str },
    #[error("further logits `{name}` are {len} numbers, expected one or more rows of {vocabulary}")]
    LogitsShape { name: &'static str, len: usize, vocabulary: usize },
    #[error("further logits `{name}`: row {row} holds {value} for token {token}, expected {expected}")]
    BadFurther { name: &'static str, row: usize, token: usize, value: f32, expected: &'static str },
    #[error("token {token} was drawn, but the pipeline left it no probability; state and logits are not of one row")]
    NotDrawn { token: u32 },
}
