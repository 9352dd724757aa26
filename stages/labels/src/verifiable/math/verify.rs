//! The verdict on a pair of texts.

use super::{
    compare::{self, Difference, Equality, Mode},
    extract::{self, Choices, Extracted},
};
use crate::verifiable::final_answer;
use std::fmt;

/// How to judge; by default exactly as math-verify does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    pub mode: Mode,
    /// Look only behind a closed thinking section, and inside the last `<answer>` element where there is one.
    /// math-verify knows no such sections.
    pub final_answer_only: bool,
}

/// Why a verdict is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Equal(Equality),
    Different(Difference),
    /// The reference text holds no answer.
    NoReference,
    /// The prediction holds no answer.
    NoAnswer,
    /// One side could be read as mathematics and the other could not, or neither and the texts differ.
    Unreadable,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(equality) => equality.fmt(f),
            Self::Different(difference) => difference.fmt(f),
            Self::NoReference => f.write_str("the reference holds no answer"),
            Self::NoAnswer => f.write_str("the reply holds no answer"),
            Self::Unreadable => f.write_str("not readable as mathematics"),
        }
    }
}

/// Whether a prediction is right, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub equal: bool,
    pub reason: Reason,
}

/// The answer of a text, found and read; a reference answer can be kept for many predictions.
#[derive(Debug, Clone, Default)]
pub struct Answer(Extracted);

impl Answer {
    /// Finds and reads the answer of a text.
    #[must_use]
    pub fn read(text: &str) -> Self {
        Self(extract::extract(text))
    }

    /// The answer as it was found, cleaned up; none where the text holds none.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.0.text.as_deref()
    }

    /// Whether the answer was understood as mathematics.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.0.expr.is_some()
    }

    /// Whether a prediction equals this reference answer. Both ways round is not the same: see [`Mode`].
    #[must_use]
    pub fn verify(&self, prediction: &Self, mode: Mode) -> Verdict {
        let (gold, prediction) = (&self.0, &prediction.0);
        let reason = if gold.is_empty() {
            Reason::NoReference
        } else if prediction.is_empty() {
            Reason::NoAnswer
        } else {
            let texts = gold.text.as_deref().map(str::trim).zip(prediction.text.as_deref().map(str::trim));
            if texts.is_some_and(|(a, b)| !a.is_empty() && a == b) {
                Reason::Equal(Equality::Text)
            } else if let (Some(gold), Some(prediction)) = (&gold.expr, &prediction.expr) {
                compare::compare(gold, prediction, mode).map_or_else(Reason::Different, Reason::Equal)
            } else {
                Reason::Unreadable
            }
        };
        Verdict { equal: matches!(reason, Reason::Equal(_)), reason }
    }
}

/// Whether the answer in a prediction equals the answer in a reference text.
#[must_use]
pub fn verify(gold: &str, prediction: &str, options: &Options) -> Verdict {
    let prediction = if options.final_answer_only { final_answer(prediction) } else { prediction };
    Answer::read(gold).verify(&Answer::read(prediction), options.mode)
}

/// Whether the literal string found in a prediction is the one found in a reference text, case ignored.
#[must_use]
pub fn verify_choice(gold: &str, prediction: &str, choices: &Choices) -> Verdict {
    let reason = match (choices.find(gold), choices.find(prediction)) {
        (None, _) => Reason::NoReference,
        (_, None) => Reason::NoAnswer,
        (Some(gold), Some(prediction)) if gold.to_lowercase() == prediction.to_lowercase() => {
            Reason::Equal(Equality::Text)
        }
        _ => Reason::Different(Difference::Name),
    };
    Verdict { equal: matches!(reason, Reason::Equal(_)), reason }
}
