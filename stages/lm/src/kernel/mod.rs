//! The arithmetic under the CPU path: SIMD chosen at run time, results that do not depend on the choice.
//!
//! Every output element is one fixed chain of fused multiply-adds, and every reduction runs over 16 lanes folded in one fixed
//! order. So a row's bits depend on the row alone: not on the rows beside it, the tile it was computed in, the number of
//! threads, or the width of the machine's vectors.

/// Defines `fn name(isa, args…)` whose one body is compiled once per instruction set.
macro_rules! per_isa {
    ($(#[$meta:meta])* pub fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        pub fn $name(isa: $crate::kernel::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                body($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                body($($arg),*)
            }

            match isa.kind() {
                // SAFETY: an `Isa` of this kind exists only after the processor reported it.
                #[cfg(target_arch = "x86_64")]
                $crate::kernel::IsaKind::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::kernel::IsaKind::Avx2 => unsafe { avx2($($arg),*) },
                _ => body($($arg),*),
            }
        }
    };
}

mod attention;
mod elementwise;
mod matmul;

pub use attention::{score_span, value_span};
pub use elementwise::{Activation, exp_sum, gate, log_sum_exp, rms_norm, rotate, soft_cap, softmax_masked};
pub use matmul::{PackedMatrix, Store, matmul};

use std::sync::OnceLock;

/// Lanes of one [`Line`]: the unit of every layout and reduction.
pub const LANES: usize = 16;

/// Sixteen floats on one cache line.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C, align(64))]
pub struct Line(pub [f32; LANES]);

/// An instruction set that this machine can run and that has its own compiled kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(IsaKind);

/// The instruction sets with their own compiled kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsaKind {
    /// AVX-512F.
    Avx512,
    /// AVX2 and FMA.
    Avx2,
    /// Whatever the target guarantees; correct everywhere, slow on x86 without FMA.
    Portable,
}

impl Isa {
    /// What every machine can run.
    pub const PORTABLE: Self = Self(IsaKind::Portable);

    /// The widest instruction set of this machine.
    #[must_use]
    pub fn detect() -> Self {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(|| Self::available().first().copied().unwrap_or(Self::PORTABLE))
    }

    /// All instruction sets that this machine can run, widest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if fma && is_x86_feature_detected!("avx512f") {
                found.push(Self(IsaKind::Avx512));
            }
            if fma {
                found.push(Self(IsaKind::Avx2));
            }
        }
        found.push(Self::PORTABLE);
        found
    }

    #[must_use]
    pub fn kind(self) -> IsaKind {
        self.0
    }
}
