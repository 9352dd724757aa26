//! A run as its journal tells it.

use super::{Home, Planned, RunEvent, RunId, RunStatus, Tally, Usage, journal};
use crate::{
    manifest::{StageName, TaskId},
    plan::Reason,
};
use lsn_cache::TaskKey;
use lsn_stage::{FailureClass, RowCounts};
use serde::Serialize;
use std::{collections::BTreeMap, io, path::PathBuf};

/// What became of a task in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    Cached,
    Waiting,
    /// To run, not begun.
    Ready,
    Running,
    Executed,
    Failed,
    /// Stopped when the run was interrupted.
    Cancelled,
    Skipped,
    Excluded,
}

/// A task of a past or present run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PastTask {
    pub task: TaskId,
    pub stage: StageName,
    pub state: TaskState,
    pub key: Option<TaskKey>,
    /// Why it was to run; of a task that waited, as it was decided in the end.
    pub reasons: Vec<Reason>,
    /// Attempts begun.
    pub attempts: u32,
    /// What the last attempt holds or held.
    pub cpus: u32,
    pub gpus: Vec<String>,
    pub usage: Option<Usage>,
    pub rows: Option<RowCounts>,
    pub metrics: BTreeMap<String, f64>,
    /// Class and message of the last failure.
    pub failure: Option<(FailureClass, String)>,
    /// The log of the last attempt.
    pub log: Option<PathBuf>,
    /// Milliseconds since the Unix epoch.
    pub started: Option<u64>,
}

/// A past or present run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PastRun {
    pub run: RunId,
    pub pipeline: String,
    pub manifest: PathBuf,
    pub pid: u32,
    /// Tasks at once.
    pub jobs: u32,
    /// Milliseconds since the Unix epoch.
    pub started: u64,
    /// `None`: it runs, or it was killed.
    pub status: Option<RunStatus>,
    pub wall_ms: Option<u64>,
    pub tally: Tally,
    /// In the order of the plan.
    pub tasks: Vec<PastTask>,
    pub warnings: Vec<String>,
    /// Damaged lines of the journal, which were left out.
    pub damaged: usize,
}

impl PastRun {
    /// Reads a run; what is damaged is left out and counted.
    ///
    /// # Errors
    /// The journal cannot be read, or does not even say what ran.
    pub fn read(home: &Home, run: &RunId) -> io::Result<Self> {
        let history = journal::read(&home.run(run).journal())?;
        let mut new = Self {
            run: run.clone(),
            pipeline: String::new(),
            manifest: PathBuf::new(),
            pid: 0,
            jobs: 0,
            started: history.entries.first().map_or(0, |entry| entry.at),
            status: None,
            wall_ms: None,
            tally: Tally::default(),
            tasks: Vec::new(),
            warnings: Vec::new(),
            damaged: history.damaged,
        };
        let mut places = BTreeMap::new();
        for entry in history.entries {
            new.apply(entry.at, entry.what, &mut places);
        }
        if new.status.is_none() {
            new.tally = new.count();
        }
        Ok(new)
    }

    /// All runs that left a readable journal, oldest first.
    #[must_use]
    pub fn all(home: &Home) -> Vec<Self> {
        RunId::list(&home.runs()).iter().filter_map(|run| Self::read(home, run).ok()).collect()
    }

    /// A task by name.
    #[must_use]
    pub fn task(&self, task: &str) -> Option<&PastTask> {
        self.tasks.iter().find(|known| known.task.0 == task)
    }

    fn count(&self) -> Tally {
        let mut tally = Tally::default();
        for task in &self.tasks {
            *match task.state {
                TaskState::Cached => &mut tally.cached,
                TaskState::Executed => &mut tally.executed,
                TaskState::Failed => &mut tally.failed,
                TaskState::Skipped => &mut tally.skipped,
                TaskState::Excluded => &mut tally.excluded,
                TaskState::Waiting | TaskState::Ready | TaskState::Running | TaskState::Cancelled => &mut tally.left,
            } += 1;
        }
        tally
    }

