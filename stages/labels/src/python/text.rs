//! `str.strip`, `str.split`, `str.isupper` and `str.islower`.

use unicode_general_category::{GeneralCategory, get_general_category};

/// `str.isspace` of one character: Unicode white space and the four information separators U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.split()`.
pub fn split_whitespace(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|part| !part.is_empty())
}

fn is_title(c: char) -> bool {
    get_general_category(c) == GeneralCategory::TitlecaseLetter
}

/// `str.isupper()`: at least one cased character, and none of them lower or title case.
pub fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(|c| c.is_lowercase() || is_title(c))
}

/// `str.islower()`: at least one cased character, and none of them upper or title case.
pub fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(|c| c.is_uppercase() || is_title(c))
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
    }
}
