//! A network on a device, and its forward pass over columns.

use super::{
    CudaError,
    backward::Gradients,
    columns::{Columns, reserve},
    device::{Buffer, Device},
    kernels::{FLAT, Kernels, WIDE, arguments, launch},
    shape::{Block, Body, Shape},
};
use crate::Sampler;

/// Floats of a row's state.
const STATE: usize = 6;
/// Threads of the kernels that work on what a row has once.
pub(super) const ROW_THREADS: usize = 64;
/// Threads of a block of the kernels of attention.
pub(super) const TEAM: usize = 256;
/// Columns of `sum_blocks`' output that one of its blocks gives.
const SUM_WIDTH: usize = 32;

/// Activations over columns, feature-major. Buffers only grow.
#[derive(Debug)]
pub(super) struct Activations {
    /// Input of each block of the network, then the last one's output; without a backward pass, two that take turns.
    pub(super) x: Vec<Buffer<f32>>,
    pub(super) contexts: Vec<Buffer<f32>>,
    pub(super) partial: Buffer<f32>,
    pub(super) row_sums: Buffer<f32>,
    /// Context values of each row as the head sees them, `[context, rows]`.
    pub(super) means: Buffer<f32>,
    pub(super) row_state: Buffer<f32>,
    pub(super) context_bias: Buffer<f32>,
    pub(super) predicted: Buffer<f32>,
}

/// A network on a device.
#[derive(Debug)]
pub(super) struct Network {
    pub device: Device,
    pub shape: Shape,
    pub kernels: Kernels,
    /// As [`Sampler::parameters`].
    pub parameters: Buffer<f32>,
    pub(super) packed: Buffer<f32>,
    map: Buffer<i32>,
    pub(super) activations: Activations,
    pub(super) gradients: Option<Gradients>,
}

impl Network {
    pub fn new(device: &Device, sampler: &Sampler<f32>) -> Result<Self, CudaError> {
        let shape = Shape::new(sampler)?;
        let zeros = || device.zeros(0);
        let activations = Activations {
            x: Vec::new(),
            contexts: Vec::new(),
            partial: zeros()?,
            row_sums: zeros()?,
            means: zeros()?,
            row_state: zeros()?,
            context_bias: zeros()?,
            predicted: zeros()?,
        };
        let network = Self {
            kernels: Kernels::compile(device, &shape)?,
            parameters: device.upload(sampler.parameters())?,
            packed: device.zeros(shape.packing.len())?,
            map: device.upload(&shape.packing)?,
            activations,
            gradients: None,
            device: device.clone(),
            shape,
        };
        network.pack()?;
        Ok(network)
    }

    /// Brings the kernels' copy of the parameters up to date.
    pub fn pack(&self) -> Result<(), CudaError> {
        let length = self.shape.packing.len();
        let arguments = arguments![&self.parameters, &self.map, length, &self.packed];
        launch(&self.device, self.kernels.pack.as_ref(), (length.div_ceil(FLAT), 1), FLAT, arguments)
    }

    fn blocks(&self) -> &[Block] {
        match &self.shape.body {
            Body::Attention { blocks, .. } => blocks,
            _ => &[],
        }
    }

    /// Sums what each block of `of` columns left in `partial` over each row, `width` values.
    pub(super) fn sum_blocks(
        &self,
        columns: &Columns,
        of: usize,
        width: usize,
        out: &Buffer<f32>,
    ) -> Result<(), CudaError> {
        let blocks = columns.stride / of;
        let arguments = arguments![&self.activations.partial, blocks, width, out];
        let grid = (width.div_ceil(SUM_WIDTH), columns.rows);
        launch(&self.device, self.kernels.sum_blocks.as_ref(), grid, FLAT, arguments)
    }

