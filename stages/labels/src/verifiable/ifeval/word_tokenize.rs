//! Words in capitals, counted over the tokens of nltk's word tokeniser (Treebank conventions).
//!
//! The tokeniser works sentence by sentence. Sentence ends only decide whether a full stop becomes a token of its own,
//! which does not change whether the word before it is in capitals: the text is taken as one sentence here.

use super::instruction::Invalid;
use crate::python::{self, Pattern};
use std::sync::LazyLock;

#[expect(clippy::expect_used, reason = "the patterns are constants, and every one is compiled by the golden test")]
fn rules(patterns: &[(&str, bool, &'static str)]) -> Vec<(Pattern, &'static str)> {
    patterns
        .iter()
        .map(|&(pattern, ignore_case, with)| (Pattern::new(pattern, ignore_case, false).expect("valid pattern"), with))
        .collect()
}

/// Opening quotes, punctuation and brackets, in order.
static OPENING: LazyLock<Vec<(Pattern, &'static str)>> = LazyLock::new(|| {
    rules(&[
        ("([«“‘„]|`+)", false, " ${1} "),
        ("^\"", false, " `` "),
        (r#"([ (\[{<])("|'{2})"#, false, "${1} `` "),
        (r"(?<!\w)(')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", true, "${1} "),
        (r#"([^.])(\.)([\])}>"'»”’ ]*)\s*$"#, false, "${1} ${2} ${3} "),
        (r"([:,])([^\d])", false, " ${1} ${2}"),
        ("([:,])$", false, " ${1} "),
        (r"\.{2,}", false, " ${0} "),
        (r"[;@#$%&]", false, " ${0} "),
        (r"[\u2012-\u2015]", false, " ${0} "),
        (r"[?!]", false, " ${0} "),
        ("([^'])' ", false, "${1} ' "),
        (r"\*", false, " ${0} "),
        (r"[\]\[(){}<>]", false, " ${0} "),
        ("--", false, " -- "),
    ])
});

/// Closing quotes, clitics and contractions, in order.
static CLOSING: LazyLock<Vec<(Pattern, &'static str)>> = LazyLock::new(|| {
    rules(&[
        ("([»”’])", false, " ${1} "),
        ("''", false, " '' "),
        ("\"", false, " '' "),
        (r"\s+", false, " "),
        ("([^' ])('[sS]|'[mM]|'[dD]|') ", false, "${1} ${2} "),
        ("([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", false, "${1} ${2} "),
        (r"\b(can)(not)\b", true, " ${1} ${2} "),
        (r"\b(d)('ye)\b", true, " ${1} ${2} "),
        (r"\b(gim)(me)\b", true, " ${1} ${2} "),
        (r"\b(gon)(na)\b", true, " ${1} ${2} "),
        (r"\b(got)(ta)\b", true, " ${1} ${2} "),
        (r"\b(lem)(me)\b", true, " ${1} ${2} "),
        (r"\b(more)('n)\b", true, " ${1} ${2} "),
        (r"\b(wan)(na)(?=\s)", true, " ${1} ${2} "),
        (" ('t)(is)\\b", true, " ${1} ${2} "),
        (" ('t)(was)\\b", true, " ${1} ${2} "),
    ])
});

fn apply(rules: &[(Pattern, &'static str)], text: String) -> Result<String, Invalid> {
    rules.iter().try_fold(text, |text, (pattern, with)| Ok(pattern.replace_all(&text, with)?))
}

/// The tokens of a text for which Python's `isupper()` holds.
pub fn capital_words(text: &str) -> Result<usize, Invalid> {
    // Without any capital there is nothing to count; with no lower case around, the rules still decide how many tokens.
    if !text.chars().any(char::is_uppercase) {
        return Ok(0);
    }
    let opened = apply(&OPENING, text.to_owned())?;
    let closed = apply(&CLOSING, format!(" {opened} "))?;
    Ok(python::split_whitespace(&closed).filter(|token| python::is_upper(token)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contractions_and_clitics_are_tokens_of_their_own() {
        assert_eq!(capital_words("I'M HERE, CANNOT GO. The 3D film").unwrap(), 7);
        assert_eq!(capital_words("DON'T (STOP) \"NOW\"!").unwrap(), 4);
        assert_eq!(capital_words("nothing here").unwrap(), 0);
    }
}
