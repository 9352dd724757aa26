//! What `lsn exec` is told, and what it says: both are files or lines that another machine could read.

use super::{Attempt, Failure, Publication, Success};
use crate::plan::{Content, KeyManifest, Outputs};
use lsn_cache::{Artifact, Stamp, TaskKey};
use lsn_digest::Digest;
use lsn_stage::{Determinism, FailureClass, Port, RowCounts, StageEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// The version of this format. Coordinator and worker are the same program; on a cluster they may not be.
pub const JOB_VERSION: u32 = 1;

/// One input artifact of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobInput {
    pub digest: Digest,
    pub name: String,
    /// A file of the project, or else an artifact in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
}

/// One attempt at a built-in stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub version: u32,
    pub pipeline: String,
    pub task: String,
    pub attempt: u32,
    pub key: TaskKey,
    pub manifest: KeyManifest,
    pub uses: String,
    pub params: Arc<Value>,
    pub inputs: BTreeMap<String, Vec<JobInput>>,
    pub outputs: Vec<Port>,
    pub determinism: Determinism,
    pub cpus: u32,
    /// How many GPUs `CUDA_VISIBLE_DEVICES` shows.
    pub gpus: u32,
    pub publish: bool,
    pub adopt: bool,
    pub watched: Vec<(PathBuf, Stamp)>,
    pub store: PathBuf,
    /// The task key's own directory, kept until the task succeeds.
    pub scratch: PathBuf,
}

impl Job {
    /// The job of an attempt.
    #[must_use]
    pub fn of(attempt: &Attempt, store: PathBuf, scratch: PathBuf) -> Self {
        let input = |input: &crate::plan::Input| {
            let (path, artifact) = match &input.content {
                Content::Project(path) => (Some(path.clone()), None),
                Content::Stored(artifact) => (None, Some(artifact.clone())),
            };
            JobInput { digest: input.digest, name: input.name.clone(), path, artifact }
        };
        Self {
            version: JOB_VERSION,
            pipeline: attempt.pipeline.clone(),
            task: attempt.task.0.clone(),
            attempt: attempt.attempt,
            key: attempt.key,
            manifest: (*attempt.manifest).clone(),
            uses: attempt.uses.clone(),
            params: Arc::clone(&attempt.params),
            inputs: attempt
                .inputs
                .iter()
                .map(|(name, list)| (name.clone(), list.iter().map(input).collect()))
                .collect(),
            outputs: attempt.outputs.to_vec(),
            determinism: attempt.determinism,
            cpus: attempt.grant.cpus,
            gpus: u32::try_from(attempt.grant.gpus.len()).unwrap_or(u32::MAX),
            publish: attempt.publish,
            adopt: attempt.adopt,
            watched: attempt.watched.clone(),
            store,
            scratch,
        }
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Report {
    Succeeded {
        outputs: Outputs,
        /// Why the result was not published, if so.
        withheld: Option<String>,
        differs: bool,
        rows: Option<RowCounts>,
        metrics: BTreeMap<String, f64>,
    },
    Failed {
        class: FailureClass,
        message: String,
        hint: Option<String>,
    },
}

impl Report {
    /// As the driver sees it; the usage is known to whoever waited for the process.
    ///
    /// # Errors
    /// The job failed.
    pub fn into_result(self) -> Result<Success, Failure> {
        match self {
            Self::Succeeded { outputs, withheld, differs, rows, metrics } => Ok(Success {
                outputs,
                publication: match withheld {
                    Some(why) => Publication::Withheld { why },
                    None if differs => Publication::Differs,
                    None => Publication::Done,
                },
                rows,
                metrics,
                usage: crate::home::Usage::default(),
            }),
            Self::Failed { class, message, hint } => {
                Err(Failure { class, message, hint, usage: crate::home::Usage::default() })
            }
        }
    }
}

/// One line of what `lsn exec` says on its event pipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Event(StageEvent),
    Report(Report),
}
