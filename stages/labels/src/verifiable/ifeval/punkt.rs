//! Splitting a text into sentences with Punkt (T. Kiss and J. Strunk, "Unsupervised multilingual sentence boundary
//! detection", Computational Linguistics 32(4), 2006), under its published English parameters and nltk's reading of the
//! method. nltk's patterns run on the `regex` module: white space in them is Unicode's, without U+001C to U+001F.

use crate::python::{self, is_decimal, is_unicode_word};
use rustc_hash::{FxHashMap, FxHashSet};
use std::{borrow::Cow, sync::LazyLock};

/// Bits of the orthographic context: seen in upper case within, or anywhere; in lower case at the beginning, or anywhere.
const MIDDLE_UPPER: u32 = 1 << 2;
const ANY_UPPER: u32 = 0b1110;
const BEGIN_LOWER: u32 = 1 << 4;
const ANY_LOWER: u32 = 0b111_0000;

/// What a number counts as.
const NUMBER: &str = "##number##";

struct Parameters {
    abbreviations: FxHashSet<&'static str>,
    collocations: FxHashSet<(&'static str, &'static str)>,
    starters: FxHashSet<&'static str>,
    context: FxHashMap<&'static str, u32>,
}

static PARAMETERS: LazyLock<Parameters> = LazyLock::new(|| Parameters {
    abbreviations: include_str!("../../../data/punkt_english/abbrev_types.txt").lines().collect(),
    collocations: include_str!("../../../data/punkt_english/collocations.tab")
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .collect(),
    starters: include_str!("../../../data/punkt_english/sent_starters.txt").lines().collect(),
    context: include_str!("../../../data/punkt_english/ortho_context.tab")
        .lines()
        .filter_map(|line| line.split_once('\t').and_then(|(word, bits)| Some((word, bits.parse().ok()?))))
        .collect(),
});

/// How many sentences a text has.
pub fn count_sentences(text: &str) -> usize {
    let mut count = 0;
    for_each_sentence(text, |_| count += 1);
    count
}

/// Hands every sentence of a text to `with`, in order.
pub fn for_each_sentence<'t>(text: &'t str, mut with: impl FnMut(&'t str)) {
    // A sentence with where the next one begins; closing quotes and brackets there belong to this one.
    let mut before: Option<(usize, usize)> = None;
    let mut moved = 0;
    let mut slice = |start: usize, stop: usize| {
        if let Some((previous, end)) = before.replace((start, stop)) {
            let previous = previous + moved;
            let (closers, gap) = closers(text.get(start..stop).unwrap_or(""));
            if closers > 0 {
                with(text.get(previous..start + closers).unwrap_or(""));
                moved = closers + gap;
            } else {
                moved = 0;
                text.get(previous..end).filter(|sentence| !sentence.is_empty()).into_iter().for_each(&mut with);
            }
        }
    };
    let mut last_break = 0;
    for_each_candidate(text, |end| {
        if ends_sentence(&text[end.from..end.to]) {
            slice(last_break, end.stop);
            last_break = end.next.unwrap_or(end.stop);
        }
    });
    slice(last_break, text.trim_end_matches(python::is_space).len());
    if let Some((start, stop)) = before {
        text.get(start + moved..stop).filter(|sentence| !sentence.is_empty()).into_iter().for_each(with);
    }
}

/// Bytes of the closing marks that a sentence must not begin with, and of the white space behind them; 0 where what
/// follows is part of the sentence.
fn closers(sentence: &str) -> (usize, usize) {
    let open = sentence.trim_start_matches(['"', '\'', ')', ']', '}', '‘', '’', '“', '”', '«', '»']);
    let closers = sentence.len() - open.len();
    let gap = open.len() - open.trim_start_matches(char::is_whitespace).len();
    if gap > 0 || open.is_empty() || open.starts_with("--") { (closers, gap) } else { (0, 0) }
}

/// A full stop, question or exclamation mark that something follows.
struct Candidate {
    /// Where the word before it begins.
    from: usize,
    /// Just behind the mark.
    stop: usize,
    /// Where the next word begins, if white space comes first.
    next: Option<usize>,
    /// Behind that word, or behind the mark that follows without white space.
    to: usize,
}

/// Marks that end a word.
fn is_mark(c: char) -> bool {
    matches!(
        c,
        ')' | '"'
            | ';'
            | '}'
            | ']'
            | '*'
            | ':'
            | '@'
            | '\''
            | '('
            | '{'
            | '['
            | '‘'
            | '’'
            | '“'
            | '”'
            | '«'
            | '»'
            | '?'
            | '!'
    )
}

