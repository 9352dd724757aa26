//! What a stage sees of the world: its input paths, its output paths, a scratch directory, and ears.

use crate::{EventSink, RowCounts, RowMemo, RowSpace, StageError, StageEvent, StageResult};
use lsn_digest::Digest;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// One input artifact: a readable path and the digest of its content.
///
/// A file artifact's path need not have a meaningful name or extension; a stage must not depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    pub path: PathBuf,
    pub digest: Digest,
}

/// Set once when the run is interrupted. Long loops ask it and stop at a point they can go on from.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything an executor must provide; see [`StageContext`] for the meaning of each part.
pub struct StageContextParts {
    pub inputs: BTreeMap<String, Vec<Artifact>>,
    pub outputs: BTreeMap<String, PathBuf>,
    pub scratch: PathBuf,
    pub threads: usize,
    pub gpus: Vec<u32>,
    pub events: Arc<dyn EventSink>,
    pub memo: Arc<dyn RowMemo>,
    pub cancel: CancelToken,
}

/// The world of one running stage.
pub struct StageContext {
    parts: StageContextParts,
}

impl StageContext {
    #[must_use]
    pub fn new(parts: StageContextParts) -> Self {
        Self { parts }
    }

    /// The one artifact of a required input.
    ///
    /// # Errors
    /// The input is missing or has several artifacts; the planner prevents both.
    pub fn input(&self, name: &str) -> StageResult<&Artifact> {
        match self.inputs(name) {
            [one] => Ok(one),
            [] => Err(StageError::user(format!("input `{name}` is missing"))),
            many => Err(StageError::user(format!("input `{name}` has {} artifacts, expected one", many.len()))),
        }
    }

    /// The artifact of an optional input.
    #[must_use]
    pub fn input_opt(&self, name: &str) -> Option<&Artifact> {
        self.inputs(name).first()
    }

    /// All artifacts of an input, in manifest order.
    #[must_use]
    pub fn inputs(&self, name: &str) -> &[Artifact] {
        self.parts.inputs.get(name).map_or(&[], Vec::as_slice)
    }

    /// The names of all inputs that were given.
    pub fn input_names(&self) -> impl Iterator<Item = &str> {
        self.parts.inputs.keys().map(String::as_str)
    }

    /// Where to write an output. The path does not exist yet; its parent does. Write a file or make a directory there.
    ///
    /// # Errors
    /// The stage type declares no such output.
    pub fn output(&self, name: &str) -> StageResult<&Path> {
        self.parts
            .outputs
            .get(name)
            .map(PathBuf::as_path)
            .ok_or_else(|| StageError::user(format!("output `{name}` is not declared")))
    }

    /// A directory of this task's own that survives crashes and retries of the same task key: checkpoints go here.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.parts.scratch
    }

    /// How many compute threads the task was given. Results must not depend on it.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.parts.threads.max(1)
    }

    /// Ordinals of the GPUs that the task was given, as the process sees them.
    #[must_use]
    pub fn gpus(&self) -> &[u32] {
        &self.parts.gpus
    }

    #[must_use]
    pub fn cancel_token(&self) -> &CancelToken {
        &self.parts.cancel
    }

    /// # Errors
    /// The run was interrupted: leave everything such that the next attempt goes on from here, and return this error.
    pub fn check_cancelled(&self) -> StageResult<()> {
        if self.parts.cancel.is_cancelled() { Err(StageError::cancelled()) } else { Ok(()) }
    }

    /// The row memo of a namespace.
    ///
    /// # Errors
    /// The memo cannot be opened.
    pub fn rows(&self, namespace: &str) -> StageResult<Arc<dyn RowSpace>> {
        Ok(self.parts.memo.open(namespace)?)
    }

    #[must_use]
    pub fn events(&self) -> &Arc<dyn EventSink> {
        &self.parts.events
    }

    pub fn progress(&self, done: u64, total: Option<u64>, unit: &str) {
        self.parts.events.emit(&StageEvent::Progress { done, total, unit: unit.to_owned() });
    }

    pub fn metric(&self, name: &str, value: f64) {
        self.parts.events.emit(&StageEvent::Metric { name: name.to_owned(), value });
    }

    pub fn row_counts(&self, counts: RowCounts) {
        self.parts.events.emit(&StageEvent::Rows(counts));
    }

    pub fn note(&self, text: impl Into<String>) {
        self.parts.events.emit(&StageEvent::Note { text: text.into() });
    }

    pub fn warn(&self, text: impl Into<String>) {
        self.parts.events.emit(&StageEvent::Warning { text: text.into() });
    }
}

impl From<crate::RowError> for StageError {
    fn from(error: crate::RowError) -> Self {
        Self::new(crate::FailureClass::Infrastructure, error.to_string())
    }
}
