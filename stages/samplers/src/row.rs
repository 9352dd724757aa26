//! A row of logits as the set that the networks see: distinct values with multiplicities.
//!
//! The networks treat the vocabulary as an unordered set, so tokens with equal logits have equal outputs, and every sum over
//! the vocabulary is a sum over distinct values weighted by how often each occurs. That is exact, forward and backward.

use crate::{RowError, architecture::Statistic, real::Real};

/// Token index of a removed token (−inf).
const REMOVED: u32 = u32::MAX;

/// The distinct finite logits of one row, how often each occurs, and which one each token has.
#[derive(Debug, Clone, PartialEq)]
pub struct LogitSet {
    /// Log-probability of each distinct logit, in the order in which `index` counts.
    log_probs: Vec<f64>,
    counts: Vec<u32>,
    /// Per token, the position of its logit in `log_probs`.
    index: Vec<u32>,
}

impl LogitSet {
    /// Groups equal logits; −inf tokens are no candidates and belong to no group.
    ///
    /// # Errors
    /// The row holds NaN or +inf, or no finite logit.
    pub fn distinct(logits: &[f32]) -> Result<Self, RowError> {
        let mut order: Vec<u32> =
            (0..logits.len() as u32).filter(|&token| logits[token as usize] != f32::NEG_INFINITY).collect();
        order.sort_unstable_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize]));
        let mut index = vec![REMOVED; logits.len()];
        let (mut values, mut counts) = (Vec::<f32>::new(), Vec::<u32>::new());
        for token in order {
            let logit = logits[token as usize];
            match counts.last_mut() {
                Some(count) if values.last() == Some(&logit) => *count += 1,
                _ => {
                    values.push(logit);
                    counts.push(1);
                }
            }
            index[token as usize] = values.len() as u32 - 1;
        }
        Self::new(&values, counts, index, logits)
    }

    /// One group per finite logit, in token order, whether or not logits are equal.
    ///
    /// # Errors
    /// The row holds NaN or +inf, or no finite logit.
    pub fn dense(logits: &[f32]) -> Result<Self, RowError> {
        let values: Vec<f32> = logits.iter().copied().filter(|&logit| logit != f32::NEG_INFINITY).collect();
        let mut next = 0;
        let position = |&logit: &f32| {
            if logit == f32::NEG_INFINITY {
                return REMOVED;
            }
            next += 1;
            next - 1
        };
        let index = logits.iter().map(position).collect();
        Self::new(&values, vec![1; values.len()], index, logits)
    }

    fn new(values: &[f32], counts: Vec<u32>, index: Vec<u32>, logits: &[f32]) -> Result<Self, RowError> {
        let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !values.iter().all(|value| value.is_finite()) {
            let bad = logits.iter().enumerate().find(|(_, value)| value.is_nan() || **value == f32::INFINITY);
            return Err(bad.map_or(RowError::NoCandidate, |(token, &value)| RowError::NotANumber { token, value }));
        }
        if values.is_empty() {
            return Err(RowError::NoCandidate);
        }
        let max = f64::from(max);
        let sum: f64 =
            values.iter().zip(&counts).map(|(&value, &count)| f64::from(count) * (f64::from(value) - max).exp()).sum();
        let normaliser = max + sum.ln();
        let log_probs = values.iter().map(|&value| f64::from(value) - normaliser).collect();
        Ok(Self { log_probs, counts, index })
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
        self.index.len()
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

    /// The position of a token's logit among the distinct ones; `None` for −inf.
    #[must_use]
    pub fn position(&self, token: usize) -> Option<usize> {
        self.index.get(token).filter(|&&position| position != REMOVED).map(|&position| position as usize)
    }

    /// Spreads one value per distinct logit over the tokens; −inf tokens stay −inf.
    pub fn scatter<T: Real>(&self, values: &[T], out: &mut [f32]) {
        for (out, &position) in out.iter_mut().zip(&self.index) {
            *out = if position == REMOVED { f32::NEG_INFINITY } else { values[position as usize].f64() as f32 };
        }
    }

    fn statistic(&self, statistic: Statistic) -> f64 {
        let weighted = || self.log_probs.iter().zip(&self.counts);
        match statistic {
            Statistic::MaxLogProb => self.log_probs.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Statistic::Entropy => -weighted().map(|(&ell, &count)| f64::from(count) * ell.exp() * ell).sum::<f64>(),
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
