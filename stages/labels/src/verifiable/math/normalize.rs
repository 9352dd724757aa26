//! The reference's clean-up of LaTeX before it is read: boxes opened, commands unified, units and signs of currency
//! dropped, careless fractions and roots given their braces.
//!
//! The steps and their order are math-verify 0.9.0's (latex2sympy2_extended 1.11.0); each depends on what those before
//! it left.

use crate::python::{is_space, strip};
use regex::{Captures, Regex};
use std::{borrow::Cow, sync::LazyLock};

/// Which boxes of a text count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boxes {
    /// All, joined by commas.
    All,
    /// The last, and those just before it that belong to the same list.
    Last,
}

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

/// The contents of the `\boxed` and `\fbox` commands; the text itself where there is none.
fn boxed_content(text: &str, boxes: Boxes) -> Cow<'_, str> {
    let mut found: Vec<&str> = Vec::new();
    let (mut end, mut limit, mut next_start) = (text.len(), text.len(), None::<usize>);
    loop {
        let before = &text[..end];
        let (boxed, fbox) = (before.rfind("\\boxed"), before.rfind("\\fbox"));
        let Some(start) = boxed.max(fbox) else { break };
        let mut open = start + if boxed > fbox { "\\boxed".len() } else { "\\fbox".len() };
        let inside = &text[..limit];
        open += inside.get(open..).map_or(0, |rest| rest.len() - rest.trim_start_matches(is_space).len());
        if open >= limit {
            break;
        }
        if !inside[open..].starts_with('{') {
            if found.is_empty() {
                found.push(&text[open..]);
            }
            break;
        }
        let Some(close) = closing_brace(inside, open) else {
            if found.is_empty() {
                found.push(&text[open..]);
            }
            break;
        };
        let content = strip(&text[open + 1..close]);
        if let (Boxes::Last, Some(next)) = (boxes, next_start)
            && !belongs(&text[close + 1..next.max(close + 1)], content, found.last().copied().unwrap_or(""))
        {
            break;
        }
        if found.last() != Some(&content) {
            found.push(content);
        }
        next_start = Some(start);
        limit = start;
        end = start;
    }
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.reverse();
    Cow::Owned(found.join(","))
}

fn closing_brace(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether a box belongs to the list of the one behind it: close by, or not far and with a separator between.
fn belongs(between: &str, content: &str, next: &str) -> bool {
    let length = between.chars().count();
    length < 10 || (next != content && length < 70 && SEPARATOR.is_match(between))
}

fn pattern(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "all patterns are constants that the tests compile")]
    Regex::new(text).expect("valid pattern")
}

static SEPARATOR: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(and|or)\b|,|;"));
static PERMUTATION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\(([a-zA-Z0-9+\-*/\\ ]+?)\)_\{([a-zA-Z0-9+\-*/\\ ]+?)\}"));
static UNIT_TEXT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\\(?:text|mbox)\{.*?\})(\^\d|\{\^\d\})?$"));

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

/// Units that may end an answer, without their plurals.
const UNITS: &str = "integerpoint|feet|sue|digit|pound|meal|edge|student|children ticket|multiple|east|degree|mph|kmph|ft|\
m square| m east|sq m|deg|mile|q .|monkey|prime|ratio|profit of rs|rd|o|gm|p . m|lb|tile|per|dm|lt|gain|ab|way|west|a .|\
b .|c .|d .|e .|f .|g .|h .|t|h|no change|men|soldier|pie|bc|excess|st|inches|noon|cent|by|gal|kmh|c|acre|rise|a . m|th|\
π r 2|sq|mark|l|toy|coin|sq . m|gallon|° f|profit|minw|yr|women|am|pm|hr|cu cm|square|v â € ™|are|rupee|rounds|cubic|cc|\
mtr|s|ohm|number|kmph|day|hour|minute|min|second|man|woman|sec|cube|mt|sq inch|mp|∏ cm ³|hectare|more|sec|unit|cu . m|\
cm 2|rs .|rs|kg|g|month|km|m|cm|mm|apple|liter|loss|yard|pure|year|increase|decrease|d|less|Surface|litre|pi sq m|s .|\
metre|meter|inch";

