//! What stands in the `\boxed` and `\fbox` commands of a text.

use super::pattern;
use crate::python::{is_space, strip};
use regex::Regex;
use std::{borrow::Cow, sync::LazyLock};

/// Which boxes of a text count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boxes {
    /// All, joined by commas.
    All,
    /// The last, and those just before it that belong to the same list.
    Last,
}

/// The contents of the `\boxed` and `\fbox` commands; the text itself where there is none.
pub(super) fn boxed_content(text: &str, boxes: Boxes) -> Cow<'_, str> {
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

static SEPARATOR: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(and|or)\b|,|;"));
