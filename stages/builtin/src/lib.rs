//! The built-in stage types: thin glue over the domain crates.

mod analyze;
mod analyze_replay;
mod analyze_sources;
mod analyze_statistics;
mod command;
mod corpus;
pub mod corpus_index;
mod device;
mod evaluate;
mod fidelity;
mod fidelity_report;
mod generate;
#[cfg(test)]
mod harness;
mod heuristics;
mod label_diversity;
mod label_memo;
mod label_overlap;
mod label_quality;
#[cfg(test)]
mod label_tests;
mod label_verifiable;
mod pretrain;
mod prompts;
mod score;
mod teacher_forcing;
mod tokenizer;
mod train;
mod verify;

use lsn_stage::Registry;

/// All built-in stage types.
#[must_use]
pub fn registry() -> Registry {
    Registry::new()
        .with(analyze::Analyze)
        .with(command::Command)
        .with(corpus::Corpus)
        .with(evaluate::Evaluate)
        .with(fidelity::Fidelity)
        .with(fidelity_report::FidelityReport)
        .with(generate::Generate)
        .with(heuristics::Heuristics)
        .with(corpus_index::CorpusIndex)
        .with(label_diversity::LabelDiversity)
        .with(label_overlap::LabelOverlap)
        .with(label_quality::LabelQuality)
        .with(label_verifiable::LabelVerifiable)
        .with(pretrain::Pretrain)
        .with(prompts::Prompts)
        .with(score::Score)
        .with(tokenizer::Tokenizer)
        .with(train::Train)
        .with(verify::Verify)
}
