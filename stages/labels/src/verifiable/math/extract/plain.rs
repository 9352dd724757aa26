//! Numbers and arithmetic in plain text: `1,234.5`, `12%`, `(3+4)/5`.

use super::scan::{self, End};
use crate::python::is_space;
use std::ops::Range;

/// Candidate ends of an expression tried at most, where what follows decides.
const MAX_ENDS: usize = 4096;
/// Signs that may stand before a number.
const CURRENCIES: &str = "$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₭₮₯₰₱₲₳₴₵₶₷₸₺₻₼₾₿";

/// A plain answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Expression(Range<usize>),
    /// The part before and the part from the decimal sign on, as written, and whether it is a percentage.
    Number {
        whole: Range<usize>,
        decimals: Range<usize>,
        percent: bool,
    },
}

/// Looks for plain answers in one text.
pub struct Finder<'a> {
    text: &'a str,
    /// For each byte, where the run of characters of arithmetic around it ends.
    runs: Vec<u32>,
    /// For each byte, the next operator at or behind it.
    operators: Vec<u32>,
}

fn is_operator(c: char) -> bool {
    matches!(c, '+' | '-' | '*' | '×' | '/' | '^' | '(' | ')' | '÷')
}

fn is_arithmetic(c: char) -> bool {
    c.is_ascii_digit() || c == '.' || is_space(c) || is_operator(c)
}

