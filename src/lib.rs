//! The engine and command line of lsn.

pub mod cli;
pub mod executor;
pub mod home;
pub mod manifest;
pub mod plan;
pub mod progress;
pub mod run;
