//! Locally typical sampling.

use crate::{
    ConfigError, History, Params, Processor, RowError, Scratch,
    distribution::Distribution,
    params::{ParamReader, canonical},
    scratch::{distance_key, visit_ascending},
};
use std::ops::Bound::Excluded;

/// Locally typical sampling (Meister et al. 2022): orders tokens by `d = |−ln p − H|` and keeps `d ≤ d[n]`, where `n` tokens have
/// a running mass below `mass`: the crossing token and all tied with it stay, and so do the `min_tokens_to_keep` smallest `d`.
#[derive(Debug, Clone, PartialEq)]
pub struct Typical {
    mass: f64,
    min_tokens_to_keep: usize,
}

impl Typical {
    pub(crate) const NAME: &'static str = "typical";

    /// # Errors
    /// `mass` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let mut reader = ParamReader::new(Self::NAME, params);
        let new = Self {
            mass: reader.number("mass", (Excluded(0.0), Excluded(1.0)), "a number above 0 and below 1")?,
            min_tokens_to_keep: reader.min_tokens_to_keep()?,
        };
        reader.finish()?;
        Ok(new)
    }
}

impl Processor for Typical {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn params(&self) -> Params {
        canonical("mass", self.mass, self.min_tokens_to_keep)
    }

    fn process(&self, logits: &mut [f32], _: History<'_>, scratch: &mut Scratch) -> Result<(), RowError> {
        let distribution = Distribution::of(logits)?;
        let entropy = distribution.entropy(logits);
        let surprise_at_max = distribution.sum.ln();
        // In f32, so that equal logits have equal distances whatever the rounding.
        let distance = |logit: f32| {
            let surprise = surprise_at_max - f64::from(logit - distribution.max);
            (surprise - entropy).abs() as f32
        };
        scratch.keys.clear();
        scratch.keys.extend(
            logits
                .iter()
                .enumerate()
                .filter(|(_, logit)| logit.is_finite())
                .map(|(token, &logit)| distance_key(distance(logit), token)),
        );
        let (mut mass, mut kept, mut last_key) = (0.0, 0, 0);
        let mut crossing = None;
        visit_ascending(&mut scratch.keys, |key| {
            let token = (key & 0xffff_ffff) as usize;
            last_key = key;
            kept += 1;
            if crossing.is_none() {
                mass += distribution.probability(logits[token]);
                if mass >= self.mass {
                    crossing = Some(distance(logits[token]));
                }
            }
            crossing.is_none() || kept < self.min_tokens_to_keep
        });
        let widest = crossing.unwrap_or(f32::INFINITY);
        for (token, logit) in logits.iter_mut().enumerate() {
            let distance = distance(*logit);
            if distance > widest && distance_key(distance, token) > last_key {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }
}