impl<'a> Finder<'a> {
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let length = text.len();
        let (mut runs, mut operators) = (vec![length as u32; length + 1], vec![u32::MAX; length + 1]);
        let (mut run, mut operator) = (length as u32, u32::MAX);
        for (at, c) in text.char_indices().rev() {
            if is_operator(c) {
                operator = at as u32;
            }
            if !is_arithmetic(c) {
                run = at as u32;
            }
            for byte in at..at + c.len_utf8() {
                runs[byte] = run;
                operators[byte] = operator;
            }
        }
        Self { text, runs, operators }
    }

    /// Expressions anywhere in the text.
    #[must_use]
    pub fn expressions(&self) -> Vec<(usize, End, Found)> {
        scan::find_all(self.starts(), |at| self.expression(at, &|_| true))
    }

    /// Numbers anywhere in the text.
    #[must_use]
    pub fn numbers(&self) -> Vec<(usize, End, Found)> {
        scan::find_all(self.starts(), |at| self.number(at, &|_| true))
    }

    /// Behind `final answer is`, before a hope that it is correct.
    #[must_use]
    pub fn hoped(&self) -> Vec<(usize, End, Found)> {
        let accept = |end| scan::hopes(self.text, end);
        self.behind("final answer is", |end| {
            let end = end + usize::from(self.text[end..].starts_with(':'));
            self.spaced(end, &accept)
        })
    }

    /// Behind `final answer .. is`.
    #[must_use]
    pub fn concluded(&self) -> Vec<(usize, End, Found)> {
        self.behind("final answer", |end| {
            scan::within(self.text, end, 100, true).find_map(|place| {
                let verb = scan::skip_spaces(self.text, place);
                let behind = self.text[verb..].strip_prefix("is").filter(|_| verb > place)?;
                let behind = self.text.len() - behind.strip_prefix(':').unwrap_or(behind).len();
                self.anchored(behind, &|_| true)
            })
        })
    }

    /// Shortly behind `answer`, or `answer:`, and best behind an equals sign; not before one.
    #[must_use]
    pub fn answered(&self, colon: bool) -> Vec<(usize, End, Found)> {
        let accept = |end: usize| !self.text[scan::skip_spaces(self.text, end)..].starts_with('=');
        self.behind("answer", |end| {
            if colon && !self.text[end..].starts_with(':') {
                return None;
            }
            let end = end + usize::from(colon);
            let reach: Vec<usize> = scan::within(self.text, end, 100, true).collect();
            let equals = reach.iter().rev().filter(|place| self.text[**place..].starts_with('='));
            let by_sign = equals.into_iter().find_map(|place| self.spaced(place + 1, &accept));
            by_sign.or_else(|| reach.iter().take(51).find_map(|place| self.anchored(*place, &accept)))
        })
    }

    fn starts(&self) -> impl Iterator<Item = usize> + '_ {
        self.text.char_indices().filter(|(at, c)| *at == 0 || *c == '=' || is_space(*c)).map(|(at, _)| at)
    }

    fn behind(&self, word: &str, matched: impl Fn(End) -> Option<(Found, End)>) -> Vec<(usize, End, Found)> {
        let heads: Vec<(usize, End)> = scan::words(self.text, word).collect();
        let mut ends = heads.iter();
        scan::find_all(heads.iter().map(|(start, _)| *start), |start| {
            let (_, end) = ends.find(|(at, _)| *at == start)?;
            matched(*end)
        })
    }

    /// At the latest place that white space from here on leads to.
    fn spaced(&self, at: usize, accept: &impl Fn(End) -> bool) -> Option<(Found, End)> {
        let last = scan::skip_spaces(self.text, at);
        let places = self.text[at..last].char_indices().map(|(offset, _)| at + offset).chain([last]);
        let places: Vec<usize> = places.collect();
        places.into_iter().rev().take(MAX_ENDS).find_map(|place| self.anchored(place, accept))
    }

    fn anchored(&self, at: usize, accept: &impl Fn(End) -> bool) -> Option<(Found, End)> {
        if at > 0 && !scan::char_at(self.text, at).is_some_and(|c| c == '=' || is_space(c)) {
            return None;
        }
        self.expression(at, accept).or_else(|| self.number(at, accept))
    }

    /// Where an answer may begin: the start of the text, or behind white space or `=`, two asterisks skipped.
    fn openings(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let free = (at == 0).then_some(0);
        let sign = scan::char_at(self.text, at).filter(|c| *c == '=' || is_space(*c));
        let places = free.into_iter().chain(sign.map(|c| at + c.len_utf8()));
        places.map(|place| place + if self.text[place..].starts_with("**") { 2 } else { 0 })
    }

    fn expression(&self, at: usize, accept: &impl Fn(End) -> bool) -> Option<(Found, End)> {
        self.openings(at).find_map(|start| self.expression_from(start, accept))
    }

    /// `-?\(?-?\d` and characters of arithmetic with an operator among them, but not as the last.
    fn expression_from(&self, start: usize, accept: &impl Fn(End) -> bool) -> Option<(Found, End)> {
        let rest = &self.text[start..];
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        let rest = rest.strip_prefix('(').unwrap_or(rest);
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        let digit = rest.chars().next().filter(char::is_ascii_digit)?;
        let behind = self.text.len() - rest.len() + digit.len_utf8();
        let (run, operator) = (self.runs[behind] as usize, self.operators[behind] as usize);
        if operator >= run {
            return None;
        }
        let shortest = operator + scan::char_at(self.text, operator).map_or(0, char::len_utf8);
        let mut end = run;
        for _ in 0..MAX_ENDS {
            if end <= shortest {
                return None;
            }
            let ended = |from: usize| {
                let rest = &self.text[from..];
                match rest.chars().next() {
                    None => Some(from),
                    Some(c) if matches!(c, '.' | ',' | ':' | ')' | '$') || is_space(c) => Some(from + c.len_utf8()),
                    Some(_) => None,
                }
            };
            let starred = if self.text[end..].starts_with("**") { ended(end + 2) } else { None };
            for after in [starred, ended(end)].into_iter().flatten() {
                if accept(after) {
                    return Some((Found::Expression(start..end), after));
                }
            }
            end -= scan::before(self.text, end).map_or(1, char::len_utf8);
        }
        None
    }

    fn number(&self, at: usize, accept: &impl Fn(End) -> bool) -> Option<(Found, End)> {
        self.openings(at).find_map(|start| {
            let currency = scan::char_at(self.text, start).filter(|c| CURRENCIES.contains(*c));
            let start = start + currency.map_or(0, char::len_utf8);
            self.grouped(start, accept).or_else(|| self.simple(start, accept))
        })
    }

    fn digits(&self, at: usize) -> usize {
        self.text.as_bytes()[at..].iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// The number, with a percent sign where one follows and that is accepted.
    fn ended(
        &self,
        whole: Range<usize>,
        decimals: Range<usize>,
        accept: &impl Fn(End) -> bool,
    ) -> Option<(Found, End)> {
        let end = whole.end.max(decimals.end);
        let found = |percent| Found::Number { whole: whole.clone(), decimals: decimals.clone(), percent };
        let sign = &self.text[scan::skip_spaces(self.text, end)..];
        for spelling in ["%", "percent", "Percent", "percentage", "Percentage", "pct", "Pct"] {
            if let Some(rest) = sign.strip_prefix(spelling) {
                let after = self.text.len() - rest.len();
                if accept(after) {
                    return Some((found(true), after));
                }
            }
        }
        accept(end).then(|| (found(false), end))
    }

    /// As many decimals as are accepted, from the decimal sign on.
    fn with_decimals(&self, whole: Range<usize>, signs: &[u8], accept: &impl Fn(End) -> bool) -> Option<(Found, End)> {
        let at = whole.end;
        let sign = self.text.as_bytes().get(at)?;
        if !signs.contains(sign) {
            return None;
        }
        let most = self.digits(at + 1);
        let counts = (1..=most).rev().take(MAX_ENDS);
        counts.into_iter().find_map(|count| self.ended(whole.clone(), at..at + 1 + count, accept))
    }

    /// `-?[1-9]\d{0,2}([ ,]\d{3})+(\.\d+)?`.
    fn grouped(&self, start: usize, accept: &impl Fn(End) -> bool) -> Option<(Found, End)> {
        let bytes = self.text.as_bytes();
        let first = start + usize::from(bytes.get(start) == Some(&b'-'));
        let head = if first < bytes.len() { self.digits(first) } else { 0 };
        if !(1..=3).contains(&head) || bytes[first] == b'0' {
            return None;
        }
        let mut ends = Vec::new();
        let mut end = first + head;
        while matches!(bytes.get(end), Some(b' ' | b',')) && self.digits(end + 1) >= 3 {
            end += 4;
            ends.push(end);
        }
        ends.into_iter().rev().take(MAX_ENDS).find_map(|end| {
            let whole = start..end;
            self.with_decimals(whole.clone(), b".", accept).or_else(|| self.ended(whole, end..end, accept))
        })
    }

    /// `-?\d+[.,]\d+`, `\.\d+`, or `-?\d+`.
    fn simple(&self, start: usize, accept: &impl Fn(End) -> bool) -> Option<(Found, End)> {
        let bytes = self.text.as_bytes();
        let first = start + usize::from(bytes.get(start) == Some(&b'-'));
        let count = if first < bytes.len() { self.digits(first) } else { 0 };
        if count > 0
            && let Some(found) = self.with_decimals(start..first + count, b".,", accept)
        {
            return Some(found);
        }
        if let Some(found) = self.with_decimals(start..start, b".", accept) {
            return Some(found);
        }
        let counts = (1..=count).rev().take(MAX_ENDS);
        counts.into_iter().find_map(|count| self.ended(start..first + count, first + count..first + count, accept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<(&str, &str, bool)> {
        let found = Finder::new(text).numbers().into_iter().map(|(_, _, found)| match found {
            Found::Number { whole, decimals, percent } => (&text[whole], &text[decimals], percent),
            Found::Expression(range) => (&text[range], "", false),
        });
        found.collect()
    }

    #[test]
    fn numbers_are_cut_out() {
        assert_eq!(
            numbers("about 1,234.50 and $12 or 5 % x9"),
            [("1,234", ".50", false), ("12", "", false), ("5", "", true)]
        );
        assert_eq!(numbers("+5 .25 25,9,1"), [("", ".25", false), ("25", ",9", false)]);
        assert_eq!(numbers("8 762 229 1234,5"), [("8 762 229 123", "", false)]);
    }

    #[test]
    fn expressions_end_at_punctuation() {
        let text = "Total = 44 * 34 = 1496, so (3+2)/5.";
        let found = Finder::new(text).expressions();
        let ranges: Vec<Range<usize>> = found
            .into_iter()
            .map(|(_, _, found)| match found {
                Found::Expression(range) => range,
                Found::Number { whole, .. } => whole,
            })
            .collect();
        assert_eq!(ranges.iter().map(|range| &text[range.clone()]).collect::<Vec<_>>(), ["44 * 34", "(3+2)/5."]);
    }

    #[test]
    fn an_equals_sign_behind_a_number_is_avoided() {
        let finder = Finder::new("answer: 12 = x");
        let found = finder.answered(true);
        assert!(matches!(&found[0].2, Found::Number { whole, .. } if *whole == (8..9)));
    }
}
