//! Literal strings as answers, such as the letters of a multiple-choice question.

use super::scan::End;
use regex::Regex;

/// The strings that may be answers, compiled into the patterns that find them.
#[derive(Debug, Clone)]
pub struct Choices {
    /// Patterns with their priority, the strings in their group `key`.
    patterns: Vec<(Regex, u16)>,
}

/// No strings were given, or too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChoicesError {
    #[error("no strings to look for; name at least one")]
    Empty,
    #[error("the strings make too large a pattern; name fewer or shorter ones")]
    TooLarge,
}

impl Choices {
    /// Looks for these strings, in their case.
    ///
    /// # Errors
    /// [`ChoicesError`] for no strings, or so many that their pattern is too large.
    pub fn new<'a>(strings: impl IntoIterator<Item = &'a str>) -> Result<Self, ChoicesError> {
        let keys: Vec<String> = strings.into_iter().map(regex::escape).collect();
        if keys.is_empty() {
            return Err(ChoicesError::Empty);
        }
        let key = format!("(?P<key>{})", keys.join("|"));
        let space = r"[\s\x1c-\x1f]";
        let suffix = format!(r"(?:\*\*)?(?:\.|,|:|{space}|$)");
        let alone = format!(r"(?:^|{space})(?:\*\*)?{key}{suffix}");
        let patterns = [
            (format!(r"(?i:final answer is):?{space}*{key}\.?{space}?I hope"), 0),
            (format!(r"(?i:final answer.{{0,100}}?){space}+is:?{space}*{key}"), 50),
            (format!("(?i:answer):.{{0,50}}?{alone}"), 100),
            (format!("(?i:answer).{{0,50}}?{alone}"), 200),
            (format!(r"^(?:\*\*)?{key}{suffix}"), 250),
            (alone, 300),
        ];
        let compiled = patterns.into_iter().map(|(pattern, priority)| Ok((Regex::new(&pattern)?, priority)));
        let patterns = compiled.collect::<Result<_, regex::Error>>().map_err(|_| ChoicesError::TooLarge)?;
        Ok(Self { patterns })
    }

    /// The four letters A to D.
    ///
    /// # Errors
    /// None in practice; as [`Choices::new`].
    pub fn letters() -> Result<Self, ChoicesError> {
        Self::new(["A", "B", "C", "D"])
    }

    /// The answer: of the pattern with the first priority that matches, the match that ends last, and of these the one
    /// that begins first.
    #[must_use]
    pub fn find<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.patterns.iter().find_map(|(pattern, _)| {
            let all = pattern.captures_iter(text).filter_map(|groups| {
                let (whole, key) = (groups.get(0)?, groups.name("key")?);
                let place: (End, std::cmp::Reverse<usize>) = (whole.end(), std::cmp::Reverse(whole.start()));
                Some((place, key.as_str()))
            });
            all.max_by_key(|(place, _)| *place).map(|(_, key)| key)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_found_by_priority() {
        let letters = Choices::letters().unwrap();
        for (text, expected) in [
            ("Answer: A", Some("A")),
            ("(C)", None),
            ("A dog chose D", Some("A")),
            ("I pick D, no, C", Some("C")),
            ("**Answer:** B", Some("B")),
            ("answer is **B**", Some("B")),
        ] {
            assert_eq!(letters.find(text), expected, "{text}");
        }
        assert_eq!(Choices::new([]).unwrap_err(), ChoicesError::Empty);
    }
}
