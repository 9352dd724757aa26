//! How a stage's tasks run, which is no part of what they compute; and their declared environment.

use super::{
    Resources, Retries, document,
    expression::Instance,
    problem::{Finding, Findings},
    tree::{Entry, Node},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The keys of a stage that say how it runs, and nothing of what it computes.
const SETTINGS: [&str; 5] = ["resources", "retries", "timeout", "cache", "secrets"];

/// Settings that are no part of what a task computes.
#[derive(Clone)]
pub struct Settings {
    pub resources: Resources,
    pub retries: Retries,
    pub timeout: Option<Duration>,
    pub cache: bool,
    pub secrets: Arc<[String]>,
}

impl Settings {
    /// What a stage has that says nothing.
    pub fn none() -> Self {
        Self {
            resources: Resources::default(),
            retries: Retries { max: 0, backoff: Duration::from_secs(1) },
            timeout: None,
            cache: true,
            secrets: Arc::default(),
        }
    }

    /// The settings that a node of [`settings_of`] says, for one instance.
    ///
    /// # Errors
    /// A value is of the wrong kind or out of range.
    pub fn read(node: &Node, instance: &Instance<'_>) -> Result<Self, Findings> {
        let value = instance.value_of(node).map_err(one)?;
        let written: document::SiteSettings = {
            let mut value = value.clone();
            if let Some(fields) = value.as_object_mut() {
                fields.remove("cache");
                fields.remove("secrets");
            }
            from_value(value, node)?
        };
        let mut settings = Self::none();
        settings.cache = value.get("cache").and_then(Value::as_bool).unwrap_or(true);
        let secrets = value.get("secrets").and_then(Value::as_array).into_iter().flatten();
        settings.secrets = secrets.filter_map(|name| name.as_str().map(str::to_owned)).collect();
        settings.timeout = written.timeout.map(|timeout| timeout.0);
        settings.resources = Resources {
            gpus: written.resources.gpus.unwrap_or(0.0),
            gpu_mem: written.resources.gpu_mem.map(|size| size.0),
            cpus: written.resources.cpus.unwrap_or(0),
            mem: written.resources.mem.map(|size| size.0),
            time: written.resources.time.map(|time| time.0),
        };
        settings.retries.max = written.retries.max.unwrap_or(settings.retries.max);
        settings.retries.backoff = written.retries.backoff.map_or(settings.retries.backoff, |backoff| backoff.0);
        let gpus = settings.resources.gpus;
        if gpus > 1.0 && gpus.fract() != 0.0 {
            let place = node.locate("/resources/gpus").0;
            return Err(one(Finding::new(
                place.span,
                format!("`gpus` is {gpus}"),
                "expected a whole number, or a fraction below 1 to share one device",
            )));
        }
        Ok(settings)
    }
}

/// The keys of a stage that are settings.
pub fn settings_of(stage: &Node) -> Vec<Entry> {
    SETTINGS.iter().filter_map(|key| stage.entry(key)).cloned().collect()
}

/// The declared environment of one instance.
///
/// # Errors
/// A value is no scalar, or a key cannot name a variable.
pub fn environment(node: &Node, instance: &Instance<'_>) -> Result<BTreeMap<String, String>, Findings> {
    let mut variables = BTreeMap::new();
    for entry in node.entries() {
        let value: document::EnvValue = decode(&entry.value, instance, &entry.key)?;
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            let message = format!("`{}` cannot name an environment variable", entry.key);
            return Err(one(Finding::new(entry.key_span, message, "expected a name without `=`")));
        }
        variables.insert(entry.key.clone(), value.text());
    }
    Ok(variables)
}

/// A single finding.
pub fn one(finding: Finding) -> Findings {
    let mut findings = Findings::default();
    findings.push(finding);
    findings
}

fn from_value<T: DeserializeOwned>(value: Value, node: &Node) -> Result<T, Findings> {
    serde_json::from_value(value).map_err(|error| one(Finding::new(node.span, error.to_string(), "cannot be read")))
}

/// The value of a key, for one instance.
///
/// # Errors
/// It cannot be worked out, or is of the wrong kind.
pub fn decode<T: DeserializeOwned>(node: &Node, instance: &Instance<'_>, key: &str) -> Result<T, Findings> {
    let value = instance.value_of(node).map_err(one)?;
    serde_json::from_value(value.clone())
        .map_err(|_| one(Finding::new(node.span, format!("`{key}` is `{value}`"), "expected true or false")))
}
