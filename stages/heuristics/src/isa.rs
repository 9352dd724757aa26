//! The processor's vector instructions, found at run time.

use std::sync::OnceLock;

/// A set of vector instructions that the running processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Isa(IsaKind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IsaKind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the program was compiled for.
    Portable,
}

impl Isa {
    pub const PORTABLE: Self = Self(IsaKind::Portable);

    /// The widest of this processor.
    pub fn detect() -> Self {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(|| Self::available().next().unwrap_or(Self::PORTABLE))
    }

    /// All that this processor has, widest first.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vector = [
            (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl"))
                .then_some(Self(IsaKind::Avx512)),
            is_x86_feature_detected!("avx2").then_some(Self(IsaKind::Avx2)),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let vector = [];
        vector.into_iter().flatten().chain([Self::PORTABLE])
    }

    pub fn kind(self) -> IsaKind {
        self.0
    }
}

/// Defines a function whose body is compiled once per instruction set and chosen by its first argument.
macro_rules! per_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name(isa: $crate::isa::Isa, $($arg: $type),*) $(-> $out)? {
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,avx512f,avx512vl")]
            fn avx512($($arg: $type),*) $(-> $out)? {
                body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $type),*) $(-> $out)? {
                body($($arg),*)
            }
            match isa.kind() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: an `Isa` of this kind exists only after the processor reported it.
                $crate::isa::IsaKind::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::isa::IsaKind::Avx2 => unsafe { avx2($($arg),*) },
                $crate::isa::IsaKind::Portable => body($($arg),*),
            }
        }
    };
}
pub(crate) use per_isa;
