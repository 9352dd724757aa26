//! The Minerva evaluation of MATH (A. Lewkowycz et al., "Solving quantitative reasoning problems with language models",
//! arXiv 2206.14858, appendix D), in the form of lm_eval 0.4.13: unit words need boundaries, roots may have an index, and
//! the commas of a list are kept.

mod grammar;
mod tokens;

use super::{
    canonical::{self, Comparison},
    constant,
    expr::Expr,
    numeric,
};
use crate::python::strip;
use regex::Regex;
use std::{borrow::Cow, sync::LazyLock};

/// What stands for an answer where there is none.
pub const INVALID: &str = "[invalidanswer]";

fn pattern(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "all patterns are constants that the golden test compiles")]
    Regex::new(text).expect("valid pattern")
}

static ANSWER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"Final Answer: The final answer is(.*?). I hope it is correct."));

/// The answer of a reply, as written: what stands between "Final Answer: The final answer is" and ". I hope it is
/// correct.", even where the latter is missing; [`INVALID`] where there is none.
#[must_use]
pub fn answer(reply: &str) -> Cow<'_, str> {
    const HOPE: &str = "I hope it is correct.";
    // The hope is appended to every reply, so a match may need it.
    if let Some(found) = ANSWER.captures(reply).and_then(|groups| groups.get(1)) {
        return Cow::Borrowed(strip(found.as_str()));
    }
    let hopeful = format!("{reply}{HOPE}");
    let found = ANSWER.captures(&hopeful).and_then(|groups| groups.get(1));
    found.map_or(Cow::Borrowed(INVALID), |found| Cow::Owned(strip(found.as_str()).to_owned()))
}

const SUBSTITUTIONS: &[(&str, &str)] = &[
    ("an ", ""),
    ("a ", ""),
    (".$", "$"),
    ("\\$", ""),
    ("\\ ", ""),
    (" ", ""),
    ("mbox", "text"),
    (",\\text{and}", ","),
    ("\\text{and}", ","),
    ("\\text{m}", "\\text{}"),
];

/// Units and decoration, in the order in which they are removed.
const REMOVED: &[&str] = &[
    "square",
    "ways",
    "integers",
    "dollars",
    "mph",
    "inches",
    "ft",
    "hours",
    "km",
    "units",
    "\\ldots",
    "sue",
    "points",
    "feet",
    "minutes",
    "digits",
    "cents",
    "degrees",
    "cm",
    "gm",
    "pounds",
    "meters",
    "meals",
    "edges",
    "students",
    "childrentickets",
    "multiples",
    "\\text{s}",
    "\\text{.}",
    "\\text{\ns}",
    "\\text{}^2",
    "\\text{}^3",
    "\\text{\n}",
    "\\text{}",
    "\\mathrm{th}",
    "^\\circ",
    "^{\\circ}",
    "\\;",
    ",\\!",
    "{,}",
    "\"",
    "\\dots",
];

static REWRITES: LazyLock<[(Regex, &str); 8]> = LazyLock::new(|| {
    [
        (pattern(r"(.*?)(\$)(.*?)(\$)(.*)"), "$$${3}$$"),
        (pattern(r"(\\text\{)(.*?)(\})"), "${2}"),
        (pattern(r"(\\textbf\{)(.*?)(\})"), "${2}"),
        (pattern(r"(\\overline\{)(.*?)(\})"), "${2}"),
        (pattern(r"(\\boxed\{)(.*)(\})"), "${2}"),
        (pattern(r"(frac)([^{])(.)"), "frac{${2}}{${3}}"),
        (pattern(r"(sqrt)(\[[^\]]*\])(\w)"), "${1}${2}{${3}}"),
        (pattern(r"(sqrt)([^{\[])"), "sqrt{${2}}"),
    ]
});

