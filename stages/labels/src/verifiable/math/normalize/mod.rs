//! The reference's clean-up of LaTeX before it is read: boxes opened, commands unified, units and signs of currency
//! dropped, careless fractions and roots given their braces.
//!
//! The steps and their order are math-verify 0.9.0's (latex2sympy2_extended 1.11.0); each depends on what those before
//! it left.

mod boxes;
mod braces;
mod units;

pub use boxes::Boxes;

use crate::python::{is_space, strip};
use boxes::boxed_content;
use braces::{braced_fractions, braced_roots, operators, slash_as_fraction};
use regex::Regex;
use std::sync::LazyLock;
use units::without_units;

/// Cleans up a LaTeX text.
#[must_use]
pub fn normalize(text: &str, boxes: Boxes) -> String {
    let mut text = boxed_content(text, boxes).into_owned();
    text = unified(&text);
    text = without_units(text);
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    if text == "0.5" {
        text = "\\frac{1}{2}".to_owned();
    }
    text = operators(text);
    text = braced_roots(text);
    text = braced_fractions(text);
    text = slash_as_fraction(text);
    strip(&text).to_owned()
}

fn pattern(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "all patterns are constants that the tests compile")]
    Regex::new(text).expect("valid pattern")
}

static PERMUTATION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\(([a-zA-Z0-9+\-*/\\ ]+?)\)_\{([a-zA-Z0-9+\-*/\\ ]+?)\}"));

const LEFT: &[&str] = &[
    "\\{",
    "{",
    "\\|",
    "|",
    "[",
    "(",
    "\\rbracl",
    "\\lgroup",
    "\\lbrace",
    "\\lbrack",
    "\\vert",
    "\\lvert",
    "\\lceil",
    "\\lfloor",
    "\\langle",
    "\\llcorner",
    "\\ulcorner",
];
const RIGHT: &[&str] = &[
    "\\}",
    "}",
    "\\|",
    "|",
    "]",
    ")",
    "\\rbrack",
    "\\rgroup",
    "\\rbrace",
    "\\vert",
    "\\rvert",
    "\\rceil",
    "\\rfloor",
    "\\rangle",
    "\\lrcorner",
    "\\urcorner",
];

/// One spelling for each thing, and nothing that only looks.
fn unified(text: &str) -> String {
    let mut text = text.to_owned();
    for (from, to) in [
        ("\\mathrm{T}", "T"),
        ("\\mathrm{d}", "d"),
        ("{\\rm d}", "d"),
        ("\\left[\\begin{matrix}", "\\begin{bmatrix}"),
        ("\\end{matrix}\\right]", "\\end{bmatrix}"),
    ] {
        if text.contains(from) {
            text = text.replace(from, to);
        }
    }
    text = without_sizes(text, "left", LEFT);
    text = without_sizes(text, "right", RIGHT);
    if text.contains(")_{") {
        text = PERMUTATION.replace_all(&text, r"\frac{($1)!}{(($1)-($2))!}").into_owned();
    }
    text = without_decoration(&text);
    text = respelled(&text);
    text = text.replace(['\n', '\t'], " ");
    if !text.contains("matrix") && text.contains("\\\\") {
        text = single_backslashes(&text);
    }
    text
}

