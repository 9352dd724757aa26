//! Training from the gradient to the files it writes.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod artifacts;
mod common;
mod gradient;
mod training;
