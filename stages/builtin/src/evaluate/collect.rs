//! What the statistics need of the rows: a few numbers per sampler, prompt and seed.

use lsn_stage::record::{PromptId, ScoredRow};
use std::collections::BTreeMap;

/// One generation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    pub score: f64,
    pub quality: Option<f64>,
    pub correct: Option<bool>,
    pub tokens: f64,
}

/// All generations of one sampler for one prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    pub by_seed: BTreeMap<u64, Answer>,
    pub vendi: Option<f64>,
    pub self_bleu: Option<f64>,
}

/// Cells by sampler and prompt.
#[derive(Debug, Default)]
pub struct Collected {
    pub samplers: BTreeMap<String, BTreeMap<PromptId, Cell>>,
}

impl Collected {
    /// Adds the rows of one prompt.
    pub fn add(&mut self, rows: Vec<ScoredRow>) {
        for row in rows {
            let generation = row.generation;
            let prompt = generation.prompt.prompt_id;
            let cell = self.samplers.entry(generation.sampler_info.name).or_default().entry(prompt).or_default();
            if let Some(diversity) = row.diversity {
                cell.vendi = diversity.vendi_score;
                cell.self_bleu = diversity.self_bleu;
            }
            let answer = Answer {
                score: row.score,
                quality: row.bradley_terry_rating,
                correct: row.verifiable_reward.map(|reward| reward >= 1.0),
                tokens: generation.token_ids.len() as f64,
            };
            cell.by_seed.insert(generation.seed, answer);
        }
    }
}
