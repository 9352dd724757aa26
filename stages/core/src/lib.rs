//! What a stage is: its trait, its ports, its context, its errors, and the data sets that flow between stages.
//!
//! This crate knows nothing of scheduling, stores or manifests. An executor builds a [`StageContext`] from real paths and
//! calls [`StageType::run`]; `lsn stage run` does the same by hand.

pub mod command;
mod context;
pub mod contract;
pub mod dataset;
mod error;
mod port;
mod progress;
pub mod record;
mod registry;
mod rows;
mod stage;

pub use context::{Artifact, CancelToken, StageContext, StageContextParts};
pub use error::{FailureClass, ParamIssue, StageError, StageResult};
pub use port::{Port, PortKind};
pub use progress::{EventSink, NoEvents, StageEvent};
pub use registry::Registry;
pub use rows::{NoMemo, RowCounts, RowError, RowKey, RowMemo, RowSpace};
pub use stage::{Determinism, Stage, StageType};
