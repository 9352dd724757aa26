//! The built-in stage types: thin glue over the domain crates.

mod command;
#[cfg(test)]
mod harness;
mod prompts;
mod score;
mod verify;

use lsn_stage::Registry;

/// All built-in stage types.
#[must_use]
pub fn registry() -> Registry {
    Registry::new().with(command::Command).with(prompts::Prompts).with(verify::Verify).with(score::Score)
}
