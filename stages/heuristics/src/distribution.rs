//! Softmax of a row without storing it: maximum, normaliser, entropy.

use crate::{RowError, isa::Isa, kernels, select::at_least};

/// `p_i = e^(z_i − max) / sum`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distribution {
    pub max: f32,
    /// Σ e^(z − max) over the candidates: at least 1.
    pub sum: f64,
}

/// What is wrong with a row that holds NaN or +inf; `token` names the token at a position.
pub(crate) fn insane(logits: &[f32], token: impl Fn(usize) -> usize) -> RowError {
    let bad = logits.iter().enumerate().find(|(_, logit)| logit.is_nan() || **logit == f32::INFINITY);
    bad.map_or(RowError::NoCandidate, |(at, &value)| RowError::NotANumber { token: token(at), value })
}

/// The largest logit of a row.
///
/// # Errors
/// The row holds NaN or +inf, or no finite logit.
pub(crate) fn checked_max(logits: &[f32]) -> Result<f32, RowError> {
    match kernels::sane_max(Isa::detect(), logits) {
        Some(f32::NEG_INFINITY) => Err(RowError::NoCandidate),
        Some(max) => Ok(max),
        None => Err(insane(logits, |at| at)),
    }
}

impl Distribution {
    /// # Errors
    /// As [`checked_max`].
    pub fn of(logits: &[f32]) -> Result<Self, RowError> {
        let max = checked_max(logits)?;
        Ok(Self { max, sum: kernels::exp_sum(Isa::detect(), logits, max) })
    }

    /// The distribution of a row of further logits.
    ///
    /// # Errors
    /// The row holds NaN or +inf, or no finite logit.
    pub fn of_further(name: &'static str, row: usize, logits: &[f32]) -> Result<Self, RowError> {
        Self::of(logits).map_err(|error| match error {
            RowError::NotANumber { token, value } => {
                RowError::BadFurther { name, row, token, value, expected: "a finite number or -inf" }
            }
            _ => RowError::BadFurther { name, row, token: 0, value: f32::NEG_INFINITY, expected: "any finite number" },
        })
    }

    /// As [`Distribution::of_further`], with every logit finite.
    ///
    /// # Errors
    /// The row holds a number that is not finite.
    pub fn of_finite(name: &'static str, row: usize, logits: &[f32]) -> Result<Self, RowError> {
        match logits.iter().position(|logit| !logit.is_finite()) {
            Some(token) => {
                Err(RowError::BadFurther { name, row, token, value: logits[token], expected: "a finite number" })
            }
            None => Self::of(logits),
        }
    }

    /// e^(z − max): 1 at the maximum, 0 for −inf.
    pub fn weight(&self, logit: f32) -> f64 {
        f64::from(kernels::exp(logit - self.max))
    }

    /// Probability of a token with this logit; 0 for −inf.
    pub fn probability(&self, logit: f32) -> f64 {
        self.weight(logit) / self.sum
    }

    /// ln Σ e^z.
    pub fn log_sum(&self) -> f64 {
        f64::from(self.max) + self.sum.ln()
    }

    /// The smallest logit whose probability is at least `probability`, but not above the maximum.
    pub fn floor_at(&self, probability: f64) -> f32 {
        at_least(f64::from(self.max) + (probability * self.sum).ln()).min(self.max)
    }
}
