//! What `verify` found, as JSON and in words.

use super::{
    Policy,
    judge::{Expected, Fault, FaultKind},
};
use lsn_stage::{StageError, StageResult, record::PromptId};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write};

/// Characters of a prompt that are shown.
const EXCERPT: usize = 60;
/// Faulty prompts that are told in words; the JSON has all.
const TOLD: usize = 10;

/// The same fault of one sampler at several seeds.
#[derive(Debug, Serialize)]
struct SamplerFaults {
    fault: FaultKind,
    sampler: String,
    seeds: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Debug, Serialize)]
struct PromptFaults {
    prompt_id: PromptId,
    prompt: String,
    /// How many rows of it are in the output.
    rows_kept: usize,
    faults: Vec<SamplerFaults>,
}

/// The whole report; serialises to its JSON form.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    policy: Policy,
    expected_samplers: usize,
    expected_seeds: Vec<u64>,
    prompts: u64,
    prompts_kept: u64,
    prompts_with_faults: u64,
    rows_kept: u64,
    rows_dropped: u64,
    rows_of_unknown_prompts: u64,
    /// Rows that could not be read at all; each also counts as missing.
    pub malformed_rows: u64,
    faults: BTreeMap<FaultKind, u64>,
    faults_by_sampler: BTreeMap<String, BTreeMap<FaultKind, u64>>,
    faulty: Vec<PromptFaults>,
}

impl Report {
    pub fn new(policy: Policy, expected: &Expected) -> Self {
        Self {
            policy,
            expected_samplers: expected.samplers.len(),
            expected_seeds: expected.seeds.iter().copied().collect(),
            prompts: 0,
            prompts_kept: 0,
            prompts_with_faults: 0,
            rows_kept: 0,
            rows_dropped: 0,
            rows_of_unknown_prompts: 0,
            malformed_rows: 0,
            faults: BTreeMap::new(),
            faults_by_sampler: BTreeMap::new(),
            faulty: Vec::new(),
        }
    }

    pub fn unknown_prompt(&mut self, rows: usize) {
        self.rows_of_unknown_prompts += rows as u64;
    }

    /// Notes one prompt; `fatal`: at least one of its faults is not tolerated.
    pub fn prompt(&mut self, id: PromptId, text: &str, faults: Vec<Fault>, rows: usize, kept: usize, fatal: bool) {
        self.prompts += 1;
        self.prompts_kept += u64::from(kept > 0);
        self.prompts_with_faults += u64::from(fatal);
        self.rows_kept += kept as u64;
        self.rows_dropped += (rows - kept) as u64;
        if faults.is_empty() {
            return;
        }
        let mut grouped: Vec<SamplerFaults> = Vec::new();
        for Fault { kind, sampler, seed, detail } in faults {
            *self.faults.entry(kind).or_default() += 1;
            *self.faults_by_sampler.entry(sampler.clone()).or_default().entry(kind).or_default() += 1;
            let same = grouped
                .iter_mut()
                .find(|group| group.fault == kind && group.sampler == sampler && group.detail == detail);
            match same {
                Some(group) => group.seeds.push(seed),
                None => grouped.push(SamplerFaults { fault: kind, sampler, seeds: vec![seed], detail }),
            }
        }
        if fatal {
            let prompt = text.chars().take(EXCERPT).collect();
            self.faulty.push(PromptFaults { prompt_id: id, prompt, rows_kept: kept, faults: grouped });
        }
    }

    pub fn prompts(&self) -> u64 {
        self.prompts
    }

    pub fn kept_prompts(&self) -> u64 {
        self.prompts_kept
    }

    pub fn faulty_prompts(&self) -> u64 {
        self.prompts_with_faults
    }

    pub fn headline(&self) -> String {
        let faults: Vec<_> = self.faults.iter().map(|(kind, count)| format!("{count} {}", word(*kind))).collect();
        let faults = if faults.is_empty() { "no faults".to_owned() } else { faults.join(", ") };
        format!(
            "{} rows of {} prompts kept, {} rows dropped ({faults})",
            self.rows_kept, self.prompts_kept, self.rows_dropped
        )
    }

    pub fn to_json(&self) -> StageResult<String> {
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .map_err(|error| StageError::user(format!("cannot encode the report: {error}")))
    }

    pub fn to_text(&self) -> String {
        let mut text = self.headline() + "\n";
        if self.rows_of_unknown_prompts > 0 {
            line(&mut text, format_args!("{} rows belong to no expected prompt", self.rows_of_unknown_prompts));
        }
        if self.malformed_rows > 0 {
            line(&mut text, format_args!("{} rows are malformed", self.malformed_rows));
        }
        if self.faulty.is_empty() {
            return text;
        }
        line(&mut text, format_args!("{} of {} prompts have faults:", self.prompts_with_faults, self.prompts));
        for faulty in self.faulty.iter().take(TOLD) {
            line(&mut text, format_args!("  {} {:?}: {} rows kept", faulty.prompt_id, faulty.prompt, faulty.rows_kept));
            for group in faulty.faults.iter().take(TOLD) {
                let seeds: Vec<_> = group.seeds.iter().map(u64::to_string).collect();
                let detail = group.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
                let what = word(group.fault);
                line(&mut text, format_args!("    {what}: {} at seed {}{detail}", group.sampler, seeds.join(", ")));
            }
            if faulty.faults.len() > TOLD {
                line(&mut text, format_args!("    and {} more", faulty.faults.len() - TOLD));
            }
        }
        if self.faulty.len() > TOLD {
            line(&mut text, format_args!("  and {} more prompts", self.faulty.len() - TOLD));
        }
        text
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}

fn word(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Missing => "missing",
        FaultKind::Failed => "failed",
        FaultKind::Empty => "empty",
        FaultKind::Undecodable => "undecodable",
        FaultKind::Truncated => "truncated",
        FaultKind::Repeated => "repeated",
        FaultKind::Conflicting => "conflicting",
        FaultKind::Unexpected => "unexpected",
    }
}
