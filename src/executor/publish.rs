//! From what a task wrote to a published result: contract, capture, record.

use super::Publication;
use crate::plan::{KeyManifest, Outputs};
use lsn_cache::{ActionRecord, Ownership, Provenance, Published, Stamp, Store, StoreError, TaskKey};
use lsn_stage::{Determinism, FailureClass, Port, RowCounts, StageError, StageResult, contract};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A result that is about to be published.
pub struct Finished<'a> {
    pub key: TaskKey,
    pub manifest: &'a KeyManifest,
    pub determinism: Determinism,
    pub pipeline: &'a str,
    pub task: &'a str,
    pub duration_ms: u64,
    pub rows: Option<RowCounts>,
    pub metrics: BTreeMap<String, f64>,
    pub facts: BTreeMap<String, Value>,
    /// `false`: describe and store the outputs, but publish no record.
    pub publish: bool,
    /// The person forced the task: its result takes the place of an earlier one.
    pub replace: bool,
    pub watched: &'a [(PathBuf, Stamp)],
}

/// Checks the outputs against their contracts and puts them into the store.
///
/// # Errors
/// Of class [`FailureClass::Contract`] if an output is not what its port promises, [`FailureClass::Infrastructure`] if the
/// store cannot be written.
pub fn capture(store: &Store, ports: &[Port], path: impl Fn(&Port) -> Option<PathBuf>) -> StageResult<Outputs> {
    let mut outputs = Outputs::new();
    for port in ports {
        let Some(path) = path(port) else { continue };
        contract::check(port, &path)?;
        // An optional output may be absent; its contract said so.
        if std::fs::symlink_metadata(&path).is_ok() {
            let captured = store.capture(&path, Ownership::Own);
            outputs.insert(port.name.clone(), captured.map_err(|error| capture_failure(error, &path))?);
        }
    }
    Ok(outputs)
}

/// A store failure as a stage failure: what a person did (changed files) is theirs, the rest is the machine's.
pub fn store_failure(error: StoreError) -> StageError {
    let class = match &error {
        StoreError::Unsupported { .. } | StoreError::LinkCycle { .. } | StoreError::NameNotUtf8 { .. } => {
            FailureClass::Contract
        }
        StoreError::Changed { .. } => FailureClass::User,
        _ => FailureClass::Infrastructure,
    };
    StageError::new(class, error.to_string())
}

/// As [`store_failure`]; what the task left unreadable (a dangling link, no permission) breaks its contract, and another
/// attempt would leave it so again.
fn capture_failure(error: StoreError, output: &Path) -> StageError {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    match &error {
        StoreError::Io { path, source, .. }
            if path.starts_with(output) && matches!(source.kind(), NotFound | PermissionDenied) =>
        {
            StageError::new(FailureClass::Contract, error.to_string())
                .hint("an output holds readable files and directories, and links to them")
        }
        _ => store_failure(error),
    }
}

/// Publishes the record, unless an input changed while the task ran.
///
/// Gives what everybody sees from now on: the outputs of an earlier record where one was there.
///
/// # Errors
/// The store cannot be written.
pub fn publish(
    store: &Store,
    result: Finished<'_>,
    outputs: Outputs,
) -> StageResult<(Outputs, Publication, Option<ActionRecord>)> {
    if !result.publish {
        let why = "the stage says `cache: false`".to_owned();
        return Ok((outputs, Publication::Withheld { why }, None));
    }
    if let Some(changed) = first_changed(result.watched) {
        let why = format!("input `{}` changed while the task ran", changed.display());
        return Ok((outputs, Publication::Withheld { why }, None));
    }
    let record = ActionRecord {
        key: result.key,
        key_manifest: result.manifest.to_json(),
        outputs,
        determinism: determinism_word(result.determinism).to_owned(),
        provenance: Provenance {
            pipeline: result.pipeline.to_owned(),
            task: result.task.to_owned(),
            finished_ms: crate::home::now_ms(),
            duration_ms: result.duration_ms,
            facts: result.facts,
            rows: result.rows.map(row_facts).unwrap_or_default(),
            metrics: result.metrics,
        },
    };
    let published = if result.replace { store.replace_action(&record) } else { store.put_action(&record) };
    let published = published.map_err(store_failure)?;
    let publication = Publication::of(&published);
    match published {
        Published::Differs(visible) => Ok((visible.outputs, publication, None)),
        _ => Ok((record.outputs.clone(), publication, Some(record))),
    }
}

/// The first watched path whose state is no longer what it was.
fn first_changed(watched: &[(PathBuf, Stamp)]) -> Option<&Path> {
    watched.iter().find(|(path, stamp)| Stamp::of(path).ok().as_ref() != Some(stamp)).map(|(path, _)| path.as_path())
}

/// As records and messages spell it.
#[must_use]
pub fn determinism_word(determinism: Determinism) -> &'static str {
    match determinism {
        Determinism::Exact => "exact",
        Determinism::Seeded => "seeded",
        Determinism::Sampled => "sampled",
    }
}

fn row_facts(rows: RowCounts) -> BTreeMap<String, u64> {
    [("reused", rows.reused), ("computed", rows.computed), ("failed", rows.failed)]
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}
