//! Judging the rows of one prompt.

use lsn_stage::record::{FinishReason, Generation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What can be wrong with a (prompt, sampler, seed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// No row.
    Missing,
    /// The row is a failure.
    Failed,
    /// No text but white space.
    Empty,
    /// Bytes that are no text, not only at the cut end of a text.
    Undecodable,
    /// Ended by the maximum length.
    Truncated,
    /// The same generation came in twice; one is kept.
    Repeated,
    /// Different generations for one place; none can be preferred.
    Conflicting,
    /// A sampler or a seed that nobody asked for.
    Unexpected,
}

/// One fault of one (prompt, sampler, seed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub kind: FaultKind,
    pub sampler: String,
    pub seed: u64,
    pub detail: Option<String>,
}

/// What must be there; an empty set asks for nothing.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub samplers: BTreeSet<String>,
    pub seeds: BTreeSet<u64>,
}

/// At most one row per place, each with the fault of the row itself, and all faults.
pub(super) struct Judged {
    pub rows: Vec<(Generation, Option<FaultKind>)>,
    pub faults: Vec<Fault>,
}

/// Judges all rows of one prompt.
pub(super) fn judge(rows: Vec<Generation>, expected: &Expected) -> Judged {
    let mut places: BTreeMap<(String, u64), Vec<Generation>> = BTreeMap::new();
    let mut samplers = expected.samplers.clone();
    let mut seeds = expected.seeds.clone();
    for row in rows {
        if expected.samplers.is_empty() {
            samplers.insert(row.sampler_info.name.clone());
        }
        if expected.seeds.is_empty() {
            seeds.insert(row.seed);
        }
        places.entry((row.sampler_info.name.clone(), row.seed)).or_default().push(row);
    }
    let mut judged = Judged { rows: Vec::new(), faults: Vec::new() };
    for sampler in &samplers {
        for &seed in &seeds {
            match places.remove(&(sampler.clone(), seed)) {
                None => judged.fault(FaultKind::Missing, sampler, seed, None),
                Some(rows) => judged.place(sampler, seed, rows),
            }
        }
    }
    for (sampler, seed) in places.into_keys() {
        judged.fault(FaultKind::Unexpected, &sampler, seed, None);
    }
    judged
}

impl Judged {
    fn fault(&mut self, kind: FaultKind, sampler: &str, seed: u64, detail: Option<String>) {
        self.faults.push(Fault { kind, sampler: sampler.to_owned(), seed, detail });
    }

    fn place(&mut self, sampler: &str, seed: u64, mut rows: Vec<Generation>) {
        // A failed attempt beside a successful one does not count.
        if rows.iter().any(|row| row.finish_reason != FinishReason::Error) {
            rows.retain(|row| row.finish_reason != FinishReason::Error);
        }
        let count = rows.len();
        let Some(row) = rows.pop() else { return };
        if rows.iter().any(|other| other.generation_id != row.generation_id || other.generation != row.generation) {
            let detail = format!("{count} different generations");
            return self.fault(FaultKind::Conflicting, sampler, seed, Some(detail));
        }
        if count > 1 {
            self.fault(FaultKind::Repeated, sampler, seed, Some(format!("{count} times")));
        }
        let fault = own_fault(&row);
        if let Some(kind) = fault {
            self.fault(kind, sampler, seed, row.error.clone());
        }
        self.rows.push((row, fault));
    }
}

fn own_fault(row: &Generation) -> Option<FaultKind> {
    let text = match row.finish_reason {
        // A cut can split the last character.
        FinishReason::Length => row.generation.trim_end_matches(char::REPLACEMENT_CHARACTER),
        _ => &row.generation,
    };
    match row.finish_reason {
        FinishReason::Error => Some(FaultKind::Failed),
        _ if text.trim().is_empty() => Some(FaultKind::Empty),
        _ if text.contains(char::REPLACEMENT_CHARACTER) => Some(FaultKind::Undecodable),
        FinishReason::Length => Some(FaultKind::Truncated),
        FinishReason::Stop => None,
    }
}
