//! `.lsn/`: where things lie beside a project, the ids of runs, and the journal of what happened in each.

mod event;
mod id;
pub mod journal;
mod layout;
mod past;

pub use event::{Planned, PlannedTask, RunEvent, RunStatus, Tally, Usage};
pub use id::RunId;
pub use journal::now_ms;
pub use layout::{CreateError, HOME, Home, RunDirectory, file_name};
pub use past::{PastRun, PastTask, TaskState};
