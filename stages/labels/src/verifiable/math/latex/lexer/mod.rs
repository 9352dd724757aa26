//! LaTeX mathematics as tokens: at each place the longest token, and of equally long ones the first in the table.

mod kind;
mod spellings;

pub use kind::Kind;

use spellings::{ACCENTS, COMMANDS, GREEK, GREEK_LETTERS, OTHER_SYMBOLS, SIGNS, SKIPPED, WORDS};

/// More tokens than this are no answer.
pub const MAX_TOKENS: usize = 1024;

/// A token and where it stands, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// Why a text has no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LexError {
    /// The byte at which no token begins.
    Unknown(usize),
    TooLong,
}

/// Splits a text into tokens, without what is skipped.
///
/// # Errors
/// [`LexError`] where some part is no token, or there are more than [`MAX_TOKENS`].
pub fn tokenize(text: &str) -> Result<Vec<Token>, LexError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let blank = blanks(rest.as_bytes());
        if blank > 0 {
            at += blank;
            continue;
        }
        let (kind, length) = longest(rest).ok_or(LexError::Unknown(at))?;
        if let Some(kind) = kind {
            if tokens.len() == MAX_TOKENS {
                return Err(LexError::TooLong);
            }
            tokens.push(Token { kind, start: at, end: at + length });
        }
        at += length;
    }
    Ok(tokens)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_blank(**byte)).count()
}

/// The longest token at the start of a text that is not empty; its kind is none where it is skipped.
fn longest(rest: &str) -> Option<(Option<Kind>, usize)> {
    let mut best: Option<(Option<Kind>, usize)> = None;
    let mut offer = |kind: Option<Kind>, length: usize| {
        if length > best.map_or(0, |(_, longest)| longest) {
            best = Some((kind, length));
        }
    };
    let bytes = rest.as_bytes();
    match bytes[0] {
        b'\\' => {
            offer_spelled(rest, COMMANDS, &mut offer);
            for &spelling in SKIPPED {
                if rest.starts_with(spelling) {
                    offer(None, spelling.len());
                }
            }
            if let Some(length) = array_begin(rest) {
                offer(Some(Kind::ArrayBegin), length);
            }
            for (kind, names) in [(Kind::Greek, GREEK), (Kind::OtherSymbol, OTHER_SYMBOLS)] {
                for &name in names {
                    if let Some(after) = rest.strip_prefix(name) {
                        offer(Some(kind), name.len() + usize::from(after.starts_with(' ')));
                    }
                }
            }
            for &accent in ACCENTS {
                if let Some(length) = rest.strip_prefix(accent).and_then(braced) {
                    offer(Some(Kind::Accent), accent.len() + length);
                }
            }
        }
        b'0'..=b'9' | b'.' => {
            number(bytes, &mut offer);
            if bytes[0] == b'.' {
                offer(Some(Kind::Stray), 1);
            }
        }
        letter if letter.is_ascii_alphabetic() => {
            offer_spelled(rest, WORDS, &mut offer);
            match letter {
                b'd' => {
                    if let Some(length) = differential(bytes) {
                        offer(Some(Kind::Differential), length);
                    }
                    offer(Some(Kind::Letter), 1);
                }
                b'e' => offer(Some(Kind::Euler), 1),
                b'E' => offer(Some(Kind::CapitalE), 1),
                _ => offer(Some(Kind::Letter), 1),
            }
        }
        _ => {
            offer_spelled(rest, SIGNS, &mut offer);
            let first = rest.chars().next()?;
            if GREEK_LETTERS.contains(first) {
                let length = first.len_utf8();
                offer(Some(Kind::Greek), length + usize::from(rest[length..].starts_with(' ')));
            }
            if matches!(first, 'ℵ' | 'ℶ' | 'ℷ' | 'ℸ') && rest[first.len_utf8()..].starts_with(' ') {
                offer(Some(Kind::OtherSymbol), first.len_utf8() + 1);
            }
        }
    }
    best
}

