//! The two number types that networks are evaluated in, and run-time dispatch to the processor's vector instructions.

use safetensors::Dtype;
use std::{
    fmt::Debug,
    iter::Sum,
    ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub},
};

/// `f32` for work, `f64` for checking.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + MulAssign
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    const ZERO: Self;
    const ONE: Self;
    const DTYPE: Dtype;

    /// Little-endian bytes of `values`.
    fn to_bytes(values: &[Self]) -> Vec<u8>;
    /// Reverse of [`Real::to_bytes`].
    fn from_bytes(bytes: &[u8]) -> Vec<Self>;

    fn of(value: f64) -> Self;
    fn f64(self) -> f64;

    /// e^x without branches, so that loops over it vectorise: within 2 ulp in `f32`.
    fn exp(self) -> Self;
    /// ln(1 + x) for 0 ≤ x ≤ 1, without branches too: within 2 ulp in `f32`.
    fn ln_1p(self) -> Self;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;

    #[inline(always)]
    fn at_most(self, bound: Self) -> Self {
        if self < bound { self } else { bound }
    }

    #[inline(always)]
    fn at_least(self, bound: Self) -> Self {
        if self > bound { self } else { bound }
    }

    /// σ(x) = 1 / (1 + e^−x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }

    /// ln(1 + e^x), without overflow.
    #[inline(always)]
    fn softplus(self) -> Self {
        self.at_least(Self::ZERO) + self.log_excess()
    }

    /// ln(1 + e^−|x|), by which the logarithm of a sum of two exponentials that are |x| apart exceeds the larger one's.
    #[inline(always)]
    fn log_excess(self) -> Self {
        // Beyond 80 the quotients in `ln_1p` would be subnormal, and slow.
        (-self.abs().at_most(Self::of(80.0))).exp().ln_1p()
    }

    /// ln σ(x) = −softplus(−x).
    #[inline(always)]
    fn log_sigmoid(self) -> Self {
        -(-self).softplus()
    }
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const DTYPE: Dtype = Dtype::F32;

    fn to_bytes(values: &[Self]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Vec<Self> {
        bytes.as_chunks().0.iter().map(|&bytes| Self::from_le_bytes(bytes)).collect()
    }

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as Self
    }

    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }

    /// Cody and Waite's reduction and the polynomial of Cephes' `expf`; arguments are clamped to ±87 or so.
    #[inline(always)]
    #[expect(clippy::excessive_precision, reason = "the published coefficients")]
    fn exp(self) -> Self {
        /// Adding it rounds to an integer, which then stands in the low bits.
        const ROUND: f32 = 12_582_912.0;
        const LN2_HIGH: f32 = 0.693_359_375;
        const LN2_LOW: f32 = -2.121_944_40e-4;
        let x = self.at_least(-87.0).at_most(88.0);
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = x - n * LN2_HIGH - n * LN2_LOW;
        let mut p = 1.987_569_15e-4;
        p = p * r + 1.398_199_95e-3;
        p = p * r + 8.333_451_9e-3;
        p = p * r + 4.166_579_6e-2;
        p = p * r + 1.666_666_55e-1;
        p = p * r + 5.000_000_12e-1;
        let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
        (p * r * r + r + 1.0) * Self::from_bits(power)
    }

    /// 2·artanh(x / (2 + x)) by its power series, whose argument is at most 1/3.
    #[inline(always)]
    fn ln_1p(self) -> Self {
        let s = self / (self + 2.0);
        let square = s * s;
        let mut p = 1.0 / 15.0;
        for divisor in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
            p = p * square + 1.0 / divisor;
        }
        2.0 * s * (p * square + 1.0)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self::abs(self)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const DTYPE: Dtype = Dtype::F64;

    fn to_bytes(values: &[Self]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Vec<Self> {
        bytes.as_chunks().0.iter().map(|&bytes| Self::from_le_bytes(bytes)).collect()
    }

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }

    fn exp(self) -> Self {
        Self::exp(self)
    }

    fn ln_1p(self) -> Self {
        Self::ln_1p(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self::abs(self)
    }
}

/// Vector instructions of the running processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VectorLevel {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl VectorLevel {
    #[inline]
    pub fn detected() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Baseline
    }
}

/// Defines a function over slices whose body is compiled once per [`VectorLevel`] and chosen at run time.
macro_rules! vectorised {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<T: Real>($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name<T: Real>($($arg: $type),*) $(-> $out)? {
            #[inline(always)]
            fn body<T: Real>($($arg: $type),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
                fn avx512<T: Real>($($arg: $type),*) $(-> $out)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2<T: Real>($($arg: $type),*) $(-> $out)? {
                    body($($arg),*)
                }
                match $crate::real::VectorLevel::detected() {
                    // SAFETY: the processor has these instructions.
                    $crate::real::VectorLevel::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::real::VectorLevel::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::real::VectorLevel::Baseline => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use vectorised;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp_of_the_exact_value() {
        for step in -86_000..88_000 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x).exp();
            let error = (f64::from(Real::exp(x)) - exact).abs() / exact;
            assert!(error < 2.4e-7, "exp({x}) is off by {error:e} relative");
        }
        assert_eq!(Real::exp(0.0_f32), 1.0);
        assert!(Real::exp(-1e30_f32) < 2e-38 && Real::exp(f32::NEG_INFINITY) < 2e-38);
        assert!(Real::exp(1e30_f32).is_finite());
    }

    #[test]
    fn ln_1p_is_within_two_ulp_of_the_exact_value() {
        for step in 0..=100_000 {
            let x = step as f32 * 1e-5;
            let exact = f64::from(x).ln_1p();
            let error = (f64::from(Real::ln_1p(x)) - exact).abs();
            assert!(error <= 2.4e-7 * exact, "ln_1p({x}) is off by {error:e}");
        }
        assert_eq!(Real::ln_1p(1e-30_f32), 1e-30);
    }

    #[test]
    fn softplus_and_log_sigmoid_are_finite_far_out() {
        assert_eq!(1e4_f64.softplus(), 1e4);
        assert_eq!((-1e4_f64).log_sigmoid(), -1e4);
        assert!((0.0_f64.softplus() - std::f64::consts::LN_2).abs() < 1e-15);
        assert!((1.0_f32.sigmoid() - 0.731_058_6).abs() < 1e-6);
    }
}
