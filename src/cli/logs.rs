//! `lsn logs`: what tasks said.

use super::{CliError, CliResult, Global, Status, Style, load::home, past::find_run, runs::is_running};
use crate::{
    home::{Home, PastRun, PastTask, RunId, TaskState},
    manifest::TaskId,
};
use serde::Serialize;
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// The run that is asked about where none is named.
const LAST: &str = "last";

/// How often a followed log is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// Arguments of `lsn logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A task; without one, the tasks that failed or run
    #[arg(value_name = "TASK")]
    task: Option<String>,
    /// A run: its id or the beginning of it, `last`, or `-1` for the one before
    #[arg(short, long, value_name = "RUN", default_value = LAST, allow_hyphen_values = true)]
    run: String,
    /// Go on printing as long as the task runs
    #[arg(short, long)]
    follow: bool,
    /// Which attempt; the last one if not given
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Print where the log lies instead of what is in it
    #[arg(long)]
    path: bool,
    /// As JSON, one log a line
    #[arg(long, conflicts_with_all = ["follow", "path"])]
    json: bool,
}

/// A log as machines see it.
#[derive(Debug, Serialize)]
struct Log<'a> {
    run: &'a RunId,
    task: &'a TaskId,
    attempt: u32,
    path: &'a Path,
    /// What is not UTF-8 is replaced.
    text: String,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let home = home()?;
    let asked = find_run(&home, &args.run)?;
    let earlier =
        args.task.as_deref().filter(|_| args.run == LAST).and_then(|task| executed_before(&home, &asked, task));
    if let (Some(task), Some(run)) = (&args.task, &earlier) {
        eprintln!("{} `{task}` did not run in run {}; it last ran in {}", Style::hint("hint:"), asked.run, run.run);
    }
    let run = earlier.unwrap_or(asked);
    let tasks: Vec<&PastTask> = match &args.task {
        Some(task) => {
            let known: Vec<_> = run.tasks.iter().filter(|known| is_called(known, task)).collect();
            if known.is_empty() {
                return Err(CliError::usage(format!("run {} has no task `{task}`", run.run))
                    .hint("`lsn status --all` lists them"));
            }
            known
        }
        None => run.tasks.iter().filter(|task| is_worth_reading(task.state)).collect(),
    };
    let several = tasks.len() > 1;
    let mut shown = 0;
    for task in tasks {
        let Some(path) = log_of(&home, &run, task, args.attempt) else { continue };
        shown += 1;
        let mut out = io::stdout().lock();
        if args.json {
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            let attempt = args.attempt.unwrap_or(task.attempts);
            let log = Log { run: &run.run, task: &task.task, attempt, path: &path, text };
            serde_json::to_writer(&mut out, &log).map_err(io::Error::from)?;
            writeln!(out)?;
            continue;
        }
        if args.path {
            writeln!(out, "{}", path.display())?;
            continue;
        }
        if several {
            writeln!(out, "==> {} <==", task.task)?;
        }
        print(&home, &run, task, &path, args.follow, &mut out)?;
    }
    if shown == 0 {
        let message = match &args.task {
            Some(task) => format!("`{task}` did not run in run {}", run.run),
            None => format!("no task of run {} failed or runs", run.run),
        };
        return Err(CliError::usage(message).hint("name an earlier run with `--run`; `lsn runs` lists them"));
    }
    Ok(Status::Done)
}

fn is_worth_reading(state: TaskState) -> bool {
    matches!(state, TaskState::Failed | TaskState::Cancelled | TaskState::Running)
}

/// The latest run before `run` in which `task` was executed, if it was not executed in `run` itself.
fn executed_before(home: &Home, run: &PastRun, task: &str) -> Option<PastRun> {
    let executed = |run: &PastRun| run.tasks.iter().any(|known| is_called(known, task) && known.attempts > 0);
    if executed(run) || !run.tasks.iter().any(|known| is_called(known, task)) {
        return None;
    }
    let before: Vec<_> = RunId::list(&home.runs()).into_iter().filter(|known| *known < run.run).collect();
    let mut before = before.iter().rev().filter_map(|known| PastRun::read(home, known).ok());
    before.find(|known| known.pipeline == run.pipeline && executed(known))
}

fn is_called(task: &PastTask, word: &str) -> bool {
    task.task.0 == word || task.stage.0 == word
}

fn log_of(home: &Home, run: &PastRun, task: &PastTask, attempt: Option<u32>) -> Option<PathBuf> {
    let attempt = attempt.unwrap_or(task.attempts);
    // Derived, not read from the journal: the project may have moved since.
    Some(home.run(&run.run).log(&task.task.0, attempt)).filter(|path| path.is_file())
}

fn print(
    home: &Home,
    run: &PastRun,
    task: &PastTask,
    path: &PathBuf,
    follow: bool,
    out: &mut impl Write,
) -> CliResult<()> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    loop {
        // Asked before reading: what is written until then is read below.
        let running = follow && is_running(run) && still_runs(home, run, task);
        bytes.clear();
        file.read_to_end(&mut bytes)?;
        out.write_all(&bytes)?;
        out.flush()?;
        if !running {
            return Ok(());
        }
        thread::sleep(INTERVAL);
    }
}

fn still_runs(home: &Home, run: &PastRun, task: &PastTask) -> bool {
    PastRun::read(home, &run.run).is_ok_and(|run| {
        run.status.is_none() && run.task(&task.task.0).is_some_and(|task| task.state == TaskState::Running)
    })
}
