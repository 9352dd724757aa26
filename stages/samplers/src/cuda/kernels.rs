//! The compiled kernels of one network.

use super::{
    CudaError,
    device::{Argument, Device, Kernel, Program},
    shape::{Body, Shape},
};

/// Threads of the kernels that go over tokens, bins or parameters, and of those that reduce a whole row.
pub(super) const FLAT: usize = 256;
pub(super) const WIDE: usize = 1024;

macro_rules! kernels {
    ($($(#[$doc:meta])* $name:ident $(if $body:pat)?),* $(,)?) => {
        /// All kernels; those of other networks are absent.
        #[derive(Debug)]
        pub(super) struct Kernels {
            $(pub $name: Option<Kernel>,)*
        }

        impl Kernels {
            fn load(program: &Program, body: &Body) -> Result<Self, CudaError> {
                Ok(Self {
                    $($name: {
                        let wanted = true $(&& matches!(body, $body))?;
                        wanted.then(|| program.kernel(stringify!($name))).transpose()?
                    },)*
                })
            }
        }
    };
}

kernels! {
    begin_rows, count_bins, number_columns, fill_columns, scatter_columns, target_sums, target_columns, row_loss,
    sum_blocks, head, head_backward, multiply_tiles, add_tiles, pack,
    row_head if Body::Local { .. } | Body::Aware { .. },
    row_head_backward if Body::Local { .. } | Body::Aware { .. },
    row_statistics if Body::Aware { .. },
    local_features if Body::Aware { .. },
    local_features_backward if Body::Aware { .. },
    encode if Body::Attention { .. },
    encode_backward if Body::Attention { .. },
    finish_block if Body::Attention { .. },
    finish_block_backward if Body::Attention { .. },
    gather_context_backward if Body::Attention { .. },
    row_mean_head if Body::Attention { .. },
    row_mean_head_backward if Body::Attention { .. },
}

impl Kernels {
    /// Compiles the kernels for one network on one device: a second or two.
    pub fn compile(device: &Device, shape: &Shape) -> Result<Self, CudaError> {
        let source = [
            shape.prelude.as_str(),
            include_str!("kernels/common.cuh"),
            include_str!("kernels/columns.cu"),
            include_str!("kernels/head.cu"),
            include_str!("kernels/pointwise.cu"),
            include_str!("kernels/attention.cu"),
            include_str!("kernels/attention_row.cu"),
            include_str!("kernels/attention_backward.cu"),
            include_str!("kernels/gradients.cu"),
        ];
        Self::load(&device.compile(&source.concat())?, &shape.body)
    }
}

/// Queues one of a network's kernels.
pub(super) fn launch(
    device: &Device,
    kernel: Option<&Kernel>,
    grid: (usize, usize),
    threads: usize,
    arguments: &[Argument],
) -> Result<(), CudaError> {
    // A network only asks for its own kernels.
    let kernel = kernel.ok_or_else(|| CudaError::Unsupported("a kernel of another network".to_owned()))?;
    device.launch(kernel, grid, threads, arguments)
}

/// Arguments of a kernel: buffers by address, sizes as `int`, anything else as it is.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => { &[$($crate::cuda::kernels::AsArgument::argument(&$value)),*] };
}
pub(super) use arguments;

/// What a kernel can be called with.
pub(super) trait AsArgument {
    fn argument(&self) -> Argument;
}

impl<T> AsArgument for &super::device::Buffer<T> {
    fn argument(&self) -> Argument {
        Argument::Pointer(self.pointer())
    }
}

impl AsArgument for u64 {
    fn argument(&self) -> Argument {
        Argument::Pointer(*self)
    }
}

impl AsArgument for usize {
    fn argument(&self) -> Argument {
        Argument::Int(*self as i32)
    }
}

impl AsArgument for f32 {
    fn argument(&self) -> Argument {
        Argument::Float(*self)
    }
}
