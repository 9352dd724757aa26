//! Braces for what was written without: exponents, roots, fractions.

use super::{pattern, skip_spaces};
use regex::{Captures, Regex};
use std::{borrow::Cow, sync::LazyLock};

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

pub(super) fn operators(mut text: String) -> String {
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

pub(super) fn braced_roots(text: String) -> String {
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

pub(super) fn braced_fractions(text: String) -> String {
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

pub(super) fn slash_as_fraction(text: String) -> String {
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
