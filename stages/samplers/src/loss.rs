//! The training loss: KL divergence from the target plus γ times the predicted mass on removed tokens.

use crate::{RowError, kernels::reserve, real::Real, row::LogitSet};

/// What a row's loss needs of the target distribution, per distinct raw logit.
///
/// The target may cut inside a group of equal logits, or treat equal logits differently: the loss depends on the group only
/// through its target mass and its number of removed tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    mass: Vec<f64>,
    removed: Vec<f64>,
    /// Σ t ln t over the tokens.
    negentropy: f64,
}

impl Target {
    /// `target: [V]` are the logits that a heuristic made of the raw logits in `set`; −inf where it removed a token.
    ///
    /// # Errors
    /// The lengths differ, the target keeps no token or one whose raw logit is −inf, or it holds NaN or +inf.
    pub fn new(set: &LogitSet, target: &[f32]) -> Result<Self, RowError> {
        if set.vocabulary() != target.len() {
            return Err(RowError::Length { raw: set.vocabulary(), target: target.len() });
        }
        let mut max = f32::NEG_INFINITY;
        for (token, &logit) in target.iter().enumerate() {
            if logit.is_nan() || logit == f32::INFINITY {
                return Err(RowError::NotANumber { token, value: logit });
            }
            max = max.max(logit);
        }
        if max == f32::NEG_INFINITY {
            return Err(RowError::NoCandidate);
        }
        let max = f64::from(max);
        let kept = || target.iter().enumerate().filter(|(_, logit)| **logit != f32::NEG_INFINITY);
        let sum: f64 = kept().map(|(_, &logit)| (f64::from(logit) - max).exp()).sum();
        let log_sum = sum.ln();
        let mut new = Self {
            mass: vec![0.0; set.len()],
            removed: set.counts().iter().map(|&n| n.into()).collect(),
            negentropy: 0.0,
        };
        for (token, &logit) in kept() {
            let position = set.position(token).ok_or(RowError::KeptButRemoved { token })?;
            let log_t = f64::from(logit) - max - log_sum;
            let t = log_t.exp();
            new.mass[position] += t;
            new.removed[position] -= 1.0;
            if t > 0.0 {
                new.negentropy += t * log_t;
            }
        }
        Ok(new)
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
        let gradient = reserve(gradient, predicted.len());
        let parts = gradient.iter_mut().zip(&weights).zip(counts()).zip(&target.mass).zip(&target.removed);
        for ((((gradient, weight), count), mass), removed) in parts {
            let p = weight / sum;
            let slope = count * p - mass + gamma * p * (removed - count * loss.penalty);
            *gradient = T::of(scale * slope);
        }
    }
    loss
}
