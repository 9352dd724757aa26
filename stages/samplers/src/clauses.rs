//! A gate of soft cuts: a token is kept where in every clause at least one of its two cuts keeps it.
//!
//! Rules of truncation are comparisons, sometimes two of them: eta keeps a token that either of two bounds keeps, a pipeline of
//! top-p and min-p one that both keep. Cuts are linear, with nothing between them and the inputs, so that what a clause does on
//! inputs unlike those it was trained on is a plain continuation, and so that one can read off what was learned.

use crate::{
    buffer::{Buffer, reserve},
    kernels::dot,
    layout::{Init, Layout},
    linear::Linear,
    loss::NEGLIGIBLE,
    real::{Real, vectorised},
};

const CLAUSES: usize = 3;
/// Cuts of a clause.
const CUTS: usize = 2;
/// Cuts start open, σ(SHARPNESS · OPEN) ≈ 0.95, but not so far that closing them takes long.
const OPEN: f64 = 0.05;
/// Sharpness that training starts from: high, because it rises slowly once it moves tokens at the cut only.
const SHARPNESS: f64 = 60.0;

/// `Σ_k ln(1 − (1 − σ(z_k0))·(1 − σ(z_k1)))` with `z = e^sharpness · cuts(x)`.
#[derive(Debug)]
pub(crate) struct Clauses {
    cuts: Linear,
    sharpness: usize,
}

/// The cuts of a tile, `[CLAUSES · CUTS, n]`, and the slopes of its loss by them and by the context.
#[derive(Debug, Default)]
pub(crate) struct ClausesState<T> {
    cuts: Buffer<T>,
    dcuts: Buffer<T>,
    /// Nobody wants these.
    dcontext: Buffer<T>,
}

impl Clauses {
    /// Of `inputs` and `context` inputs, the latter the same for all columns; `bound` is that of the first weights.
    pub fn new(inputs: usize, context: usize, bound: f64, layout: &mut Layout) -> Self {
        let outputs = CLAUSES * CUTS;
        let weight = layout.tensor("cuts.weight", &[outputs, inputs + context], Init::Uniform { bound });
        let bias = layout.tensor("cuts.bias", &[outputs], Init::Constant(OPEN));
        let cuts = Linear { inputs, context, outputs, weight, bias };
        Self { cuts, sharpness: layout.tensor("sharpness", &[outputs], Init::Constant(SHARPNESS.ln())) }
    }

    /// Adds the logarithm of the gate to `out: [n]`; `x` and the context as in [`Linear::forward`].
    pub fn forward<T: Real>(&self, params: &[T], x: (&[T], &[T]), state: &mut ClausesState<T>, out: &mut [T]) {
        let n = out.len();
        let cuts = reserve(&mut state.cuts, self.cuts.outputs * n);
        self.cuts.forward(params, x.0, x.1, n, cuts);
        for (clause, cuts) in cuts.chunks_exact(CUTS * n).enumerate() {
            add_either(cuts.split_at(n), self.sharpness(params, clause), out);
        }
    }

    /// Adds the gradients of the parameters to `grads`; `dout: [n]` is the gradient of the output.
    pub fn backward<T: Real>(
        &self,
        params: &[T],
        x: (&[T], &[T]),
        state: &mut ClausesState<T>,
        dout: &[T],
        grads: &mut [T],
    ) {
        let n = dout.len();
        let len = self.cuts.outputs * n;
        let (cuts, dcuts) = (reserve(&mut state.cuts, len), reserve(&mut state.dcuts, len));
        self.cuts.forward(params, x.0, x.1, n, cuts);
        let clauses = cuts.chunks_exact(CUTS * n).zip(dcuts.chunks_exact_mut(CUTS * n));
        for (clause, (cuts, dcuts)) in clauses.enumerate() {
            let sharpness = self.sharpness(params, clause);
            either_backward(cuts.split_at(n), sharpness, dout, dcuts.split_at_mut(n));
            // d/d ln s of f(s·cut) is cut · d/d cut.
            for (cut, (values, slopes)) in cuts.chunks_exact(n).zip(dcuts.chunks_exact(n)).enumerate() {
                grads[self.sharpness + clause * CUTS + cut] += dot(values, slopes);
            }
        }
        let dcontext = reserve(&mut state.dcontext, self.cuts.context);
        self.cuts.backward_params(params, x, dcuts, n, grads, dcontext);
    }

