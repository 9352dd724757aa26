//! The built-in stage types: thin glue over the domain crates.

mod command;
mod evaluate;
mod generate;
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
        .with(generate::Generate)
        .with(verify::Verify)
        .with(score::Score)
        .with(train::Train)
}
