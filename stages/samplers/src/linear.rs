//! A linear layer on tiles.

use crate::{
    kernels::{Onto, View, add, axpy, dot, fill, multiply_add, multiply_onto, scale_shift, sum},
    real::Real,
};

/// `y = W·[x; c] + b` with `W: [outputs, inputs + context]`, where `c` is the same for all columns of a tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear {
    pub inputs: usize,
    pub context: usize,
    pub outputs: usize,
    /// Offsets into the flat parameters.
    pub weight: usize,
    pub bias: usize,
}

impl Linear {
    fn stride(&self) -> usize {
        self.inputs + self.context
    }

    fn weights<'a, T>(&self, params: &'a [T]) -> &'a [T] {
        &params[self.weight..self.weight + self.outputs * self.stride()]
    }

    /// `x: [inputs, n]`, `context: [context]` → `y: [outputs, n]`.
    pub fn forward<T: Real>(&self, params: &[T], x: &[T], context: &[T], n: usize, y: &mut [T]) {
        let weights = self.weights(params);
        let matrix = View::new(weights, self.outputs, self.inputs, self.stride());
        if self.inputs > 1 && self.outputs > 1 && context.is_empty() {
            let biases = Onto::Rows(&params[self.bias..self.bias + self.outputs]);
            multiply_onto(biases, matrix, View::new(x, self.inputs, n, n), y, n);
            return;
        }
        for (out, row) in weights.chunks_exact(self.stride()).enumerate() {
            let bias = params[self.bias + out] + dot(&row[self.inputs..], context);
            let y = &mut y[out * n..(out + 1) * n];
            if self.inputs == 1 {
                scale_shift(row[0], x, bias, y);
            } else {
                fill(bias, y);
            }
        }
        match (self.inputs, self.outputs) {
            (1, _) => {}
            (_, 1) => {
                for (input, &weight) in weights[..self.inputs].iter().enumerate() {
                    axpy(weight, &x[input * n..(input + 1) * n], &mut y[..n]);
                }
            }
            _ => multiply_add(matrix, View::new(x, self.inputs, n, n), y, n, true),
        }
    }

    /// `dx = Wᵀ·dy` or, with `accumulate`, `dx += Wᵀ·dy`.
    pub fn backward_input<T: Real>(&self, params: &[T], dy: &[T], n: usize, dx: &mut [T], accumulate: bool) {
        let weights = self.weights(params);
        if self.outputs == 1 {
            for (input, &weight) in weights[..self.inputs].iter().enumerate() {
                let dx = &mut dx[input * n..(input + 1) * n];
                if accumulate {
                    axpy(weight, &dy[..n], dx);
                } else {
                    scale_shift(weight, &dy[..n], T::ZERO, dx);
                }
            }
        } else {
            let weights = View::new(weights, self.outputs, self.inputs, self.stride()).transposed();
            multiply_add(weights, View::new(dy, self.outputs, n, n), dx, n, accumulate);
        }
    }

    /// Adds the gradients of weight and bias, and that of the context to `dcontext`.
    pub fn backward_params<T: Real>(
        &self,
        params: &[T],
        (x, context): (&[T], &[T]),
        dy: &[T],
        n: usize,
        grads: &mut [T],
        dcontext: &mut [T],
    ) {
        let stride = self.stride();
        if self.inputs == 1 || self.outputs == 1 {
            for out in 0..self.outputs {
                for input in 0..self.inputs {
                    let slope = dot(&dy[out * n..(out + 1) * n], &x[input * n..(input + 1) * n]);
                    grads[self.weight + out * stride + input] += slope;
                }
            }
        } else {
            let dy = View::new(dy, self.outputs, n, n);
            let x = View::new(x, self.inputs, n, n).transposed();
            multiply_add(dy, x, &mut grads[self.weight..self.bias], stride, true);
        }
        for out in 0..self.outputs {
            let total = sum(&dy[out * n..(out + 1) * n]);
            grads[self.bias + out] += total;
            if self.context > 0 {
                let row = self.weight + out * stride + self.inputs;
                axpy(total, context, &mut grads[row..row + self.context]);
                axpy(total, &params[row..row + self.context], dcontext);
            }
        }
    }

    /// Forward for one column, such as a context vector: `y = W·x + b`.
    pub fn forward_vector<T: Real>(&self, params: &[T], x: &[T], y: &mut [T]) {
        for (out, row) in self.weights(params).chunks_exact(self.stride()).enumerate() {
            y[out] = params[self.bias + out] + dot(row, x);
        }
    }

    /// Backward of [`Linear::forward_vector`]; adds to `grads` and to `dx`.
    pub fn backward_vector<T: Real>(&self, params: &[T], x: &[T], dy: &[T], grads: &mut [T], dx: &mut [T]) {
        for (out, row) in self.weights(params).chunks_exact(self.stride()).enumerate() {
            let start = self.weight + out * self.stride();
            axpy(dy[out], x, &mut grads[start..start + self.stride()]);
            axpy(dy[out], row, dx);
        }
        add(dy, &mut grads[self.bias..self.bias + self.outputs]);
    }
}
