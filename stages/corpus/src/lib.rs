//! A synthetic corpus whose tasks make sampling matter: arithmetic word problems, short stories, instructions with
//! checkable constraints, and small factual questions, all as chat documents.
//!
//! Everything is generated from a seed; nothing is read. [`documents`] is an endless stream of one [`Split`]. The split of a
//! document follows from a hash of its *content* (what the problem is, not how it is worded), so no problem of one split can
//! appear in another, whatever the seeds.

mod arithmetic;
mod document;
mod fact;
mod instruction;
mod prompt;
mod split;
mod story;
mod stream;
mod style;
mod words;

pub use document::{Constraint, Document, Kind};
pub use prompt::PromptRecord;
pub use split::Split;
pub use stream::{CorpusConfig, CorpusError, Documents, Mixture, documents, prompts};
