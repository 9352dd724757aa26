//! How long tasks took before, for estimates.

use serde::{Deserialize, Serialize};

/// The weight of the newest run in the running mean.
const NEWEST: f64 = 0.3;

/// Running times of one task over its runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskTime {
    /// Number of runs seen.
    pub runs: u64,
    /// Exponentially weighted mean of the duration, milliseconds.
    pub mean_ms: f64,
    /// Duration of the latest run, milliseconds.
    pub last_ms: u64,
}

impl TaskTime {
    /// With one more run.
    #[must_use]
    pub fn after(self, duration_ms: u64) -> Self {
        let newest = duration_ms as f64;
        let mean_ms = if self.runs == 0 { newest } else { self.mean_ms + NEWEST * (newest - self.mean_ms) };
        Self { runs: self.runs + 1, mean_ms, last_ms: duration_ms }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(24);
        bytes.extend_from_slice(&self.runs.to_le_bytes());
        bytes.extend_from_slice(&self.mean_ms.to_le_bytes());
        bytes.extend_from_slice(&self.last_ms.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (runs, rest) = bytes.split_first_chunk::<8>()?;
        let (mean_ms, rest) = rest.split_first_chunk::<8>()?;
        let last_ms = <[u8; 8]>::try_from(rest).ok()?;
        Some(Self {
            runs: u64::from_le_bytes(*runs),
            mean_ms: f64::from_le_bytes(*mean_ms),
            last_ms: u64::from_le_bytes(last_ms),
        })
    }
}
