//! One chat document and what is known about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The four kinds of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A word problem; the reply works it out and ends in `#### n`.
    Arithmetic,
    /// A short story about what the prompt names.
    Story,
    /// A request with constraints that a program can check.
    Instruction,
    /// A question with a short answer from a closed table.
    Fact,
}

impl Kind {
    /// All kinds, in the order of [`crate::Mixture`].
    pub const ALL: [Self; 4] = [Self::Arithmetic, Self::Story, Self::Instruction, Self::Fact];
}

/// One constraint of an instruction, with the identifier and the keyword arguments of IFEval (Zhou et al., 2023,
/// arXiv 2311.07911).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Constraint {
    /// `punctuation:no_comma`, `startend:quotation`, …
    pub id: String,
    /// An object; empty where the constraint has no arguments.
    pub kwargs: Value,
}

impl Constraint {
    pub(crate) fn new(id: &str, kwargs: Value) -> Self {
        Self { id: id.to_owned(), kwargs }
    }
}

/// A chat of one turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    pub prompt: String,
    pub reply: String,
    /// What a right reply must contain: the number of an arithmetic problem, the answer of a factual question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The constraints that an instruction's reply satisfies; empty for the other kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    /// Hash of what the problem is, whatever its wording; it decides the split.
    #[serde(skip)]
    pub content: u64,
}
