//! The worker's side: `lsn exec <job.json>` runs a built-in stage and publishes its result.

use super::{
    job::{JOB_VERSION, Job, JobInput, Line, Report},
    publish::{self, Finished},
    turn::Turn,
};
use crate::home::now_ms;
use lsn_cache::{Access, Lookup, OpenMode, RowStore, Rows, Store, WriteBehind};
use lsn_stage::{
    Artifact, CancelToken, EventSink, FailureClass, Registry, RowCounts, RowError, RowKey, RowMemo, RowSpace,
    StageContext, StageContextParts, StageError, StageEvent, StageResult,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Where in a task's scratch directory its stage keeps what it can go on from.
pub(super) const STATE: &str = "state";

/// Runs the job at `path`, saying everything on `pipe`; the last line is the report.
///
/// # Errors
/// The job cannot be read; everything else is in the report.
pub fn run_job(path: &Path, pipe: File, registry: &Registry, cancel: CancelToken) -> StageResult<Report> {
    let job: Job = fs::read(path)
        .map_err(|error| StageError::io(format!("cannot read job `{}`", path.display()), &error))
        .and_then(|bytes| {
            serde_json::from_slice(&bytes)
                .map_err(|error| StageError::user(format!("job `{}`: {error}", path.display())))
        })?;
    if job.version != JOB_VERSION {
        let message =
            format!("the job has format {}, this program reads {JOB_VERSION}; use one version of lsn", job.version);
        return Err(StageError::user(message));
    }
    let pipe = Arc::new(Pipe { file: Mutex::new(pipe), heard: Mutex::default() });
    let report = work(&job, &pipe, registry, cancel).unwrap_or_else(|error| {
        let StageError { class, message, hint } = error;
        Report::Failed { class, message, hint }
    });
    pipe.say(&Line::Report(report.clone()));
    Ok(report)
}

fn work(job: &Job, pipe: &Arc<Pipe>, registry: &Registry, cancel: CancelToken) -> StageResult<Report> {
    let store = Store::open(&job.store, OpenMode::ReadWrite).map_err(publish::store_failure)?;
    // Two processes with one key take turns; the second finds the first one's result.
    let _turn = Turn::wait(&job.scratch)?;
    if job.publish
        && job.adopt
        && let Lookup::Hit(record) = store.action(&job.key).map_err(publish::store_failure)?
    {
        // Of an attempt that was killed after it had published.
        let _ = fs::remove_dir_all(&job.scratch);
        return Ok(Report::Succeeded {
            outputs: record.outputs,
            withheld: None,
            differs: false,
            rows: None,
            metrics: record.provenance.metrics,
        });
    }
    let stage = registry
        .get(&job.uses)
        .ok_or_else(|| StageError::user(format!("stage type `{}` is unknown to this program", job.uses)))?;

    let started = now_ms();
    let directories = Directories::prepare(&job.scratch)?;
    let memo = Arc::new(Memo { rows: store.rows(), open: Mutex::default() });
    let outputs: BTreeMap<_, _> =
        job.outputs.iter().map(|port| (port.name.clone(), directories.outputs.join(&port.name))).collect();
    let context = StageContext::new(StageContextParts {
        inputs: place_inputs(&store, job, &directories.inputs)?,
        outputs: outputs.clone(),
        scratch: directories.state.clone(),
        threads: job.cpus as usize,
        gpus: (0..job.gpus).collect(),
        events: Arc::clone(pipe) as Arc<dyn EventSink>,
        memo: Arc::clone(&memo) as Arc<dyn RowMemo>,
        cancel,
    });
    let watch = WriteBehind::new().watch(outputs.values().cloned().collect());
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| stage.run(&job.params, &context)));
    drop((context, watch));
    // Rows are kept whatever became of the stage.
    let closed = memo.close();
    ran.unwrap_or_else(|panic| Err(StageError::user(format!("the stage panicked: {}", panic_message(&*panic)))))?;
    closed?;

    let captured = publish::capture(&store, &job.outputs, |port| outputs.get(&port.name).cloned())?;
    let heard = pipe.heard();
    let finished = Finished {
        key: job.key,
        manifest: &job.manifest,
        determinism: job.determinism,
        pipeline: &job.pipeline,
        task: &job.task,
        duration_ms: now_ms().saturating_sub(started),
        rows: heard.rows,
        metrics: heard.metrics.clone(),
        facts: BTreeMap::from([
            ("version".to_owned(), env!("CARGO_PKG_VERSION").into()),
            ("threads".to_owned(), job.cpus.into()),
            ("gpus".to_owned(), job.gpus.into()),
        ]),
        publish: job.publish,
        replace: !job.adopt,
        watched: &job.watched,
    };
    let (outputs, publication, _) = publish::publish(&store, finished, captured)?;
    store.sync().map_err(publish::store_failure)?;
    // The result is durable: what the task could have gone on from is of no more use.
    let _ = fs::remove_dir_all(&job.scratch);
    Ok(Report::Succeeded {
        outputs,
        differs: publication == super::Publication::Differs,
        withheld: if let super::Publication::Withheld { why } = publication { Some(why) } else { None },
        rows: heard.rows,
        metrics: heard.metrics,
    })
}