/// `\left(` → `(`.
fn without_sizes(text: String, size: &str, delimiters: &[&str]) -> String {
    if !text.contains(size) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = rest[1..].strip_prefix('m').filter(|name| name.starts_with(size)).unwrap_or(&rest[1..]);
        match name.strip_prefix(size) {
            Some(after) if delimiters.iter().any(|delimiter| after.starts_with(delimiter)) => {
                let delimiter = delimiters.iter().find(|delimiter| after.starts_with(**delimiter));
                let length = delimiter.map_or(0, |delimiter| delimiter.len());
                out.push_str(&after[..length]);
                rest = &after[length..];
            }
            _ => {
                out.push('\\');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn skip_spaces(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

/// `\text{}` with nothing but space inside.
fn empty_text(rest: &str) -> Option<&str> {
    skip_spaces(skip_spaces(rest.strip_prefix("\\text")?).strip_prefix('{')?).strip_prefix('}')
}

fn without_decoration(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = None;
    while let Some(next) = rest.chars().next() {
        let after = match next {
            '\\' => rest
                .strip_prefix("\\mathrm{th}")
                .or_else(|| rest.strip_prefix("\\!").map(skip_spaces))
                .or_else(|| empty_text(rest))
                .or_else(|| rest.strip_prefix("\\$"))
                .or_else(|| rest.strip_prefix("\\displaystyle")),
            '$' => Some(&rest[1..]),
            '"' | '\'' if previous != Some('\\') => Some(&rest[1..]),
            _ => None,
        };
        let length = match after {
            Some(after) => rest.len() - after.len(),
            None => {
                out.push(next);
                next.len_utf8()
            }
        };
        previous = rest[..length].chars().next_back();
        rest = &rest[length..];
    }
    out
}

/// The replacements that the reference makes in one pass: at each place the first that fits.
fn respelled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous: Option<char> = None;
    while let Some(next) = rest.chars().next() {
        let length = match respelling(rest, previous) {
            Some((replacement, after)) => {
                out.push_str(replacement);
                rest.len() - after.len()
            }
            None => {
                out.push(next);
                next.len_utf8()
            }
        };
        previous = rest[..length].chars().next_back();
        rest = &rest[length..];
    }
    out
}

fn respelling(rest: &str, previous: Option<char>) -> Option<(&'static str, &str)> {
    let first = rest.chars().next()?;
    // Most characters begin none of them.
    if !(matches!(first, '\\' | '{' | '~' | ',' | 'a' | 'o' | 'i' | 'p') || is_space(first)) {
        return None;
    }
    let strip_any = |names: &[&str]| names.iter().find_map(|name| rest.strip_prefix(name));
    if let Some(after) =
        strip_any(&["\\mathrm", "\\mathit", "\\mathbf", "\\textnormal", "\\textbf", "\\textit", "\\textrm"])
    {
        return Some(("\\text", after));
    }
    if let Some(after) = strip_any(&["\\dfrac", "\\tfrac", "\\cfrac"]) {
        return Some(("\\frac", after));
    }
    if is_space(first)
        && let Some(after) = rest[first.len_utf8()..].strip_prefix('.')
    {
        return Some((" 0.", after));
    }
    if let Some(after) = rest.strip_prefix("{.") {
        return Some(("{0.", after));
    }
    if let Some(after) = rest.strip_prefix("~=") {
        return Some(("\\approx", after));
    }
    let braced_comma =
        || skip_spaces(skip_spaces(skip_spaces(rest).strip_prefix('{')?).strip_prefix(',')?).strip_prefix('}');
    if let Some(after) = braced_comma() {
        return Some((",", after));
    }
    let listed = || skip_spaces(rest.strip_prefix(',').unwrap_or(rest));
    let conjunction = |text: &'_ str| ["and", "or"].iter().find(|word| text.starts_with(**word)).map(|word| word.len());
    if !previous.is_some_and(|c| c.is_ascii_alphabetic())
        && let Some(length) = conjunction(listed())
        && !listed()[length..].starts_with(|c: char| c.is_ascii_alphabetic())
    {
        return Some((",", &listed()[length..]));
    }
    let text_conjunction = || {
        let inside = skip_spaces(listed().strip_prefix("\\text{")?);
        skip_spaces(&inside[conjunction(inside)?..]).strip_prefix('}')
    };
    if let Some(after) = text_conjunction() {
        return Some((",", after));
    }
    if first == '\\'
        && previous != Some('\\')
        && let Some(space) = rest[1..].chars().next().filter(|c| is_space(*c))
    {
        return Some((" ", &rest[1 + space.len_utf8()..]));
    }
    if let Some(after) = rest.strip_prefix("infinity") {
        return Some(("\\infty", after));
    }
    if let Some(after) = strip_any(&[",\\ldots", "\\ldots"]) {
        return Some((" ", after));
    }
    for word in ["percentage", "percent", "pct"] {
        let trimmed = skip_spaces(rest);
        let before = if trimmed.len() == rest.len() { previous } else { Some(' ') };
        if let Some(after) = trimmed.strip_prefix(word)
            && !before.is_some_and(is_word)
            && !after.starts_with(is_word)
        {
            return Some(("\\%", after));
        }
        let in_text = || rest.strip_prefix("\\text{")?.strip_prefix(word)?.strip_prefix('}');
        if let Some(after) = in_text() {
            return Some(("%", after));
        }
    }
    if let Some(after) = rest.strip_prefix("inf")
        && previous != Some('\\')
    {
        return Some(("\\infty", after));
    }
    rest.strip_prefix(" sqrt").map(|after| ("\\sqrt", after))
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// `\\frac` → `\frac`, where no matrix needs its line breaks.
fn single_backslashes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\\\") {
        out.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        if after.starts_with(|c: char| c.is_ascii_alphabetic()) {
            out.push('\\');
            rest = after;
        } else {
            out.push('\\');
            rest = &rest[at + 1..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> String {
        normalize(text, Boxes::All)
    }

    #[test]
    fn spellings_are_unified() {
        for (text, expected) in [
            ("\\left(3,\\ 4\\right]", "(3, 4]"),
            ("\\dfrac12", "\\frac{1}{2}"),
            ("1{,}234\\text{ km}^2", "1,234"),
            ("8 \\text{ and } 9", "8, 9"),
            ("75 percent", "75\\%"),
            ("\\mathrm{even}", "\\text{even}"),
            ("3/4", "\\frac{3}{4}"),
            (".5", "\\frac{1}{2}"),
            ("514 km", "514"),
            ("\\sqrt3", "\\sqrt{3}"),
        ] {
            assert_eq!(all(text), expected, "{text}");
        }
    }

    #[test]
    fn boxes_are_opened() {
        assert_eq!(all("\\boxed{1} so \\boxed{ 2 }"), "1,2");
        let far = "\\boxed{1}, from which one sees after a while that it is \\boxed{2}";
        assert_eq!(normalize(far, Boxes::Last), "1,2");
        assert_eq!(normalize(&far.replace(", from", " from"), Boxes::Last), "2");
        assert_eq!(all("\\boxed{\\frac{1}{2}"), "{\\frac{1}{2}");
    }
}
