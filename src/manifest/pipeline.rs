//! The expanded pipeline: what a manifest means once variables, defaults, profiles and matrices are worked out.
//!
//! This is the boundary between reading manifests and planning: plain data, no text, no spans, no file access.

use lsn_stage::Port;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

/// A stage's name in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StageName(pub String);

/// A task's name: `verify`, or `generate[seed=3]` for an instance of a matrix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub String);

/// Position of a task in [`Pipeline::tasks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskIndex(pub u32);

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an input artifact comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An output of another task.
    Output { task: TaskIndex, output: String },
    /// A file or directory of the project, relative to [`Pipeline::root`] as written.
    Path { path: PathBuf },
    /// All files that match, in sorted order; relative to [`Pipeline::root`].
    Glob { pattern: String },
}

/// What a task needs to run; never part of a key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Whole GPUs, or a fraction below one to share a device.
    pub gpus: f64,
    /// Bytes of GPU memory per GPU.
    pub gpu_mem: Option<u64>,
    /// CPU cores; 0 means 1.
    pub cpus: u32,
    /// Bytes of memory.
    pub mem: Option<u64>,
    /// Expected time, for cluster executors.
    pub time: Option<Duration>,
}

/// How transient failures are retried: attempt n waits `backoff · 2^(n−1)` with jitter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    pub max: u32,
    pub backoff: Duration,
}

/// One concrete instance of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub stage: StageName,
    /// Matrix coordinates, empty without a matrix.
    pub matrix: BTreeMap<String, Value>,
    /// The stage type.
    pub uses: String,
    /// Normalised parameters: checked by the stage type, defaults filled in. Instances with equal parameters share them.
    pub params: Arc<Value>,
    /// Input name → artifacts in order.
    pub inputs: BTreeMap<String, Vec<Source>>,
    pub outputs: Arc<[Port]>,
    /// Declared environment variables with their values; part of the key.
    pub env: Arc<BTreeMap<String, String>>,
    pub resources: Resources,
    pub retries: Retries,
    pub timeout: Option<Duration>,
    /// `false`: neither looked up nor published; always runs.
    pub cache: bool,
    /// Names of environment variables that reach the task and are no part of its key.
    pub secrets: Arc<[String]>,
}

/// An artifact that the run leaves in the project for people: `outputs:` of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Path relative to [`Pipeline::root`].
    pub path: PathBuf,
    pub task: TaskIndex,
    pub output: String,
}

/// A whole pipeline, ready to plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    pub name: String,
    /// The manifest file that was read.
    pub manifest: PathBuf,
    /// The project directory: all paths of the manifest are relative to it, and `.lsn/` lies in it.
    pub root: PathBuf,
    /// In topological order: a task's sources come before it.
    pub tasks: Vec<Task>,
    pub publish: Vec<Publish>,
    /// What the last lines of a run tell a person, from `summary:` of the manifest.
    pub summary: Option<String>,
}
