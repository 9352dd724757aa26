//! GSM8K: the final number of a worked solution, by the two filters of the usual evaluation harness.

use regex::Regex;
use std::sync::LazyLock;

#[expect(clippy::expect_used, reason = "the pattern is a constant, used by the golden test")]
static STRICT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"#### (-?[0-9.,]+)").expect("valid pattern"));
#[expect(clippy::expect_used, reason = "the pattern is a constant, used by the golden test")]
static FLEXIBLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(-?[$0-9.,]{2,})|(-?[0-9]+)").expect("valid pattern"));

/// The number after the first `#### `, as written.
#[must_use]
pub fn strict(reply: &str) -> Option<&str> {
    STRICT.captures(reply)?.get(1).map(|number| number.as_str())
}

/// The last thing in the reply that looks like a number, as written; white space and all-punctuation count as none.
#[must_use]
pub fn flexible(reply: &str) -> Option<&str> {
    FLEXIBLE.find_iter(reply).last().map(|number| number.as_str())
}

/// Whether an extracted answer equals the reference solution's: both without `,`, `$`, everything up to `#### ` and one
/// final full stop. Equality is of text: `18.00` is not `18`.
#[must_use]
pub fn equal(answer: &str, solution: &str) -> bool {
    normalize(answer) == normalize(solution)
}

fn normalize(text: &str) -> String {
    let text = text.rfind("#### ").map_or(text, |at| &text[at + "#### ".len()..]);
    let text: String = text.chars().filter(|c| !matches!(c, ',' | '$')).collect();
    text.strip_suffix('.').unwrap_or(&text).to_lowercase()
}

/// Both verdicts on a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub strict: bool,
    pub flexible: bool,
}

/// Checks a reply against a reference solution (with or without its `#### `).
#[must_use]
pub fn verify(reply: &str, solution: &str) -> Verdict {
    let right = |answer: Option<&str>| answer.is_some_and(|answer| equal(answer, solution));
    Verdict { strict: right(strict(reply)), flexible: right(flexible(reply)) }
}
