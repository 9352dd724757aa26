//! What can go wrong on the device.

use crate::SamplerError;
use cudarc::{driver::DriverError, nvrtc::CompileError};

/// A failure of the device, or of what is computed there.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    #[error("cuda: {0}; check that `nvidia-smi` lists the device and that its memory suffices")]
    Driver(#[from] DriverError),
    #[error("cuda: the kernels do not compile for this device: {0}")]
    Compile(#[from] CompileError),
    #[error("{0} cannot run on CUDA; use the processor")]
    Unsupported(String),
    #[error(transparent)]
    Sampler(#[from] SamplerError),
}

impl From<CudaError> for SamplerError {
    fn from(error: CudaError) -> Self {
        match error {
            CudaError::Sampler(error) => error,
            other => Self::Device(other.to_string()),
        }
    }
}
