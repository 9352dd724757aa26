//! One source row → one prompt.

use lsn_stage::record::{Check, Prompt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Fields of later records: a source field of this name is kept as `source_<name>`, so that no row has a field twice.
const RESERVED: &[&str] = &[
    "generation_id",
    "sampler_info",
    "seed",
    "generation",
    "token_ids",
    "finish_reason",
    "logprobs",
    "model",
    "error",
    "bradley_terry_rating",
    "diversity",
    "verifiable_reward",
    "normalized_quality",
    "normalized_diversity",
    "combined_scores",
    "score",
    "rank",
];

/// How the rows of a source become prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RowParams {
    /// Name of the source, part of the prompts' ids; by default the row's `dataset`, or else `prompts`.
    pub name: Option<String>,
    /// The field that holds the prompt, or a JSON pointer (`/messages/0/content`).
    pub prompt_key: String,
    /// The field that holds the system prompt, or a JSON pointer.
    pub system_prompt_key: String,
    /// The field that holds what a verifier needs, or a JSON pointer.
    pub ground_truth_key: String,
    /// System prompt of rows that have none.
    pub system_prompt: Option<String>,
    /// Which labels make sense; by default the row's `checks` or `incidence_vector`, or else `verifiable` where the row has a ground truth.
    pub checks: Option<Vec<Check>>,
    /// At most this many prompts of this source.
    pub limit: Option<u64>,
}

impl Default for RowParams {
    fn default() -> Self {
        Self {
            name: None,
            prompt_key: "prompt".into(),
            system_prompt_key: "system_prompt".into(),
            ground_truth_key: "ground_truth".into(),
            system_prompt: None,
            checks: None,
            limit: None,
        }
    }
}

impl RowParams {
    /// # Errors
    /// What is wrong with the row, for people.
    pub(super) fn prompt(&self, mut row: Map<String, Value>) -> Result<Prompt, String> {
        let Some(Value::String(text)) = take(&mut row, &self.prompt_key) else {
            let fields: Vec<_> = row.keys().map(String::as_str).take(12).collect();
            return Err(format!("no text in field `{}` (fields: {})", self.prompt_key, fields.join(", ")));
        };
        if text.trim().is_empty() {
            return Err(format!("field `{}` is empty", self.prompt_key));
        }
        let system_prompt = match take(&mut row, &self.system_prompt_key) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            None | Some(Value::Null | Value::String(_)) => self.system_prompt.clone(),
            Some(_) => return Err(format!("field `{}` is not text", self.system_prompt_key)),
        };
        let ground_truth = take(&mut row, &self.ground_truth_key).filter(|value| !value.is_null() && value != "");
        let dataset = match (&self.name, row.shift_remove("dataset")) {
            (Some(name), _) => name.clone(),
            (None, Some(Value::String(name))) if !name.is_empty() => name,
            _ => "prompts".to_owned(),
        };
        let own = row.shift_remove("checks");
        let checks = match (&self.checks, own, row.get("incidence_vector")) {
            (Some(checks), _, _) => checks.clone(),
            (None, Some(checks), _) if !checks.is_null() => parse_checks(checks)?,
            (None, _, Some(incidence)) => parse_incidence(incidence)?,
            _ => ground_truth.iter().map(|_| Check::Verifiable).collect(),
        };
        row.shift_remove("prompt_id");
        let mut prompt = Prompt::new(dataset, text, system_prompt);
        prompt.checks = checks;
        prompt.checks.sort_unstable();
        prompt.checks.dedup();
        prompt.ground_truth = ground_truth;
        prompt.extra = row
            .into_iter()
            .map(
                |(key, value)| {
                    if RESERVED.contains(&key.as_str()) { (format!("source_{key}"), value) } else { (key, value) }
                },
            )
            .collect();
        Ok(prompt)
    }
}

/// A field is taken out of the row; what a pointer names stays in it.
fn take(row: &mut Map<String, Value>, key: &str) -> Option<Value> {
    let Some(pointer) = key.strip_prefix('/') else { return row.shift_remove(key) };
    let unescape = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let (first, rest) = pointer.split_once('/').map_or((pointer, None), |(first, rest)| (first, Some(rest)));
    let value = row.get(&unescape(first))?;
    rest.map_or(Some(value), |rest| value.pointer(&format!("/{rest}"))).cloned()
}

fn parse_checks(value: Value) -> Result<Vec<Check>, String> {
    let list = match value {
        // A cell of a table.
        Value::String(text) => {
            text.split([',', ';', '|', ' ']).filter(|word| !word.is_empty()).map(Value::from).collect()
        }
        other => other,
    };
    serde_json::from_value(list).map_err(|error| format!("field `checks`: {error}"))
}

/// The reference's three switches, under its names.
fn parse_incidence(value: &Value) -> Result<Vec<Check>, String> {
    let Value::Object(switches) = value else { return Err("field `incidence_vector` is not an object".to_owned()) };
    let mut checks = Vec::new();
    for (name, check) in [
        ("check_diversity", Check::Diversity),
        ("check_ifeval_or_math_or_gsm8k", Check::Verifiable),
        ("check_factual", Check::Factual),
    ] {
        match switches.get(name) {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(Value::Bool(true)) => checks.push(check),
            Some(other) => return Err(format!("`incidence_vector.{name}` is {other}, expected true or false")),
        }
    }
    Ok(checks)
}