    fn reserve(&mut self, columns: &Columns, keep: bool) -> Result<(), CudaError> {
        let device = &self.device;
        let (n, rows, d) = (columns.len(), columns.rows, self.shape.features);
        let blocks = match &self.shape.body {
            Body::Attention { blocks, .. } => blocks.len(),
            _ => 0,
        };
        let (values, row_sums) = (self.shape.context_values(), self.shape.row_sums());
        let activations = &mut self.activations;
        let inputs = if keep { blocks + 1 } else { (blocks + 1).min(2) };
        while activations.x.len() < inputs {
            activations.x.push(device.zeros(0)?);
        }
        while activations.contexts.len() < blocks {
            activations.contexts.push(device.zeros(0)?);
        }
        for x in &mut activations.x[..inputs] {
            reserve(device, x, d * n)?;
        }
        for context in &mut activations.contexts {
            reserve(device, context, rows * values)?;
        }
        let width = values.max(d).max(row_sums);
        let blocks = n / self.shape.threads.min(self.shape.width);
        reserve(device, &mut activations.partial, blocks * width)?;
        reserve(device, &mut activations.row_sums, rows * row_sums.max(d))?;
        reserve(device, &mut activations.means, rows * self.shape.context)?;
        reserve(device, &mut activations.row_state, rows * STATE)?;
        reserve(device, &mut activations.context_bias, rows * 2 * self.shape.head.hidden)?;
        reserve(device, &mut activations.predicted, n)
    }

    /// Which buffer holds the input of block `index`.
    fn input(&self, index: usize, keep: bool) -> usize {
        if keep { index } else { index % 2 }
    }

    /// Computes the new logits of all columns; `keep` where a backward pass follows.
    pub fn forward(&mut self, columns: &Columns, keep: bool) -> Result<(), CudaError> {
        self.reserve(columns, keep)?;
        let (device, kernels, shape) = (&self.device, &self.kernels, &self.shape);
        let (n, stride, rows) = (columns.len(), columns.stride, columns.rows);
        let (grid, team) = ((n / shape.threads, 1), (n / shape.width, 1));
        let state = &self.activations;
        match &shape.body {
            Body::Local { .. } => {}
            Body::Aware { .. } => {
                let arguments = arguments![&columns.ell, &columns.count, stride, rows, &state.means];
                launch(device, kernels.row_statistics.as_ref(), (rows, 1), WIDE, arguments)?;
                let arguments = arguments![&self.parameters, &columns.ell, n, &state.x[0]];
                launch(device, kernels.local_features.as_ref(), grid, shape.threads, arguments)?;
            }
            Body::Attention { blocks, .. } => {
                let arguments = arguments![&self.packed, &columns.ell, &columns.count, n, &state.x[0], &state.partial];
                launch(device, kernels.encode.as_ref(), team, TEAM, arguments)?;
                for index in 0..blocks.len() {
                    self.sum_blocks(columns, shape.width, shape.context_values(), &state.contexts[index])?;
                    let (from, to) = (self.input(index, keep), self.input(index + 1, keep));
                    let arguments = arguments![
                        &self.packed,
                        index,
                        &state.x[from],
                        &state.contexts[index],
                        &columns.count,
                        n,
                        stride,
                        &state.x[to],
                        &state.partial,
                    ];
                    launch(device, kernels.finish_block.as_ref(), team, TEAM, arguments)?;
                }
                self.sum_blocks(columns, shape.width, shape.features, &state.row_sums)?;
            }
        }
        let (row_state, bias) = (&state.row_state, &state.context_bias);
        if let Body::Attention { .. } = &shape.body {
            let arguments =
                arguments![&self.parameters, &state.row_sums, &columns.total, rows, &state.means, row_state, bias];
            launch(device, kernels.row_mean_head.as_ref(), (rows, 1), ROW_THREADS, arguments)?;
        } else {
            let arguments = arguments![&self.parameters, &state.means, rows, row_state, bias];
            launch(device, kernels.row_head.as_ref(), (rows, 1), ROW_THREADS, arguments)?;
        }
        let features = self.features(columns, keep);
        let arguments = arguments![&self.packed, features, &columns.ell, row_state, bias, n, stride, &state.predicted];
        launch(device, kernels.head.as_ref(), grid, shape.threads, arguments)
    }

    /// What the head sees of each column.
    pub(super) fn features<'a>(&'a self, columns: &'a Columns, keep: bool) -> &'a Buffer<f32> {
        match &self.shape.body {
            Body::Local { .. } => &columns.ell,
            _ => &self.activations.x[self.input(self.blocks().len(), keep)],
        }
    }

    /// New logits of the last forward pass.
    pub fn predicted(&self) -> &Buffer<f32> {
        &self.activations.predicted
    }
}
