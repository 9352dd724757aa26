//! All who watch a run.

use crate::{
    home::{RunEvent, journal::Journal},
    progress::Observer,
};

/// One enum for all who watch: the journal keeps it, the views show it.
pub struct Observers {
    journal: Journal,
    views: Vec<Box<dyn Observer>>,
}

impl Observers {
    #[must_use]
    pub fn new(journal: Journal, views: Vec<Box<dyn Observer>>) -> Self {
        Self { journal, views }
    }

    pub fn emit(&mut self, event: &RunEvent) {
        if event.is_lasting() {
            self.journal.append(event);
        }
        for view in &mut self.views {
            view.event(event);
        }
    }

    /// Redraws moving views, and hands the journal's lines over.
    pub fn tick(&mut self) {
        self.journal.flush();
        self.views.iter_mut().for_each(|view| view.tick());
    }

    /// Hands everything over; called before the process may be killed at leisure.
    pub fn flush(&mut self) {
        self.journal.flush();
    }
}
