//! Small helpers that all grammars share.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// Draws one item of a non-empty table.
pub(crate) fn pick<T: Copy>(rng: &mut ChaCha8Rng, items: &[T]) -> T {
    items[rng.random_range(0..items.len())]
}

/// Draws `n` different items of a table.
pub(crate) fn pick_many<T: Copy>(rng: &mut ChaCha8Rng, items: &[T], n: usize) -> Vec<T> {
    items.choose_multiple(rng, n).copied().collect()
}

/// True with probability `p`.
pub(crate) fn chance(rng: &mut ChaCha8Rng, p: f64) -> bool {
    rng.random_bool(p)
}

/// `a fox`, `an owl`.
pub(crate) fn with_article(phrase: &str) -> String {
    let vowel = phrase.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {phrase}", if vowel { "an" } else { "a" })
}

/// The phrase with its first letter in upper case.
pub(crate) fn capitalise(phrase: &str) -> String {
    let mut chars = phrase.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Every word with its first letter in upper case.
pub(crate) fn title_case(phrase: &str) -> String {
    phrase.split(' ').map(capitalise).collect::<Vec<_>>().join(" ")
}

/// A given name and its pronouns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person {
    pub name: &'static str,
    pub he: &'static str,
    pub him: &'static str,
    pub his: &'static str,
}

impl Person {
    pub(crate) fn draw(rng: &mut ChaCha8Rng) -> Self {
        if chance(rng, 0.5) {
            Self { name: pick(rng, crate::words::GIRLS), he: "she", him: "her", his: "her" }
        } else {
            Self { name: pick(rng, crate::words::BOYS), he: "he", him: "him", his: "his" }
        }
    }

    /// `He` or `She`, for the start of a sentence.
    pub(crate) fn capital_he(self) -> &'static str {
        if self.he == "he" { "He" } else { "She" }
    }
}
