//! A row of logits as the set that the networks see: distinct values with multiplicities.
//!
//! The networks treat the vocabulary as an unordered set, so tokens with equal logits have equal outputs, and every sum over
//! the vocabulary is a sum over distinct values weighted by how often each occurs. That is exact, forward and backward.

use crate::{
    Grouping, RowError,
    architecture::Statistic,
    grouping::{Grouper, REMOVED},
    real::Real,
};

/// The distinct finite logits of one row, how often each occurs, and which one each token has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogitSet {
    /// Log-probability of each distinct logit, in the order in which `index` counts.
    log_probs: Vec<f64>,
    counts: Vec<u32>,
    /// Per token, the position of its logit in `log_probs`; empty where that is not known.
    index: Vec<u32>,
    vocabulary: usize,
    /// Whether the logits ascend strictly.
    ascending: bool,
}

impl LogitSet {
    /// Groups the tokens of a row; −inf tokens are no candidates and belong to no group.
    ///
    /// # Errors
    /// The row holds NaN or +inf, or no finite logit.
    pub fn new(logits: &[f32], grouping: Grouping) -> Result<Self, RowError> {
        let mut set = Self::default();
        set.refill(logits, grouping, &mut Grouper::default())?;
        Ok(set)
    }

    /// Groups equal logits, in ascending order.
    ///
    /// # Errors
    /// As for [`LogitSet::new`].
    pub fn distinct(logits: &[f32]) -> Result<Self, RowError> {
        Self::new(logits, Grouping::Distinct)
    }

    /// One group per finite logit, in token order, whether or not logits are equal.
    ///
    /// # Errors
    /// As for [`LogitSet::new`].
    pub fn dense(logits: &[f32]) -> Result<Self, RowError> {
        Self::new(logits, Grouping::Dense)
    }

    /// The set of distinct, ascending logits with ln Σ e^z; which tokens have them is not known.
    pub(crate) fn of_values(values: &[f32], counts: Vec<u32>, normaliser: f64, vocabulary: usize) -> Self {
        let log_probs = values.iter().map(|&value| f64::from(value) - normaliser).collect();
        Self { log_probs, counts, index: Vec::new(), vocabulary, ascending: true }
    }

    /// The same set without the knowledge of which token has which logit, which takes four bytes a token and is of no use in
    /// training: [`LogitSet::position`] is `None` for all of them.
    #[must_use]
    pub fn without_tokens(self) -> Self {
        Self { index: Vec::new(), ..self }
    }

    /// [`LogitSet::new`] in memory that is there already; gives ln Σ e^z.
    pub(crate) fn refill(
        &mut self,
        logits: &[f32],
        grouping: Grouping,
        grouper: &mut Grouper,
    ) -> Result<f64, RowError> {
        self.vocabulary = logits.len();
        self.ascending = grouper.group(logits, grouping, &mut self.counts, &mut self.index);
        let values = &grouper.values;
        if !values.iter().all(|value| value.is_finite()) {
            let bad = logits.iter().enumerate().find(|(_, value)| value.is_nan() || **value == f32::INFINITY);
            return Err(bad.map_or(RowError::NoCandidate, |(token, &value)| RowError::NotANumber { token, value }));
        }
        let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if max == f32::NEG_INFINITY {
            return Err(RowError::NoCandidate);
        }
        let max = f64::from(max);
        let weighted = values.iter().zip(&self.counts);
        let sum: f64 = weighted.map(|(&value, &count)| f64::from(count) * (f64::from(value) - max).exp()).sum();
        let normaliser = max + sum.ln();
        self.log_probs.clear();
        self.log_probs.extend(values.iter().map(|&value| f64::from(value) - normaliser));
        Ok(normaliser)
    }

    /// How many distinct logits there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log_probs.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log_probs.is_empty()
    }

    /// Size of the vocabulary, −inf tokens included.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Natural-log probability of each distinct logit.
    #[must_use]
    pub fn log_probs(&self) -> &[f64] {
        &self.log_probs
    }

    #[must_use]
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// The position of a token's logit among the distinct ones; `None` for −inf, and for all tokens of a set
    /// [without tokens](LogitSet::without_tokens).
    #[must_use]
    pub fn position(&self, token: usize) -> Option<usize> {
        self.index.get(token).filter(|&&position| position != REMOVED).map(|&position| position as usize)
    }

    /// Fills `order` with the positions of the groups from the most probable down; equal logits stand side by side.
    pub(crate) fn descending(&self, order: &mut Vec<u32>) {
        order.clear();
        order.extend((0..self.len() as u32).rev());
        if !self.ascending {
            let ell = |position: u32| self.log_probs[position as usize];
            order.sort_unstable_by(|&a, &b| ell(b).total_cmp(&ell(a)));
        }
    }

    /// Spreads one value per distinct logit over the tokens; −inf tokens stay −inf.
    ///
    /// # Panics
    /// `out` is not as long as the vocabulary, or the set is one [without tokens](LogitSet::without_tokens).
    pub fn scatter<T: Real>(&self, values: &[T], out: &mut [f32]) {
        assert_eq!(self.index.len(), out.len(), "the tokens of the set and of the row differ");
        for (out, &position) in out.iter_mut().zip(&self.index) {
            *out = if position == REMOVED { f32::NEG_INFINITY } else { values[position as usize].f64() as f32 };
        }
    }

    /// Entropy of the row in nats.
    #[must_use]
    pub fn entropy(&self) -> f64 {
        let weighted = self.log_probs.iter().zip(&self.counts);
        -weighted.map(|(&ell, &count)| f64::from(count) * ell.exp() * ell).sum::<f64>()
    }

    fn statistic(&self, statistic: Statistic) -> f64 {
        match statistic {
            Statistic::MaxLogProb => self.log_probs.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Statistic::Entropy => self.entropy(),
        }
    }
}

/// What a network reads of a row, in its own number type.
#[derive(Debug, Default)]
pub(crate) struct Row<T> {
    /// Log-probabilities of the distinct logits.
    pub ell: Vec<T>,
    /// Multiplicities; empty where all are 1.
    pub counts: Vec<T>,
    /// Number of candidates: the sum of multiplicities.
    pub total: T,
    pub statistics: Vec<T>,
}

impl<T: Real> Row<T> {
    pub fn fill(&mut self, set: &LogitSet, statistics: &[Statistic]) {
        self.ell.clear();
        self.ell.extend(set.log_probs.iter().map(|&ell| T::of(ell)));
        self.counts.clear();
        if set.counts.iter().any(|&count| count != 1) {
            self.counts.extend(set.counts.iter().map(|&count| T::of(f64::from(count))));
        }
        self.total = T::of(set.counts.iter().map(|&count| f64::from(count)).sum());
        self.statistics.clear();
        self.statistics.extend(statistics.iter().map(|&statistic| T::of(set.statistic(statistic))));
    }
}
