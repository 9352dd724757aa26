//! The devices that compute the network's gradients.

use super::TrainParams;
use crate::device::Device;
use lsn_samplers::{Architecture, GradientDevice, Sampler};
use lsn_stage::{StageContext, StageResult};

/// Those of the task; none for the processor alone.
///
/// # Errors
/// A GPU cannot be used, or this program was built without `cuda`.
pub fn of(
    params: &TrainParams,
    sampler: &Sampler<f32>,
    ctx: &StageContext,
) -> StageResult<Vec<Box<dyn GradientDevice<f32>>>> {
    match (params.device, sampler.architecture()) {
        (Device::Cpu, _) => Ok(Vec::new()),
        (Device::Cuda, Architecture::RankedTransform(_)) => {
            ctx.note("RankedTransform has no CUDA kernels, its steps run on the processor".to_owned());
            Ok(Vec::new())
        }
        (Device::Cuda, _) => cuda(sampler, ctx),
    }
}

#[cfg(feature = "cuda")]
fn cuda(sampler: &Sampler<f32>, ctx: &StageContext) -> StageResult<Vec<Box<dyn GradientDevice<f32>>>> {
    use lsn_samplers::cuda::{self, CudaError, CudaSampler};
    use lsn_stage::{FailureClass, StageError};
    let failed = |error: CudaError| {
        let class = match error {
            CudaError::Driver(_) => FailureClass::Infrastructure,
            CudaError::Compile(_) | CudaError::Unsupported(_) | CudaError::Sampler(_) => FailureClass::User,
        };
        StageError::new(class, format!("`device: cuda`: {error}"))
    };
    let on = |ordinal| -> Result<Box<dyn GradientDevice<f32>>, CudaError> {
        Ok(Box::new(CudaSampler::new(&cuda::Device::new(ordinal)?, sampler)?))
    };
    crate::device::ordinals(ctx).into_iter().map(|ordinal| on(ordinal).map_err(failed)).collect()
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: &Sampler<f32>, _: &StageContext) -> StageResult<Vec<Box<dyn GradientDevice<f32>>>> {
    Err(crate::device::without_cuda())
}
