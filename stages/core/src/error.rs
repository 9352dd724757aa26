//! How a stage fails: a class that decides the policy, a message, and what to do about it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a task failed; each class has its own retry policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The executor could not start the task.
    Submit,
    /// The machine, a server or the network failed; trying again may help.
    Infrastructure,
    /// The process ran out of memory or was killed for it.
    OutOfMemory,
    /// The time limit passed.
    TimeLimit,
    /// Bad parameters, bad data, or a program that exits non-zero: the same input fails again.
    User,
    /// The outputs are not what the stage type promises.
    Contract,
    /// The run was interrupted and the stage stopped at a point it can go on from.
    Cancelled,
}

impl FailureClass {
    /// Whether another attempt with the same inputs may succeed.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Submit | Self::Infrastructure)
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Submit => "submit",
            Self::Infrastructure => "infrastructure",
            Self::OutOfMemory => "out of memory",
            Self::TimeLimit => "time limit",
            Self::User => "user",
            Self::Contract => "output contract",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A failed stage: what and where in `message`, what to do in `hint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct StageError {
    pub class: FailureClass,
    pub message: String,
    pub hint: Option<String>,
}

pub type StageResult<T> = Result<T, StageError>;

impl StageError {
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None }
    }

    /// Bad parameters or bad data.
    #[must_use]
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(FailureClass::User, message)
    }

    /// A file system or machine failure while doing `what`.
    #[must_use]
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(FailureClass::Infrastructure, format!("{what}: {error}"))
    }

    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(FailureClass::Cancelled, "interrupted")
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One parameter that a stage type rejects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamIssue {
    /// Where in the parameters, as a JSON pointer (`/weights/quality`); empty for the whole.
    pub pointer: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// The nearest valid spelling, where one exists.
    pub suggestion: Option<String>,
}
