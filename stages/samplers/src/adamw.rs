//! AdamW (Loshchilov and Hutter 2019), as PyTorch computes it.

use crate::real::{Real, vectorised};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Hyper-parameters of [`AdamW`] that do not change from step to step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay rates of the two moments.
    pub betas: [f64; 2],
    pub eps: f64,
    /// Decoupled weight decay, per unit of learning rate.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 }
    }
}

/// The optimiser's moments.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW<T> {
    config: AdamWConfig,
    pub(crate) first: Vec<T>,
    pub(crate) second: Vec<T>,
}

/// The coefficients of one step.
#[derive(Clone, Copy)]
struct Coefficients<T> {
    keep: T,
    beta1: T,
    beta2: T,
    step_size: T,
    inverse_correction: T,
    eps: T,
}

vectorised! {
    fn update<T: Real>(c: Coefficients<T>, grads: &[T], first: &mut [T], second: &mut [T], params: &mut [T]) {
        for (((param, &g), m), v) in params.iter_mut().zip(grads).zip(first).zip(second) {
            *m += (T::ONE - c.beta1) * (g - *m);
            *v = c.beta2 * *v + (T::ONE - c.beta2) * g * g;
            *param = *param * c.keep - c.step_size * *m / (v.sqrt() * c.inverse_correction + c.eps);
        }
    }
}

impl<T: Real> AdamW<T> {
    #[must_use]
    pub fn new(config: AdamWConfig, parameters: usize) -> Self {
        Self { config, first: vec![T::ZERO; parameters], second: vec![T::ZERO; parameters] }
    }

    /// One update of the parameters in `range`; `step` counts from 0.
    pub fn step(&mut self, step: u64, lr: f64, range: Range<usize>, grads: &[T], params: &mut [T]) {
        let [beta1, beta2] = self.config.betas;
        let exponent = (step + 1) as f64;
        let coefficients = Coefficients {
            keep: T::of(1.0 - lr * self.config.weight_decay),
            beta1: T::of(beta1),
            beta2: T::of(beta2),
            step_size: T::of(lr / (1.0 - beta1.powf(exponent))),
            inverse_correction: T::of(1.0 / (1.0 - beta2.powf(exponent)).sqrt()),
            eps: T::of(self.config.eps),
        };
        let (first, second) = (&mut self.first[range.clone()], &mut self.second[range.clone()]);
        update(coefficients, &grads[range.clone()], first, second, &mut params[range]);
    }
}
