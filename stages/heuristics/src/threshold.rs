//! Truncation by a probability threshold: `p < t` is removed, so equality and equal logits stay together.

use crate::{
    ConfigError, History, Params, Processor, RowError, Scratch,
    distribution::Distribution,
    params::{ParamReader, canonical},
    scratch::{descending_key, kth_largest, visit_ascending},
};
use std::ops::Bound::{Excluded, Included};

/// Min-p (Nguyen et al. 2024): removes `p < min_p · max p`; the `min_tokens_to_keep` most probable stay.
#[derive(Debug, Clone, PartialEq)]
pub struct MinP {
    min_p: f64,
    min_tokens_to_keep: usize,
}

impl MinP {
    pub(crate) const NAME: &'static str = "min_p";

    /// # Errors
    /// `min_p` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let mut reader = ParamReader::new(Self::NAME, params);
        let new = Self {
            min_p: reader.number("min_p", (Included(0.0), Included(1.0)), "a number from 0 to 1")?,
            min_tokens_to_keep: reader.min_tokens_to_keep()?,
        };
        reader.finish()?;
        Ok(new)
    }
}

impl Processor for MinP {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn params(&self) -> Params {
        canonical("min_p", self.min_p, self.min_tokens_to_keep)
    }

    fn process(&self, logits: &mut [f32], _: History<'_>, scratch: &mut Scratch) -> Result<(), RowError> {
        let distribution = Distribution::of(logits)?;
        let threshold = self.min_p * distribution.probability(distribution.max);
        // The most probable tokens that must stay: all whose key is at most that of the m-th.
        let mut last_key = 0;
        if self.min_tokens_to_keep > 1 {
            scratch.keys.clear();
            scratch.keys.extend(logits.iter().enumerate().map(|(token, &logit)| descending_key(logit, token)));
            let mut seen = 0;
            visit_ascending(&mut scratch.keys, |key| {
                seen += 1;
                last_key = key;
                seen < self.min_tokens_to_keep
            });
        }
        for (token, logit) in logits.iter_mut().enumerate() {
            if distribution.probability(*logit) < threshold && descending_key(*logit, token) > last_key {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }
}

/// Removes `p < threshold`, except logits as large as the `min_tokens_to_keep`-th largest.
fn cut(logits: &mut [f32], distribution: Distribution, threshold: f64, min_tokens: usize, scratch: &mut Scratch) {
    let spared = if min_tokens == 1 {
        distribution.max
    } else {
        kth_largest(logits, min_tokens.min(logits.len()), &mut scratch.values)
    };
    for logit in logits.iter_mut() {
        if *logit < spared && distribution.probability(*logit) < threshold {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Epsilon sampling (Hewitt et al. 2022): removes `p < ε`.
#[derive(Debug, Clone, PartialEq)]
pub struct Epsilon {
    epsilon: f64,
    min_tokens_to_keep: usize,
}

impl Epsilon {
    pub(crate) const NAME: &'static str = "epsilon";

    /// # Errors
    /// `epsilon` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let mut reader = ParamReader::new(Self::NAME, params);
        let new = Self {
            epsilon: reader.number("epsilon", (Excluded(0.0), Excluded(1.0)), "a number above 0 and below 1")?,
            min_tokens_to_keep: reader.min_tokens_to_keep()?,
        };
        reader.finish()?;
        Ok(new)
    }
}

impl Processor for Epsilon {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn params(&self) -> Params {
        canonical("epsilon", self.epsilon, self.min_tokens_to_keep)
    }

    fn process(&self, logits: &mut [f32], _: History<'_>, scratch: &mut Scratch) -> Result<(), RowError> {
        let distribution = Distribution::of(logits)?;
        cut(logits, distribution, self.epsilon, self.min_tokens_to_keep, scratch);
        Ok(())
    }
}

/// Eta sampling (Hewitt et al. 2022): removes `p < min(ε, √ε · e^(−H))`. The parameter is called `epsilon`, as in transformers.
#[derive(Debug, Clone, PartialEq)]
pub struct Eta {
    epsilon: f64,
    min_tokens_to_keep: usize,
}

impl Eta {
    pub(crate) const NAME: &'static str = "eta";

    /// # Errors
    /// `epsilon` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let mut reader = ParamReader::new(Self::NAME, params);
        let new = Self {
            epsilon: reader.number("epsilon", (Excluded(0.0), Excluded(1.0)), "a number above 0 and below 1")?,
            min_tokens_to_keep: reader.min_tokens_to_keep()?,
        };
        reader.finish()?;
        Ok(new)
    }
}

impl Processor for Eta {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn params(&self) -> Params {
        canonical("epsilon", self.epsilon, self.min_tokens_to_keep)
    }

    fn process(&self, logits: &mut [f32], _: History<'_>, scratch: &mut Scratch) -> Result<(), RowError> {
        let distribution = Distribution::of(logits)?;
        let eta = self.epsilon.min(self.epsilon.sqrt() * (-distribution.entropy(logits)).exp());
        cut(logits, distribution, eta, self.min_tokens_to_keep, scratch);
        Ok(())
    }
}
