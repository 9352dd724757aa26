//! The answer in a text, by priority: what follows "the final answer is", then boxes, what follows "answer", then any
//! LaTeX or number. Within a priority the match that ends last counts, and of these the one that begins first; what
//! cannot be read is passed over for the next.
//!
//! Patterns and priorities are math-verify 0.9.0's, matched here without backtracking over the text.

mod arithmetic;
mod choice;
mod latex;
mod plain;
mod scan;

pub use choice::{Choices, ChoicesError};

use super::{
    exact::{self, Number},
    expr::Expr,
    latex as reader,
    normalize::{Boxes, normalize},
};
use scan::End;
use std::{cmp::Reverse, collections::HashMap, ops::Range};

/// A text longer than this, in bytes, is read from its last so many on.
pub const MAX_TEXT: usize = 1 << 17;
/// Matches tried at most before a text counts as without an answer that can be read.
const MAX_TRIED: usize = 256;
/// A piece of LaTeX longer than this, in bytes, is not read.
const MAX_LATEX: usize = 1 << 13;

/// What was found in a text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extracted {
    /// The answer, where one could be read.
    pub expr: Option<Expr>,
    /// The text of the first match, read or not.
    pub text: Option<String>,
}

impl Extracted {
    /// Whether nothing was found at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expr.is_none() && self.text.is_none()
    }
}

enum Match {
    Latex(latex::Found),
    Plain(plain::Found),
}

/// Finds and reads the answer of a text.
#[must_use]
pub fn extract(text: &str) -> Extracted {
    let text = tail(text);
    let (latex, plain) = (latex::Finder::new(text), plain::Finder::new(text));
    let mut search = Search { text, latex_read: HashMap::new(), tried: 0, found: Extracted::default(), failed: false };
    if scan::words(text, "final answer").next().is_some() {
        search.priority(latex.hoped(), vec![], plain.hoped());
        search.priority(latex.concluded(), [latex.with_box(), latex.bare_box()].concat(), plain.concluded());
    } else if text.contains("\\boxed{") {
        search.priority(vec![], [latex.with_box(), latex.bare_box()].concat(), vec![]);
    }
    if !search.done() && scan::words(text, "answer").next().is_some() {
        for colon in [true, false] {
            search.priority(latex.answered(colon), vec![], plain.answered(colon));
        }
    }
    if !search.done() {
        search.priority(latex.plain(), vec![], [plain.expressions(), plain.numbers()].concat());
    }
    if search.failed { Extracted::default() } else { search.found }
}

/// The end of a text, as much as is read.
fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(MAX_TEXT);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

struct Search<'a> {
    text: &'a str,
    latex_read: HashMap<String, Option<Expr>>,
    tried: usize,
    found: Extracted,
    /// A number that the reference cannot read ends its search without a result.
    failed: bool,
}

impl Search<'_> {
    fn done(&self) -> bool {
        self.found.expr.is_some() || self.failed || self.tried >= MAX_TRIED
    }

    /// Reads the matches of one priority until one makes sense.
    fn priority(
        &mut self,
        latex: Vec<(usize, End, latex::Found)>,
        boxes: Vec<(usize, End, latex::Found)>,
        plain: Vec<(usize, End, plain::Found)>,
    ) {
        if self.done() {
            return;
        }
        let latex = latex.into_iter().chain(boxes).map(|(start, end, found)| (start, end, Match::Latex(found)));
        let plain = plain.into_iter().map(|(start, end, found)| (start, end, Match::Plain(found)));
        let mut matches: Vec<(usize, End, Match)> = latex.chain(plain).collect();
        matches.sort_by_key(|(start, end, _)| (Reverse(*end), *start));
        for (_, _, found) in matches {
            self.tried += 1;
            let (expr, text) = match found {
                Match::Latex(found) => self.latex(&found),
                Match::Plain(found) => self.plain(&found),
            };
            if self.found.text.is_none() && !text.is_empty() {
                self.found.text = Some(text);
            }
            if expr.is_some() {
                self.found.expr = expr;
            }
            if self.done() {
                return;
            }
        }
    }

    fn latex(&mut self, found: &latex::Found) -> (Option<Expr>, String) {
        let (mut exprs, mut texts) = (Vec::new(), Vec::new());
        for piece in &found.pieces {
            let raw = &self.text[piece.start..piece.end];
            if raw.len() > MAX_LATEX {
                exprs.push(None);
                texts.push(raw.to_owned());
                continue;
            }
            let text = normalize(raw, if found.bare_box { Boxes::Last } else { Boxes::All });
            let expr = match self.latex_read.get(&text) {
                Some(known) => known.clone(),
                None => {
                    let expr = read_latex(&text);
                    self.latex_read.insert(text.clone(), expr.clone());
                    expr
                }
            };
            exprs.push(if piece.percent { expr.map(Expr::percent) } else { expr });
            texts.push(text);
        }
        if exprs.len() > 1 && exprs.iter().all(Option::is_some) {
            let elements = exprs.into_iter().flatten().flat_map(|expr| match expr {
                Expr::Set(elements) => elements,
                other => vec![other],
            });
            return (Some(Expr::set(elements.collect())), texts.join(" and "));
        }
        (exprs.into_iter().next().flatten(), texts.into_iter().next().unwrap_or_default())
    }

    fn plain(&mut self, found: &plain::Found) -> (Option<Expr>, String) {
        let slice = |range: &Range<usize>| &self.text[range.clone()];
        match found {
            plain::Found::Expression(range) => {
                let text = slice(range);
                (arithmetic::read(&text.replace('\n', " ").replace('^', "**")), text.to_owned())
            }
            plain::Found::Number { whole, decimals, percent } => {
                let whole = slice(whole).replace([',', ' '], "");
                let whole = whole.trim_start_matches('0');
                let whole = if whole.is_empty() { "0" } else { whole };
                let text = format!("{whole}{}", slice(decimals).replace(',', "."));
                let unreadable =
                    text.starts_with("-0") && !text.contains('.') && text.bytes().skip(1).any(|b| b != b'0');
                let value = match exact::parse_number(&text) {
                    Some(_) if unreadable => None,
                    Some(Number::Integer(value)) => Some(Expr::Integer(value)),
                    Some(Number::Float(value)) => Some(Expr::Float(value)),
                    None => None,
                };
                self.failed |= value.is_none();
                (if *percent { value.map(Expr::percent) } else { value }, text)
            }
        }
    }
}

