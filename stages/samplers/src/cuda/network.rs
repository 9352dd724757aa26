//! Forward and backward pass of a network over columns.

use super::{
    CudaError,
    columns::{Columns, reserve},
    device::{Buffer, Device},
    kernels::{FLAT, Kernels, WIDE, arguments, launch},
    shape::{Block, Body, Shape, SwiGlu},
    tiles::{Product, Tiles},
};
use crate::Sampler;

/// Floats of a row's state.
const STATE: usize = 6;
/// Threads of the kernels that work on what a row has once.
const ROW_THREADS: usize = 64;
/// Threads of a block of the kernels of attention.
const TEAM: usize = 256;
/// Columns of `sum_blocks`' output that one of its blocks gives.
const SUM_WIDTH: usize = 32;

/// Activations and gradients over columns, feature-major. Buffers only grow.
#[derive(Debug)]
struct Activations {
    /// Input of each block of the network, then the last one's output; without a backward pass, two that take turns.
    x: Vec<Buffer<f32>>,
    contexts: Vec<Buffer<f32>>,
    partial: Buffer<f32>,
    row_sums: Buffer<f32>,
    /// Context values of each row as the head sees them, `[context, rows]`.
    means: Buffer<f32>,
    row_state: Buffer<f32>,
    context_bias: Buffer<f32>,
    predicted: Buffer<f32>,
}

/// What only a backward pass has.
#[derive(Debug)]
struct Gradients {
    /// d x, and where the next one goes.
    dx: [Buffer<f32>; 2],
    dshifted: Buffer<f32>,
    dgate_up: Buffer<f32>,
    hidden: Buffer<f32>,
    /// Second norm, its input's gradient, and so on down the block: see `finish_block_backward`.
    normal2: Buffer<f32>,
    ddown: Buffer<f32>,
    middle: Buffer<f32>,
    dmiddle: Buffer<f32>,
    normal1: Buffer<f32>,
    dattention: Buffer<f32>,
    attended: Buffer<f32>,
    dqkv: Buffer<f32>,
    /// Per row, `[values, rows]`.
    row_dpre: Buffer<f32>,
    gate: RowSwiGlu,
    scaling: RowSwiGlu,
    mean_share: Buffer<f32>,
    tiles: Tiles,
}

/// What the parameter gradients of a SwiGLU of the row's mean need.
#[derive(Debug)]
struct RowSwiGlu {
    dpre: Buffer<f32>,
    hidden: Buffer<f32>,
    draw: Buffer<f32>,
}

