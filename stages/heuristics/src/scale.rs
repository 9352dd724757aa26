//! Processors that move all logits and remove none.

use crate::{
    ConfigError, History, Params, Processor, RowError, Scratch,
    distribution::{Distribution, checked_max},
    params::{ParamReader, canonical},
};
use std::ops::Bound::{Excluded, Unbounded};

/// Temperature: `z / T`.
#[derive(Debug, Clone, PartialEq)]
pub struct Temperature {
    temperature: f64,
}

impl Temperature {
    pub(crate) const NAME: &'static str = "temperature";

    /// # Errors
    /// `temperature` is missing or not above 0.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let mut reader = ParamReader::new(Self::NAME, params);
        let temperature = reader.number("temperature", (Excluded(0.0), Unbounded), "a number above 0")?;
        reader.finish()?;
        Ok(Self { temperature })
    }
}

impl Processor for Temperature {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn params(&self) -> Params {
        canonical("temperature", self.temperature, 1)
    }

    fn process(&self, logits: &mut [f32], _: History<'_>, _: &mut Scratch) -> Result<(), RowError> {
        checked_max(logits)?;
        let temperature = self.temperature as f32;
        logits.iter_mut().for_each(|logit| *logit /= temperature);
        Ok(())
    }
}

/// Log-softmax: logits become log-probabilities (`renormalize_logits` of transformers).
#[derive(Debug, Clone, PartialEq)]
pub struct LogSoftmax;

impl LogSoftmax {
    pub(crate) const NAME: &'static str = "log_softmax";

    /// # Errors
    /// There are parameters.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        ParamReader::new(Self::NAME, params).finish()?;
        Ok(Self)
    }
}

impl Processor for LogSoftmax {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn params(&self) -> Params {
        Params::new()
    }

    fn process(&self, logits: &mut [f32], _: History<'_>, _: &mut Scratch) -> Result<(), RowError> {
        let distribution = Distribution::of(logits)?;
        logits.iter_mut().for_each(|logit| *logit = distribution.log_probability(*logit) as f32);
        Ok(())
    }
}
