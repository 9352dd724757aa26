//! LaTeX in a text: between dollars, brackets or parentheses, a bare fraction, or in a box; up to six in a row that
//! commas, `and` or `or` join.

use super::scan::{self, End};
use crate::python::is_space;
use std::cell::{Cell, RefCell};

/// Answers joined into one, at most.
const MAX_JOINED: usize = 6;

/// One piece of LaTeX found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub start: usize,
    pub end: usize,
    /// A percent sign or word follows.
    pub percent: bool,
}

/// Pieces that make one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub pieces: Vec<Piece>,
    /// Taken from a `\boxed` outside of other delimiters.
    pub bare_box: bool,
}

/// Looks for LaTeX in one text, in time linear in its length: where a delimiter closes is looked up once.
pub struct Finder<'a> {
    text: &'a str,
    display_dollar: Next,
    display_bracket: Next,
    parenthesis: Next,
    newline: Next,
}

/// The next place of a spelling, remembered for all places before it.
struct Next {
    spelling: &'static str,
    /// Searched from here, found there.
    known: Cell<(usize, Option<usize>)>,
}

impl Next {
    fn new(spelling: &'static str) -> Self {
        Self { spelling, known: Cell::new((usize::MAX, None)) }
    }

    fn after(&self, text: &str, at: usize) -> Option<usize> {
        let (from, found) = self.known.get();
        if from <= at && found.is_none_or(|found| at <= found) {
            return found;
        }
        let found = text.get(at..)?.find(self.spelling).map(|offset| at + offset);
        self.known.set((at, found));
        found
    }
}