    fn sharpness<T: Real>(&self, params: &[T], clause: usize) -> [T; CUTS] {
        std::array::from_fn(|cut| params[self.sharpness + clause * CUTS + cut].exp())
    }
}

vectorised! {
    /// Adds the logarithm of either cut's keeping a token to `out`.
    fn add_either<T: Real>(cuts: (&[T], &[T]), sharpness: [T; CUTS], out: &mut [T]) {
        for ((out, &first), &second) in out.iter_mut().zip(cuts.0).zip(cuts.1) {
            *out += either(sharpness[0] * first, sharpness[1] * second);
        }
    }
}

vectorised! {
    /// Backward of [`add_either`]: the slopes by the cuts go to `dcuts`.
    fn either_backward<T: Real>(
        cuts: (&[T], &[T]),
        sharpness: [T; CUTS],
        dout: &[T],
        dcuts: (&mut [T], &mut [T]),
    ) {
        let slopes = dcuts.0.iter_mut().zip(dcuts.1);
        for (((&dout, &first), &second), (dfirst, dsecond)) in dout.iter().zip(cuts.0).zip(cuts.1).zip(slopes) {
            let z = [sharpness[0] * first, sharpness[1] * second];
            // d ln(1 − (1 − σ₀)(1 − σ₁)) / dz = (1 − σ₀)(1 − σ₁)·σ / (1 − (1 − σ₀)(1 − σ₁)), in logarithms.
            let closed_to_open = -(z[0].softplus() + z[1].softplus()) - either(z[0], z[1]);
            *dfirst = negligible_to_zero(dout * sharpness[0] * (closed_to_open + z[0].log_sigmoid()).exp());
            *dsecond = negligible_to_zero(dout * sharpness[1] * (closed_to_open + z[1].log_sigmoid()).exp());
        }
    }
}

/// ln(1 − (1 − σ(a))(1 − σ(b))) = ln(σ(a) + σ(b)(1 − σ(a))), exact far out.
#[inline(always)]
fn either<T: Real>(a: T, b: T) -> T {
    let (first, second) = (a.log_sigmoid(), b.log_sigmoid() - a.softplus());
    first.at_least(second) + (first - second).log_excess()
}

/// Slopes of cuts that are wide open are 0 before they are so small that processors are slow with them.
#[inline(always)]
fn negligible_to_zero<T: Real>(slope: T) -> T {
    if slope.abs() < T::of(NEGLIGIBLE) { T::ZERO } else { slope }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_cut_keeps_a_token_and_slopes_are_those_of_its_logarithm() {
        for (a, b) in [(0.3_f64, -1.2), (-2.0, 4.0), (9.0, -9.0), (-30.0, -29.0), (40.0, 3.0)] {
            let expected = match a.max(b) > -20.0 {
                true => (-(1.0 / (1.0 + a.exp())) / (1.0 + b.exp())).ln_1p(),
                false => (a.exp() + b.exp()).ln(),
            };
            assert!(
                (either(a, b) - expected).abs() < 1e-9 * expected.abs().max(1e-3),
                "{a} {b}: {} {expected}",
                either(a, b)
            );
            let (mut first, mut second) = ([0.0], [0.0]);
            either_backward((&[a / 2.0], &[b / 3.0]), [2.0, 3.0], &[1.5], (&mut first, &mut second));
            let h = 1e-5;
            let by = [either(a + h, b) - either(a - h, b), either(a, b + h) - either(a, b - h)];
            for (ours, rise, sharpness) in [(first[0], by[0], 2.0), (second[0], by[1], 3.0)] {
                let expected: f64 = 1.5 * sharpness * rise / (2.0 * h);
                assert!((ours - expected).abs() < 1e-6 * expected.abs().max(1e-3), "{a} {b}: {ours} {expected}");
            }
        }
        // Closed beyond the range of e^z in f32: still a finite cost, and a slope that opens the less closed cut.
        let (mut first, mut second) = ([0.0_f32], [0.0]);
        either_backward((&[-300.0], &[-310.0]), [1.0, 1.0], &[1.0], (&mut first, &mut second));
        assert!(
            (either(-300.0_f32, -310.0) + 300.0).abs() < 1e-3 && (first[0] - 1.0).abs() < 1e-3,
            "{first:?} {second:?}"
        );
    }
}