    fn apply(&mut self, at: u64, event: RunEvent, places: &mut BTreeMap<TaskId, usize>) {
        let mut change = |tasks: &mut Vec<PastTask>, task: TaskId, change: &mut dyn FnMut(&mut PastTask)| {
            let place = *places.entry(task.clone()).or_insert_with(|| {
                // The line of the plan may be lost; a task is still one.
                tasks.push(PastTask::new(task, StageName(String::new()), TaskState::Waiting));
                tasks.len() - 1
            });
            change(&mut tasks[place]);
        };
        let tasks = &mut self.tasks;
        match event {
            RunEvent::RunStarted { pipeline, manifest, pid, jobs, .. } => {
                self.jobs = jobs;
                self.pipeline = pipeline;
                self.manifest = manifest;
                self.pid = pid;
            }
            RunEvent::Planned { tasks: planned, .. } => {
                for planned in planned {
                    let state = match planned.planned {
                        Planned::Cached => TaskState::Cached,
                        Planned::Run => TaskState::Ready,
                        Planned::Waiting => TaskState::Waiting,
                        Planned::Excluded => TaskState::Excluded,
                    };
                    change(tasks, planned.task, &mut |task| {
                        task.stage = planned.stage.clone();
                        task.state = state;
                        task.key = planned.key;
                        task.reasons.clone_from(&planned.reasons);
                    });
                }
            }
            RunEvent::TaskCached { task, key } => change(tasks, task, &mut |task| {
                task.state = TaskState::Cached;
                task.key = Some(key);
            }),
            RunEvent::TaskDecided { task, key, reasons } => change(tasks, task, &mut |task| {
                task.state = TaskState::Ready;
                task.key = Some(key);
                task.reasons.clone_from(&reasons);
            }),
            RunEvent::TaskStarted { task, attempt, cpus, gpus, log } => change(tasks, task, &mut |task| {
                task.state = TaskState::Running;
                task.attempts = attempt;
                task.cpus = cpus;
                task.gpus.clone_from(&gpus);
                task.log = Some(log.clone());
                task.started = Some(at);
            }),
            RunEvent::TaskFinished { task, key, usage, rows, metrics, .. } => change(tasks, task, &mut |task| {
                task.state = TaskState::Executed;
                task.key = Some(key);
                task.usage = Some(usage);
                task.rows = rows;
                task.metrics.clone_from(&metrics);
            }),
            RunEvent::TaskFailed { task, class, message, usage, retry_in_ms, .. } => change(tasks, task, &mut |task| {
                task.state = match class {
                    _ if retry_in_ms.is_some() => TaskState::Ready,
                    FailureClass::Cancelled => TaskState::Cancelled,
                    _ => TaskState::Failed,
                };
                task.usage = Some(usage);
                task.failure = Some((class, message.clone()));
            }),
            RunEvent::TaskSkipped { task, .. } => change(tasks, task, &mut |task| task.state = TaskState::Skipped),
            RunEvent::TaskWarning { task, text } => self.warnings.push(format!("{task}: {text}")),
            RunEvent::Warning { message } => self.warnings.push(message),
            RunEvent::RunFinished { status, tally, wall_ms } => {
                self.status = Some(status);
                self.tally = tally;
                self.wall_ms = Some(wall_ms);
            }
            RunEvent::TaskProgress { .. }
            | RunEvent::TaskRows { .. }
            | RunEvent::TaskMetric { .. }
            | RunEvent::TaskNote { .. }
            | RunEvent::Interrupted { .. }
            | RunEvent::OutputWritten { .. } => {}
        }
    }
}

impl PastTask {
    fn new(task: TaskId, stage: StageName, state: TaskState) -> Self {
        Self {
            task,
            stage,
            state,
            key: None,
            reasons: Vec::new(),
            attempts: 0,
            cpus: 0,
            gpus: Vec::new(),
            usage: None,
            rows: None,
            metrics: BTreeMap::new(),
            failure: None,
            log: None,
            started: None,
        }
    }
}
