//! How much of a text is in a corpus, word for word.

use crate::CorpusCounts;
use std::{convert::Infallible, ops::RangeInclusive};

/// The n-gram lengths that the Creativity Index sums over by default.
pub const CREATIVITY_LENGTHS: RangeInclusive<usize> = 5..=11;

/// The longest match at every position of a text: all other measures of overlap follow from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchProfile {
    starting: Vec<usize>,
}

impl MatchProfile {
    /// Measures a text, with matches of at most `most` tokens (`usize::MAX`: of any length).
    ///
    /// # Errors
    /// As [`CorpusCounts::count`].
    pub fn of<T, C: CorpusCounts<T> + ?Sized>(corpus: &C, tokens: &[T], most: usize) -> Result<Self, C::Error> {
        Ok(Self { starting: corpus.longest_matches(tokens, most)? })
    }

    /// Tokens of the text.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starting.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starting.is_empty()
    }

    /// For every position, the length of the longest match that starts there.
    #[must_use]
    pub fn starting(&self) -> &[usize] {
        &self.starting
    }

    /// For every position, the length of the longest match whose last token is there.
    #[must_use]
    pub fn ending(&self) -> Vec<usize> {
        // Matches that start later end no earlier, so the first start that reaches a position has the longest match there.
        let mut start = 0;
        (0..self.len())
            .map(|end| {
                while start <= end && start + self.starting[start] <= end {
                    start += 1;
                }
                end + 1 - start
            })
            .collect()
    }

    /// The longest match of the text.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.starting.iter().copied().max().unwrap_or(0)
    }

    /// How many of the text's n-grams are in the corpus; `n` from 1 to the `most` that was measured. 13 is the usual
    /// length in tests for contamination.
    #[must_use]
    pub fn hits(&self, n: usize) -> NgramHits {
        NgramHits {
            ngrams: (self.len() + 1).saturating_sub(n),
            in_corpus: self.starting.iter().filter(|len| **len >= n).count(),
        }
    }

    /// The share of tokens that no n-gram of `n` tokens (so none of more) that is in the corpus covers: L-uniqueness with
    /// L = n of Lu et al. 2024 (<https://arxiv.org/abs/2410.04265>). 1 where the text is shorter than `n`; nothing for an
    /// empty text.
    #[must_use]
    pub fn uniqueness(&self, n: usize) -> Option<f64> {
        let mut covered = 0;
        let mut covered_to = 0;
        for (start, len) in self.starting.iter().enumerate() {
            if *len >= n {
                covered += start + n - covered_to.max(start);
                covered_to = start + n;
            }
        }
        (!self.is_empty()).then(|| (self.len() - covered) as f64 / self.len() as f64)
    }

    /// The Creativity Index of the same paper: the sum of the uniqueness over n-gram lengths
    /// ([`CREATIVITY_LENGTHS`]), 0 (all copied) to the number of lengths.
    #[must_use]
    pub fn creativity_index(&self, lengths: RangeInclusive<usize>) -> Option<f64> {
        lengths.map(|n| self.uniqueness(n)).sum()
    }

    /// The greedy cover with pieces of at most `max_n` tokens.
    #[must_use]
    pub fn greedy(&self, max_n: usize) -> GreedyCover {
        let Ok(cover) = GreedyCover::walk(self.len(), |at| Ok::<_, Infallible>(self.starting[at].min(max_n)));
        cover
    }
}

/// Some of a text's n-grams of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NgramHits {
    /// N-grams of the text, repetitions included.
    pub ngrams: usize,
    /// Those of them that occur in the corpus.
    pub in_corpus: usize,
}

impl NgramHits {
    /// in_corpus / ngrams; nothing for a text without n-grams.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        (self.ngrams > 0).then(|| self.in_corpus as f64 / self.ngrams as f64)
    }
}

/// A text covered from left to right, each time with the longest n-gram that is in the corpus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GreedyCover {
    /// Tokens that a piece covers.
    pub coverage: usize,
    /// How often the text goes on from a piece with a token that no piece covers.
    pub breaks: usize,
    /// Start and length of each piece.
    pub pieces: Vec<(usize, usize)>,
}

impl GreedyCover {
    /// Covers a text with n-grams of at most `max_n` tokens, asking the corpus only where a piece may start.
    ///
    /// # Errors
    /// As [`CorpusCounts::count`].
    pub fn of<T, C: CorpusCounts<T> + ?Sized>(corpus: &C, tokens: &[T], max_n: usize) -> Result<Self, C::Error> {
        Self::walk(tokens.len(), |at| corpus.longest_prefix(&tokens[at..], max_n))
    }

    fn walk<E>(tokens: usize, mut longest: impl FnMut(usize) -> Result<usize, E>) -> Result<Self, E> {
        let mut cover = Self::default();
        let mut in_match = false;
        let mut at = 0;
        while at < tokens {
            let len = longest(at)?;
            if len > 0 {
                cover.coverage += len;
                cover.pieces.push((at, len));
            } else {
                cover.breaks += usize::from(in_match);
            }
            in_match = len > 0;
            at += len.max(1);
        }
        Ok(cover)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A profile as if of a corpus that holds exactly these runs of the text.
    fn profile(starting: &[usize]) -> MatchProfile {
        MatchProfile { starting: starting.to_vec() }
    }

    #[test]
    fn matches_by_their_last_token() {
        // Positions 0..=2 match together, 3 nowhere, 4..=5 together.
        let profile = profile(&[3, 2, 1, 0, 2, 1]);
        assert_eq!(profile.ending(), [1, 2, 3, 0, 1, 2]);
        assert_eq!(profile.longest(), 3);
        assert_eq!(profile.hits(2), NgramHits { ngrams: 5, in_corpus: 3 });
        assert_eq!(profile.hits(7), NgramHits { ngrams: 0, in_corpus: 0 });
        assert_eq!(profile.hits(7).rate(), None);
    }

    #[test]
    fn uniqueness_is_the_share_that_nothing_covers() {
        let profile = profile(&[3, 2, 1, 0, 2, 1]);
        let shares: Vec<f64> = (1..=4).map(|n| profile.uniqueness(n).unwrap() * 6.0).collect();
        assert_eq!(shares, [1.0, 1.0, 3.0, 6.0]);
        assert!((profile.creativity_index(2..=4).unwrap() - 10.0 / 6.0).abs() < 1e-12);
        assert_eq!(self::profile(&[]).creativity_index(CREATIVITY_LENGTHS), None);
    }

    #[test]
    fn a_break_is_counted_once_and_only_after_a_match() {
        let cover = profile(&[0, 2, 1, 0, 0, 1, 0]).greedy(10);
        assert_eq!(cover, GreedyCover { coverage: 3, breaks: 2, pieces: vec![(1, 2), (5, 1)] });
        assert_eq!(profile(&[3, 2, 1]).greedy(2).pieces, [(0, 2), (2, 1)]);
        assert_eq!(profile(&[]).greedy(10), GreedyCover::default());
    }
}
