//! `lsn status`: how a run stands, task by task.

use super::{CliResult, Global, Status, Style, load::home, past::find_run, runs, write_json};
use crate::{
    home::{PastTask, RunStatus, TaskState, now_ms},
    progress,
};
use std::io::{self, Write};

/// Arguments of `lsn status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run: its id or the beginning of it, `last`, or `-1` for the one before
    #[arg(value_name = "RUN", default_value = "last", allow_hyphen_values = true)]
    run: String,
    /// List cached tasks, too
    #[arg(short, long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let home = home()?;
    let run = find_run(&home, &args.run)?;
    let mut out = io::stdout().lock();
    if args.json {
        write_json(&mut out, &run)?;
    } else {
        writeln!(out, "run {} of {}: {}, {}", run.run, run.pipeline, runs::word(&run), progress::tally(&run.tally))?;
        for task in run.tasks.iter().filter(|task| args.all || is_interesting(task.state)) {
            writeln!(out, "  {}", describe(task, runs::is_running(&run)))?;
        }
        for warning in &run.warnings {
            writeln!(out, "  {} {warning}", Style::warning("warning:"))?;
        }
        if run.damaged > 0 {
            writeln!(
                out,
                "  {} {} damaged lines of the journal are left out",
                Style::warning("warning:"),
                run.damaged
            )?;
        }
    }
    let bad = matches!(run.status, Some(RunStatus::Failed)) || (run.status.is_none() && !runs::is_running(&run));
    Ok(if bad { Status::Failed } else { Status::Done })
}

fn is_interesting(state: TaskState) -> bool {
    !matches!(state, TaskState::Cached | TaskState::Excluded)
}

fn describe(task: &PastTask, alive: bool) -> String {
    let state = match task.state {
        TaskState::Cached => Style::faint("cached "),
        TaskState::Waiting => Style::faint("waiting"),
        TaskState::Ready => Style::faint("ready  "),
        TaskState::Running if alive => Style::strong("running"),
        TaskState::Running => Style::warning("killed "),
        TaskState::Executed => Style::good("done   "),
        TaskState::Failed => Style::error("failed "),
        TaskState::Cancelled => Style::warning("stopped"),
        TaskState::Skipped => Style::warning("skipped"),
        TaskState::Excluded => Style::faint("not selected"),
    };
    let mut line = format!("{state} {}", task.task);
    match (task.state, task.usage, task.started) {
        (TaskState::Running, _, Some(started)) if alive => {
            line.push_str(&format!("  for {}", progress::milliseconds(now_ms().saturating_sub(started))));
        }
        (TaskState::Executed | TaskState::Failed, Some(usage), _) => {
            line.push_str(&format!("  {}", progress::milliseconds(usage.wall_ms)));
            if usage.peak_rss > 0 {
                line.push_str(&format!("  {} MiB", usage.peak_rss >> 20));
            }
        }
        _ => {}
    }
    if task.attempts > 1 {
        line.push_str(&format!("  attempt {}", task.attempts));
    }
    if let Some(rows) = task.rows {
        line.push_str(&format!("  {}", progress::rows(rows)));
    }
    if let Some((class, message)) =
        task.failure.as_ref().filter(|_| !matches!(task.state, TaskState::Executed | TaskState::Cancelled))
    {
        line.push_str(&format!("  {class}: {message}"));
    }
    line
}
