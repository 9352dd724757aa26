//! Truncation by rank: how many tokens, or how much mass, from the most probable on.

use crate::{
    ConfigError, History, Params, Processor, RowError, Scratch,
    distribution::{Distribution, checked_max},
    params::{ParamReader, canonical},
    scratch::{descending_key, kth_largest, visit_ascending},
};
use std::ops::Bound::Included;

/// Top-k (Fan et al. 2018): keeps `z ≥` the k-th largest `z`, so every tie of the k-th stays.
#[derive(Debug, Clone, PartialEq)]
pub struct TopK {
    top_k: usize,
    min_tokens_to_keep: usize,
}

impl TopK {
    pub(crate) const NAME: &'static str = "top_k";

    /// # Errors
    /// `top_k` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let mut reader = ParamReader::new(Self::NAME, params);
        let new = Self { top_k: reader.count("top_k")?, min_tokens_to_keep: reader.min_tokens_to_keep()? };
        reader.finish()?;
        Ok(new)
    }
}

impl Processor for TopK {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn params(&self) -> Params {
        canonical("top_k", self.top_k, self.min_tokens_to_keep)
    }

    fn process(&self, logits: &mut [f32], _: History<'_>, scratch: &mut Scratch) -> Result<(), RowError> {
        checked_max(logits)?;
        let k = self.top_k.max(self.min_tokens_to_keep);
        if k >= logits.len() {
            return Ok(());
        }
        let floor = kth_largest(logits, k, &mut scratch.values);
        logits.iter_mut().filter(|logit| **logit < floor).for_each(|logit| *logit = f32::NEG_INFINITY);
        Ok(())
    }
}

/// Nucleus sampling, top-p (Holtzman et al. 2019): from the most probable token down, keeps a token while the mass before it
/// is below `top_p`. Of equal logits the higher token ids come first.
#[derive(Debug, Clone, PartialEq)]
pub struct TopP {
    top_p: f64,
    min_tokens_to_keep: usize,
}

impl TopP {
    pub(crate) const NAME: &'static str = "top_p";

    /// # Errors
    /// `top_p` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let mut reader = ParamReader::new(Self::NAME, params);
        let new = Self {
            top_p: reader.number("top_p", (Included(0.0), Included(1.0)), "a number from 0 to 1")?,
            min_tokens_to_keep: reader.min_tokens_to_keep()?,
        };
        reader.finish()?;
        Ok(new)
    }
}

impl Processor for TopP {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn params(&self) -> Params {
        canonical("top_p", self.top_p, self.min_tokens_to_keep)
    }

    fn process(&self, logits: &mut [f32], _: History<'_>, scratch: &mut Scratch) -> Result<(), RowError> {
        let distribution = Distribution::of(logits)?;
        if self.top_p >= 1.0 {
            return Ok(());
        }
        scratch.keys.clear();
        scratch.keys.extend(
            logits
                .iter()
                .enumerate()
                .filter(|(_, logit)| logit.is_finite())
                .map(|(token, &logit)| descending_key(logit, token)),
        );
        let (mut before, mut kept, mut last) = (0.0, 0, 0);
        visit_ascending(&mut scratch.keys, |key| {
            if kept >= self.min_tokens_to_keep && before >= self.top_p {
                return false;
            }
            let token = (!key & 0xffff_ffff) as usize;
            before += distribution.probability(logits[token]);
            kept += 1;
            last = token;
            true
        });
        let floor = logits[last];
        for (token, logit) in logits.iter_mut().enumerate() {
            if *logit < floor || (*logit == floor && token < last) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }
}
