//! Running a plan: the pure scheduler, what a machine has, and the driver around them.

pub mod resources;
pub mod scheduler;
