//! The index and the client from outside.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod brute_force;
#[cfg(feature = "client")]
mod client;
mod damage;
mod golden;
mod layout;