fn for_each_candidate(text: &str, mut with: impl FnMut(Candidate)) {
    let bytes = text.as_bytes();
    let mut before: Option<Candidate> = None;
    // The word before the last mark.
    let (mut from, mut to) = (0, 0);
    for at in memchr::memchr3_iter(b'.', b'?', b'!', bytes) {
        let Some(follower) = text[at + 1..].chars().next() else { continue };
        let (end, next) = if is_mark(follower) {
            (at + 1 + follower.len_utf8(), None)
        } else if follower.is_whitespace() {
            let word = text[at + 1..].trim_start_matches(char::is_whitespace);
            let length = word.find(char::is_whitespace).unwrap_or(word.len());
            if length == 0 {
                continue;
            }
            let next = text.len() - word.len();
            (next + length, Some(next))
        } else {
            continue;
        };
        // The word before a mark begins behind the last white space; at offset 0 nltk takes it for none.
        let space = bytes[to..at].iter().rposition(|b| matches!(b, b' ' | b'\t'..=b'\r')).filter(|&space| space > 0);
        let word = (space.map_or(from, |space| to + space + 1), at);
        if let Some(candidate) = before.take()
            && to <= word.0
        {
            with(candidate);
        }
        (from, to) = word;
        before = Some(Candidate { from, stop: at + 1, next, to: end });
    }
    if let Some(candidate) = before {
        with(candidate);
    }
}

/// `-{2,}`, `\.{2,}` or `(\.\s){2,}\.` at the beginning of a text: its length.
fn run(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let first = *bytes.first().filter(|first| matches!(first, b'-' | b'.'))?;
    let same = bytes.iter().take_while(|&&b| b == first).count();
    if same >= 2 {
        return Some(same);
    }
    if first == b'-' {
        return None;
    }
    let (mut length, mut spaced) = (1, 0);
    while let Some(space) = text[length..].chars().next().filter(|c| c.is_whitespace()) {
        if bytes.get(length + space.len_utf8()) != Some(&b'.') {
            break;
        }
        length += space.len_utf8() + 1;
        spaced += 1;
    }
    (spaced >= 2).then_some(length)
}

/// Whether a word ends before this text.
fn ends_word(text: &str) -> bool {
    let ends = |text: &str| match text.chars().next() {
        None => true,
        Some(c) => c.is_whitespace() || is_mark(c) || run(text).is_some(),
    };
    ends(text) || text.strip_prefix(',').is_some_and(ends)
}

/// Length of the token at the beginning of a line's rest: a run of dots or dashes, a word or a single character.
fn token_length(text: &str) -> usize {
    if let Some(length) = run(text) {
        return length;
    }
    let mut chars = text.char_indices();
    let first = chars.next().map_or(0, |(_, c)| c.len_utf8());
    if text.starts_with(|c| "(\"`{[:;&#*@)}]-,".contains(c)) {
        return first;
    }
    // Letters and digits never end a word, and most of a word is made of them.
    chars.find(|&(at, c)| !c.is_ascii_alphanumeric() && ends_word(&text[at..])).map_or(text.len(), |(at, _)| at)
}

struct Token<'a> {
    text: &'a str,
    /// Lower case, numbers as one word.
    kind: Cow<'a, str>,
    ends: bool,
    abbreviation: bool,
    ellipsis: bool,
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

/// `^-?[.,]?\d[\d,.-]*\.?$`.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let text = text.strip_prefix(['.', ',']).unwrap_or(text);
    text.starts_with(is_decimal) && text.chars().all(|c| matches!(c, ',' | '.' | '-') || is_decimal(c))
}

impl<'a> Token<'a> {
    fn new(text: &'a str, parameters: &Parameters) -> Self {
        let kind = lower(text);
        let kind = if is_number(&kind) { Cow::Borrowed(NUMBER) } else { kind };
        let mut token = Self { text, kind, ends: false, abbreviation: false, ellipsis: false };
        if matches!(text, "." | "?" | "!") {
            token.ends = true;
        } else if text.len() > 1 && text.bytes().all(|b| b == b'.') {
            token.ellipsis = true;
        } else if let Some(word) = text.strip_suffix('.').filter(|word| !word.ends_with('.')) {
            let word = lower(word);
            let last = word.rsplit('-').next().unwrap_or(&word);
            let known = |word: &str| parameters.abbreviations.contains(word);
            token.abbreviation = known(&word) || known(last);
            token.ends = !token.abbreviation;
        }
        token
    }

    fn without_period(&self) -> &str {
        if self.kind.len() > 1 { self.kind.strip_suffix('.').unwrap_or(&self.kind) } else { &self.kind }
    }

