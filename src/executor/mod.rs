//! Where tasks run.

pub mod guardian;
pub mod process;
