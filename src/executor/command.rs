//! A `command` stage: the bare shell in a directory of its own; the coordinator publishes what it wrote.

use super::{
    Attempt, Failure, Publication, Stop, Success,
    local::Shared,
    publish::{self, Finished},
    spawn::Process,
    supervise::{Limits, supervise},
};
use crate::plan::{Content, Input, Outputs, command_output};
use lsn_cache::{Access, Artifact, Store, StoreError, lay_out};
use lsn_digest::Digest;
use lsn_stage::{
    FailureClass, StageError, StageResult,
    command::{CommandParams, free_name},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

/// Outputs up to this size are hashed where we are; larger ones on another thread.
const SMALL: u64 = 1 << 20;

/// A command that ends sooner has written little.
const LASTING: Duration = Duration::from_millis(50);

/// Runs a command and publishes its outputs.
///
/// # Errors
/// It cannot be started, fails, or writes not what it declares.
pub async fn run(shared: &Shared, attempt: &Attempt, stop: &mut watch::Receiver<Stop>) -> Result<Success, Failure> {
    let params = CommandParams::deserialize(&*attempt.params)
        .map_err(|error| Failure::new(FailureClass::User, format!("the parameters of the command: {error}")))?;
    let work = shared.work_directory(attempt);
    let result = run_in(shared, attempt, &params, &work, stop).await;
    shared.remove(work);
    result
}

async fn run_in(
    shared: &Shared,
    attempt: &Attempt,
    params: &CommandParams,
    work: &Path,
    stop: &mut watch::Receiver<Stop>,
) -> Result<Success, Failure> {
    let mut lent = Lent::default();
    let line = prepare(shared, attempt, params, work, &mut lent).map_err(Failure::from)?;
    let mut command = Command::new(shared.shell(&params.shell)?);
    command.arg("-c").arg(&line).current_dir(work).stdin(Stdio::null());
    shared.set_command_environment(&mut command, attempt)?;
    let log = shared.open_log(&attempt.log)?;
    let errors = log.try_clone().map_err(|error| Failure::submit("cannot open the log", &error))?;
    command.stdout(log).stderr(errors);
    let (mut process, _) = Process::start(&mut command, &shared.guardian)
        .map_err(|error| Failure::submit(&format!("cannot start `{}`", params.shell), &error))?;
    let limits = Limits { time: attempt.timeout, mem: attempt.mem };
    let paths = |port: &lsn_stage::Port| command_output(params, &port.name).map(|path| work.join(path));
    let ended = tokio::select! {
        ended = supervise(&mut process, limits, stop) => ended,
        never = write_behind(shared, || attempt.outputs.iter().filter_map(&paths).collect()) => match never {},
    };
    let ended = ended.map_err(|error| Failure::submit("cannot wait for the command", &error))?;
    // However it ended: what it did to the store must not reach others.
    lent.check(shared).map_err(|error| Failure { usage: ended.usage, ..error.into() })?;
    if !ended.is_ok() {
        return Err(ended.failure());
    }

    let captured = if attempt.outputs.iter().filter_map(&paths).all(|path| is_small(&path)) {
        publish::capture(shared.catalog.store(), &attempt.outputs, paths)
    } else {
        capture_elsewhere(shared, attempt, params, work).await
    };
    let outputs = captured.map_err(|error| Failure { usage: ended.usage, ..error.into() })?;
    let finished = Finished {
        key: attempt.key,
        manifest: &attempt.manifest,
        determinism: attempt.determinism,
        pipeline: &attempt.pipeline,
        task: &attempt.task.0,
        duration_ms: ended.usage.wall_ms,
        rows: None,
        metrics: BTreeMap::new(),
        facts: BTreeMap::new(),
        publish: attempt.publish,
        replace: !attempt.adopt,
        watched: &attempt.watched,
    };
    let (outputs, publication, record) = publish::publish(shared.catalog.store(), finished, outputs)
        .map_err(|error| Failure { usage: ended.usage, ..error.into() })?;
    if let Some(record) = record {
        shared.note(&record);
    }
    Ok(Success { outputs, publication, rows: None, metrics: BTreeMap::new(), usage: ended.usage })
}

/// Starts outputs on their way to the disk while the command still writes them, for as long as this is awaited.
async fn write_behind(shared: &Shared, outputs: impl FnOnce() -> Vec<PathBuf>) -> Infallible {
    tokio::time::sleep(LASTING).await;
    let _watch = shared.write_behind.watch(outputs());
    std::future::pending().await
}

async fn capture_elsewhere(
    shared: &Shared,
    attempt: &Attempt,
    params: &CommandParams,
    work: &Path,
) -> StageResult<Outputs> {
    let (store, ports) = (shared.catalog.store().clone(), std::sync::Arc::clone(&attempt.outputs));
    let (params, work) = (params.clone(), work.to_owned());
    tokio::task::spawn_blocking(move || {
        publish::capture(&store, &ports, |port| command_output(&params, &port.name).map(|path| work.join(path)))
    })
    .await
    .unwrap_or_else(|error| {
        Err(StageError::new(FailureClass::Infrastructure, format!("cannot capture the outputs: {error}")))
    })
}

fn is_small(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= SMALL)
}

