//! Greedy decoding as a processor.

use crate::{
    ConfigError, History, Params, Processor, RowError, Scratch, distribution::checked_max, params::ParamReader,
};

/// Keeps the arg-max only; of equal logits, the one with the lowest token id.
#[derive(Debug, Clone, PartialEq)]
pub struct Greedy;

impl Greedy {
    pub(crate) const NAME: &'static str = "greedy";

    /// # Errors
    /// There are parameters.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        ParamReader::new(Self::NAME, params).finish()?;
        Ok(Self)
    }
}

impl Processor for Greedy {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn params(&self) -> Params {
        Params::new()
    }

    fn process(&self, logits: &mut [f32], _: History<'_>, _: &mut Scratch) -> Result<(), RowError> {
        let max = checked_max(logits)?;
        let mut found = false;
        for logit in logits.iter_mut() {
            if *logit == max && !found {
                found = true;
            } else {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }
}