fn offer_spelled(rest: &str, table: &[(Kind, &[&str])], offer: &mut impl FnMut(Option<Kind>, usize)) {
    for (kind, spellings) in table {
        for spelling in *spellings {
            if rest.starts_with(spelling) {
                offer(Some(*kind), spelling.len());
            }
        }
    }
}

/// `\begin{array}{ccc}`.
fn array_begin(rest: &str) -> Option<usize> {
    let columns = rest.strip_prefix("\\begin{array}{")?;
    let length = columns.bytes().take_while(|byte| matches!(byte, b'c' | b'l' | b'r')).count();
    columns[length..].starts_with('}').then_some("\\begin{array}{".len() + length + 1)
}

/// `{..}` up to the first closing brace, an escaped one only where no other follows; at most one blank before it.
fn braced(after: &str) -> Option<usize> {
    let bytes = after.as_bytes();
    let blank = usize::from(bytes.first().is_some_and(|byte| is_blank(*byte)));
    if bytes.get(blank) != Some(&b'{') {
        return None;
    }
    let (mut at, mut escaped) = (blank + 1, None);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if bytes.get(at + 1) == Some(&b'}') => {
                at += 2;
                escaped = escaped.or(Some(at));
            }
            b'}' => return Some(at + 1),
            _ => at += 1,
        }
    }
    escaped
}

/// `d` with a letter or a command behind it.
fn differential(bytes: &[u8]) -> Option<usize> {
    let at = 1 + blanks(&bytes[1..]);
    match bytes.get(at)? {
        b'\\' => {
            let letters = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
            (letters > 0).then_some(at + 1 + letters)
        }
        byte if byte.is_ascii_alphabetic() => Some(at + 1),
        _ => None,
    }
}

fn number(bytes: &[u8], offer: &mut impl FnMut(Option<Kind>, usize)) {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let part = if bytes.get(whole) == Some(&b'.') { digits(whole + 1) } else { 0 };
    let length = if part > 0 { whole + 1 + part } else { whole };
    if length == 0 {
        return;
    }
    offer(Some(Kind::Number), length);
    if bytes.get(length) == Some(&b'E') {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            offer(Some(Kind::ENotation), length + 1 + sign + exponent);
        }
    }
    let blank = usize::from(bytes.get(length).is_some_and(|byte| is_blank(*byte)));
    let rest = &bytes[length + blank..];
    if rest.starts_with(b"%") {
        offer(Some(Kind::PercentNumber), length + blank + 1);
    } else if rest.starts_with(b"\\%") {
        offer(Some(Kind::PercentNumber), length + blank + 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        tokenize(text).unwrap().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn the_longest_token_wins() {
        assert_eq!(kinds("\\infty"), [Kind::Symbol]);
        assert_eq!(kinds("\\in x"), [Kind::In, Kind::Letter]);
        assert_eq!(kinds("\\{\\}"), [Kind::EmptySet]);
        assert_eq!(kinds("12.5E-3 7 \\%"), [Kind::ENotation, Kind::PercentNumber]);
        assert_eq!(kinds("\\gamma"), [Kind::Gamma]);
        assert_eq!(kinds("\\gamma x"), [Kind::Greek, Kind::Letter]);
        assert_eq!(kinds("dx d"), [Kind::Differential, Kind::Letter]);
    }

    #[test]
    fn a_text_ends_at_its_first_brace() {
        assert_eq!(kinds("\\text{a \\} b}"), [Kind::Accent]);
        assert_eq!(kinds("\\mathbb{R}\\mathbb{K}"), [Kind::Reals, Kind::Accent]);
        assert_eq!(tokenize("a\\foo").unwrap_err(), LexError::Unknown(1));
        assert_eq!(tokenize(&"x".repeat(MAX_TOKENS + 1)).unwrap_err(), LexError::TooLong);
    }
}
