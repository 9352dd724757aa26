//! P-less sampling: a threshold from the collision probability.

use crate::{ConfigError, Context, Params, Processor, Row, RowError, info::ProcessorInfo, row::Cut};

/// Removes `p < threshold(Σp²)`; the most probable always stay.
fn keep_by_collision(row: &mut Row<'_>, threshold: impl Fn(f64) -> f64) -> Result<(), RowError> {
    let distribution = row.distribution()?;
    let collision = row.squared_sum()? / (distribution.sum * distribution.sum);
    let threshold = threshold(collision);
    if threshold > 0.0 { row.keep(Cut::from_floor(distribution.floor_at(threshold))) } else { Ok(()) }
}

/// P-less (arXiv 2509.23234): removes `p < Σp²`.
#[derive(Debug, Clone, PartialEq)]
pub struct PLess;

impl PLess {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "p_less",
        about: "keeps tokens at least as probable as the chance that two draws agree",
        source: "arXiv 2509.23234 (formula)",
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

impl Processor for PLess {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Params::new()
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        keep_by_collision(row, |collision| collision)
    }
}

/// P-less-norm (arXiv 2509.23234): removes `p < (V·Σp² − 1) / (V − 1)`. V is the whole vocabulary, whatever was removed
/// before.
#[derive(Debug, Clone, PartialEq)]
pub struct PLessNorm;

impl PLessNorm {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "p_less_norm",
        about: "as p_less, with a threshold that is 0 for a flat distribution over the whole vocabulary",
        source: "arXiv 2509.23234 (formula)",
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

impl Processor for PLessNorm {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Params::new()
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let vocabulary = row.vocabulary() as f64;
        // One token: 0 / 0, which removes nothing.
        keep_by_collision(row, |collision| (vocabulary * collision - 1.0) / (vocabulary - 1.0))
    }
}
