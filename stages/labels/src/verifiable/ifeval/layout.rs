//! Paragraphs, bullets, highlights and other marks in a reply.

use crate::python::{self, is_space, strip};
use regex::Regex;
use std::sync::LazyLock;

macro_rules! pattern {
    ($name:ident, $text:literal) => {
        // The patterns are constants, and the golden test uses every one.
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("valid pattern"));
    };
}

pattern!(STARS, r"[\s\x1c-\x1f]?\*\*\*[\s\x1c-\x1f]?");
pattern!(WORD, r"\w+");
pattern!(PLACEHOLDER, r"\[.*?\]");
pattern!(STAR_BULLET, r"(?m)^[\s\x1c-\x1f]*\*[^*].*$");
pattern!(DASH_BULLET, r"(?m)^[\s\x1c-\x1f]*-.*$");
pattern!(SINGLE_HIGHLIGHT, r"\*[^\n*]*\*");
pattern!(DOUBLE_HIGHLIGHT, r"\*\*[^\n*]*\*\*");
pattern!(TITLE, r"<<[^\n]+>>");

/// Words by Unicode's definition (letters, marks, decimal digits, connectors): the reference counts with nltk, whose
/// patterns run on the `regex` module and not on `re`, so `\w` means something else here than in the keyword checks.
pub fn words(reply: &str) -> usize {
    WORD.find_iter(reply).count()
}

/// Paragraphs divided by three asterisks; none where an inner one is blank. Blank ones at either end do not count.
pub fn starred_paragraphs(reply: &str) -> Option<usize> {
    let pieces: Vec<&str> = STARS.split(reply).collect();
    let mut count = pieces.len();
    for (i, piece) in pieces.iter().enumerate() {
        if strip(piece).is_empty() {
            if i != 0 && i + 1 != pieces.len() {
                return None;
            }
            count -= 1;
        }
    }
    Some(count)
}

/// The first word of the `nth` paragraph (counted with the blank ones), lower-cased and without punctuation, where the
/// reply has exactly `paragraphs` that are not blank.
pub fn first_word_of_paragraph(reply: &str, paragraphs: usize, nth: usize) -> Option<String> {
    let pieces: Vec<&str> = reply.split("\n\n").collect();
    let filled = pieces.iter().filter(|piece| !strip(piece).is_empty()).count();
    if nth > filled || filled != paragraphs {
        return None;
    }
    let word = python::split_whitespace(pieces[nth - 1]).next()?;
    let word = word.trim_start_matches('\'').trim_start_matches('"');
    let end = word.find(['.', ',', '?', '!', '\'', '"']).unwrap_or(word.len());
    Some(word[..end].chars().flat_map(char::to_lowercase).collect())
}

/// `[…]` on one line.
pub fn placeholders(reply: &str) -> usize {
    PLACEHOLDER.find_iter(reply).count()
}

/// Lines that begin with `*` (not `**`) or `-`.
pub fn bullets(reply: &str) -> usize {
    STAR_BULLET.find_iter(reply).count() + DASH_BULLET.find_iter(reply).count()
}

/// `*…*` and `**…**` with something inside.
pub fn highlights(reply: &str) -> usize {
    let single = SINGLE_HIGHLIGHT.find_iter(reply).filter(|m| !strip(m.as_str().trim_matches('*')).is_empty());
    let double = DOUBLE_HIGHLIGHT.find_iter(reply).filter(|m| {
        let inside = m.as_str().strip_prefix("**").and_then(|rest| rest.strip_suffix("**"));
        inside.is_some_and(|inside| !strip(inside).is_empty())
    });
    single.count() + double.count()
}

/// A reply that is meant to be JSON, without the code fence around it.
pub fn without_code_fence(reply: &str) -> &str {
    let mut text = strip(reply);
    for prefix in ["```json", "```Json", "```JSON", "```"] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    strip(text.strip_suffix("```").unwrap_or(text))
}

/// `<<…>>` with something inside.
pub fn has_title(reply: &str) -> bool {
    TITLE.find_iter(reply).any(|m| {
        let inside = m.as_str().trim_start_matches('<').trim_end_matches('>');
        inside.chars().any(|c| !is_space(c))
    })
}

/// Two different texts with six asterisks between them; blank ones are allowed at either end.
pub fn two_responses(reply: &str) -> bool {
    let pieces: Vec<&str> = reply.split("******").collect();
    let last = pieces.len() - 1;
    let blank_inside = pieces.iter().enumerate().any(|(i, p)| strip(p).is_empty() && i != 0 && i != last);
    let filled: Vec<&str> = pieces.into_iter().map(strip).filter(|piece| !piece.is_empty()).collect();
    !blank_inside && matches!(filled.as_slice(), [a, b] if a != b)
}
