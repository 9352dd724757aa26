//! What computes a stage's models.

use lsn_lm::Compute;
use lsn_stage::{StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What computes the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The processor, in f32.
    #[default]
    Cpu,
    /// The task's first GPU, in bf16; needs a program built with the feature `cuda`.
    Cuda,
}

impl Device {
    /// Where a task's language model goes.
    ///
    /// # Errors
    /// This program was built without the feature that the device needs.
    pub(crate) fn compute(self, ctx: &StageContext) -> StageResult<Compute> {
        match self {
            Self::Cpu => Ok(Compute::Cpu),
            Self::Cuda if !cfg!(feature = "cuda") => Err(without_cuda()),
            Self::Cuda => Ok(Compute::Cuda(ordinals(ctx)[0])),
        }
    }
}

/// What a program without the feature `cuda` says to `device: cuda`.
pub(crate) fn without_cuda() -> StageError {
    StageError::user("`device: cuda` needs a program built with `--features cuda`; build it so, or set `device: cpu`")
}

/// The task's GPUs, of which there is at least one. Executors show a task its own only, and number them as the process sees them.
pub(crate) fn ordinals(ctx: &StageContext) -> Vec<usize> {
    if ctx.gpus().is_empty() { vec![0] } else { ctx.gpus().iter().map(|&ordinal| ordinal as usize).collect() }
}
