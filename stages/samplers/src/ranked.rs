//! `RankedTransform`, this project's own network: a small network on ranked features, with a gate as sharp as it learns.

use crate::{
    architecture::RankedTransform,
    buffer::{Buffer, reserve},
    kernels::{silu, silu_backward},
    layout::{Init, Layout},
    linear::Linear,
    ranked_features::{CONTEXT, FEATURES, RankedFeatures, TILE},
    real::Real,
    row::{LogitSet, Row},
};

/// The gate starts open, σ(SHARPNESS · OPEN) ≈ 1 for every token, but not so far that closing it takes long.
const OPEN: f64 = 0.1;
/// Sharpness that training starts from: high, because it rises slowly once it moves tokens at the cut only.
const SHARPNESS: f64 = 60.0;
/// Bound of the output layer's first weights: small, so that the network starts close to the identity.
const OUTPUT_BOUND: f64 = 0.005;

/// `x: [features; context]`, `h = silu(hidden(x))`, `[shift, gate] = output([h; x])`, `out = ℓ + shift + ln σ(e^sharpness·gate)`.
///
/// The output layer sees the features directly, so a cut that is linear in one of them needs no hidden unit.
#[derive(Debug)]
pub(crate) struct Ranked {
    hidden: Linear,
    output: Linear,
    sharpness: usize,
}

/// Features and working memory of one row.
#[derive(Debug, Default)]
pub(crate) struct RankedState<T> {
    features: RankedFeatures<T>,
    raw: Buffer<T>,
    /// `[h; features]` of a tile.
    inputs: Buffer<T>,
    /// Shift and gate of a tile.
    outputs: Buffer<T>,
    dinputs: Buffer<T>,
    doutputs: Buffer<T>,
}

impl<T: Real> RankedState<T> {
    pub fn fill(&mut self, set: &LogitSet) {
        self.features.fill(set);
    }
}

impl Ranked {
    pub fn new(config: &RankedTransform, layout: &mut Layout) -> Self {
        let width = config.hidden_dims;
        let hidden = Linear { context: CONTEXT, ..layout.linear("hidden", FEATURES + CONTEXT, width) };
        let inputs = width + FEATURES;
        let weight = layout.tensor("output.weight", &[2, inputs + CONTEXT], Init::Uniform { bound: OUTPUT_BOUND });
        let bias = layout.tensor("output.bias", &[2], Init::Values([0.0, OPEN]));
        Self {
            hidden: Linear { inputs: FEATURES, ..hidden },
            output: Linear { inputs, context: CONTEXT, outputs: 2, weight, bias },
            sharpness: layout.tensor("sharpness", &[], Init::Constant(SHARPNESS.ln())),
        }
    }

    /// Fills `inputs` and `outputs` of the tile that starts at column `start`.
    fn forward_tile<T: Real>(&self, params: &[T], start: usize, n: usize, state: &mut RankedState<T>) {
        let RankedState { features, raw, inputs, outputs, .. } = state;
        let (context, features) = (&features.context, features.tile(start, n));
        let raw = reserve(raw, self.hidden.outputs * n);
        self.hidden.forward(params, features, context, n, raw);
        let inputs = reserve(inputs, self.output.inputs * n);
        let (hidden, direct) = inputs.split_at_mut(raw.len());
        hidden.copy_from_slice(raw);
        silu(hidden);
        direct.copy_from_slice(features);
        self.output.forward(params, inputs, context, n, reserve(outputs, 2 * n));
    }

    /// After [`RankedState::fill`].
    pub fn forward<T: Real>(&self, params: &[T], row: &Row<T>, state: &mut RankedState<T>, out: &mut [T]) {
        let sharpness = params[self.sharpness].exp();
        for (tile, (ell, out)) in row.ell.chunks(TILE).zip(out.chunks_mut(TILE)).enumerate() {
            let n = ell.len();
            self.forward_tile(params, tile * TILE, n, state);
            let (shifts, gates) = state.outputs.split_at(n);
            for (((out, &ell), &shift), &gate) in out.iter_mut().zip(ell).zip(shifts).zip(gates) {
                *out = ell + shift + (sharpness * gate).log_sigmoid();
            }
        }
    }

    /// After a forward pass: `gradient` holds d out; parameter gradients are added to `grads`.
    pub fn backward<T: Real>(&self, params: &[T], state: &mut RankedState<T>, gradient: &[T], grads: &mut [T]) {
        let sharpness = params[self.sharpness].exp();
        let mut unused = [T::ZERO; CONTEXT];
        for (tile, dout) in gradient.chunks(TILE).enumerate() {
            let n = dout.len();
            self.forward_tile(params, tile * TILE, n, state);
            let RankedState { features, raw, inputs, outputs, dinputs, doutputs } = &mut *state;
            let (_, gates) = outputs.split_at(n);
            let doutputs = reserve(doutputs, 2 * n);
            let (dshifts, dgates) = doutputs.split_at_mut(n);
            dshifts.copy_from_slice(dout);
            let mut slope = T::ZERO;
            for ((dgate, &dout), &gate) in dgates.iter_mut().zip(dout).zip(gates) {
                *dgate = dout * (-(sharpness * gate)).sigmoid() * sharpness;
                slope += *dgate * gate;
            }
            grads[self.sharpness] += slope;
            let context = &features.context;
            self.output.backward_params(params, (inputs, context), doutputs, n, grads, &mut unused);
            let dinputs = reserve(dinputs, self.output.inputs * n);
            self.output.backward_input(params, doutputs, n, dinputs, false);
            let dhidden = &mut dinputs[..self.hidden.outputs * n];
            silu_backward(raw, dhidden);
            let x = (features.tile(tile * TILE, n), &context[..]);
            self.hidden.backward_params(params, x, dhidden, n, grads, &mut unused);
        }
    }
}
