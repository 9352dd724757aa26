//! Where tasks run: the trait that an executor implements, and the local one.
//!
//! The driver hands an [`Attempt`] to an [`Executor`] and gets a [`Success`] or a [`Failure`] back. The process that ran the
//! task publishes its result: `lsn exec` for built-in stages, the local executor for a bare command.

mod builtin;
mod cleaner;
mod command;
mod devices;
pub mod guardian;
mod job;
mod local;
mod memory;
pub mod process;
mod publish;
mod remove;
pub mod resources;
mod spawn;
mod supervise;
pub mod sweep;
mod turn;
mod worker;

pub use devices::{GpuChoice, GpusHidden, ParseGpusError, capacity};
pub use job::{Job, JobInput, Line, Report};
pub use local::{Local, LocalOptions};
pub use worker::run_job;

use crate::{
    home::Usage,
    manifest::TaskId,
    plan::{Input, KeyManifest, Outputs},
};
use lsn_cache::{Published, Stamp, TaskKey};
use lsn_stage::{Determinism, FailureClass, Port, RowCounts, StageEvent};
use resources::Grant;
use serde_json::Value;
use std::{collections::BTreeMap, future::Future, path::PathBuf, pin::Pin, rc::Rc, sync::Arc, time::Duration};
use tokio::sync::watch;

/// What the person wants of the tasks that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    No,
    /// Come to a point that the next run can go on from, and end.
    Terminate,
    Kill,
}

/// One attempt at one task: everything an executor needs.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub task: TaskId,
    /// Counted from 1.
    pub attempt: u32,
    pub pipeline: String,
    pub key: TaskKey,
    pub manifest: Arc<KeyManifest>,
    pub uses: String,
    pub params: Arc<Value>,
    pub inputs: BTreeMap<String, Vec<Input>>,
    pub outputs: Arc<[Port]>,
    pub env: Arc<BTreeMap<String, String>>,
    /// Names of variables of this process that the task sees, too.
    pub secrets: Arc<[String]>,
    pub determinism: Determinism,
    pub grant: Grant,
    pub timeout: Option<Duration>,
    /// Bytes; a task that uses more is ended.
    pub mem: Option<u64>,
    /// Whether the result may be published under the key.
    pub publish: bool,
    /// Whether a result that somebody else published meanwhile will do.
    pub adopt: bool,
    /// Project files that the task reads, with their state when their digests were taken.
    pub watched: Vec<(PathBuf, Stamp)>,
    pub log: PathBuf,
}

/// What became of a result in the store.
#[derive(Debug, Clone, PartialEq)]
pub enum Publication {
    /// It is there under the task's key.
    Done,
    /// Not published, and why; this run uses it all the same.
    Withheld { why: String },
    /// Other outputs were there before, and are what everybody sees, this run too (invariant 6).
    Differs,
}

impl Publication {
    /// In view of what the store said.
    #[must_use]
    pub fn of(published: &Published) -> Self {
        match published {
            Published::New | Published::Same | Published::Replaced(_) => Self::Done,
            Published::Differs(_) => Self::Differs,
            Published::NotReplaced(reason) => Self::Withheld { why: reason.to_string() },
        }
    }
}

/// A task that is done.
#[derive(Debug, Clone, PartialEq)]
pub struct Success {
    pub outputs: Outputs,
    pub publication: Publication,
    pub rows: Option<RowCounts>,
    pub metrics: BTreeMap<String, f64>,
    pub usage: Usage,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub class: FailureClass,
    pub message: String,
    pub hint: Option<String>,
    pub usage: Usage,
}

impl Failure {
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None, usage: Usage::default() }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Hears what a running task says.
pub type Reporter = Rc<dyn Fn(StageEvent)>;

/// An attempt under way. Dropping it kills what it started.
pub type Running = Pin<Box<dyn Future<Output = Result<Success, Failure>>>>;

/// A place where tasks run.
pub trait Executor {
    /// Runs an attempt to its end; `stop` may change while it runs.
    fn execute(&self, attempt: Attempt, reporter: Reporter, stop: watch::Receiver<Stop>) -> Running;

    /// All attempts are over.
    fn finish(&self);
}
