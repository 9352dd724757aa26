//! How many may do something at a time.

use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Debug)]
pub(super) struct Permits {
    left: Mutex<usize>,
    returned: Condvar,
}

/// Gives its permit back when dropped.
pub(super) struct Permit<'a>(&'a Permits);

impl Permits {
    /// At least one.
    pub fn new(permits: usize) -> Self {
        Self { left: Mutex::new(permits.max(1)), returned: Condvar::new() }
    }

    /// Waits until there is one.
    pub fn take(&self) -> Permit<'_> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self.returned.wait_while(left, |left| *left == 0).unwrap_or_else(PoisonError::into_inner);
        *left -= 1;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.left.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.returned.notify_one();
    }
}
