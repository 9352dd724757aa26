//! The built-in stage types: thin glue over the domain crates.

mod command;
mod evaluate;
#[cfg(test)]
mod harness;
mod heuristics;
mod prompts;
mod score;
mod train;
mod verify;

use lsn_stage::Registry;

/// All built-in stage types.
#[must_use]
pub fn registry() -> Registry {
    Registry::new()
        .with(command::Command)
        .with(evaluate::Evaluate)
        .with(heuristics::Heuristics)
        .with(prompts::Prompts)
        .with(verify::Verify)
        .with(score::Score)
        .with(train::Train)
}
