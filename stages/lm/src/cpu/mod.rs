//! The lean CPU path: packed weights, own kernels, caches that share prefixes. Rows are independent of each other to the bit.

mod cache;
mod decode;
mod forward;
mod load;
mod replay;

pub use cache::{KvCache, Prefix};
pub(crate) use decode::CpuDecoder;
pub use forward::{Segment, Workspace};
pub use load::CpuModel;
pub use replay::Forward;
