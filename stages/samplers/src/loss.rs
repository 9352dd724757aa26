//! The training loss: KL divergence from the target plus γ times the predicted mass on removed tokens.

use crate::{RowError, grouping::ordered, real::Real, row::LogitSet};

/// Slopes below this are 0: of tokens without mass, times small weights, they would become subnormal numbers, which a processor takes
/// a hundred times as long over.
pub(crate) const NEGLIGIBLE: f64 = 1e-25;

/// What a row's loss needs of the target distribution, per distinct raw logit.
///
/// The target may cut inside a group of equal logits, or treat equal logits differently: the loss depends on the group only
/// through its target mass and its number of removed tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub(crate) mass: Vec<f64>,
    pub(crate) removed: Vec<f64>,
    /// Σ t ln t over the tokens.
    pub(crate) negentropy: f64,
}

/// Tokens of one distinct raw logit that the target keeps with one and the same logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Kept {
    /// Position of the raw logit in its set.
    pub group: u32,
    pub tokens: u32,
    pub logit: f32,
}

impl Target {
    /// `target: [V]` are the logits that a heuristic made of the raw logits in `set`; −inf where it removed a token.
    ///
    /// # Errors
    /// The lengths differ, the target keeps no token or one whose raw logit is −inf, or it holds NaN or +inf.
    pub fn new(set: &LogitSet, target: &[f32]) -> Result<Self, RowError> {
        Ok(Self::of_kept(set.counts(), &Self::kept(set, target)?))
    }

    /// What the target keeps, by raw logit and by its own logit, both ascending.
    pub(crate) fn kept(set: &LogitSet, target: &[f32]) -> Result<Vec<Kept>, RowError> {
        if set.vocabulary() != target.len() {
            return Err(RowError::Length { raw: set.vocabulary(), target: target.len() });
        }
        if let Some((token, &value)) = target.iter().enumerate().find(|(_, z)| z.is_nan() || **z == f32::INFINITY) {
            return Err(RowError::NotANumber { token, value });
        }
        // Tokens of one group mostly have one target too: the first one and its tokens, and those that differ.
        let mut first = vec![(0.0, 0); set.len()];
        let mut others = Vec::new();
        for (token, &logit) in target.iter().enumerate().filter(|(_, logit)| **logit != f32::NEG_INFINITY) {
            let group = set.position(token).ok_or(RowError::KeptButRemoved { token })?;
            let (seen, tokens) = &mut first[group];
            if *tokens == 0 {
                *seen = logit;
            }
            if *seen == logit {
                *tokens += 1;
            } else {
                others.push(Kept { group: group as u32, tokens: 1, logit });
            }
        }
        let whole = first.into_iter().zip(0..).filter(|((_, tokens), _)| *tokens > 0);
        let mut kept: Vec<Kept> = whole.map(|((logit, tokens), group)| Kept { group, tokens, logit }).collect();
        if kept.is_empty() {
            return Err(RowError::NoCandidate);
        }
        if !others.is_empty() {
            kept.append(&mut others);
            kept.sort_unstable_by_key(|kept| (kept.group, ordered(kept.logit)));
            kept.dedup_by(|next, last| {
                let same = (next.group, ordered(next.logit)) == (last.group, ordered(last.logit));
                last.tokens += if same { next.tokens } else { 0 };
                same
            });
        }
        Ok(kept)
    }

    /// The target that keeps `kept`, which is not empty, of groups of `counts` tokens.
    pub(crate) fn of_kept(counts: &[u32], kept: &[Kept]) -> Self {
        let max = f64::from(kept.iter().fold(f32::NEG_INFINITY, |max, kept| max.max(kept.logit)));
        let mut new = Self {
            mass: vec![0.0; counts.len()],
            removed: counts.iter().map(|&n| n.into()).collect(),
            negentropy: 0.0,
        };
        // Σ e·ln e over the tokens' weights e = exp(y − max), in `negentropy` until the sum is known.
        let mut sum = 0.0;
        for kept in kept {
            let (group, tokens) = (kept.group as usize, f64::from(kept.tokens));
            let log_weight = f64::from(kept.logit) - max;
            let weight = tokens * log_weight.exp();
            new.mass[group] += weight;
            new.removed[group] -= tokens;
            sum += weight;
            // A weight that underflows to 0 contributes 0, as p·ln p does in the limit.
            new.negentropy += weight * log_weight;
        }
        new.negentropy = new.negentropy / sum - sum.ln();
        new.mass.iter_mut().for_each(|mass| *mass /= sum);
        new
    }