static UNIT: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"(\d|\}}|[\s\x1c-\x1f])[\s\x1c-\x1f]*(?:(?:{UNITS})(?:s|es)?)[\s\x1c-\x1f]*$")));

fn without_units(mut text: String) -> String {
    let bare = if text.contains("\\text{") || text.contains("\\mbox{") {
        strip(&UNIT_TEXT.replace(&text, "")).to_owned()
    } else {
        strip(&text).to_owned()
    };
    if !bare.is_empty() {
        text = bare;
    }
    for _ in 0..2 {
        // A unit that does not end in a letter has a space within.
        if !text.contains(' ') && !text.ends_with(char::is_alphabetic) {
            break;
        }
        let shorter = UNIT.replace(&text, "$1");
        if shorter.is_empty() || shorter == text {
            break;
        }
        text = shorter.into_owned();
    }
    text
}

static MALFORMED: LazyLock<[(Regex, &str); 7]> = LazyLock::new(|| {
    [
        (pattern(r"\^[\s\x1c-\x1f]?\((.*?)\)"), "^{$1}"),
        (pattern(r"sqrt[\s\x1c-\x1f]?\((.*?)\)"), "\\sqrt{$1}"),
        (pattern(r"\\frac[\s\x1c-\x1f]?(\d)[\s\x1c-\x1f]?(\d+)"), "\\frac{$1}{$2}"),
        (pattern(r"\\log_[\s\x1c-\x1f]?(\d)[\s\x1c-\x1f]?(\d+)"), "\\log_{$1}{$2}"),
        (pattern(r"\\frac[\s\x1c-\x1f]?\{(.*?)\}[\s\x1c-\x1f]?(\d)"), "\\frac{$1}{$2}"),
        (pattern(r"\\frac[\s\x1c-\x1f]?(\d)[\s\x1c-\x1f]?\{(.*?)\}"), "\\frac{$1}{$2}"),
        (pattern(r"\\sqrt[\s\x1c-\x1f]?(\d)"), "\\sqrt{$1}"),
    ]
});

fn operators(mut text: String) -> String {
    const HINTS: [&str; 7] = ["^", "sqrt", "\\frac", "\\log_", "\\frac", "\\frac", "\\sqrt"];
    for ((regex, replacement), hint) in MALFORMED.iter().zip(HINTS) {
        if text.contains(hint) {
            let braced = regex.replace_all(&text, |groups: &Captures<'_>| {
                let mut out = String::new();
                groups.expand(replacement, &mut out);
                out
            });
            if let Cow::Owned(changed) = braced {
                text = changed;
            }
        }
    }
    if text.contains(" sqrt") { text.replace(" sqrt", "\\sqrt") } else { text }
}

fn braced_roots(text: String) -> String {
    if !text.contains("\\sqrt") {
        return text;
    }
    let mut parts = text.split("\\sqrt");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let part = skip_spaces(part);
        match part.chars().next().filter(|c| !matches!(c, '{' | '[')) {
            Some(first) => {
                out.push_str("\\sqrt{");
                out.push(first);
                out.push('}');
                out.push_str(&part[first.len_utf8()..]);
            }
            None => out.extend(["\\sqrt", part]),
        }
    }
    out
}

fn braced_fractions(text: String) -> String {
    if !text.contains("\\frac") {
        return text;
    }
    let mut parts = text.split("\\frac");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let part = skip_spaces(part);
        out.push_str("\\frac");
        if part.starts_with('{') {
            out.push_str(part);
            continue;
        }
        let mut chars = part.chars();
        let (Some(a), Some(b)) = (chars.next(), chars.next()) else { return text };
        out.extend(["{", a.encode_utf8(&mut [0; 4]), "}"]);
        if b == '{' {
            out.push(b);
        } else {
            out.extend(["{", b.encode_utf8(&mut [0; 4]), "}"]);
        }
        out.push_str(chars.as_str());
    }
    out
}

fn slash_as_fraction(text: String) -> String {
    let plain = |side: &str| {
        let digits = side.strip_prefix('-').unwrap_or(side);
        let canonical = digits == "0" || !digits.starts_with('0');
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && canonical && side != "-0"
    };
    match text.split_once('/') {
        Some((a, b)) if plain(a) && plain(b) => format!("\\frac{{{a}}}{{{b}}}"),
        _ => text,
    }
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
