//! Counting sentences with Punkt (T. Kiss and J. Strunk, "Unsupervised multilingual sentence boundary detection",
//! Computational Linguistics 32(4), 2006), under its published English parameters and nltk's reading of the method.

use crate::python::{self, Pattern, PatternError, is_space};
use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

/// Bits of the orthographic context: seen in upper case within, or anywhere; in lower case at the beginning, or anywhere.
const MIDDLE_UPPER: u32 = 1 << 2;
const ANY_UPPER: u32 = 0b1110;
const BEGIN_LOWER: u32 = 1 << 4;
const ANY_LOWER: u32 = 0b111_0000;

struct Parameters {
    abbreviations: HashSet<&'static str>,
    collocations: HashSet<(&'static str, &'static str)>,
    starters: HashSet<&'static str>,
    context: HashMap<&'static str, u32>,
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

/// Words, marks and runs of dots or dashes of a line.
#[expect(clippy::expect_used, reason = "the pattern is a constant, used by the golden test")]
static WORDS: LazyLock<Pattern> = LazyLock::new(|| {
    let mark = r#"[)";}\]*:@'({\[‘’“”«»?!]"#;
    let run = r"(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)";
    let start = r#"[^("`{\[:;&#*@)}\]\-,]"#;
    let end = format!(r"\s|$|{mark}|{run}");
    let pattern = format!(r"{run}|(?={start})\S+?(?={end}|,(?={end}))|\S");
    Pattern::new(&pattern, false, false).expect("valid pattern")
});

#[expect(clippy::expect_used, reason = "the pattern is a constant, used by the golden test")]
static NUMBER: LazyLock<Pattern> =
    LazyLock::new(|| Pattern::new(r"^-?[.,]?\d[\d,.-]*\.?$", false, false).expect("valid pattern"));

/// How many sentences a text has.
pub fn count_sentences(text: &str) -> Result<usize, PatternError> {
    let mut slices = Vec::new();
    let mut last_break = 0;
    for end in candidate_ends(text) {
        if ends_sentence(&end.context)? {
            slices.push((last_break, end.stop));
            last_break = end.next.unwrap_or(end.stop);
        }
    }
    slices.push((last_break, text.trim_end_matches(is_space).len()));
    Ok(count_realigned(text, &slices))
}

/// A full stop, question or exclamation mark that something follows.
struct Candidate {
    /// Just behind the mark.
    stop: usize,
    /// Where the next word begins, if white space comes first.
    next: Option<usize>,
    /// The word before the mark, the mark, and what follows.
    context: String,
}

fn is_mark(c: char) -> bool {
    ")\";}]*:@'({[‘’“”«»?!".contains(c)
}

fn candidate_ends(text: &str) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let mut before: Option<((usize, usize), Candidate)> = None;
    let (mut from, mut to) = (0, 0);
    for (at, _) in text.match_indices(['.', '?', '!']) {
        let rest = &text[at + 1..];
        let Some(follower) = rest.chars().next() else { continue };
        let (after, next) = if is_mark(follower) {
            (&rest[..follower.len_utf8()], None)
        } else if is_space(follower) {
            let gap = rest.len() - rest.trim_start_matches(is_space).len();
            let word = rest[gap..].find(is_space).unwrap_or(rest.len() - gap);
            if word == 0 {
                continue;
            }
            (&rest[..gap + word], Some(at + 1 + gap))
        } else {
            continue;
        };
        // The word before a mark begins behind the last white space; at offset 0 nltk takes it for none.
        let space = text[to..at].rfind([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']).filter(|&space| space > 0);
        let word = (space.map_or(from, |space| to + space + 1), at);
        if let Some((previous, candidate)) = before.take()
            && previous.1 <= word.0
        {
            candidates.push(candidate);
        }
        (from, to) = word;
        let context = format!("{}{}{after}", &text[from..to], &text[at..=at]);
        before = Some((word, Candidate { stop: at + 1, next, context }));
    }
    candidates.extend(before.map(|(_, candidate)| candidate));
    candidates
}

struct Token<'a> {
    text: &'a str,
    /// Lower case, numbers as one word.
    kind: String,
    ends: bool,
    abbreviation: bool,
    ellipsis: bool,
}

impl<'a> Token<'a> {
    fn new(text: &'a str, parameters: &Parameters) -> Result<Self, PatternError> {
        let lower = text.to_lowercase();
        let kind = if NUMBER.is_match(&lower)? { "##number##".to_owned() } else { lower };
        let mut token = Self { text, kind, ends: false, abbreviation: false, ellipsis: false };
        if matches!(text, "." | "?" | "!") {
            token.ends = true;
        } else if text.len() > 1 && text.chars().all(|c| c == '.') {
            token.ellipsis = true;
        } else if let Some(word) = text.strip_suffix('.').filter(|word| !word.ends_with('.')) {
            let word = word.to_lowercase();
            let last = word.rsplit('-').next().unwrap_or(&word);
            let known = |word: &str| parameters.abbreviations.contains(word);
            token.abbreviation = known(&word) || known(last);
            token.ends = !token.abbreviation;
        }
        Ok(token)
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
        let letter = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_');
        letter && chars.as_str() == "."
    }
}

/// Whether a sentence ends within the context, with something after it.
fn ends_sentence(context: &str) -> Result<bool, PatternError> {
    let parameters = &*PARAMETERS;
    let mut tokens = Vec::new();
    for line in context.split('\n') {
        for word in WORDS.find_all(line)? {
            tokens.push(Token::new(word, parameters)?);
        }
    }
    for i in 1..tokens.len() {
        let (before, after) = tokens.split_at_mut(i);
        reconsider(&mut before[i - 1], &after[0], parameters);
        if before[i - 1].ends {
            return Ok(true);
        }
    }
    Ok(false)
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
    let begins = begins_sentence(next, parameters);
    let upper = next.first_is(python::is_upper);
    if (token.abbreviation || token.ellipsis)
        && !initial
        && (begins == Some(true) || (upper && parameters.starters.contains(next_kind)))
    {
        token.ends = true;
        return;
    }
    if initial || token.without_period() == "##number##" {
        let seen = parameters.context.get(next_kind).copied().unwrap_or(0);
        if begins == Some(false) || (begins.is_none() && initial && upper && seen & ANY_LOWER == 0) {
            (token.ends, token.abbreviation) = (false, true);
        }
    }
}

/// Moves closing quotes and brackets at the beginning of a sentence to the one before, and counts what is left.
fn count_realigned(text: &str, slices: &[(usize, usize)]) -> usize {
    let mut count = 0;
    let mut moved = 0;
    for (i, &(start, stop)) in slices.iter().enumerate() {
        let filled = start + moved < stop;
        let Some(&(next, end)) = slices.get(i + 1) else { return count + usize::from(filled) };
        let following = text.get(next..end).unwrap_or("");
        let open = following.trim_start_matches(['"', '\'', ')', ']', '}', '‘', '’', '“', '”', '«', '»']);
        let closers = following.len() - open.len();
        let gap = open.len() - open.trim_start_matches(is_space).len();
        if closers > 0 && (gap > 0 || open.is_empty() || open.starts_with("--")) {
            count += 1;
            moved = closers + gap;
        } else {
            count += usize::from(filled);
            moved = 0;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abbreviations_initials_and_numbers_end_no_sentence() {
        for (text, sentences) in [
            ("", 0),
            ("One. Two! Three?", 3),
            ("Dr. Smith met J. Bach at 3 p.m. on Monday.", 1),
            ("He lives in the U.S. He likes it.", 2),
            ("It cost 3.50 dollars. (Or so.) \"Really?\" he said.", 4),
            ("Wait... what? No", 2),
            ("no mark at all", 1),
        ] {
            assert_eq!(count_sentences(text).unwrap(), sentences, "{text}");
        }
    }
}
