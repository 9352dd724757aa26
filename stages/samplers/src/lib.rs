//! Sampler networks: forward, loss, optimiser, checkpoints.
//!
//! A sampler network maps the raw logits of a frozen language model to the logits from which the next token is drawn. It is
//! permutation-equivariant: it knows the shape of a distribution and nothing about particular tokens. All networks are
//! evaluated on the distinct logits of a row with multiplicities as weights ([`LogitSet`]), which is exact and, where logits
//! repeat, much cheaper; backward passes are written out by hand. `f32` is for work, `f64` for checking.
//!
//! ```
//! use lsn_samplers::{Architecture, LocalProbabilityTransform, Sampler};
//!
//! let architecture = Architecture::LocalProbabilityTransform(LocalProbabilityTransform { hidden_dims: 16 });
//! let sampler = Sampler::<f32>::new(architecture, 7)?;
//! let mut logits = vec![1.0, 0.0, 1.0, f32::NEG_INFINITY];
//! sampler.apply_rows(&mut logits, 4)?;
//! assert_eq!(logits[0], logits[2]);
//! assert_eq!(logits[3], f32::NEG_INFINITY);
//! # Ok::<(), lsn_samplers::SamplerError>(())
//! ```

mod adamw;
mod architecture;
mod attention;
mod attention_block;
mod buffer;
mod checkpoint;
mod clauses;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
#[cfg(any(test, feature = "cuda"))]
mod example_columns;
mod gate;
mod gradient_device;
mod grouping;
mod interpolation;
mod kernels;
mod layout;
mod linear;
mod loss;
mod microkernel;
mod norm;
mod optimizer;
mod packed;
mod pointwise;
mod precision;
mod ranked;
mod ranked_features;
mod real;
mod row;
mod sampler;
mod schedule;
mod soap;
mod swiglu;
mod trainer;

pub use adamw::{AdamW, AdamWConfig};
pub use architecture::{
    Architecture, LocalProbabilityTransform, RankedTransform, SamplingNetwork, SimpleDistributionAwareTransform,
    Statistic,
};
pub use checkpoint::{CONFIG_FILE, Checkpoint, REFERENCE_FILE, WEIGHTS_FILE};
pub use error::{PackedError, RowError, SamplerError};
pub use gradient_device::{GradientDevice, Processor};
pub use grouping::Grouping;
pub use interpolation::TOLERANCE as INTERPOLATION_TOLERANCE;
pub use layout::{Init, Layout, Tensor};
pub use loss::{RowLoss, Target, loss_and_gradient};
pub use optimizer::OptimizerKind;
pub use packed::Packer;
pub use precision::Precision;
pub use real::Real;
pub use row::LogitSet;
pub use sampler::{Sampler, Workspace};
pub use schedule::{Schedule, ScheduleKind};
pub use trainer::{Example, StepMetrics, Trainer, TrainerConfig};