impl<'a> Finder<'a> {
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            display_dollar: Next::new("$$"),
            display_bracket: Next::new("\\]"),
            parenthesis: Next::new("\\)"),
            newline: Next::new("\n"),
        }
    }

    /// Anywhere in the text.
    #[must_use]
    pub fn plain(&self) -> Vec<(usize, End, Found)> {
        let starts = self.text.char_indices().filter(|(_, c)| matches!(c, '$' | '\\' | '-') || is_space(*c));
        scan::find_all(starts.map(|(at, _)| at), |at| self.joined(at, false))
    }

    /// Within delimiters, with a box inside.
    #[must_use]
    pub fn with_box(&self) -> Vec<(usize, End, Found)> {
        let starts = self.text.char_indices().filter(|(_, c)| matches!(c, '$' | '\\') || is_space(*c));
        scan::find_all(starts.map(|(at, _)| at), |at| self.joined(at, true))
    }

    /// From the first `\boxed{` to the last brace of the text.
    #[must_use]
    pub fn bare_box(&self) -> Vec<(usize, End, Found)> {
        let found = || {
            let start = self.text.find("\\boxed{")?;
            let close = self.text.rfind('}')?;
            (close > start + "\\boxed{".len()).then_some((start, close + 1))
        };
        let found = found().map(|(start, end)| {
            let pieces = vec![Piece { start, end, percent: false }];
            (start, end, Found { pieces, bare_box: true })
        });
        found.into_iter().collect()
    }

    /// Behind `final answer is`, before a hope that it is correct.
    #[must_use]
    pub fn hoped(&self) -> Vec<(usize, End, Found)> {
        let heads: Vec<(usize, End)> = scan::words(self.text, "final answer is").collect();
        self.behind(&heads, |end| {
            let end = end + usize::from(self.text[end..].starts_with(':'));
            let (found, end) = self.spaced(end)?;
            scan::hopes(self.text, end).then(|| {
                let rest = &self.text[end..];
                (found, end + rest.find("hope").map_or(0, |at| at + "hope".len()))
            })
        })
    }

    /// Behind `final answer .. is`.
    #[must_use]
    pub fn concluded(&self) -> Vec<(usize, End, Found)> {
        let heads: Vec<(usize, End)> = scan::words(self.text, "final answer").collect();
        self.behind(&heads, |end| {
            scan::within(self.text, end, 100, false).find_map(|place| {
                let verb = scan::skip_spaces(self.text, place);
                let behind = self.text[verb..].strip_prefix("is").filter(|_| verb > place)?;
                let behind = self.text.len() - behind.strip_prefix(':').unwrap_or(behind).len();
                self.spaced(behind)
            })
        })
    }

    /// Shortly behind `answer`, or `answer:`.
    #[must_use]
    pub fn answered(&self, colon: bool) -> Vec<(usize, End, Found)> {
        let heads: Vec<(usize, End)> = scan::words(self.text, "answer").collect();
        // The windows behind neighbouring words overlap; what begins no LaTeX is looked at once.
        let barren: RefCell<Vec<bool>> = RefCell::new(vec![false; self.text.len() + 1]);
        self.behind(&heads, |end| {
            if colon && !self.text[end..].starts_with(':') {
                return None;
            }
            let end = end + usize::from(colon);
            scan::within(self.text, end, 50, false).find_map(|place| {
                if barren.borrow()[place] {
                    return None;
                }
                let found = self.joined(place, false);
                barren.borrow_mut()[place] = found.is_none();
                found
            })
        })
    }

    fn behind(
        &self,
        heads: &[(usize, End)],
        matched: impl Fn(End) -> Option<(Found, End)>,
    ) -> Vec<(usize, End, Found)> {
        let mut ends = heads.iter();
        scan::find_all(heads.iter().map(|(start, _)| *start), |start| {
            let (_, end) = ends.find(|(at, _)| *at == start)?;
            matched(*end)
        })
    }

    fn spaced(&self, at: usize) -> Option<(Found, End)> {
        let place = scan::skip_spaces(self.text, at);
        self.joined(place, false).or_else(|| self.joined(self.last_space(at, place)?, false))
    }

    /// The place of the last white space between two places.
    fn last_space(&self, from: usize, to: usize) -> Option<usize> {
        (to > from).then(|| to - scan::before(self.text, to).map_or(0, char::len_utf8))
    }

    /// Pieces from a place on, joined by commas, `and` or `or`.
    fn joined(&self, at: usize, boxed: bool) -> Option<(Found, End)> {
        let (first, mut end) = self.piece(at, boxed)?;
        let mut pieces = vec![first];
        while pieces.len() < MAX_JOINED {
            let Some((next, after)) = self.next_piece(end, boxed) else { break };
            pieces.push(next);
            end = after;
        }
        Some((Found { pieces, bare_box: false }, end))
    }

    fn next_piece(&self, at: usize, boxed: bool) -> Option<(Piece, End)> {
        let rest = &self.text[scan::skip_spaces(self.text, at)..];
        let joints = [",and", "and", ",or", "or", ","];
        let rest = joints.iter().find_map(|joint| rest.strip_prefix(joint))?;
        let from = self.text.len() - rest.len();
        let place = scan::skip_spaces(self.text, from);
        self.piece(place, boxed).or_else(|| self.piece(self.last_space(from, place)?, boxed))
    }

    /// One piece at a place, with the space and the percent sign behind it.
    fn piece(&self, at: usize, boxed: bool) -> Option<(Piece, End)> {
        let (start, end, mut after) = self.delimited(at, boxed).or_else(|| {
            let end = if boxed { None } else { fraction(self.text, at) }?;
            Some((at, end, end))
        })?;
        after = scan::skip_spaces(self.text, after);
        let signs = ["\\%", "%", "percent", "Percent", "percentage", "Percentage", "pct", "Pct"];
        let percent = signs.iter().find(|sign| self.text[after..].starts_with(**sign));
        after += percent.map_or(0, |sign| sign.len());
        Some((Piece { start, end, percent: percent.is_some() }, after))
    }

    /// Content between delimiters: its start, its end, and the end of the closing delimiter.
    fn delimited(&self, at: usize, boxed: bool) -> Option<(usize, usize, End)> {
        let text = self.text;
        let rest = &text[at..];
        let free = scan::before(text, at) != Some('\\');
        let found = match rest.as_bytes().first()? {
            b'$' if free => self.display_dollars(at).filter(|found| self.fits(*found, boxed)).or_else(|| {
                let digit = scan::before(text, at).is_some_and(char::is_numeric);
                if digit { None } else { self.inline_dollars(at) }
            }),
            b'\\' if free && rest.starts_with("\\[") => {
                let close = self.display_bracket.after(text, at + 2)?;
                self.closed(at + 2, close)
            }
            b'\\' if free && rest.starts_with("\\(") => {
                let close = self.parenthesis.after(text, at + 2)?;
                let newline = self.newline.after(text, at + 2);
                self.closed(at + 2, close).filter(|_| newline.is_none_or(|newline| newline > close))
            }
            _ => {
                let space = rest.chars().next().filter(|c| is_space(*c))?;
                let start = at + space.len_utf8() + 1;
                if !text[at + space.len_utf8()..].starts_with('[') {
                    return None;
                }
                let end = start + text[start..].find(['\n', '[', ']'])?;
                let after = text[end..].strip_prefix(']')?.chars().next().filter(|c| is_space(*c))?;
                (end > start).then_some((start, end, end + 1 + after.len_utf8()))
            }
        };
        found.filter(|found| self.fits(*found, boxed))
    }

    fn fits(&self, (start, end, _): (usize, usize, End), boxed: bool) -> bool {
        let content = &self.text[start..end];
        let holds_box = || {
            let inside = content.find("\\boxed{")? + "\\boxed{".len();
            let first = content[inside..].chars().next()?;
            content[inside + first.len_utf8()..].find('}')
        };
        !boxed || holds_box().is_some()
    }

    /// A closing delimiter of two bytes counts where something is inside and no backslash stands before it.
    fn closed(&self, start: usize, close: usize) -> Option<(usize, usize, End)> {
        (close > start && scan::before(self.text, close) != Some('\\')).then_some((start, close, close + 2))
    }

    fn display_dollars(&self, at: usize) -> Option<(usize, usize, End)> {
        if !self.text[at..].starts_with("$$") {
            return None;
        }
        let close = self.display_dollar.after(self.text, at + 2)?;
        self.closed(at + 2, close)
    }

    fn inline_dollars(&self, at: usize) -> Option<(usize, usize, End)> {
        let start = at + 1;
        let mut from = start;
        loop {
            let close = from + self.text[from..].find(['$', '\n'])?;
            if self.text.as_bytes()[close] == b'\n' || close == start {
                return None;
            }
            if scan::before(self.text, close) != Some('\\') {
                return Some((start, close, close + 1));
            }
            from = close + 1;
        }
    }
}

