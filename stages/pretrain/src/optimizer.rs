//! AdamW with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101), warm-up and cosine decay.

use crate::vector::vectorised;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Parameters of the optimiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Highest learning rate, reached after the warm-up.
    pub lr: f64,
    /// Share of the highest learning rate that is left at the end.
    pub final_lr_ratio: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// Decoupled weight decay of the matrices; norms have none.
    pub weight_decay: f64,
    /// Gradients with a larger Euclidean norm are scaled down to it.
    pub max_grad_norm: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            lr: 3e-3,
            final_lr_ratio: 0.05,
            warmup_steps: 60,
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-8,
            weight_decay: 0.05,
            max_grad_norm: 1.0,
        }
    }
}

impl OptimizerConfig {
    /// Learning rate of step `step` (from 0) of `total`.
    #[must_use]
    pub fn lr_at(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup_steps {
            return self.lr * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = total.saturating_sub(self.warmup_steps).max(1) as f64;
        let done = ((step - self.warmup_steps) as f64 / span).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        self.lr * (self.final_lr_ratio + (1.0 - self.final_lr_ratio) * cosine)
    }
}

/// First and second moments.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

impl Moments {
    #[must_use]
    pub fn zeros(len: usize) -> Self {
        Self { first: vec![0.0; len], second: vec![0.0; len] }
    }
}

/// The Euclidean norm, in double precision and in order.
#[must_use]
pub fn norm(gradient: &[f32]) -> f64 {
    gradient
        .chunks(4096)
        .map(|chunk| chunk.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>())
        .sum::<f64>()
        .sqrt()
}

/// One AdamW update with learning rate `lr`; `gradient` is multiplied by `factor` first. `undecayed` ranges have no weight decay.
#[expect(clippy::cast_possible_truncation, reason = "the update runs in single precision")]
#[expect(clippy::too_many_arguments, reason = "the state of an optimiser")]
pub fn update(
    config: &OptimizerConfig,
    step: u64,
    lr: f64,
    factor: f64,
    parameters: &mut [f32],
    gradient: &[f32],
    moments: &mut Moments,
    undecayed: &[Range<usize>],
) {
    let t = i32::try_from(step + 1).unwrap_or(i32::MAX);
    let correction1 = 1.0 - config.beta1.powi(t);
    let correction2 = 1.0 - config.beta2.powi(t);
    let (b1, b2) = (config.beta1 as f32, config.beta2 as f32);
    let (rate, factor) = ((lr / correction1) as f32, factor as f32);
    let (root, eps) = ((1.0 / correction2).sqrt() as f32, config.eps as f32);
    let keep = (1.0 - lr * config.weight_decay) as f32;
    let kept: Vec<Vec<f32>> = undecayed.iter().map(|range| parameters[range.clone()].to_vec()).collect();
    let pairs = |p: f32, g: f32, m: &mut f32, v: &mut f32, keep: f32| {
        let g = g * factor;
        *m = b1 * *m + (1.0 - b1) * g;
        *v = b2 * *v + (1.0 - b2) * g * g;
        p * keep - rate * *m / (v.sqrt() * root + eps)
    };
    // Decay is undone for the norms by adding back what was taken: one loop without branches.
    vectorised(
        #[inline(always)]
        || {
            let state = moments.first.iter_mut().zip(&mut moments.second);
            for ((p, &g), (m, v)) in parameters.iter_mut().zip(gradient).zip(state) {
                *p = pairs(*p, g, m, v, keep);
            }
        },
    );
    for (range, old) in undecayed.iter().zip(kept) {
        for (p, old) in parameters[range.clone()].iter_mut().zip(old) {
            *p += old * (1.0 - keep);
        }
    }
}
