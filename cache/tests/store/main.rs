//! Tests of the store through its public interface. Those that hold it to an invariant of the architecture name its
//! number.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod artifacts;
mod blobs;
mod common;
mod gc;
mod index;
mod processes;
mod records;
mod rows;
mod tiers;
