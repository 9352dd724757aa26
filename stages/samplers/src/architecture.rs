//! The architectures that a configuration can name, with their arguments under the reference's names.

use crate::SamplerError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A row statistic that a network sees; the first two are the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Largest log-probability.
    MaxLogProb,
    /// Entropy in nats.
    Entropy,
}

fn default_statistics() -> Vec<Statistic> {
    vec![Statistic::MaxLogProb, Statistic::Entropy]
}

/// Changes every log-probability by a function of itself alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalProbabilityTransform {
    /// Hidden units; two thirds of them exist in a SwiGLU network.
    pub hidden_dims: usize,
}

/// Changes every log-probability by a function of itself and of statistics of the row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimpleDistributionAwareTransform {
    /// Hidden units.
    pub hidden_dims: usize,
    /// Whether the truncation depends on the statistics.
    pub use_dynamic_truncation: bool,
    /// The statistics that the network sees.
    #[serde(default = "default_statistics")]
    pub statistics: Vec<Statistic>,
}

/// Linear attention over the vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplingNetwork {
    /// Features per token; `n_heads` divides them.
    pub d_model: usize,
    /// Hidden units of a block's feed-forward network; two thirds of them exist.
    pub d_ff: usize,
    /// Blocks of attention and feed-forward network.
    #[serde(alias = "num_blocks")]
    pub n_blocks: usize,
    /// Heads of the attention.
    #[serde(alias = "num_heads")]
    pub n_heads: usize,
    /// Whether the network also learns a factor for all log-probabilities of the row.
    pub scale: bool,
}

/// Changes every log-probability by a function of its rank, the mass before it, its surprise and how typical it is, with a gate
/// as sharp as it learns. Not of the reference: this project's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RankedTransform {
    /// Hidden units.
    pub hidden_dims: usize,
}

/// An architecture and its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "architecture", content = "arguments")]
pub enum Architecture {
    LocalProbabilityTransform(LocalProbabilityTransform),
    SimpleDistributionAwareTransform(SimpleDistributionAwareTransform),
    SamplingNetwork(SamplingNetwork),
    RankedTransform(RankedTransform),
}

impl Default for Architecture {
    /// The reference's `SamplingNetwork` of 32 features and 4 blocks.
    fn default() -> Self {
        Self::SamplingNetwork(SamplingNetwork { d_model: 32, d_ff: 64, n_blocks: 4, n_heads: 4, scale: true })
    }
}

impl Architecture {
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::LocalProbabilityTransform(_) => "LocalProbabilityTransform",
            Self::SimpleDistributionAwareTransform(_) => "SimpleDistributionAwareTransform",
            Self::SamplingNetwork(_) => "SamplingNetwork",
            Self::RankedTransform(_) => "RankedTransform",
        }
    }

    /// # Errors
    /// A size is too small for a layer to have any unit, or `n_heads` does not divide `d_model`.
    pub fn check(&self) -> Result<(), SamplerError> {
        let at_least = |argument: &str, value: usize, least: usize| {
            if value >= least {
                Ok(())
            } else {
                Err(SamplerError::Architecture(format!(
                    "{}: `{argument}` is {value}, expected at least {least}",
                    self.name()
                )))
            }
        };
        match self {
            Self::LocalProbabilityTransform(config) => at_least("hidden_dims", config.hidden_dims, 2),
            Self::SimpleDistributionAwareTransform(config) => {
                at_least("hidden_dims", config.hidden_dims, 2)?;
                at_least("statistics (how many)", config.statistics.len(), 1)
            }
            Self::RankedTransform(config) => at_least("hidden_dims", config.hidden_dims, 1),
            Self::SamplingNetwork(config) => {
                at_least("d_model", config.d_model, 4)?;
                at_least("d_ff", config.d_ff, 2)?;
                at_least("n_heads", config.n_heads, 1)?;
                if config.d_model % config.n_heads != 0 {
                    return Err(SamplerError::Architecture(format!(
                        "SamplingNetwork: `d_model` {} is not divisible by `n_heads` {}",
                        config.d_model, config.n_heads
                    )));
                }
                Ok(())
            }
        }
    }
}
