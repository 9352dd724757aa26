//! Views of a run: for terminals, as plain lines, and as JSON; all of one event stream.

mod format;
mod json;
mod plain;
mod terminal;

pub use format::{duration, milliseconds, rows, tally};
pub use json::Json;
pub use plain::Plain;
pub use terminal::Terminal;

use crate::home::RunEvent;

/// Watches a run.
pub trait Observer {
    fn event(&mut self, event: &RunEvent);

    /// Called from time to time when nothing happens, for views that move.
    fn tick(&mut self) {}
}