/// A network on a device.
#[derive(Debug)]
pub(super) struct Network {
    pub device: Device,
    pub shape: Shape,
    pub kernels: Kernels,
    /// As [`Sampler::parameters`].
    pub parameters: Buffer<f32>,
    packed: Buffer<f32>,
    map: Buffer<i32>,
    activations: Activations,
    gradients: Option<Gradients>,
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
    fn sum_blocks(&self, columns: &Columns, of: usize, width: usize, out: &Buffer<f32>) -> Result<(), CudaError> {
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
    fn features<'a>(&'a self, columns: &'a Columns, keep: bool) -> &'a Buffer<f32> {
        match &self.shape.body {
            Body::Local { .. } => &columns.ell,
            _ => &self.activations.x[self.input(self.blocks().len(), keep)],
        }
    }

    /// New logits of the last forward pass.
    pub fn predicted(&self) -> &Buffer<f32> {
        &self.activations.predicted
    }

    fn reserve_gradients(&mut self, columns: &Columns) -> Result<(), CudaError> {
        let device = &self.device;
        let zeros = || device.zeros(0);
        let row_swiglu = || Ok::<_, CudaError>(RowSwiGlu { dpre: zeros()?, hidden: zeros()?, draw: zeros()? });
        let mut gradients = match self.gradients.take() {
            Some(gradients) => gradients,
            None => Gradients {
                dx: [zeros()?, zeros()?],
                dshifted: zeros()?,
                dgate_up: zeros()?,
                hidden: zeros()?,
                normal2: zeros()?,
                ddown: zeros()?,
                middle: zeros()?,
                dmiddle: zeros()?,
                normal1: zeros()?,
                dattention: zeros()?,
                attended: zeros()?,
                dqkv: zeros()?,
                row_dpre: zeros()?,
                gate: row_swiglu()?,
                scaling: row_swiglu()?,
                mean_share: zeros()?,
                tiles: Tiles::new(device)?,
            },
        };
        let (n, rows, d) = (columns.len(), columns.rows, self.shape.features);
        let mut hidden = self.shape.head.hidden;
        reserve(device, &mut gradients.dshifted, n)?;
        for dx in &mut gradients.dx {
            reserve(device, dx, d * n)?;
        }
        reserve(device, &mut gradients.row_dpre, 2 * hidden * rows)?;
        reserve(device, &mut gradients.gate.draw, 2 * rows)?;
        if let Body::Attention { encoder, blocks, gate, .. } = &self.shape.body {
            hidden = hidden.max(encoder.hidden).max(blocks.first().map_or(0, |block| block.ffn.hidden));
            let of_features = [
                &mut gradients.normal2,
                &mut gradients.ddown,
                &mut gradients.middle,
                &mut gradients.dmiddle,
                &mut gradients.normal1,
                &mut gradients.dattention,
                &mut gradients.attended,
            ];
            for buffer in of_features {
                reserve(device, buffer, d * n)?;
            }
            reserve(device, &mut gradients.dqkv, 3 * d * n)?;
            for swiglu in [&mut gradients.gate, &mut gradients.scaling] {
                reserve(device, &mut swiglu.dpre, 2 * gate.hidden * rows)?;
                reserve(device, &mut swiglu.hidden, gate.hidden * rows)?;
                reserve(device, &mut swiglu.draw, 2 * rows)?;
            }
            reserve(device, &mut gradients.mean_share, d * rows)?;
        }
        reserve(device, &mut gradients.dgate_up, 2 * hidden * n)?;
        reserve(device, &mut gradients.hidden, hidden * n)?;
        self.gradients = Some(gradients);
        Ok(())
    }

    /// After a forward pass with `keep`: adds parameter gradients to `into`, laid out as the parameters, from d predicted.
    pub fn backward(&mut self, columns: &Columns, gradient: &Buffer<f32>, into: &Buffer<f32>) -> Result<(), CudaError> {
        self.reserve_gradients(columns)?;
        let Some(mut gradients) = self.gradients.take() else { return Ok(()) };
        let outcome = self.backward_with(&mut gradients, columns, gradient, into);
        self.gradients = Some(gradients);
        outcome
    }

    fn backward_with(
        &self,
        gradients: &mut Gradients,
        columns: &Columns,
        gradient: &Buffer<f32>,
        into: &Buffer<f32>,
    ) -> Result<(), CudaError> {
        let (device, kernels, shape, state) = (&self.device, &self.kernels, &self.shape, &self.activations);
        let (n, stride, rows) = (columns.len(), columns.stride, columns.rows);
        let (grid, team) = ((n / shape.threads, 1), (n / shape.width, 1));
        let products = self.products(gradients, columns);
        gradients.tiles.prepare(device, n, &products)?;
        let [dx, other] = &gradients.dx;
        let (mut dx, mut next) = (dx, other);
        let features = self.features(columns, true);
        let arguments = arguments![
            &self.packed,
            features,
            &columns.ell,
            &state.row_state,
            &state.context_bias,
            gradient,
            n,
            stride,
            dx,
            &gradients.dgate_up,
            &gradients.hidden,
            &gradients.dshifted,
            &state.partial,
        ];
        launch(device, kernels.head_backward.as_ref(), grid, shape.threads, arguments)?;
        self.sum_blocks(columns, shape.threads, shape.row_sums(), &state.row_sums)?;
        if let Body::Attention { .. } = &shape.body {
            let (gate, scaling) = (&gradients.gate, &gradients.scaling);
            let arguments = arguments![
                &self.parameters,
                &state.row_state,
                &state.row_sums,
                &state.means,
                &columns.total,
                rows,
                &gradients.row_dpre,
                &gate.dpre,
                &gate.hidden,
                &gate.draw,
                &scaling.dpre,
                &scaling.hidden,
                &scaling.draw,
                &gradients.mean_share,
            ];
            launch(device, kernels.row_mean_head_backward.as_ref(), (rows, 1), ROW_THREADS, arguments)?;
        } else {
            let (draw, dpre) = (&gradients.gate.draw, &gradients.row_dpre);
            let arguments = arguments![&state.row_state, &state.row_sums, rows, draw, dpre];
            launch(device, kernels.row_head_backward.as_ref(), (rows, 1), ROW_THREADS, arguments)?;
        }
        if let Body::Aware { .. } = &shape.body {
            let arguments = arguments![&self.parameters, &columns.ell, n, dx];
            launch(device, kernels.local_features_backward.as_ref(), grid, shape.threads, arguments)?;
        }
        gradients.tiles.add(device, kernels, 0, into)?;
        let Body::Attention { blocks, .. } = &shape.body else { return Ok(()) };
        for (group, index) in (0..blocks.len()).rev().enumerate() {
            let mean_share = if group == 0 { gradients.mean_share.pointer() } else { 0 };
            let arguments = arguments![
                &self.packed,
                index,
                &state.x[index],
                &state.contexts[index],
                &columns.count,
                mean_share,
                n,
                stride,
                dx,
                &gradients.normal2,
                &gradients.ddown,
                &gradients.hidden,
                &gradients.dgate_up,
                &gradients.middle,
                &gradients.dmiddle,
                &gradients.normal1,
                &gradients.dattention,
                &gradients.attended,
                &gradients.dqkv,
                &state.partial,
            ];
            launch(device, kernels.finish_block_backward.as_ref(), team, TEAM, arguments)?;
            // The context itself is not needed any more; its gradient takes its place.
            self.sum_blocks(columns, shape.width, shape.context_values(), &state.contexts[index])?;
            let arguments = arguments![
                &self.packed,
                index,
                &state.x[index],
                &state.contexts[index],
                &columns.count,
                &gradients.dattention,
                n,
                stride,
                &gradients.dqkv,
                next,
            ];
            launch(device, kernels.gather_context_backward.as_ref(), team, TEAM, arguments)?;
            gradients.tiles.add(device, kernels, 1 + group, into)?;
            std::mem::swap(&mut dx, &mut next);
        }
        let mean_share = if blocks.is_empty() { gradients.mean_share.pointer() } else { 0 };
        let arguments = arguments![
            &self.packed,
            &columns.ell,
            &columns.count,
            mean_share,
            n,
            stride,
            dx,
            &gradients.dgate_up,
            &gradients.hidden,
        ];
        launch(device, kernels.encode_backward.as_ref(), team, TEAM, arguments)?;
        gradients.tiles.add(device, kernels, 1 + blocks.len(), into)
    }

    /// The groups of products in the order in which the backward pass comes to them: head, blocks from the last, encoder.
    fn products(&self, gradients: &Gradients, columns: &Columns) -> Vec<Vec<Product>> {
        let (shape, state) = (&self.shape, &self.activations);
        let (n, rows, d, context) = (columns.len(), columns.rows, shape.features, shape.context);
        let (mut dx, mut next) = (gradients.dx[0].pointer(), gradients.dx[1].pointer());
        let product = |a: u64, a_rows: usize, b: u64, b_rows: usize, into: usize, bias: Option<usize>| Product {
            a,
            a_rows,
            b,
            b_rows,
            length: n,
            into,
            row_stride: b_rows,
            bias,
            diagonal: false,
        };
        let of_rows = |product: Product| Product { length: rows, ..product };
        let (dpre, hidden) = (gradients.dgate_up.pointer(), gradients.hidden.pointer());
        // Gate and up projection of inputs `b`, then the down projection.
        let swiglu = |of: &SwiGlu, b: u64, b_rows: usize, dy: u64| {
            [
                product(dpre, 2 * of.hidden, b, b_rows, of.gate_up, Some(of.gate_up_bias)),
                product(dy, of.outputs, hidden, of.hidden, of.down, Some(of.down_bias)),
            ]
        };
        let head = &shape.head;
        let features = self.features(columns, true).pointer();
        let [gate_up, down] = swiglu(head, features, d, gradients.dshifted.pointer());
        let mut group = vec![Product { row_stride: d + context, ..gate_up }, down];
        if context > 0 {
            let (row_dpre, means) = (gradients.row_dpre.pointer(), state.means.pointer());
            let of_context = of_rows(product(row_dpre, 2 * head.hidden, means, context, head.gate_up + d, None));
            group.push(Product { row_stride: d + context, ..of_context });
        }
        let draw = gradients.gate.draw.pointer();
        let sums = |a: u64, a_rows: usize, bias: usize| of_rows(product(a, a_rows, a, 0, bias, Some(bias)));
        let (encoder, blocks) = match &shape.body {
            Body::Local { gate } => {
                group.push(sums(draw, 2, gate.weight));
                return vec![group];
            }
            Body::Aware { local, gate, dynamic } => {
                group.push(if *dynamic {
                    of_rows(product(draw, 2, state.means.pointer(), context, gate.weight, Some(gate.bias)))
                } else {
                    sums(draw, 2, gate.bias)
                });
                group.push(product(dx, d, columns.ell.pointer(), 1, local.weight, Some(local.bias)));
                return vec![group];
            }
            Body::Attention { encoder, blocks, gate, scaling, .. } => {
                let small = [(Some(gate), &gradients.gate), (scaling.as_ref(), &gradients.scaling)];
                for (of, rows) in small {
                    let Some(of) = of else { continue };
                    let (dpre, hidden, draw) = (rows.dpre.pointer(), rows.hidden.pointer(), rows.draw.pointer());
                    let (means, bias) = (state.means.pointer(), Some(of.gate_up_bias));
                    group.push(of_rows(product(dpre, 2 * of.hidden, means, d, of.gate_up, bias)));
                    group.push(of_rows(product(draw, of.outputs, hidden, of.hidden, of.down, Some(of.down_bias))));
                }
                (encoder, blocks)
            }
        };
        let mut groups = vec![group];
        let at = Buffer::<f32>::pointer;
        for (index, block) in blocks.iter().enumerate().rev() {
            let [gate_up, down] = swiglu(&block.ffn, at(&gradients.middle), d, at(&gradients.ddown));
            let norm = |a: u64, b: &Buffer<f32>, of: &super::shape::Linear| Product {
                diagonal: true,
                ..product(a, d, at(b), d, of.weight, Some(of.bias))
            };
            let (dattention, attended) = (at(&gradients.dattention), at(&gradients.attended));
            groups.push(vec![
                product(at(&gradients.dqkv), 3 * d, at(&state.x[index]), d, block.qkv.weight, Some(block.qkv.bias)),
                product(dattention, d, attended, d, block.out.weight, Some(block.out.bias)),
                gate_up,
                down,
                norm(at(&gradients.dmiddle), &gradients.normal1, &block.norm1),
                norm(dx, &gradients.normal2, &block.norm2),
            ]);
            std::mem::swap(&mut dx, &mut next);
        }
        groups.push(swiglu(encoder, columns.ell.pointer(), 1, dx).to_vec());
        groups
    }
}
