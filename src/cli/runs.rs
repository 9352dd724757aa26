//! `lsn runs`: what has been run here.

use super::{CliResult, Global, Status, Style, load::home};
use crate::{
    executor::process::is_alive,
    home::{PastRun, RunStatus},
    progress,
};
use std::io::{self, Write};

/// Arguments of `lsn runs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show at most so many, the latest
    #[arg(short, long, value_name = "N", default_value_t = 20)]
    number: usize,
    /// As JSON, one run a line
    #[arg(long)]
    json: bool,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let home = home()?;
    let runs = PastRun::all(&home);
    let mut out = io::stdout().lock();
    for run in &runs[runs.len().saturating_sub(args.number)..] {
        if args.json {
            serde_json::to_writer(&mut out, run).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            let wall = run.wall_ms.map(|ms| format!("  {}", progress::milliseconds(ms))).unwrap_or_default();
            writeln!(out, "{}  {:11}  {}  {}{wall}", run.run, word(run), run.pipeline, progress::tally(&run.tally))?;
        }
    }
    Ok(Status::Done)
}

/// How a run stands, in one word.
#[must_use]
pub fn word(run: &PastRun) -> Style<&'static str> {
    match run.status {
        Some(RunStatus::Done) => Style::good("done"),
        Some(RunStatus::Failed) => Style::error("failed"),
        Some(RunStatus::Interrupted) => Style::warning("interrupted"),
        None if is_running(run) => Style::strong("running"),
        None => Style::warning("killed"),
    }
}

/// Whether the run's coordinator lives. Its number may have gone to another program since, which is not called lsn.
#[must_use]
pub fn is_running(run: &PastRun) -> bool {
    let Ok(pid) = i32::try_from(run.pid) else { return false };
    run.status.is_none()
        && is_alive(pid)
        && crate::executor::process::command_line(pid).is_some_and(|line| line.contains("lsn"))
}
