//! Learning-rate schedules with the semantics of transformers' `get_scheduler`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The shape of a schedule after its warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Down to 0 at the last step.
    Linear,
    /// Half a cosine wave, down to 0.
    #[default]
    Cosine,
    /// One hard-restarted cosine cycle.
    CosineWithRestarts,
    /// Power 1, down to 1e-7.
    Polynomial,
    /// No warm-up, no decay.
    Constant,
    ConstantWithWarmup,
}

/// A learning rate per optimiser step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    pub kind: ScheduleKind,
    /// The highest learning rate.
    pub lr: f64,
    pub warmup_steps: u64,
    pub total_steps: u64,
}

/// Learning rate at the end of a polynomial schedule.
const POLYNOMIAL_END: f64 = 1e-7;

impl Schedule {
    /// The rate of optimiser step `step`, counted from 0; defined beyond `total_steps` too.
    #[must_use]
    pub fn lr(&self, step: u64) -> f64 {
        self.lr * self.factor(step)
    }

    fn factor(&self, step: u64) -> f64 {
        if self.kind == ScheduleKind::Constant {
            return 1.0;
        }
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps.max(1) as f64;
        }
        let past_warmup = (step - self.warmup_steps) as f64;
        let decay_steps = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = past_warmup / decay_steps;
        match self.kind {
            ScheduleKind::Constant | ScheduleKind::ConstantWithWarmup => 1.0,
            ScheduleKind::Linear => (self.total_steps as f64 - step as f64).max(0.0) / decay_steps,
            ScheduleKind::Cosine => (0.5 * (1.0 + (PI * progress).cos())).max(0.0),
            ScheduleKind::CosineWithRestarts if progress >= 1.0 => 0.0,
            ScheduleKind::CosineWithRestarts => 0.5 * (1.0 + (PI * progress).cos()),
            ScheduleKind::Polynomial if step > self.total_steps => POLYNOMIAL_END / self.lr,
            ScheduleKind::Polynomial => ((self.lr - POLYNOMIAL_END) * (1.0 - progress) + POLYNOMIAL_END) / self.lr,
        }
    }
}
