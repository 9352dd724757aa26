//! The engine and command line of lsn.

pub mod manifest;
