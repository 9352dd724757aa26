//! Python's text semantics, where they differ from Rust's: the reference verifiers are Python programs.

mod json;
mod pattern;
mod text;

pub use json::is_json;
pub use pattern::{Pattern, PatternError};
pub use text::{is_lower, is_space, is_upper, split_whitespace, strip};
