//! Words, paragraphs and sentences as this dialect counts them.

use super::Edition;
use crate::python::{self, is_space, is_word};

/// `\b\w+\b` of `re`.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

/// Texts between `* * *`, where none is blank. Lines are stripped first, and all kinds of line ends are one.
pub(super) fn divided_paragraphs(reply: &str) -> Option<usize> {
    let lines: Vec<&str> = python::split_lines(reply).into_iter().map(python::strip).collect();
    let text = lines.join("\n");
    let mut count = 0;
    for paragraph in python::strip(&text).split("* * *") {
        if python::is_blank(paragraph) {
            return None;
        }
        count += 1;
    }
    Some(count)
}

/// One more than the white space characters behind a sentence's mark: `(?<!\w\.\w.)(?<![A-Z][a-z]\.)(?<=\.|\?)\s`.
pub(super) fn sentences(reply: &str, edition: Edition) -> usize {
    // The four characters before the current one, the nearest one last.
    let mut before = ['\n'; 4];
    let mut count = 1;
    for c in reply.chars() {
        if is_space(c) {
            let [a, b, d, mark] = before;
            let ends = matches!(mark, '.' | '?') || (mark == '!' && edition == Edition::Revised);
            let dotted = is_word(a) && b == '.' && is_word(d);
            let title = b.is_ascii_uppercase() && d.is_ascii_lowercase() && mark == '.';
            count += usize::from(ends && !dotted && !title);
        }
        before.rotate_left(1);
        before[3] = c;
    }
    count
}
