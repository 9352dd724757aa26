//! Python's text semantics, where they differ from Rust's: the reference verifiers are Python programs.

mod json;
mod literal;
mod pattern;
mod text;

pub use json::is_json;
pub use pattern::{Flags, Pattern, PatternError, escape, is_literal};
pub use text::{
    is_blank, is_decimal, is_lower, is_space, is_unicode_word, is_upper, is_word, split_lines, split_whitespace, strip,
};
