//! Runs a function compiled for the widest vector instructions that this machine has.

/// Calls `work`, inlined into a function compiled with AVX-512 or AVX2 and FMA where the machine has them.
#[inline]
pub(crate) fn vectorised<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
        fn wide<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        #[target_feature(enable = "avx2,fma")]
        fn medium<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        let wide_enough = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw");
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: every instruction set that the called function enables was detected just before.
            return unsafe { if wide_enough { wide(work) } else { medium(work) } };
        }
    }
    work()
}
