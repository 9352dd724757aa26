//! Small matchers that the patterns for answers are made of.

use crate::python::is_space;

/// Where a search ended: the byte behind a match.
pub type End = usize;

/// The byte behind the white space at a place.
pub fn skip_spaces(text: &str, at: usize) -> End {
    text.len() - text[at..].trim_start_matches(is_space).len()
}

/// The character before a place.
pub fn before(text: &str, at: usize) -> Option<char> {
    text[..at].chars().next_back()
}

/// The character at a place.
pub fn char_at(text: &str, at: usize) -> Option<char> {
    text[at..].chars().next()
}

/// Whether two characters are the same letter where case is ignored, as Python ignores it.
fn same_letter(c: char, lower: char) -> bool {
    c.to_ascii_lowercase() == lower || matches!((c, lower), ('ſ', 's') | ('ı' | 'İ', 'i'))
}

/// The byte behind a word of ASCII letters and spaces at a place, case ignored.
pub fn word_at(text: &str, at: usize, word: &str) -> Option<End> {
    let mut end = at;
    for lower in word.chars() {
        let c = char_at(text, end)?;
        if !same_letter(c, lower) {
            return None;
        }
        end += c.len_utf8();
    }
    Some(end)
}

/// The places at which a word begins, case ignored.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = (usize, End)> + 'a {
    let first = word.chars().next().unwrap_or_default();
    text.char_indices()
        .filter(move |(_, c)| same_letter(*c, first))
        .filter_map(move |(at, _)| Some((at, word_at(text, at, word)?)))
}

/// The places up to `most` characters behind a place, the place itself first; only on its line where `line` is set.
pub fn within(text: &str, at: usize, most: usize, line: bool) -> impl Iterator<Item = usize> + '_ {
    let places = text[at..].char_indices().map(move |(offset, c)| (at + offset, c == '\n'));
    let mut behind_line = false;
    let reached =
        places.chain(std::iter::once((text.len(), false))).take(most + 1).take_while(move |(_, line_ends)| {
            let is_reached = !behind_line;
            behind_line |= line && *line_ends;
            is_reached
        });
    reached.map(|(place, _)| place)
}

/// All matches from left to right, none overlapping: `starts` are the places to try, `matched` says where one ends.
pub fn find_all<T>(
    starts: impl Iterator<Item = usize>,
    mut matched: impl FnMut(usize) -> Option<(T, End)>,
) -> Vec<(usize, End, T)> {
    let (mut found, mut from) = (Vec::new(), 0);
    for start in starts {
        if start < from {
            continue;
        }
        if let Some((value, end)) = matched(start) {
            found.push((start, end, value));
            from = end;
        }
    }
    found
}

/// `\.?\s?I hope` at a place.
pub fn hopes(text: &str, at: usize) -> bool {
    let rest = text[at..].strip_prefix('.').unwrap_or(&text[at..]);
    let spaced = rest.chars().next().filter(|c| is_space(*c)).map_or(rest, |c| &rest[c.len_utf8()..]);
    spaced.starts_with("I hope")
}
