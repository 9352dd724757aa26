//! Searching for a text that stands for itself, with the case rules of `re.IGNORECASE` and word boundaries of `\b`.

use super::text::{fold_case, is_word};
use memchr::memmem::Finder;

/// A pattern without special characters.
#[derive(Debug, Clone)]
pub struct Literal {
    /// Folded where case is ignored.
    finder: Finder<'static>,
    length: usize,
    ignore_case: bool,
    /// The pattern stands between two `\b`.
    word: bool,
    first: char,
    last: char,
}

impl Literal {
    /// `source` must not be empty.
    pub fn new(source: &str, ignore_case: bool, word: bool) -> Self {
        let needle: String = if ignore_case { source.chars().map(fold_case).collect() } else { source.to_owned() };
        let first = needle.chars().next().unwrap_or_default();
        let last = needle.chars().next_back().unwrap_or_default();
        let finder = Finder::new(needle.as_bytes()).into_owned();
        Self { finder, length: needle.len(), ignore_case, word, first, last }
    }

    pub fn is_in(&self, text: &str) -> bool {
        self.with_folded(text, |text| self.find(text, 0).is_some())
    }

    /// Occurrences that do not overlap, from the left.
    pub fn count(&self, text: &str) -> usize {
        self.with_folded(text, |text| {
            let (mut count, mut from) = (0, 0);
            while let Some(at) = self.find(text, from) {
                count += 1;
                from = at + self.length;
            }
            count
        })
    }

    /// Folding maps characters one to one and letters to letters, so what is counted stays the same.
    fn with_folded<T>(&self, text: &str, search: impl FnOnce(&str) -> T) -> T {
        if !self.ignore_case {
            search(text)
        } else if text.is_ascii() {
            search(&text.to_ascii_lowercase())
        } else {
            search(&text.chars().map(fold_case).collect::<String>())
        }
    }

    fn find(&self, text: &str, mut from: usize) -> Option<usize> {
        loop {
            let at = from + self.finder.find(text.as_bytes().get(from..)?)?;
            if !self.word || self.is_bounded(text, at) {
                return Some(at);
            }
            from = at + self.first.len_utf8();
        }
    }

    fn is_bounded(&self, text: &str, at: usize) -> bool {
        let before = text[..at].chars().next_back().is_some_and(is_word);
        let after = text[at + self.length..].chars().next().is_some_and(is_word);
        before != is_word(self.first) && is_word(self.last) != after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_candidates_are_tried() {
        let word = Literal::new("aa", true, true);
        assert!(word.is_in("aaa AA") && !word.is_in("aaa") && !word.is_in("aa_"));
        assert!(Literal::new("-x", true, true).is_in("a-x") && !Literal::new("-x", true, true).is_in(" -x"));
        assert_eq!(Literal::new("aa", true, false).count("aAaAa"), 2);
        assert_eq!(Literal::new("aa", false, false).count("aAaaa"), 1);
        assert_eq!(Literal::new("kİs", true, false).count("K\u{130}S \u{212a}iſ"), 2);
    }
}
