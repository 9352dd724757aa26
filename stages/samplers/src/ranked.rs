//! `RankedTransform`, this project's own network: a small network on ranked features, with cuts as sharp as they learn to be.

use crate::{
    architecture::RankedTransform,
    buffer::{Buffer, reserve},
    clauses::{Clauses, ClausesState},
    kernels::{axpy, dot, scale_shift, silu, silu_backward},
    layout::{Init, Layout},
    linear::Linear,
    ranked_features::{CONTEXT, FEATURES, RankedFeatures, TILE},
    real::Real,
    row::{LogitSet, Row},
};

/// Bound of the first weights of shift and cuts: small, so that the network starts close to the identity.
const BOUND: f64 = 0.005;

/// `x: [features; context]`, `h = silu(hidden(x))`, `out = ℓ + w·[h; features] + clauses(x)`.
///
/// What is smooth goes through hidden units, what is cut does not. Neither a bias nor the context is among the inputs of the shift
/// w·[h; features]: softmax does not see what all tokens have in common.
#[derive(Debug)]
pub(crate) struct Ranked {
    hidden: Linear,
    /// Offset of w.
    shift: usize,
    clauses: Clauses,
}

/// Features and working memory of one row.
#[derive(Debug, Default)]
pub(crate) struct RankedState<T> {
    features: RankedFeatures<T>,
    /// The hidden units of a tile, before and after silu.
    raw: Buffer<T>,
    hidden: Buffer<T>,
    clauses: ClausesState<T>,
    dhidden: Buffer<T>,
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
        Self {
            hidden: Linear { inputs: FEATURES, ..hidden },
            shift: layout.tensor("shift.weight", &[width + FEATURES], Init::Uniform { bound: BOUND }),
            clauses: Clauses::new(FEATURES, CONTEXT, BOUND, layout),
        }
    }

    /// Fills `raw` and `hidden` of the tile that starts at column `start`.
    fn hidden_of_tile<T: Real>(&self, params: &[T], start: usize, n: usize, state: &mut RankedState<T>) {
        let RankedState { features, raw, hidden, .. } = state;
        let raw = reserve(raw, self.hidden.outputs * n);
        self.hidden.forward(params, features.tile(start, n), &features.context, n, raw);
        let hidden = reserve(hidden, raw.len());
        hidden.copy_from_slice(raw);
        silu(hidden);
    }

    /// After [`RankedState::fill`].
    pub fn forward<T: Real>(&self, params: &[T], row: &Row<T>, state: &mut RankedState<T>, out: &mut [T]) {
        for (tile, (ell, out)) in row.ell.chunks(TILE).zip(out.chunks_mut(TILE)).enumerate() {
            let n = ell.len();
            self.hidden_of_tile(params, tile * TILE, n, state);
            let RankedState { features, hidden, clauses, .. } = &mut *state;
            let (context, x) = (&features.context[..], features.tile(tile * TILE, n));
            out.copy_from_slice(ell);
            for (input, &weight) in hidden.chunks_exact(n).chain(x.chunks_exact(n)).zip(&params[self.shift..]) {
                axpy(weight, input, out);
            }
            self.clauses.forward(params, (x, context), clauses, out);
        }
    }

    /// After a forward pass: `gradient` holds d out; parameter gradients are added to `grads`.
    pub fn backward<T: Real>(&self, params: &[T], state: &mut RankedState<T>, gradient: &[T], grads: &mut [T]) {
        let mut unused = [T::ZERO; CONTEXT];
        for (tile, dout) in gradient.chunks(TILE).enumerate() {
            let n = dout.len();
            self.hidden_of_tile(params, tile * TILE, n, state);
            let RankedState { features, raw, hidden, clauses, dhidden } = &mut *state;
            let (context, x) = (&features.context[..], features.tile(tile * TILE, n));
            self.clauses.backward(params, (x, context), clauses, dout, grads);
            for (input, slope) in hidden.chunks_exact(n).chain(x.chunks_exact(n)).zip(&mut grads[self.shift..]) {
                *slope += dot(dout, input);
            }
            let dhidden = reserve(dhidden, raw.len());
            for (dhidden, &weight) in dhidden.chunks_exact_mut(n).zip(&params[self.shift..]) {
                scale_shift(weight, dout, T::ZERO, dhidden);
            }
            silu_backward(raw, dhidden);
            self.hidden.backward_params(params, (x, context), dhidden, n, grads, &mut unused);
        }
    }
}
