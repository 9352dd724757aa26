//! The built-in stage types: thin glue over the domain crates.

mod command;
mod corpus;
mod evaluate;
mod generate;
#[cfg(test)]
mod harness;
mod heuristics;
mod pretrain;
mod prompts;
mod score;
mod tokenizer;
mod train;
mod verify;

use lsn_stage::Registry;

/// All built-in stage types.
#[must_use]
pub fn registry() -> Registry {
    Registry::new()
        .with(command::Command)
        .with(corpus::Corpus)
        .with(evaluate::Evaluate)
        .with(generate::Generate)
        .with(heuristics::Heuristics)
        .with(pretrain::Pretrain)
        .with(prompts::Prompts)
        .with(score::Score)
        .with(tokenizer::Tokenizer)
        .with(train::Train)
        .with(verify::Verify)
}
