//! What happens in a run: one enum that feeds the journal, every progress view and the JSON output.

use super::RunId;
use crate::{
    manifest::{StageName, TaskId},
    plan::{Counts, Reason},
};
use lsn_cache::TaskKey;
use lsn_digest::Digest;
use lsn_stage::{FailureClass, RowCounts};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// What a plan said of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Planned {
    Cached,
    Run,
    Waiting,
    Excluded,
}

/// A task as it was planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedTask {
    pub task: TaskId,
    pub stage: StageName,
    pub planned: Planned,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<TaskKey>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// How long it took when it last ran, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

/// What an attempt cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Wall time, milliseconds.
    pub wall_ms: u64,
    /// User and system time of the process and the children it waited for, milliseconds.
    pub cpu_ms: u64,
    /// Largest resident set of any of these processes, bytes.
    pub peak_rss: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Done,
    Failed,
    Interrupted,
}

/// How many tasks ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub cached: u64,
    pub executed: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Not begun when the run stopped.
    pub left: u64,
    pub excluded: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    RunStarted {
        run: RunId,
        pipeline: String,
        manifest: PathBuf,
        version: String,
        pid: u32,
        jobs: u32,
    },
    Planned {
        counts: Counts,
        tasks: Vec<PlannedTask>,
    },
    /// A task that waited turned out to be cached.
    TaskCached {
        task: TaskId,
        key: TaskKey,
    },
    /// A task that waited must run.
    TaskDecided {
        task: TaskId,
        key: TaskKey,
        reasons: Vec<Reason>,
    },
    TaskStarted {
        task: TaskId,
        attempt: u32,
        cpus: u32,
        gpus: Vec<String>,
        log: PathBuf,
    },
    TaskProgress {
        task: TaskId,
        done: u64,
        total: Option<u64>,
        unit: String,
    },
    TaskRows {
        task: TaskId,
        rows: RowCounts,
    },
    TaskMetric {
        task: TaskId,
        name: String,
        value: f64,
    },
    TaskNote {
        task: TaskId,
        text: String,
    },
    TaskWarning {
        task: TaskId,
        text: String,
    },
    TaskFinished {
        task: TaskId,
        attempt: u32,
        key: TaskKey,
        outputs: BTreeMap<String, Digest>,
        usage: Usage,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<RowCounts>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        metrics: BTreeMap<String, f64>,
        /// Whether the result is in the store for later runs.
        published: bool,
    },
    TaskFailed {
        task: TaskId,
        attempt: u32,
        class: FailureClass,
        message: String,
        hint: Option<String>,
        usage: Usage,
        log: PathBuf,
        /// Another attempt follows after so many milliseconds.
        retry_in_ms: Option<u64>,
    },
    TaskSkipped {
        task: TaskId,
        because: TaskId,
    },
    Warning {
        message: String,
    },
    /// `force`: the second time, when running tasks are killed.
    Interrupted {
        force: bool,
    },
    OutputWritten {
        path: PathBuf,
        digest: Digest,
    },
    RunFinished {
        status: RunStatus,
        tally: Tally,
        wall_ms: u64,
    },
}

impl RunEvent {
    /// Whether it is worth keeping: everything but what is only interesting at the moment.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::TaskProgress { .. } | Self::TaskRows { .. })
    }
}
