//! The two networks whose output at a token depends on that token and, at most, on two statistics of the row.

use crate::{
    architecture::{LocalProbabilityTransform, SimpleDistributionAwareTransform},
    buffer::{Buffer, reserve},
    gate::Gate,
    kernels::{add, silu, silu_backward},
    layout::{Init, Layout},
    linear::Linear,
    real::Real,
    row::Row,
    swiglu::SwiGlu,
};

/// Columns that are worked on at once.
const TILE: usize = 512;

/// Working memory.
#[derive(Debug, Default)]
pub(crate) struct PointwiseState<T> {
    features: Buffer<T>,
    gradient: Buffer<T>,
    raw: Buffer<T>,
    pre: Buffer<T>,
    hidden: Buffer<T>,
}

/// `LocalProbabilityTransform`.
#[derive(Debug)]
pub(crate) struct Local {
    mlp: SwiGlu,
    scale: usize,
    threshold: usize,
}

impl Local {
    pub fn new(config: &LocalProbabilityTransform, layout: &mut Layout) -> Self {
        Self {
            mlp: layout.swiglu("mlp", 1, 0, config.hidden_dims, 1),
            scale: layout.tensor("truncation_scale", &[], Init::Constant(1.0)),
            threshold: layout.tensor("truncation_threshold", &[], Init::Constant(10.0)),
        }
    }

    pub fn gate<T: Real>(&self, params: &[T]) -> Gate<T> {
        Gate { scale: params[self.scale], threshold: params[self.threshold] }
    }

    pub fn forward<T: Real>(
        &self,
        params: &[T],
        row: &Row<T>,
        state: &mut PointwiseState<T>,
        modified: &mut [T],
        out: &mut [T],
    ) {
        for (ell, modified) in row.ell.chunks(TILE).zip(modified.chunks_mut(TILE)) {
            let n = ell.len();
            self.mlp.forward(params, (ell, &[]), n, &mut state.pre, &mut state.hidden, modified);
            add(ell, modified);
        }
        self.gate(params).forward(modified, out);
    }

    pub fn backward<T: Real>(
        &self,
        params: &[T],
        row: &Row<T>,
        state: &mut PointwiseState<T>,
        modified: &[T],
        gradient: &mut [T],
        grads: &mut [T],
    ) {
        let gate = self.gate(params).backward(modified, gradient);
        grads[self.scale] += gate.scale;
        grads[self.threshold] += gate.threshold;
        for (ell, dy) in row.ell.chunks(TILE).zip(gradient.chunks(TILE)) {
            let n = ell.len();
            let (pre, hidden) = (&mut state.pre, &mut state.hidden);
            self.mlp.forward(params, (ell, &[]), n, pre, hidden, reserve(&mut state.features, n));
            self.mlp.backward(params, (ell, &[]), n, pre, hidden, dy, grads, &mut [], None);
        }
    }
}

/// `SimpleDistributionAwareTransform`.
#[derive(Debug)]
pub(crate) struct Aware {
    local: Linear,
    global: SwiGlu,
    truncation: Truncation,
}

#[derive(Debug)]
enum Truncation {
    Dynamic(Linear),
    Static(usize),
}

impl Aware {
    pub fn new(config: &SimpleDistributionAwareTransform, layout: &mut Layout) -> Self {
        let statistics = config.statistics.len();
        Self {
            local: layout.linear("local_mlp.0", 1, config.hidden_dims),
            global: layout.swiglu("global_mlp", config.hidden_dims, statistics, config.hidden_dims, 1),
            truncation: if config.use_dynamic_truncation {
                Truncation::Dynamic(layout.linear("truncation_head", statistics, 2))
            } else {
                let scale = layout.tensor("truncation_params", &[2], Init::Values([0.5413, 10.0]));
                Truncation::Static(scale)
            },
        }
    }

    /// Scale and threshold before the softplus.
    fn raw_gate<T: Real>(&self, params: &[T], statistics: &[T]) -> [T; 2] {
        match &self.truncation {
            Truncation::Static(offset) => [params[*offset], params[*offset + 1]],
            Truncation::Dynamic(head) => {
                let mut raw = [T::ZERO; 2];
                head.forward_vector(params, statistics, &mut raw);
                raw
            }
        }
    }

    pub fn gate<T: Real>(&self, params: &[T], statistics: &[T]) -> Gate<T> {
        let [scale, threshold] = self.raw_gate(params, statistics).map(Real::softplus);
        Gate { scale, threshold }
    }

    /// Gives `modified` of one tile; leaves the local features in `state`.
    fn forward_tile<T: Real>(
        &self,
        params: &[T],
        (ell, statistics): (&[T], &[T]),
        state: &mut PointwiseState<T>,
        modified: &mut [T],
    ) {
        let n = ell.len();
        let raw = reserve(&mut state.raw, self.local.outputs * n);
        self.local.forward(params, ell, &[], n, raw);
        let features = reserve(&mut state.features, raw.len());
        features.copy_from_slice(raw);
        silu(features);
        self.global.forward(params, (features, statistics), n, &mut state.pre, &mut state.hidden, modified);
        add(ell, modified);
    }

    pub fn forward<T: Real>(
        &self,
        params: &[T],
        row: &Row<T>,
        state: &mut PointwiseState<T>,
        modified: &mut [T],
        out: &mut [T],
    ) {
        for (ell, modified) in row.ell.chunks(TILE).zip(modified.chunks_mut(TILE)) {
            self.forward_tile(params, (ell, &row.statistics), state, modified);
        }
        self.gate(params, &row.statistics).forward(modified, out);
    }

    pub fn backward<T: Real>(
        &self,
        params: &[T],
        row: &Row<T>,
        state: &mut PointwiseState<T>,
        modified: &[T],
        gradient: &mut [T],
        grads: &mut [T],
    ) {
        let raw = self.raw_gate(params, &row.statistics);
        let [scale, threshold] = raw.map(Real::softplus);
        let gate = Gate { scale, threshold }.backward(modified, gradient);
        let draw = [gate.scale * raw[0].sigmoid(), gate.threshold * raw[1].sigmoid()];
        let mut unused = vec![T::ZERO; row.statistics.len()];
        match &self.truncation {
            Truncation::Static(offset) => add(&draw, &mut grads[*offset..*offset + 2]),
            Truncation::Dynamic(head) => head.backward_vector(params, &row.statistics, &draw, grads, &mut unused),
        }
        let mut scratch = Buffer::default();
        for (ell, dy) in row.ell.chunks(TILE).zip(gradient.chunks(TILE)) {
            let n = ell.len();
            self.forward_tile(params, (ell, &row.statistics), state, reserve(&mut scratch, n));
            let dx = reserve(&mut state.gradient, self.local.outputs * n);
            let x = (&state.features[..], &row.statistics[..]);
            let (pre, hidden) = (&mut state.pre, &mut state.hidden);
            self.global.backward(params, x, n, pre, hidden, dy, grads, &mut unused, Some((dx, false)));
            silu_backward(&state.raw, dx);
            self.local.backward_params(params, (ell, &[]), dx, n, grads, &mut []);
        }
    }
}
