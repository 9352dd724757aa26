//! From raw logits to a token: the processor hook, the row's own generator, and the draw.

use crate::kernel::{self, Isa};
use rand::RngCore;
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use std::{fmt, sync::Arc};

/// What a processor may look at besides the logits.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// Prompt ids, then the ids generated so far.
    pub tokens: &'a [u32],
    /// How many of them are the prompt's.
    pub prompt_len: usize,
}

impl<'a> History<'a> {
    /// The ids generated so far.
    #[must_use]
    pub fn generated(&self) -> &'a [u32] {
        &self.tokens[self.prompt_len..]
    }
}

/// A processor that cannot handle a row; the row fails with this message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProcessorError(pub String);

impl ProcessorError {
    #[must_use]
    pub fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Reshapes the logits of one row, step by step; it may keep state between the steps of its row.
pub trait LogitsProcessor: Send {
    /// Turns raw logits (`[vocab]`) into the logits that the next token is drawn from; −∞ removes a token.
    ///
    /// # Errors
    /// The logits or the history are beyond what the processor handles.
    fn process(&mut self, logits: &mut [f32], history: History<'_>) -> Result<(), ProcessorError>;

    /// Learns which token was drawn from the processed logits.
    ///
    /// # Errors
    /// The processor cannot go on from this token.
    fn chosen(&mut self, _token: u32, _processed: &[f32]) -> Result<(), ProcessorError> {
        Ok(())
    }
}

/// Reshapes the logits of many rows at once; for networks that are faster on batches.
pub trait BatchLogitsProcessor: Send + Sync {
    /// Turns raw logits (`[rows, vocab]`, row-major) into the logits that the next tokens are drawn from.
    ///
    /// A row's result must not depend on the other rows, not even in its last bit: which rows meet here is chance.
    ///
    /// # Errors
    /// The logits are beyond what the processor handles; all rows of the call fail.
    fn process_rows(&self, logits: &mut [f32], histories: &[History<'_>]) -> Result<(), ProcessorError>;
}

/// Who turns a row's raw logits into those that its tokens are drawn from.
#[derive(Default)]
pub enum RowProcessor {
    /// Nobody: plain ancestral sampling.
    #[default]
    Raw,
    /// The largest logit, of equal ones the lowest id; no draw.
    Greedy,
    /// A processor of the row's own.
    Own(Box<dyn LogitsProcessor>),
    /// A processor that rows share.
    Shared(Arc<dyn BatchLogitsProcessor>),
}

/// A row's own random numbers: ChaCha12 keyed by the row's key, so that they depend on nothing else.
pub struct RowRng(ChaCha12Rng);

impl RowRng {
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(key))
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }
}

/// Why no token can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    #[error("a logit is NaN or +inf")]
    NotANumber,
    #[error("every token was removed")]
    NothingLeft,
}

/// The largest of the logits and its lowest index.
///
/// # Errors
/// A logit is NaN or +∞, or none is finite.
pub fn arg_max(logits: &[f32]) -> Result<(u32, f32), DrawError> {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, logit) in logits.iter().enumerate() {
        if logit.is_nan() || *logit == f32::INFINITY {
            return Err(DrawError::NotANumber);
        }
        if *logit > best.1 {
            best = (index as u32, *logit);
        }
    }
    if best.1 == f32::NEG_INFINITY { Err(DrawError::NothingLeft) } else { Ok(best) }
}

/// Draws a token from `softmax(logits)` by inverting the cumulative sum, in f64 and in order of id, at `uniform`. Gives the token
/// and its log-probability. `weights` is scratch.
///
/// # Errors
/// A logit is NaN or +∞, or none is finite.
pub fn draw(isa: Isa, logits: &[f32], uniform: f64, weights: &mut Vec<f32>) -> Result<(u32, f32), DrawError> {
    let (_, max) = arg_max(logits)?;
    weights.resize(logits.len(), 0.0);
    let total = kernel::exp_sum(isa, logits, max, weights);
    let target = uniform * total;
    let mut below = 0.0;
    let mut token = 0;
    for (index, weight) in weights.iter().enumerate() {
        if *weight > 0.0 {
            token = index;
            below += f64::from(*weight);
            if below > target {
                break;
            }
        }
    }
    Ok((token as u32, (f64::from(logits[token] - max) - total.ln()) as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draw_inverts_the_cumulative_sum() {
        let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 3f32.ln(), f32::NEG_INFINITY];
        let mut weights = Vec::new();
        let mut at = |uniform| draw(Isa::detect(), &logits, uniform, &mut weights).unwrap();
        assert_eq!(at(0.0).0, 1);
        assert_eq!(at(0.249).0, 1);
        assert_eq!(at(0.251).0, 3);
        assert_eq!(at(1.0).0, 3);
        assert!((at(0.0).1 - 0.25f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn frequencies_follow_the_soft_max() {
        let logits: Vec<f32> = (0..40).map(|i| (i as f32 * 0.7).sin() * 2.0).collect();
        let total: f32 = logits.iter().map(|l| l.exp()).sum();
        let mut rng = RowRng::new([7; 32]);
        let mut counts = vec![0u32; logits.len()];
        let mut weights = Vec::new();
        for _ in 0..40_000 {
            counts[draw(Isa::detect(), &logits, rng.uniform(), &mut weights).unwrap().0 as usize] += 1;
        }
        for (count, logit) in counts.iter().zip(&logits) {
            let expected = 40_000.0 * logit.exp() / total;
            assert!((*count as f32 - expected).abs() < 5.0 * expected.sqrt() + 1.0, "{count} for {expected}");
        }
    }

    #[test]
    fn impossible_rows_are_errors() {
        let mut weights = Vec::new();
        assert_eq!(draw(Isa::detect(), &[0.0, f32::NAN], 0.5, &mut weights), Err(DrawError::NotANumber));
        assert_eq!(draw(Isa::detect(), &[0.0, f32::INFINITY], 0.5, &mut weights), Err(DrawError::NotANumber));
        assert_eq!(draw(Isa::detect(), &[f32::NEG_INFINITY; 2], 0.5, &mut weights), Err(DrawError::NothingLeft));
        assert_eq!(arg_max(&[1.0, 2.0, 2.0]), Ok((1, 2.0)));
    }
}
