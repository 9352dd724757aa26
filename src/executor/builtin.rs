//! A built-in stage: `lsn exec` in a process of its own, which publishes its result itself.

use super::{
    Attempt, Failure, Job, Line, Publication, Report, Reporter, Stop, Success,
    local::Shared,
    spawn::Process,
    supervise::{Limits, supervise},
    sweep::remove_finished,
};
use lsn_cache::Lookup;
use lsn_stage::{FailureClass, RowCounts, StageEvent};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::ChildStdout,
    sync::watch,
};

/// What the worker has said so far.
#[derive(Default)]
struct Heard {
    report: Option<Report>,
    rows: Option<RowCounts>,
    metrics: BTreeMap<String, f64>,
}

/// Runs a built-in stage.
///
/// # Errors
/// It cannot be started or fails.
pub async fn run(
    shared: &Shared,
    attempt: &Attempt,
    reporter: &Reporter,
    stop: &mut watch::Receiver<Stop>,
) -> Result<Success, Failure> {
    let job = Job::of(attempt, shared.catalog.store().root().to_owned(), shared.home.scratch_of(&attempt.key));
    let path = shared.job_path(attempt);
    let written = serde_json::to_vec(&job).map_err(std::io::Error::from).and_then(|bytes| fs::write(&path, bytes));
    written.map_err(|error| Failure::submit(&format!("cannot write `{}`", path.display()), &error))?;
    let result = run_job(shared, attempt, &path, reporter, stop).await;
    // Only a courtesy to the disk: nothing reads it again.
    let _ = fs::remove_file(&path);
    result
}

async fn run_job(
    shared: &Shared,
    attempt: &Attempt,
    path: &std::path::Path,
    reporter: &Reporter,
    stop: &mut watch::Receiver<Stop>,
) -> Result<Success, Failure> {
    let mut command = Command::new(&shared.program);
    command.arg("exec").arg(path).stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(shared.open_log(&attempt.log)?);
    shared.set_worker_environment(&mut command, attempt);
    let (mut process, stdout) = Process::start(&mut command, &shared.guardian)
        .map_err(|error| Failure::submit("cannot start the worker", &error))?;
    let stdout = stdout
        .map(ChildStdout::from_std)
        .transpose()
        .map_err(|error| Failure::submit("cannot hear the worker", &error))?;
    let limits = Limits { time: attempt.timeout, mem: attempt.mem };
    let heard = RefCell::new(Heard::default());
    let (ended, ()) = tokio::join!(supervise(&mut process, limits, stop), listen(stdout, &heard, reporter));
    let ended = ended.map_err(|error| Failure::submit("cannot wait for the worker", &error))?;
    let heard = heard.into_inner();

    let result = match heard.report {
        Some(report) => report.into_result(),
        // The published result is the evidence, whatever became of the process afterwards.
        None if attempt.publish && attempt.adopt => match shared.catalog.lookup(&attempt.key) {
            Ok(Lookup::Hit(record)) => {
                // It was killed before it could tidy up.
                remove_finished(&shared.home.scratch_of(&attempt.key));
                Ok(Success {
                    outputs: record.outputs,
                    publication: Publication::Done,
                    rows: heard.rows,
                    metrics: heard.metrics,
                    usage: ended.usage,
                })
            }
            _ => Err(ended.failure()),
        },
        None => Err(ended.failure()),
    };
    match result {
        Ok(success) => {
            if success.publication == Publication::Done
                && let Ok(Lookup::Hit(record)) = shared.catalog.lookup(&attempt.key)
            {
                shared.note(&record);
            }
            Ok(Success { usage: ended.usage, ..success })
        }
        // A worker that was told to stop may report whatever the stop led to.
        Err(failure) if failure.class == FailureClass::Cancelled => {
            Err(Failure { usage: ended.usage, ..ended.failure() })
        }
        Err(failure) => Err(Failure { usage: ended.usage, ..failure }),
    }
}

async fn listen(stdout: Option<ChildStdout>, heard: &RefCell<Heard>, reporter: &Reporter) {
    let Some(stdout) = stdout else { return };
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Line::Event(event)) => {
                let mut heard = heard.borrow_mut();
                match &event {
                    StageEvent::Rows(rows) => heard.rows = Some(*rows),
                    StageEvent::Metric { name, value } => {
                        heard.metrics.insert(name.clone(), *value);
                    }
                    _ => {}
                }
                drop(heard);
                reporter(event);
            }
            Ok(Line::Report(report)) => heard.borrow_mut().report = Some(report),
            Err(_) => tracing::debug!("the worker said something else: {line}"),
        }
    }
}