/// What lies in a task key's scratch directory.
struct Directories {
    inputs: PathBuf,
    outputs: PathBuf,
    /// The stage's own, kept between attempts.
    state: PathBuf,
}

impl Directories {
    fn prepare(scratch: &Path) -> StageResult<Self> {
        let new = Self { inputs: scratch.join("inputs"), outputs: scratch.join("outputs"), state: scratch.join(STATE) };
        // Half-written outputs and old inputs of a dead attempt; only `state` is promised to survive.
        for directory in [&new.inputs, &new.outputs] {
            match fs::remove_dir_all(directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StageError::io(format!("cannot empty `{}`", directory.display()), &error));
                }
                _ => {}
            }
        }
        for directory in [&new.inputs, &new.outputs, &new.state] {
            fs::create_dir_all(directory)
                .map_err(|error| StageError::io(format!("cannot create `{}`", directory.display()), &error))?;
        }
        Ok(new)
    }
}

fn place_inputs(store: &Store, job: &Job, directory: &Path) -> StageResult<BTreeMap<String, Vec<Artifact>>> {
    let mut inputs = BTreeMap::new();
    for (name, list) in &job.inputs {
        let mut artifacts = Vec::with_capacity(list.len());
        for (position, input) in list.iter().enumerate() {
            let path = place(store, input, &directory.join(name).join(position.to_string()))?;
            artifacts.push(Artifact { path, digest: input.digest });
        }
        inputs.insert(name.clone(), artifacts);
    }
    Ok(inputs)
}

/// A readable path of an input; `target` is used where there is none yet.
fn place(store: &Store, input: &JobInput, target: &Path) -> StageResult<PathBuf> {
    match (&input.path, &input.artifact) {
        (Some(path), _) => Ok(path.clone()),
        // A file in the store can be read where it is.
        (None, Some(lsn_cache::Artifact::File(file))) if file.inline.is_none() => Ok(store.blob_path(&file.digest)),
        (None, Some(artifact)) => {
            let target = target.join(&input.name);
            store.materialize(artifact, &target, Access::ReadOnly).map_err(publish::store_failure)?;
            Ok(target)
        }
        (None, None) => Err(StageError::user(format!("input `{}` of the job has no content", input.name))),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// The latest of what a stage said and the record keeps.
#[derive(Debug, Clone, Default)]
struct Heard {
    rows: Option<RowCounts>,
    metrics: BTreeMap<String, f64>,
}

/// The event pipe to the coordinator.
struct Pipe {
    file: Mutex<File>,
    heard: Mutex<Heard>,
}

impl Pipe {
    fn say(&self, line: &Line) {
        if let Ok(mut bytes) = serde_json::to_vec(line) {
            bytes.push(b'\n');
            // Nobody may be listening any more; the result in the store counts, not what is said about it.
            let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes);
        }
    }

    fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl EventSink for Pipe {
    fn emit(&self, event: &StageEvent) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            StageEvent::Rows(rows) => heard.rows = Some(*rows),
            StageEvent::Metric { name, value } => {
                heard.metrics.insert(name.clone(), *value);
            }
            StageEvent::Warning { text } => eprintln!("warning: {text}"),
            StageEvent::Note { text } => eprintln!("{text}"),
            StageEvent::Progress { .. } => {}
        }
        drop(heard);
        self.say(&Line::Event(event.clone()));
    }
}

/// The store's rows as stages see them.
struct Memo {
    rows: RowStore,
    open: Mutex<Vec<Arc<Space>>>,
}

struct Space(Rows);

impl Memo {
    /// Completes the segments that were written.
    fn close(&self) -> StageResult<()> {
        for space in std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner)) {
            match Arc::try_unwrap(space) {
                Ok(space) => space.0.close().map_err(publish::store_failure)?,
                // A stage that leaked its rows still gets them flushed.
                Err(space) => space.0.flush().map_err(publish::store_failure)?,
            }
        }
        Ok(())
    }
}

impl RowMemo for Memo {
    fn open(&self, namespace: &str) -> Result<Arc<dyn RowSpace>, RowError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(space) = open.iter().find(|space| space.0.namespace() == namespace) {
            return Ok(Arc::clone(space) as Arc<dyn RowSpace>);
        }
        let rows = self.rows.open(namespace).map_err(|error| row_error(namespace, &error))?;
        let space = Arc::new(Space(rows));
        open.push(Arc::clone(&space));
        Ok(space)
    }
}

fn row_error(namespace: &str, error: &lsn_cache::StoreError) -> RowError {
    RowError { namespace: namespace.to_owned(), message: error.to_string() }
}

impl RowSpace for Space {
    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, RowError> {
        self.0.get(&key.0).map_err(|error| row_error(self.0.namespace(), &error))
    }

    fn put(&self, key: &RowKey, value: &[u8]) -> Result<(), RowError> {
        self.0.put(&key.0, value).map_err(|error| row_error(self.0.namespace(), &error))
    }

    fn flush(&self) -> Result<(), RowError> {
        self.0.flush().map_err(|error| row_error(self.0.namespace(), &error))
    }
}

impl Report {
    /// Whether the task is done.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Succeeded { .. })
    }

    /// The class of a failure.
    #[must_use]
    pub fn class(&self) -> Option<FailureClass> {
        if let Self::Failed { class, .. } = self { Some(*class) } else { None }
    }
}
