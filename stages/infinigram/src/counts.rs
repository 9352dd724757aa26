//! What one can ask of a corpus, wherever it is.

/// Counts of n-grams in a corpus of tokens `T`: token ids of a local [`Index`](crate::Index), or what a server takes.
///
/// Only [`count`](Self::count) has to be there; the rest follows from it and is overridden where there is a faster way.
pub trait CorpusCounts<T> {
    /// Why a count cannot be had.
    type Error;

    /// How often the n-gram occurs inside documents. The empty n-gram occurs at every token, separators included.
    ///
    /// # Errors
    /// The corpus cannot be read or reached, or does not know such a token.
    fn count(&self, ngram: &[T]) -> Result<u64, Self::Error>;

    /// The n-gram probability of `next` after `prompt`: count(prompt · next) / count(prompt).
    ///
    /// # Errors
    /// As [`count`](Self::count).
    fn prob(&self, prompt: &[T], next: &T) -> Result<Probability, Self::Error>
    where
        T: Clone,
    {
        let prompt_count = self.count(prompt)?;
        let next_count =
            if prompt_count == 0 { 0 } else { self.count(&[prompt, std::slice::from_ref(next)].concat())? };
        Ok(Probability { prompt_count, next_count })
    }

    /// The ∞-gram probability of `next` after `prompt`: that after the longest suffix of the prompt that occurs
    /// (Liu et al. 2024, <https://arxiv.org/abs/2401.17377>). A suffix counts even where it only ends documents.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    fn infgram_prob(&self, prompt: &[T], next: &T) -> Result<Backoff<Probability>, Self::Error>
    where
        T: Clone,
    {
        let suffix_len = self.longest_suffix(prompt)?;
        let result = self.prob(&prompt[prompt.len() - suffix_len..], next)?;
        Ok(Backoff { suffix_len, result })
    }

    /// Length of the longest suffix of `tokens` that occurs. Doubling, then bisection: O(log n) counts.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    fn longest_suffix(&self, tokens: &[T]) -> Result<usize, Self::Error> {
        let occurs = |len: usize| -> Result<bool, Self::Error> { Ok(self.count(&tokens[tokens.len() - len..])? > 0) };
        let (mut occurring, mut least_absent) = (0, tokens.len() + 1);
        let mut step = 1;
        while step < least_absent {
            if occurs(step)? {
                occurring = step;
                step *= 2;
            } else {
                least_absent = step;
            }
        }
        while least_absent - occurring > 1 {
            let middle = occurring + (least_absent - occurring) / 2;
            if occurs(middle)? {
                occurring = middle;
            } else {
                least_absent = middle;
            }
        }
        Ok(occurring)
    }

    /// Length of the longest prefix of `tokens`, of at most `most` tokens, that occurs. Bisection, as in the reference's
    /// overlap labeller: O(log most) counts.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    fn longest_prefix(&self, tokens: &[T], most: usize) -> Result<usize, Self::Error> {
        let (mut low, mut high) = (1, most.min(tokens.len()));
        let mut longest = 0;
        while low <= high {
            let middle = low + (high - low) / 2;
            if self.count(&tokens[..middle])? > 0 {
                longest = middle;
                low = middle + 1;
            } else {
                high = middle - 1;
            }
        }
        Ok(longest)
    }

    /// For every position, the length of the longest n-gram of at most `most` tokens that starts there and occurs
    /// (matching statistics). One position's match minus its first token matches at the next: at most 2n counts.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    fn longest_matches(&self, tokens: &[T], most: usize) -> Result<Vec<usize>, Self::Error> {
        let mut matches = Vec::with_capacity(tokens.len());
        let mut known = 0_usize;
        for start in 0..tokens.len() {
            let longest = most.min(tokens.len() - start);
            let mut len = known.saturating_sub(1);
            while len < longest && self.count(&tokens[start..=start + len])? > 0 {
                len += 1;
            }
            matches.push(len);
            known = len;
        }
        Ok(matches)
    }
}

/// How often a prompt occurs, and how often with a certain token after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probability {
    /// Occurrences of the prompt.
    pub prompt_count: u64,
    /// Occurrences of the prompt followed by the token.
    pub next_count: u64,
}

impl Probability {
    /// next_count / prompt_count; nothing where the prompt never occurs (the infini-gram package says −1 there).
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (self.prompt_count > 0).then(|| self.next_count as f64 / self.prompt_count as f64)
    }
}

/// An answer about the longest suffix of a prompt that occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff<R> {
    /// Tokens in that suffix.
    pub suffix_len: usize,
    /// The answer for it.
    pub result: R,
}