/// The normal form of an answer.
#[must_use]
pub fn normalize(answer: &str) -> String {
    let mut text = answer.rsplit('=').next().unwrap_or(answer).to_owned();
    let words = || REMOVED.iter().filter(|word| word.bytes().all(|byte| byte.is_ascii_alphabetic()));
    for word in words() {
        text = without_word(text, word);
    }
    for (from, to) in SUBSTITUTIONS {
        if text.contains(from) {
            text = text.replace(from, to);
        }
    }
    for removed in REMOVED {
        if !text.contains(removed) {
            continue;
        }
        text = if removed.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            outside_commands(&text, removed)
        } else {
            text.replace(removed, "")
        };
    }
    for (regex, replacement) in REWRITES.iter() {
        if let Cow::Owned(changed) = regex.replace_all(&text, *replacement) {
            text = changed;
        }
    }
    text = text.replace('$', "");
    if has_thousands_commas(&text) { text.replace(',', "") } else { text }
}

/// Without a word where it stands alone and no backslash before it.
fn without_word(text: String, word: &str) -> String {
    if !text.contains(word) {
        return text;
    }
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(word) {
        let before = out.chars().next_back().filter(|_| at == 0).or_else(|| rest[..at].chars().next_back());
        out.push_str(&rest[..at]);
        let after = &rest[at + word.len()..];
        let alone = !before.is_some_and(|c| c == '\\' || is_word(c)) && !after.starts_with(is_word);
        if !alone {
            out.push_str(word);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Without a word anywhere but in the name of a command.
fn outside_commands(text: &str, word: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at].replace(word, ""));
        rest = &rest[at..];
        let letters = rest[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
        if letters == 0 {
            // The backslash joins what follows up to the next command.
            let next = rest[1..].find('\\').map_or(rest.len(), |next| next + 1);
            out.push_str(&rest[..next].replace(word, ""));
            rest = &rest[next..];
            continue;
        }
        out.push_str(&rest[..1 + letters]);
        rest = &rest[1 + letters..];
    }
    out.push_str(&rest.replace(word, ""));
    out
}

fn has_thousands_commas(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let mut groups = unsigned.split(',');
    let digits = |group: &str| group.chars().all(char::is_numeric);
    let first = groups.next().is_some_and(|group| (1..=3).contains(&group.chars().count()) && digits(group));
    first && unsigned.contains(',') && groups.all(|group| group.chars().count() == 3 && digits(group))
}

/// Whether two normal forms are the same text, or read as LaTeX the same number or expression.
#[must_use]
pub fn is_equivalent(a: &str, b: &str) -> bool {
    if !a.is_empty() && a == b {
        return true;
    }
    let (Some(a), Some(b)) = (grammar::read(a), grammar::read(b)) else { return false };
    same_value(&a, &b)
}

/// Whether a reply's final answer is the reference answer of a problem.
#[must_use]
pub fn verify(reply: &str, reference: &str) -> bool {
    is_equivalent(&normalize(&answer(reply)), &normalize(reference))
}

fn same_value(a: &Expr, b: &Expr) -> bool {
    if let (Some(a), Some(b)) = (constant::value(a), constant::value(b)) {
        return a == b;
    }
    match canonical::compare(a, b) {
        Comparison::Equal => true,
        Comparison::Different => false,
        Comparison::Unknown => numeric::agree(a, b) == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_leave_and_commands_stay() {
        for (text, expected) in [
            ("x = 42\\mathrm{th}", "42"),
            ("\\left(90,7\\right) ft", "\\left(90,7\\right)"),
            ("5\\pi mph", "5\\pi"),
            ("\\frac 9{14}", "\\frac{9}{{}14}"),
            ("12,400", "12400"),
            ("25,8", "25,8"),
            ("\\sqrt[3]5", "\\sqrt[3]{5}"),
        ] {
            assert_eq!(normalize(text), expected, "{text}");
        }
    }

    #[test]
    fn values_are_compared() {
        assert!(is_equivalent("0.75", "\\frac{3}{4}"));
        assert!(is_equivalent("(4,6)", "(4,6)"));
        assert!(!is_equivalent("(4,6)", "(4,6.0)"));
        assert!(!is_equivalent("75\\%", "75"));
        assert!(is_equivalent("100_{2}", "100_3"));
        assert_eq!(answer("Final Answer: The final answer is $3$. I hope"), "[invalidanswer]");
        assert_eq!(answer("Final Answer: The final answer is $3$. "), "$3$");
    }
}
