//! The networks on a CUDA device, in f32: forward pass, loss and gradients by our own kernels.
//!
//! Rows are grouped on the device: logits that all fit in bf16, as those of a bf16 model do, share a column where they are
//! equal; any other row has a column a token. Either is exact. Kernels are compiled at run time for one network and one device.
//! The results are those of the processor up to rounding, and the same on every run: sums are always taken in the same order.

mod backward;
mod columns;
mod device;
mod error;
mod kernels;
mod network;
mod sampler;
mod shape;
mod tiles;

pub use columns::DeviceLogits;
pub use device::Device;
pub use error::CudaError;
pub use sampler::CudaSampler;
