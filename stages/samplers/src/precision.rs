//! The number format of a network's parameters.

use crate::real::Real;
use half::bf16;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The number format in which a network's parameters are evaluated and published; a trainer updates them in full precision.
// Rounding after each step would lose every update that is smaller than half a unit in the last place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 24 significant bits.
    #[default]
    F32,
    /// 8 significant bits, in half the space; rounded to the nearest, ties to even.
    Bf16,
}

impl Precision {
    /// `rounded` becomes `values` in this format; with [`Precision::F32`] they stay what they are.
    pub(crate) fn round<T: Real>(self, values: &[T], rounded: &mut [T]) {
        match self {
            Self::F32 => rounded.copy_from_slice(values),
            Self::Bf16 => {
                for (rounded, value) in rounded.iter_mut().zip(values) {
                    *rounded = T::of(bf16::from_f64(value.f64()).to_f64());
                }
            }
        }
    }
}
