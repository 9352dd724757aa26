//! The endless stream of documents of a split, and prompt sets drawn from it.

use crate::{Document, Kind, PromptRecord, Split, arithmetic, fact, instruction, story};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Relative frequencies of the four kinds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mixture {
    pub arithmetic: f64,
    pub story: f64,
    pub instruction: f64,
    pub fact: f64,
}

impl Default for Mixture {
    fn default() -> Self {
        Self { arithmetic: 0.5, story: 0.16, instruction: 0.24, fact: 0.1 }
    }
}

impl Mixture {
    fn weights(&self) -> [f64; 4] {
        [self.arithmetic, self.story, self.instruction, self.fact]
    }

    /// # Errors
    /// A weight is negative or not finite, or all are zero.
    pub fn check(&self) -> Result<(), CorpusError> {
        let weights = self.weights();
        let sane = weights.iter().all(|w| w.is_finite() && *w >= 0.0) && weights.iter().sum::<f64>() > 0.0;
        if sane { Ok(()) } else { Err(CorpusError::Mixture { weights }) }
    }
}

/// What decides the corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CorpusConfig {
    /// Seed of every choice.
    pub seed: u64,
    /// How often each kind of task comes.
    pub mixture: Mixture,
    /// Share of the documents that carry a system prompt.
    pub system_share: f64,
}

impl Default for CorpusConfig {
    fn default() -> Self {
        Self { seed: 1, mixture: Mixture::default(), system_share: 0.15 }
    }
}

/// Why a corpus cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    #[error("mixture weights {weights:?} must be finite, not negative, and not all zero")]
    Mixture { weights: [f64; 4] },
    #[error("system_share is {0}, give a number between 0 and 1")]
    SystemShare(f64),
    #[error("only {found} different prompts of {kind:?} among {tried} drawn, {wanted} were asked for; ask for fewer")]
    TooFewPrompts { kind: Kind, found: usize, wanted: usize, tried: usize },
}

/// An endless, seeded stream of documents of one split.
pub struct Documents {
    rng: ChaCha8Rng,
    cumulative: [f64; 4],
    system_share: f64,
    split: Split,
}

/// The documents of `split`.
///
/// # Errors
/// The configuration makes no sense.
pub fn documents(config: &CorpusConfig, split: Split) -> Result<Documents, CorpusError> {
    config.mixture.check()?;
    if !(0.0..=1.0).contains(&config.system_share) {
        return Err(CorpusError::SystemShare(config.system_share));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    rng.set_stream(split.stream());
    let mut cumulative = config.mixture.weights();
    let total: f64 = cumulative.iter().sum();
    let mut sum = 0.0;
    for weight in &mut cumulative {
        sum += *weight / total;
        *weight = sum;
    }
    Ok(Documents { rng, cumulative, system_share: config.system_share, split })
}

impl Documents {
    /// The next document of a kind.
    pub fn draw(&mut self, kind: Kind) -> Document {
        loop {
            let mut document = match kind {
                Kind::Arithmetic => arithmetic::generate(&mut self.rng),
                Kind::Story => story::generate(&mut self.rng),
                Kind::Instruction => instruction::generate(&mut self.rng),
                Kind::Fact => fact::generate(&mut self.rng),
            };
            if !self.rng.random_bool(self.system_share) {
                document.system = None;
            }
            if Split::of(document.content) == self.split {
                return document;
            }
        }
    }
}

impl Iterator for Documents {
    type Item = Document;

    fn next(&mut self) -> Option<Document> {
        let draw: f64 = self.rng.random();
        let index = self.cumulative.iter().position(|&edge| draw < edge).unwrap_or(Kind::ALL.len() - 1);
        Some(self.draw(Kind::ALL[index]))
    }
}

/// `count` different prompts of a split, the kinds in the proportion of the mixture and interleaved.
///
/// # Errors
/// The configuration makes no sense, or the split has too few different prompts.
pub fn prompts(config: &CorpusConfig, split: Split, count: usize) -> Result<Vec<PromptRecord>, CorpusError> {
    let mut stream = documents(config, split)?;
    let mut seen = HashSet::new();
    let mut records = Vec::with_capacity(count);
    for index in 0..count {
        // Evenly spread positions through the cumulative weights give the exact proportions; the stride mixes the kinds.
        let position = ((index * stride(count)) % count) as f64 + 0.5;
        let share = position / count as f64;
        let kind = Kind::ALL[stream.cumulative.iter().position(|&edge| share < edge).unwrap_or(Kind::ALL.len() - 1)];
        let tries = 10_000;
        let fresh = (0..tries).map(|_| stream.draw(kind)).find(|d| seen.insert((d.content, kind)));
        let document =
            fresh.ok_or(CorpusError::TooFewPrompts { kind, found: records.len(), wanted: count, tried: tries })?;
        records.push(PromptRecord::from(document));
    }
    Ok(records)
}

/// A stride near the golden section of `count` and without a common divisor with it.
fn stride(count: usize) -> usize {
    let gcd = |mut a: usize, mut b: usize| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let start = (count as f64 * 0.618) as usize;
    (start.max(1)..=count.max(1)).find(|&s| gcd(s, count) == 1).unwrap_or(1)
}
