//! The same network on candle tensors: for accelerators, and as a second opinion on the CPU path.

mod decode;
mod load;
mod network;

pub(crate) use decode::TensorDecoder;
pub use load::TensorModel;
