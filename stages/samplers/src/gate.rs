//! The soft truncation that all three networks end with: `out = m + ln σ(m·s + t)`.

use crate::real::{Real, vectorised};

/// Sharpness `s` and offset `t` of the truncation, or their gradients.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gate<T> {
    pub scale: T,
    pub threshold: T,
}

vectorised! {
    fn truncate<T: Real>(gate: Gate<T>, modified: &[T], out: &mut [T]) {
        for (out, &m) in out.iter_mut().zip(modified) {
            *out = m + (m * gate.scale + gate.threshold).log_sigmoid();
        }
    }
}

impl<T: Real> Gate<T> {
    pub fn forward(&self, modified: &[T], out: &mut [T]) {
        truncate(*self, modified, out);
    }

    /// The most that an output changes where a modified logit changes by 1.
    pub fn steepness(&self) -> f64 {
        1.0 + self.scale.f64().max(0.0)
    }

    /// `gradient` holds d out and becomes d modified; returns the gradient of the gate.
    pub fn backward(&self, modified: &[T], gradient: &mut [T]) -> Self {
        let mut gate = Self { scale: T::ZERO, threshold: T::ZERO };
        for (g, &m) in gradient.iter_mut().zip(modified) {
            let slope = (-(m * self.scale + self.threshold)).sigmoid();
            gate.scale += *g * slope * m;
            gate.threshold += *g * slope;
            *g *= T::ONE + self.scale * slope;
        }
        gate
    }
}
