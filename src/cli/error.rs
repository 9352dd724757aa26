//! The one error type of the command line: a kind that decides the exit code, a message, and hints.

use super::style::Style;
use std::{fmt, process::ExitCode};

pub type CliResult<T> = Result<T, CliError>;

/// What went wrong, as far as the exit code is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line or the manifest is wrong: exit code 2.
    Usage,
    /// A task failed, or the machine did: exit code 1.
    Failed,
    /// The person interrupted it: exit code 130.
    Interrupted,
}

/// An error on its way to a person.
#[derive(Debug)]
pub struct CliError {
    pub kind: ErrorKind,
    /// What and where; lower case, no final period.
    pub message: String,
    /// What to do about it, one line each.
    pub hints: Vec<String>,
    /// What is shown above the message: problems with their places, ready to print.
    pub text: String,
}

impl CliError {
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new(), text: String::new() }
    }

    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// With the hints that there are.
    #[must_use]
    pub fn hints<'a>(mut self, hints: impl IntoIterator<Item = &'a str>) -> Self {
        self.hints.extend(hints.into_iter().map(ToOwned::to_owned));
        self
    }

    /// Prints the error and its hints on stderr and gives the exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        eprint!("{self}");
        ExitCode::from(match self.kind {
            ErrorKind::Usage => 2,
            ErrorKind::Failed => 1,
            ErrorKind::Interrupted => 130,
        })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        writeln!(f, "{} {}", Style::error("error:"), self.message)?;
        for hint in &self.hints {
            writeln!(f, "{} {hint}", Style::hint("hint:"))?;
        }
        Ok(())
    }
}

impl std::error::Error for CliError {}