    fn without_sentence_period(&self) -> &str {
        if self.ends { self.without_period() } else { &self.kind }
    }

    fn first_is(&self, case: fn(&str) -> bool) -> bool {
        self.text.chars().next().is_some_and(|c| case(c.encode_utf8(&mut [0; 4])))
    }

    fn is_initial(&self) -> bool {
        let mut chars = self.text.chars();
        let letter = chars.next().is_some_and(|c| is_unicode_word(c) && !is_decimal(c));
        letter && chars.as_str() == "."
    }
}

/// Whether a sentence ends within the context, with something after it.
fn ends_sentence(context: &str) -> bool {
    let parameters = &*PARAMETERS;
    let mut before: Option<Token<'_>> = None;
    for line in context.split('\n') {
        let mut rest = line.trim_start_matches(char::is_whitespace);
        if python::is_blank(rest) {
            continue;
        }
        while !rest.is_empty() {
            let (text, behind) = rest.split_at(token_length(rest));
            let token = Token::new(text, parameters);
            if let Some(mut before) = before.take() {
                reconsider(&mut before, &token, parameters);
                if before.ends {
                    return true;
                }
            }
            before = Some(token);
            rest = behind.trim_start_matches(char::is_whitespace);
        }
    }
    false
}

/// Whether a word begins a sentence, judging by its case here and in the training text; none where that is open.
fn begins_sentence(token: &Token<'_>, parameters: &Parameters) -> Option<bool> {
    if matches!(token.text, ";" | ":" | "," | "." | "!" | "?") {
        return Some(false);
    }
    let seen = parameters.context.get(token.without_sentence_period()).copied().unwrap_or(0);
    if token.first_is(python::is_upper) && seen & ANY_LOWER != 0 && seen & MIDDLE_UPPER == 0 {
        return Some(true);
    }
    if token.first_is(python::is_lower) && (seen & ANY_UPPER != 0 || seen & BEGIN_LOWER == 0) {
        return Some(false);
    }
    None
}

/// The second pass: what the next word says about a full stop.
fn reconsider(token: &mut Token<'_>, next: &Token<'_>, parameters: &Parameters) {
    if !token.text.ends_with('.') {
        return;
    }
    let next_kind = next.without_sentence_period();
    let initial = token.is_initial();
    if parameters.collocations.contains(&(token.without_period(), next_kind)) {
        (token.ends, token.abbreviation) = (false, true);
        return;
    }
    let number = token.without_period() == NUMBER;
    if !(token.abbreviation || token.ellipsis || initial || number) {
        return;
    }
    let begins = begins_sentence(next, parameters);
    let upper = next.first_is(python::is_upper);
    if (token.abbreviation || token.ellipsis)
        && !initial
        && (begins == Some(true) || (upper && parameters.starters.contains(next_kind)))
    {
        token.ends = true;
        return;
    }
    if initial || number {
        let seen = parameters.context.get(next_kind).copied().unwrap_or(0);
        if begins == Some(false) || (begins.is_none() && initial && upper && seen & ANY_LOWER == 0) {
            (token.ends, token.abbreviation) = (false, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn abbreviations_initials_and_numbers_end_no_sentence() {
        for (text, sentences) in [
            ("", 0),
            ("One. Two! Three?", 3),
            ("Dr. Smith met J. Bach at 3 p.m. on Monday.", 1),
            ("He lives in the U.S. He likes it.", 2),
            ("It cost 3.50 dollars. (Or so.) \"Really?\" he said.", 4),
            ("Wait... what? No", 2),
            ("Wait. . . what? No", 5),
            ("no mark at all", 1),
            (".)", 1),
        ] {
            assert_eq!(count_sentences(text), sentences, "{text}");
        }
    }

    #[test]
    fn closing_marks_stay_with_their_sentence() {
        let mut sentences = Vec::new();
        for_each_sentence("(One.) \"Two.\" Three.\n\nFour", |sentence| sentences.push(sentence));
        assert_eq!(sentences, ["(One.)", "\"Two.\"", "Three.", "Four"]);
    }

    proptest! {
        #[test]
        fn sentences_are_disjoint_parts_of_the_text(text in "[A-Za-z.?!'\")\\- \n\u{a0}é“”,:3]{0,60}") {
            let mut end = 0;
            for_each_sentence(&text, |sentence| {
                let at = sentence.as_ptr() as usize - text.as_ptr() as usize;
                assert!(at >= end && !sentence.is_empty());
                end = at + sentence.len();
            });
        }
    }
}