/// `-?\frac{number}{number}` at a place.
fn fraction(text: &str, at: usize) -> Option<End> {
    let rest = text[at..].strip_prefix('-').unwrap_or(&text[at..]);
    let rest = number(rest.strip_prefix("\\frac{")?)?.strip_prefix("}{")?;
    let rest = number(rest)?.strip_prefix('}')?;
    Some(text.len() - rest.len())
}

/// What follows `-?\d+([.,]\d+)?`.
fn number(text: &str) -> Option<&str> {
    let digits = |text: &str| text.len() - text.trim_start_matches(char::is_numeric).len();
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(unsigned);
    if whole == 0 {
        return None;
    }
    let rest = &unsigned[whole..];
    let part = rest.strip_prefix(['.', ',']).filter(|part| digits(part) > 0);
    Some(part.map_or(rest, |part| &part[digits(part)..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<Vec<&str>> {
        let all = Finder::new(text).plain();
        all.into_iter().map(|(_, _, found)| found.pieces.iter().map(|p| &text[p.start..p.end]).collect()).collect()
    }

    #[test]
    fn delimiters_pair_up() {
        // "and" joins, ", or" is one sign too many: as the reference's expression has it.
        assert_eq!(found("so $a$ and $$b$$, or \\(c\\)."), [vec!["a", "b"], vec!["c"]]);
        assert_eq!(found("\\$5 and $x\\$y$ [ 7 ] "), [["x\\$y"]]);
        assert_eq!(found("\\[ x\n= 2 \\] then -\\frac{1}{2,5}"), [vec![" x\n= 2 "], vec!["-\\frac{1}{2,5}"]]);
        assert_eq!(found("5$x$ $a\nb$ $$$$"), [[" "], [" "]]);
    }

    #[test]
    fn answers_are_found_behind_their_words() {
        let text = "Answer: maybe $1$. The final answer is: $2$. I hope it is correct.";
        let finder = Finder::new(text);
        assert_eq!(finder.hoped().len(), 1);
        assert_eq!(finder.answered(true)[0].2.pieces[0].start, text.find("1$").unwrap_or_default());
        assert_eq!(Finder::new("answer $1\\boxed{2}$").with_box().len(), 1);
    }
}