    /// The KL that is left when every group gets exactly its target mass: what no network that gives equal logits equal
    /// outputs can go below. 0 unless the target cuts through, or reorders, equal logits.
    #[must_use]
    pub fn least_kl(&self, set: &LogitSet) -> f64 {
        let shared = self.mass.iter().zip(set.counts()).filter(|(mass, _)| **mass > 0.0);
        self.negentropy - shared.map(|(mass, &count)| mass * (mass / f64::from(count)).ln()).sum::<f64>()
    }
}

/// The two parts of one row's loss.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RowLoss {
    /// KL(target ‖ predicted) in nats.
    pub kl: f64,
    /// Predicted mass on tokens that the target removed.
    pub penalty: f64,
}

impl std::iter::Sum for RowLoss {
    fn sum<I: Iterator<Item = Self>>(losses: I) -> Self {
        losses.fold(Self::default(), |sum, loss| Self { kl: sum.kl + loss.kl, penalty: sum.penalty + loss.penalty })
    }
}

impl RowLoss {
    #[must_use]
    pub fn total(&self, gamma: f64) -> f64 {
        self.kl + gamma * self.penalty
    }
}

/// The loss of one row and, where `gradient` is given, `scale · d(kl + gamma·penalty)/d predicted` for every distinct logit (the
/// sum over its tokens). `predicted` are the network's outputs for the distinct logits of `set`; sums are taken in f64.
pub fn loss_and_gradient<T: Real>(
    set: &LogitSet,
    predicted: &[T],
    target: &Target,
    gamma: f64,
    gradient: Option<(&mut Vec<T>, f64)>,
) -> RowLoss {
    let max = predicted.iter().map(|p| p.f64()).fold(f64::NEG_INFINITY, f64::max);
    let counts = || set.counts().iter().map(|&count| f64::from(count));
    let weights: Vec<f64> = predicted.iter().map(|p| (p.f64() - max).exp()).collect();
    let sum: f64 = weights.iter().zip(counts()).map(|(weight, count)| weight * count).sum();
    let log_sum = sum.ln();
    let mut loss = RowLoss { kl: target.negentropy, penalty: 0.0 };
    for (((p, weight), mass), removed) in predicted.iter().zip(&weights).zip(&target.mass).zip(&target.removed) {
        if *mass > 0.0 {
            loss.kl -= mass * (p.f64() - max - log_sum);
        }
        loss.penalty += removed * weight / sum;
    }
    if let Some((gradient, scale)) = gradient {
        gradient.resize(predicted.len(), T::ZERO);
        let parts = gradient.iter_mut().zip(&weights).zip(counts()).zip(&target.mass).zip(&target.removed);
        for ((((gradient, weight), count), mass), removed) in parts {
            let p = weight / sum;
            let slope = count * p - mass + gamma * p * (removed - count * loss.penalty);
            let slope = scale * slope;
            *gradient = if slope.abs() < NEGLIGIBLE { T::ZERO } else { T::of(slope) };
        }
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_through_a_tie_keeps_part_of_the_group() {
        // Probabilities 1/2 and four of 1/8, of which the target keeps one: 4/5 and 1/5.
        let raw = [4.0_f32.ln(), 0.0, 0.0, 0.0, 0.0];
        let (removed, set) = (f32::NEG_INFINITY, LogitSet::distinct(&raw).unwrap());
        let target = Target::new(&set, &[raw[0], removed, 0.0, removed, removed]).unwrap();
        assert_eq!((set.counts(), &target.removed[..]), (&[4, 1][..], &[3.0, 0.0][..]));
        assert!((target.mass[0] - 0.2).abs() < 1e-7 && (target.mass[1] - 0.8).abs() < 1e-7);
        let predicted: Vec<f64> = raw[..2].iter().rev().map(|&logit| f64::from(logit)).collect();
        let mut gradient = Vec::new();
        let loss = loss_and_gradient(&set, &predicted, &target, 2.0, Some((&mut gradient, 1.0)));
        assert!((loss.kl - (1.0_f64 / 0.625).ln()).abs() < 1e-7 && (loss.penalty - 0.375).abs() < 1e-7, "{loss:?}");
        // The best that equal outputs allow: the group's mass is right, but spread over four tokens instead of one.
        assert!((target.least_kl(&set) - 0.2 * 4.0_f64.ln()).abs() < 1e-6);
        let best = [(0.2_f64 / 4.0).ln(), 0.8_f64.ln()];
        let left = loss_and_gradient(&set, &best, &target, 0.0, Some((&mut gradient, 1.0)));
        assert!((left.kl - target.least_kl(&set)).abs() < 1e-7 && gradient.iter().all(|slope| slope.abs() < 1e-7));
    }
}
