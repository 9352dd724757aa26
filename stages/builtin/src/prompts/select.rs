//! Which prompts stay under a limit.

use lsn_digest::{Canonical, Digest};
use lsn_stage::record::Prompt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which prompts stay under a limit. With both, a higher limit adds prompts and removes none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The first ones, in the order of the sources.
    #[default]
    First,
    /// A uniform sample: those whose seeded hash is least. Whether a prompt is in it does not depend on the order of rows.
    Random,
}

/// Passes on, or keeps back, the prompts that stay.
pub(super) enum Selector {
    First { left: Option<u64> },
    Random { limit: usize, seed: u64, kept: BTreeMap<Digest, Prompt> },
}

impl Selector {
    pub fn new(select: Select, limit: Option<u64>, seed: u64) -> Self {
        match (select, limit) {
            (Select::Random, Some(limit)) => {
                Self::Random { limit: usize::try_from(limit).unwrap_or(usize::MAX), seed, kept: BTreeMap::new() }
            }
            (_, left) => Self::First { left },
        }
    }

    /// Takes a prompt; gives one back where it is certain to stay.
    pub fn push(&mut self, prompt: Prompt) -> Option<Prompt> {
        match self {
            Self::First { left: None } => Some(prompt),
            Self::First { left: Some(0) } => None,
            Self::First { left: Some(left) } => {
                *left -= 1;
                Some(prompt)
            }
            Self::Random { limit, seed, kept } => {
                let mut canonical = Canonical::new("lsn/prompt-sample/1");
                canonical.u64(*seed).digest(&prompt.prompt_id.0);
                kept.insert(canonical.finish(), prompt);
                if kept.len() > *limit {
                    kept.pop_last();
                }
                None
            }
        }
    }

    /// The prompts that were kept back.
    pub fn finish(self) -> impl Iterator<Item = Prompt> {
        match self {
            Self::First { .. } => BTreeMap::new(),
            Self::Random { kept, .. } => kept,
        }
        .into_values()
    }
}

/// A digest as a uniform number in [0, 1).
pub(super) fn unit_interval(digest: &Digest) -> f64 {
    let mut head = [0; 8];
    head.copy_from_slice(&digest.as_bytes()[..8]);
    (u64::from_le_bytes(head) >> 11) as f64 / (1_u64 << 53) as f64
}
