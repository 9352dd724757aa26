//! A document as a record of a prompt set.

use crate::{Document, Kind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A prompt record with the field names of the reference's prompt files, and IFEval's for the constraints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptRecord {
    pub prompt: String,
    pub system_prompt: Option<String>,
    /// `gsm8k` and `ifeval` name the format of the ground truth, which says how to verify; `stories` and `facts` are our own.
    pub dataset: String,
    /// The reference reply ending in `#### n`, the short answer of a fact, or null.
    pub ground_truth: Option<String>,
    /// Which labels make sense for this prompt: `diversity`, `verifiable`, `factual`.
    pub checks: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction_id_list: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kwargs: Option<Vec<Value>>,
}

impl From<Document> for PromptRecord {
    fn from(document: Document) -> Self {
        let (dataset, check) = match document.kind {
            Kind::Arithmetic => ("gsm8k", "verifiable"),
            Kind::Story => ("stories", "diversity"),
            Kind::Instruction => ("ifeval", "verifiable"),
            Kind::Fact => ("facts", "factual"),
        };
        let ground_truth = match document.kind {
            Kind::Arithmetic => Some(document.reply),
            Kind::Fact => document.answer,
            Kind::Story | Kind::Instruction => None,
        };
        let (ids, kwargs): (Vec<_>, Vec<_>) = document.constraints.into_iter().map(|c| (c.id, c.kwargs)).unzip();
        let constrained = document.kind == Kind::Instruction;
        Self {
            prompt: document.prompt,
            system_prompt: document.system,
            dataset: dataset.to_owned(),
            ground_truth,
            checks: vec![check.to_owned()],
            instruction_id_list: constrained.then_some(ids),
            kwargs: constrained.then_some(kwargs),
        }
    }
}
