//! `str` methods and character classes of Python, and of its third-party `regex` module, which nltk runs on.

use unicode_general_category::{GeneralCategory, get_general_category};

/// `str.isspace` of one character, and `\s` of `re`: Unicode white space and the separators U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `\w` of `re`: letters, numbers of all kinds and the underscore, but no combining marks.
pub fn is_word(c: char) -> bool {
    use GeneralCategory as G;
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    matches!(
        get_general_category(c),
        G::UppercaseLetter
            | G::LowercaseLetter
            | G::TitlecaseLetter
            | G::ModifierLetter
            | G::OtherLetter
            | G::DecimalNumber
            | G::LetterNumber
            | G::OtherNumber
    )
}

/// `\w` of the `regex` module: Unicode's letters, marks, decimal digits, connectors and joiners.
pub fn is_unicode_word(c: char) -> bool {
    use GeneralCategory as G;
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    c.is_alphabetic()
        || matches!(c, '\u{200c}' | '\u{200d}')
        || matches!(
            get_general_category(c),
            G::NonspacingMark | G::SpacingMark | G::EnclosingMark | G::DecimalNumber | G::ConnectorPunctuation
        )
}

/// `\d`.
pub fn is_decimal(c: char) -> bool {
    c.is_ascii_digit() || (!c.is_ascii() && get_general_category(c) == GeneralCategory::DecimalNumber)
}

/// What `re.IGNORECASE` compares characters by: the first character of the lower case, and one for each of the groups
/// whose members have different lower cases but one upper case.
pub fn fold_case(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    match c.to_lowercase().next().unwrap_or(c) {
        'ı' => 'i',
        'ſ' => 's',
        'µ' => 'μ',
        '\u{345}' | '\u{1fbe}' => 'ι',
        '\u{1fd3}' => '\u{390}',
        '\u{1fe3}' => '\u{3b0}',
        'ϐ' => 'β',
        'ϵ' => 'ε',
        'ϑ' => 'θ',
        'ϰ' => 'κ',
        'ϖ' => 'π',
        'ϱ' => 'ρ',
        'ς' => 'σ',
        'ϕ' => 'φ',
        '\u{1c80}' => 'в',
        '\u{1c81}' => 'д',
        '\u{1c82}' => 'о',
        '\u{1c83}' => 'с',
        '\u{1c84}' | '\u{1c85}' => 'т',
        '\u{1c86}' => 'ъ',
        '\u{1c87}' => 'ѣ',
        '\u{1c88}' => '\u{a64b}',
        'ẛ' => 'ṡ',
        'ﬅ' => 'ﬆ',
        lower => lower,
    }
}

/// `str.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether nothing is left of a text after `str.strip()`.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_space)
}

/// `str.split()`.
pub fn split_whitespace(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|part| !part.is_empty())
}

/// `str.splitlines()`.
pub fn split_lines(text: &str) -> Vec<&str> {
    let is_end = |c: char| matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(is_end) {
        lines.push(&rest[..end]);
        let mut after = rest[end..].chars();
        if after.next() == Some('\r') && after.as_str().starts_with('\n') {
            after.next();
        }
        rest = after.as_str();
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// The case of a character: none for what has no case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Upper,
    Lower,
    Title,
}

fn case(c: char) -> Option<Case> {
    match c {
        'A'..='Z' => Some(Case::Upper),
        'a'..='z' => Some(Case::Lower),
        '\0'..='\u{7f}' => None,
        c if c.is_uppercase() => Some(Case::Upper),
        c if c.is_lowercase() => Some(Case::Lower),
        c if get_general_category(c) == GeneralCategory::TitlecaseLetter => Some(Case::Title),
        _ => None,
    }
}

fn all_cased_are(text: &str, wanted: Case) -> bool {
    let mut some = false;
    for c in text.chars() {
        match case(c) {
            Some(found) if found != wanted => return false,
            Some(_) => some = true,
            None => {}
        }
    }
    some
}

/// `str.isupper()`: at least one cased character, and none of them lower or title case.
pub fn is_upper(text: &str) -> bool {
    all_cased_are(text, Case::Upper)
}

/// `str.islower()`: at least one cased character, and none of them upper or title case.
pub fn is_lower(text: &str) -> bool {
    all_cased_are(text, Case::Lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_follows_python() {
        assert!(is_upper("3D") && is_upper("'M") && !is_upper("123") && !is_upper("\u{1c5} THE DOG"));
        assert!(is_lower("a1") && !is_lower("1") && !is_lower("\u{1c5} the dog"));
    }

    #[test]
    fn spaces_follow_python() {
        assert_eq!(strip("\u{1c}\u{a0}x\u{1f}"), "x");
        assert_eq!(split_whitespace("a\u{1d}b  c").collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(split_lines("a\r\nb\n\nc\u{1c}d\u{2028}\re\n"), ["a", "b", "", "c", "d", "", "e"]);
        assert!(split_lines("").is_empty());
    }

    #[test]
    fn words_follow_their_modules() {
        assert!(is_word('²') && is_word('Ⅻ') && !is_word('\u{93f}') && !is_word('‿'));
        assert!(!is_unicode_word('²') && is_unicode_word('Ⅻ') && is_unicode_word('\u{93f}') && is_unicode_word('‿'));
    }
}
