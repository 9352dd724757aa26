//! When to ask again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// How often, and after which pauses, a failed request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Requests in all, the first included.
    pub attempts: u32,
    /// The pause after the first failure; each further one is twice as long.
    pub first_pause: Duration,
    /// No pause is longer, not even where the server asks for it.
    pub longest_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 7, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(60) }
    }
}

impl Retry {
    /// The pause after failure number `failure`, from 1: a random half to whole of the doubled pauses, so that clients that
    /// failed together do not come back together, but no less than the server `wanted`.
    pub(super) fn pause(&self, failure: u32, wanted: Option<Duration>) -> Duration {
        let doubled = self.first_pause.saturating_mul(2_u32.saturating_pow(failure.saturating_sub(1)));
        let random = (RandomState::new().hash_one(failure) >> 11) as f64 / (1_u64 << 53) as f64;
        let pause = doubled.min(self.longest_pause).mul_f64(0.5 + random / 2.0);
        pause.max(wanted.unwrap_or_default()).min(self.longest_pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_heed_the_server() {
        let second = Duration::from_secs(1);
        let retry = Retry { attempts: 5, first_pause: second, longest_pause: 10 * second };
        for (failure, whole) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (200, 10)] {
            let pause = retry.pause(failure, None);
            assert!(pause >= whole * second / 2 && pause <= whole * second, "{failure}: {pause:?}");
        }
        assert_eq!(retry.pause(1, Some(7 * second)), 7 * second);
        assert_eq!(retry.pause(1, Some(3600 * second)), 10 * second);
    }
}
