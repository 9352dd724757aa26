//! Greedy decoding as a processor.

use crate::{ConfigError, Context, Params, Processor, Row, RowError, info::ProcessorInfo};

/// Keeps the arg-max only; of equal logits, the one with the lowest token id.
#[derive(Debug, Clone, PartialEq)]
pub struct Greedy;

impl Greedy {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "greedy",
        about: "keeps the most probable token only",
        source: "transformers; of equal logits the lowest token id, as in llama.cpp",
        stateful: false,
        needs: &[],
        params: &[],
    };

    /// # Errors
    /// There are parameters.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        Self::INFO.read(params)?;
        Ok(Self)
    }
}

impl Processor for Greedy {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Params::new()
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        row.keep_first_max()
    }
}
