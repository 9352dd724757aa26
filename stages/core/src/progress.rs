//! What a running stage tells the outside: one event enum, serialised as one JSON object a line.

use crate::RowCounts;
use serde::{Deserialize, Serialize};

/// Something a running stage reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum StageEvent {
    /// Work done so far, in `unit`s (`rows`, `steps`, `games`, `bytes`); `total` where it is known.
    Progress { done: u64, total: Option<u64>, unit: String },
    /// A number worth watching or comparing between runs.
    Metric { name: String, value: f64 },
    /// Row memo counts so far.
    Rows(RowCounts),
    /// A line for people.
    Note { text: String },
    /// Something is wrong, but the task goes on.
    Warning { text: String },
}

/// Where a stage's events go.
pub trait EventSink: Send + Sync {
    /// Must not block for long; losing an event is allowed, failing is not.
    fn emit(&self, event: &StageEvent);
}

/// Drops all events.
pub struct NoEvents;

impl EventSink for NoEvents {
    fn emit(&self, _event: &StageEvent) {}
}
