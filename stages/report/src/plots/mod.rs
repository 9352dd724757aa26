//! The plots, one file each.

mod curves;
mod fidelity;
mod imitation;
mod panel;
mod pipeline;
mod probabilities;
mod ranking;
mod training;

pub use curves::{calibration, entropy, positions, transfer};
pub use fidelity::fidelity;
pub use imitation::imitation;
pub use pipeline::pipeline;
pub use probabilities::probabilities;
pub use ranking::{difference, ranking, with_interval};
pub use training::training;
