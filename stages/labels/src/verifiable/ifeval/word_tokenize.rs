//! Words in capitals, counted over the tokens of nltk's `word_tokenize`: Punkt sentences, then Treebank conventions.
//!
//! The reference applies some thirty substitutions that put spaces into a sentence. Only what lies between two letters
//! can change whether a token is in capitals, so one pass cuts a sentence into pieces at white space and at all marks
//! that become tokens of their own, and then cuts clitics and contractions off each piece that has a capital.

use super::punkt::for_each_sentence;
use crate::python::{self, is_decimal, is_unicode_word, is_word};

/// The tokens of a text for which Python's `isupper()` holds.
pub fn capital_words(text: &str) -> usize {
    if !text.chars().any(char::is_uppercase) {
        return 0;
    }
    let mut count = 0;
    if sentences_matter(text) {
        for_each_sentence(text, |sentence| count += capital_words_of_sentence(sentence));
    } else {
        count = capital_words_of_sentence(text);
    }
    count
}

/// Whether it makes a difference where sentences end. The full stop there becomes a token, which sets a clitic before it
/// free (`IT'S.`; `WANNA.`), and a sentence may end before a colon or quote that would not divide its word.
fn sentences_matter(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr3_iter(b'.', b'?', b'!', bytes).any(|at| {
        let clitic = bytes[at.saturating_sub(3)..at].contains(&b'\'');
        let wanna = bytes[at.saturating_sub(5)..at].eq_ignore_ascii_case(b"wanna");
        clitic || wanna || matches!(bytes.get(at + 1), Some(b':' | b'\''))
    })
}

/// Marks that become tokens wherever they stand.
fn is_token(c: char) -> bool {
    "`;@#$%&?!*[](){}<>\"«»“”‘’„".contains(c) || ('\u{2012}'..='\u{2015}').contains(&c)
}

fn capital_words_of_sentence(sentence: &str) -> usize {
    let sentence = without_final_period(sentence);
    let mut count = 0;
    let mut start = 0;
    let mut capital = false;
    let mut before = None;
    let mut chars = sentence.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c.is_ascii_alphanumeric() {
            capital |= c.is_ascii_uppercase();
            before = Some(c);
            continue;
        }
        let next = chars.peek().map(|&(_, next)| next);
        let divides = match c {
            '-' | '.' if next == Some(c) => true,
            ',' | ':' => !next.is_some_and(is_decimal),
            '\'' => next == Some('\'') || begins_quotation(before, &sentence[at + 1..]),
            c => c.is_whitespace() || is_token(c),
        };
        if divides {
            if capital {
                count += capital_pieces(&sentence[start..at]);
            }
            let mut end = at + c.len_utf8();
            // Dots are taken together, dashes and quotes in pairs.
            let more = match c {
                '.' => usize::MAX,
                '-' => 1,
                '\'' => usize::from(next == Some(c)),
                _ => 0,
            };
            for _ in 0..more {
                let Some((next_at, _)) = chars.next_if(|&(_, next)| next == c) else { break };
                end = next_at + 1;
            }
            (start, capital) = (end, false);
        } else {
            capital |= c.is_uppercase();
        }
        before = Some(c);
    }
    if capital {
        count += capital_pieces(&sentence[start..]);
    }
    count
}

/// The full stop at the end of a sentence, and closing marks behind it, are tokens of their own.
fn without_final_period(sentence: &str) -> &str {
    let open = sentence.trim_end_matches(char::is_whitespace);
    let open = open.trim_end_matches([']', ')', '}', '>', '"', '\'', '»', '”', '’', ' ']);
    open.strip_suffix('.').filter(|rest| !rest.is_empty() && !rest.ends_with('.')).unwrap_or(sentence)
}

/// `(?<!\w)'(?!(re|ve|ll|m|t|s|d|n)\b)(?=\w)`, ignoring case: a quote that opens and is no clitic.
fn begins_quotation(before: Option<char>, behind: &str) -> bool {
    if before.is_some_and(is_unicode_word) || !behind.starts_with(is_unicode_word) {
        return false;
    }
    let word = &behind[..behind.find(|c| !is_unicode_word(c)).unwrap_or(behind.len())];
    !["re", "ve", "ll", "m", "t", "s", "d", "n"].iter().any(|clitic| word.eq_ignore_ascii_case(clitic))
}

/// Tokens in capitals among those that a piece without dividing marks is cut into.
fn capital_pieces(piece: &str) -> usize {
    let mut tokens = [piece, "", "", ""];
    let mut last = 0;
    // First `'s`, `'m`, `'d` or a quote at the end, then the longer clitics before that.
    for clitics in
        [["'s", "'S", "'m", "'M", "'d", "'D", "'", "'"], ["'ll", "'LL", "'re", "'RE", "'ve", "'VE", "n't", "N'T"]]
    {
        for i in (0..=last).rev() {
            let found = clitics.iter().find_map(|clitic| {
                let word = tokens[i].strip_suffix(clitic)?;
                (!word.is_empty() && !word.ends_with('\'')).then_some(word)
            });
            if let Some(word) = found {
                let clitic = &tokens[i][word.len()..];
                tokens[i + 1..].rotate_right(1);
                (tokens[i], tokens[i + 1]) = (word, clitic);
                last += 1;
            }
        }
    }
    tokens[..=last].iter().map(|token| capital_contractions(token)).sum()
}

/// The two parts of contractions that are cut at a word boundary.
const CONTRACTIONS: [(&str, &str); 8] = [
    ("can", "not"),
    ("d", "'ye"),
    ("gim", "me"),
    ("gon", "na"),
    ("got", "ta"),
    ("lem", "me"),
    ("more", "'n"),
    ("wan", "na"),
];

fn capital_contractions(token: &str) -> usize {
    for (first, second) in CONTRACTIONS {
        let length = first.len() + second.len();
        let bytes = token.as_bytes();
        for at in 0..(bytes.len() + 1).saturating_sub(length) {
            let (head, tail) = bytes[at..at + length].split_at(first.len());
            if head.eq_ignore_ascii_case(first.as_bytes()) && tail.eq_ignore_ascii_case(second.as_bytes()) {
                let (before, behind) = (&token[..at], &token[at + length..]);
                let bounded = !before.ends_with(is_word)
                    && if first == "wan" {
                        !behind.starts_with(|c| !python::is_space(c))
                    } else {
                        !behind.starts_with(is_word)
                    };
                if bounded {
                    let parts = [before, &token[at..at + first.len()], &token[at + first.len()..at + length], behind];
                    return parts.into_iter().map(capital_contractions).sum();
                }
            }
        }
    }
    // The separators U+001C to U+001F divide words, but nltk's substitutions do not take them for spaces.
    python::split_whitespace(token).filter(|word| python::is_upper(word)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contractions_and_clitics_are_tokens_of_their_own() {
        for (text, count) in [
            ("I'M HERE, CANNOT GO. The 3D film", 7),
            ("DON'T (STOP) \"NOW\"!", 4),
            ("nothing here", 0),
            ("IT'S. Next", 2),
            ("IT'S\u{1c}A", 2),
            ("IT'S.NEXT", 1),
            ("WANNA. Next", 2),
            ("WANNA.NEXT", 1),
            ("A,B C,3 D:E -F 'G' H'I J--K L...M N.O", 13),
            ("U.S.A. and X's CANnot WANNA GONNA-BE", 8),
        ] {
            assert_eq!(capital_words(text), count, "{text}");
        }
    }
}
