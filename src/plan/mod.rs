//! From an expanded pipeline to a plan: task graph, task keys, and a decision with its reasons for every task.

mod graph;
mod key;
mod planner;
mod reason;
mod targets;
mod world;

pub use graph::Graph;
pub use key::{KEY_FORMAT, KeyInput, KeyManifest};
pub use planner::{
    COMMAND, Content, Counts, Decision, Input, Known, Outputs, Plan, PlanError, Planner, Selection, command_output,
};
pub use reason::{Reason, differences, excerpt};
pub use targets::{TargetError, find as find_targets};
pub use world::{ProjectInput, World, WorldError};

#[cfg(test)]
mod tests;