/// Lays out the working directory; returns the command line.
fn prepare(
    shared: &Shared,
    attempt: &Attempt,
    params: &CommandParams,
    work: &Path,
    lent: &mut Lent,
) -> StageResult<String> {
    let cannot = |what: &str, path: &Path, error: &std::io::Error| {
        StageError::io(format!("cannot {what} `{}`", path.display()), error)
    };
    fs::create_dir(work).map_err(|error| cannot("create", work, &error))?;
    let mut lines = BTreeMap::new();
    if attempt.inputs.values().any(|list| !list.is_empty()) {
        let inputs = work.join("inputs");
        fs::create_dir(&inputs).map_err(|error| cannot("create", &inputs, &error))?;
        for (name, list) in &attempt.inputs {
            lines.insert(name.clone(), place(shared, name, list, work, lent)?);
        }
    }
    let parents: BTreeSet<PathBuf> = params
        .outputs
        .values()
        .filter_map(|path| Path::new(path).parent())
        .filter(|parent| !parent.as_os_str().is_empty())
        .map(|parent| work.join(parent))
        .collect();
    for parent in parents {
        fs::create_dir_all(&parent).map_err(|error| cannot("create", &parent, &error))?;
    }
    params.render(&lines).map_err(|issue| StageError::user(issue.message))
}

/// Puts the artifacts of one input under `inputs/<name>/`; returns their paths relative to the working directory.
///
/// Files of the project and artifacts of equal content are laid out alike: which of them it is is not in the key.
fn place(shared: &Shared, input: &str, list: &[Input], work: &Path, lent: &mut Lent) -> StageResult<Vec<String>> {
    let directory = work.join("inputs").join(input);
    fs::create_dir_all(&directory)
        .map_err(|error| StageError::io(format!("cannot create `{}`", directory.display()), &error))?;
    let mut taken = BTreeSet::new();
    let mut paths = Vec::with_capacity(list.len());
    for (position, artifact) in list.iter().enumerate() {
        let name = free_name(&artifact.name, position, |name| taken.insert(name.to_owned()));
        let target = directory.join(&name);
        match &artifact.content {
            Content::Project(path) => lay_out(path, &target).map_err(publish::store_failure)?,
            Content::Stored(artifact) => {
                let store = shared.catalog.store();
                store.materialize(artifact, &target, Access::Borrowed).map_err(publish::store_failure)?;
                lent.add(store, input, artifact);
            }
        }
        paths.push(format!("inputs/{input}/{name}"));
    }
    Ok(paths)
}

/// Blobs that a command reads where they lie. They are read-only, but root is not held back by permissions.
#[derive(Default)]
struct Lent(Vec<LentBlob>);

struct LentBlob {
    digest: Digest,
    input: String,
    state: Option<(u64, SystemTime)>,
}

/// What writing to a file changes.
fn state(path: &Path) -> Option<(u64, SystemTime)> {
    fs::symlink_metadata(path).and_then(|metadata| Ok((metadata.len(), metadata.modified()?))).ok()
}

impl Lent {
    fn add(&mut self, store: &Store, input: &str, artifact: &Artifact) {
        self.0.extend(artifact.blobs().map(|(_, file)| LentBlob {
            digest: file.digest,
            input: input.to_owned(),
            state: state(&store.blob_path(&file.digest)),
        }));
    }

    /// A blob that was written to goes to quarantine, and the task fails with its name.
    fn check(&self, shared: &Shared) -> StageResult<()> {
        let store = shared.catalog.store();
        for blob in &self.0 {
            // The time alone may have moved because somebody published the same content again.
            if state(&store.blob_path(&blob.digest)) != blob.state
                && let Err(error @ (StoreError::BlobDamaged { .. } | StoreError::BlobSize { .. })) =
                    store.verify_blob(&blob.digest)
            {
                let message = format!("the command changed its input `{}`: {error}", blob.input);
                return Err(StageError::new(FailureClass::Contract, message)
                    .hint("let it change a copy; what it damaged is made anew by the next run"));
            }
        }
        Ok(())
    }
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        let StageError { class, message, hint } = error;
        Self { class, message, hint, usage: crate::home::Usage::default() }
    }
}

impl Failure {
    /// The executor itself could not do something.
    #[must_use]
    pub fn submit(what: &str, error: &std::io::Error) -> Self {
        Self::new(FailureClass::Submit, format!("{what}: {error}"))
    }
}

/// Shown where a result is used but not kept.
impl std::fmt::Display for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("published"),
            Self::Withheld { why } => write!(f, "used by this run only: {why}"),
            Self::Differs => f.write_str("an earlier result of the same key has other bytes and stays"),
        }
    }
}