/// Reads normalised LaTeX; where that fails and it is a chain of more than one `=`, what stands behind the last.
fn read_latex(text: &str) -> Option<Expr> {
    let read = |text: &str| reader::read(text, !is_complex(text)).ok();
    read(text).or_else(|| read(last_side(text)?))
}

fn last_side(text: &str) -> Option<&str> {
    if text.contains([',', ';']) {
        return None;
    }
    let signs = text.match_indices('=').map(|(at, _)| at);
    let signs = signs.filter(|at| !matches!(scan::before(text, *at), Some('\\' | '<' | '!' | '>')));
    let mut signs = signs.collect::<Vec<_>>().into_iter().rev();
    let (last, _) = (signs.next()?, signs.next()?);
    Some(&text[last + 1..])
}

/// Whether a text speaks of complex numbers, so that its variables are not real.
fn is_complex(text: &str) -> bool {
    const MARKS: [&str; 16] = [
        "\\mathbb{C}",
        "\\text{i}",
        "\\mathrm{i}",
        "\\det",
        "\\operatorname{tr}",
        "\\operatorname{rank}",
        "\\text{rank}",
        "\\arg{",
        "\\Re{",
        "\\Im{",
        "\\operatorname{Re}",
        "\\operatorname{Im}",
        "\\text{Re}",
        "\\text{Im}",
        "\\imath",
        "\\i",
    ];
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    let ends = |at: usize| !text[at..].chars().next().is_some_and(is_word);
    let alone = text.match_indices('i').any(|(at, _)| !scan::before(text, at).is_some_and(is_word) && ends(at + 1));
    alone
        || text.contains('\\')
            && MARKS.iter().any(|mark| {
                let bounded = matches!(*mark, "\\imath" | "\\i");
                text.match_indices(mark).any(|(at, _)| !bounded || ends(at + mark.len()))
            })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(answer: &str) -> Option<String> {
        extract(answer).text
    }

    #[test]
    fn priorities_decide() {
        assert_eq!(text("We get 44, 34 and finally 112").as_deref(), Some("112"));
        assert_eq!(text("$\\boxed{112}$ is 113%").as_deref(), Some("112"));
        assert_eq!(text("Answer: 5 because 6 > 4").as_deref(), Some("5"));
        assert_eq!(text("The final answer is $7$. I hope it is correct. $8$").as_deref(), Some("7"));
        assert!(extract("I do not know.").is_empty());
    }

    #[test]
    fn unreadable_matches_are_passed_over() {
        let found = extract("so $0.\\overline{7}$");
        assert_eq!(found.expr, Some(Expr::integer(0)));
        assert_eq!(found.text.as_deref(), Some("0.\\overline{7}"));
    }

    #[test]
    fn complex_texts_are_known() {
        assert!(is_complex("9+5 i") && is_complex("\\Re{z}") && !is_complex("9+5i") && !is_complex("\\pi"));
    }
}
