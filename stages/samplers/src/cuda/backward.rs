//! Backward pass of a network over columns, and the products that its parameter gradients are.

use super::{
    CudaError,
    columns::{Columns, reserve},
    device::Buffer,
    kernels::{arguments, launch},
    network::{Network, ROW_THREADS, TEAM},
    shape::{Body, Linear, SwiGlu},
    tiles::{Product, Tiles},
};

/// What only a backward pass has.
#[derive(Debug)]
pub(super) struct Gradients {
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

impl Network {
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
            let norm = |a: u64, b: &Buffer<f32>, of: &Linear| Product {
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
