//! Running a plan: the pure scheduler, the world it reads, and the driver around them.

mod driver;
mod launch;
mod observers;
mod outputs;
pub mod scheduler;
mod session;
mod world;

pub use driver::{Driver, Outcome, Setup, Signal};
pub use launch::{RunError, RunOptions, plan, planned, run};
pub use observers::Observers;
pub use outputs::{OutputError, Outputs, Placing};
pub use session::{OpenError, OpenOptions, Session};
pub use world::DiskWorld;
