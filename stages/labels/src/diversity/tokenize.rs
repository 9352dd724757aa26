//! sacreBLEU's tokenisers.

use crate::python;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// How a text becomes the tokens whose n-grams are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum BleuTokenizer {
    /// The rules of `mteval-v13a`: sacreBLEU's default.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// The international rules of `mteval-v14`: punctuation and symbols by Unicode category.
    #[serde(rename = "intl")]
    Intl,
    /// Every character that is not white space.
    #[serde(rename = "char")]
    Char,
    /// White space only.
    #[serde(rename = "none")]
    Whitespace,
}

#[expect(clippy::expect_used, reason = "the patterns are constants, and every one is used by the golden test")]
fn rules(patterns: &[(&str, &'static str)]) -> Vec<(Regex, &'static str)> {
    patterns.iter().map(|(pattern, with)| (Regex::new(pattern).expect("valid pattern"), *with)).collect()
}

static V13A: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    rules(&[
        (r"([{-~\[-` -&(-+:-@/])", " $1 "),
        (r"([^0-9])([.,])", "$1 $2 "),
        (r"([.,])([^0-9])", " $1 $2"),
        (r"([0-9])(-)", "$1 $2 "),
    ])
});

static INTL: LazyLock<Vec<(Regex, &'static str)>> =
    LazyLock::new(|| rules(&[(r"(\P{N})(\p{P})", "$1 $2 "), (r"(\p{P})(\P{N})", " $1 $2"), (r"(\p{S})", " $1 ")]));

fn apply(rules: &[(Regex, &'static str)], text: String) -> String {
    rules.iter().fold(text, |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
}

impl BleuTokenizer {
    /// The tokens of a text.
    #[must_use]
    pub fn tokens(self, text: &str) -> Vec<String> {
        // sacreBLEU cuts white space at the end first: a last line that ends in a hyphen keeps it.
        let text = text.trim_end_matches(python::is_space);
        let split = |text: &str| python::split_whitespace(text).map(str::to_owned).collect();
        match self {
            Self::Whitespace => split(text),
            Self::Char => text.chars().filter(|&c| !python::is_space(c)).map(String::from).collect(),
            Self::Intl => split(&apply(&INTL, text.to_owned())),
            Self::V13a => {
                let mut text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
                if text.contains('&') {
                    let entities = [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")];
                    text = entities.iter().fold(text, |text, (from, to)| text.replace(from, to));
                }
                split(&apply(&V13A, format!(" {text} ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_digits_follow_the_reference() {
        assert_eq!(BleuTokenizer::V13a.tokens("a-\nb 1-2 x-\n"), ["ab", "1", "-", "2", "x-"]);
        assert_eq!(BleuTokenizer::V13a.tokens("1,000.5, &quot;Hi&quot;"), ["1,000.5", ",", "\"", "Hi", "\""]);
        assert_eq!(BleuTokenizer::Intl.tokens("in 1999.\n"), ["in", "1999."]);
    }
}
