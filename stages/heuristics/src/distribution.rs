//! Softmax of a row without storing it: maximum, normaliser, entropy.

use crate::RowError;

/// `p_i = e^(z_i − max) / sum`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distribution {
    pub max: f32,
    /// Σ e^(z − max) over the candidates: at least 1.
    pub sum: f64,
}

/// The largest logit of a row.
///
/// # Errors
/// The row holds NaN or +inf, or no finite logit.
pub(crate) fn checked_max(logits: &[f32]) -> Result<f32, RowError> {
    let mut max = f32::NEG_INFINITY;
    let mut sane = true;
    for &logit in logits {
        sane &= logit < f32::INFINITY;
        max = max.max(logit);
    }
    if !sane {
        let bad = logits.iter().enumerate().find(|(_, logit)| logit.is_nan() || **logit == f32::INFINITY);
        return Err(bad.map_or(RowError::NoCandidate, |(token, &value)| RowError::NotANumber { token, value }));
    }
    if max == f32::NEG_INFINITY { Err(RowError::NoCandidate) } else { Ok(max) }
}

impl Distribution {
    pub fn of(logits: &[f32]) -> Result<Self, RowError> {
        let max = checked_max(logits)?;
        let sum = logits.iter().map(|&logit| f64::from((logit - max).exp())).sum();
        Ok(Self { max, sum })
    }

    /// Probability of a token with this logit; 0 for −inf.
    pub fn probability(&self, logit: f32) -> f64 {
        f64::from((logit - self.max).exp()) / self.sum
    }

    /// Log-probability of a token with this logit; −inf for −inf.
    pub fn log_probability(&self, logit: f32) -> f64 {
        f64::from(logit) - f64::from(self.max) - self.sum.ln()
    }

    /// H = −Σ p ln p in nats, with p ln p = 0 at p = 0.
    pub fn entropy(&self, logits: &[f32]) -> f64 {
        let weighted: f64 = logits
            .iter()
            .map(|&logit| {
                let shifted = logit - self.max;
                let weight = f64::from(shifted.exp());
                if weight == 0.0 { 0.0 } else { weight * f64::from(shifted) }
            })
            .sum();
        self.sum.ln() - weighted / self.sum
    }
}
