//! The SwiGLU network: `down( silu(gate(x)) ⊙ up(x) )`.

use crate::{
    buffer::{Buffer, reserve},
    kernels::{swiglu, swiglu_backward},
    linear::Linear,
    real::Real,
};

/// Gate and up projection as one layer of twice the width, then the down projection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SwiGlu {
    pub gate_up: Linear,
    pub down: Linear,
}

impl SwiGlu {
    fn width(&self) -> usize {
        self.down.inputs
    }

    /// `x: [inputs, n]`, `context: [context]` → `y: [outputs, n]`. `pre` becomes the gate and up values `[2·width, n]` that
    /// [`SwiGlu::backward`] needs; `hidden` is working memory.
    pub fn forward<T: Real>(
        &self,
        params: &[T],
        (x, context): (&[T], &[T]),
        n: usize,
        pre: &mut Buffer<T>,
        hidden: &mut Buffer<T>,
        y: &mut [T],
    ) {
        let pre = reserve(pre, 2 * self.width() * n);
        let hidden = reserve(hidden, self.width() * n);
        self.gate_up.forward(params, x, context, n, pre);
        let (gate, up) = pre.split_at(self.width() * n);
        swiglu(gate, up, hidden);
        self.down.forward(params, hidden, &[], n, y);
    }

    /// Adds parameter gradients to `grads`, that of the context to `dcontext`, and gives `dx` where it is asked for.
    /// `pre` of the forward pass is overwritten.
    #[expect(clippy::too_many_arguments, reason = "input, output and both gradients of one layer")]
    pub fn backward<T: Real>(
        &self,
        params: &[T],
        (x, context): (&[T], &[T]),
        n: usize,
        pre: &mut [T],
        hidden: &mut Buffer<T>,
        dy: &[T],
        grads: &mut [T],
        dcontext: &mut [T],
        dx: Option<(&mut [T], bool)>,
    ) {
        let hidden = reserve(hidden, self.width() * n);
        self.down.backward_input(params, dy, n, hidden, false);
        let (gate, up) = pre.split_at_mut(self.width() * n);
        swiglu_backward(gate, up, hidden);
        self.down.backward_params(params, (hidden, &[]), dy, n, grads, &mut []);
        self.gate_up.backward_params(params, (x, context), pre, n, grads, dcontext);
        if let Some((dx, accumulate)) = dx {
            self.gate_up.backward_input(params, pre, n, dx, accumulate);
        }
    }

    /// Forward for one column; gives the gate and up values.
    pub fn forward_vector<T: Real>(&self, params: &[T], x: &[T], y: &mut [T]) -> Vec<T> {
        let mut pre = vec![T::ZERO; 2 * self.width()];
        let mut hidden = vec![T::ZERO; self.width()];
        self.gate_up.forward_vector(params, x, &mut pre);
        let (gate, up) = pre.split_at(self.width());
        swiglu(gate, up, &mut hidden);
        self.down.forward_vector(params, &hidden, y);
        pre
    }

    /// Backward of [`SwiGlu::forward_vector`]; adds to `grads` and to `dx`.
    pub fn backward_vector<T: Real>(
        &self,
        params: &[T],
        x: &[T],
        mut pre: Vec<T>,
        dy: &[T],
        grads: &mut [T],
        dx: &mut [T],
    ) {
        let mut hidden = vec![T::ZERO; self.width()];
        let (gate, up) = pre.split_at_mut(self.width());
        // The down projection's parameter gradient needs the value of `hidden`, its input gradient comes first.
        let mut values = vec![T::ZERO; self.width()];
        swiglu(gate, up, &mut values);
        self.down.backward_vector(params, &values, dy, grads, &mut hidden);
        swiglu_backward(gate, up, &mut hidden);
        self.gate_up.backward_vector(params, x, &pre, grads, dx);
    }
}
