//! Every event as one JSON object a line, on stdout.

use super::Observer;
use crate::home::{RunEvent, journal::Entry};
use std::io::Write;

/// For machines.
pub struct Json<W>(W);

impl<W: Write> Json<W> {
    pub fn new(output: W) -> Self {
        Self(output)
    }
}

impl<W: Write> Observer for Json<W> {
    fn event(&mut self, event: &RunEvent) {
        if let Ok(mut line) = serde_json::to_vec(&Entry::now(event.clone())) {
            line.push(b'\n');
            // A reader that went away is no reason to end a run.
            let _ = self.0.write_all(&line).and_then(|()| self.0.flush());
        }
    }
}
