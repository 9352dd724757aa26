//! One line per thing that happened, for files and pipes.

use super::{Observer, format};
use crate::home::RunEvent;
use std::io::Write;

/// Plain lines on a stream.
pub struct Plain<W> {
    output: W,
    /// Also show what tasks merely mention.
    notes: bool,
}

impl<W: Write> Plain<W> {
    pub fn new(output: W, notes: bool) -> Self {
        Self { output, notes }
    }

    fn line(&mut self, text: &str) {
        // A reader that went away is no reason to end a run.
        let _ = writeln!(self.output, "{text}");
    }
}

/// The line or lines that an event is worth; `None` for those that only moving views show.
#[must_use]
pub fn describe(event: &RunEvent, notes: bool) -> Option<String> {
    Some(match event {
        RunEvent::Planned { counts, .. } if counts.run + counts.waiting > 0 => {
            format!("plan: {} to run, {} waiting, {} cached", counts.run, counts.waiting, counts.cached)
        }
        RunEvent::TaskStarted { task, attempt, gpus, .. } => {
            let mut line = format!("start   {task}");
            if *attempt > 1 {
                line.push_str(&format!(" (attempt {attempt})"));
            }
            if !gpus.is_empty() {
                line.push_str(&format!(" on gpu {}", gpus.join(",")));
            }
            line
        }
        RunEvent::TaskFinished { .. } => format!("done    {}", format::finished(event)?),
        RunEvent::TaskCached { task, .. } => format!("cached  {task}"),
        RunEvent::TaskFailed { task, class, message, hint, log, retry_in_ms, .. } => {
            let mut text = format!("failed  {task} ({class}): {message}");
            if let Some(ms) = retry_in_ms {
                text.push_str(&format!("; trying again in {}", format::milliseconds(*ms)));
            }
            let tail = format::log_tail(log);
            if !tail.is_empty() {
                text.push_str(&format!("\n{}", tail.trim_end()));
            }
            if let Some(hint) = hint {
                text.push_str(&format!("\nhint: {hint}"));
            }
            text
        }
        RunEvent::TaskSkipped { task, because } => format!("skipped {task}: it needs {because}"),
        RunEvent::TaskWarning { task, text } => format!("warning {task}: {text}"),
        RunEvent::TaskNote { task, text } if notes => format!("note    {task}: {text}"),
        RunEvent::TaskMetric { task, name, value } if notes => format!("metric  {task}: {name} = {value}"),
        RunEvent::Warning { message } => format!("warning: {message}"),
        RunEvent::Interrupted { force: false } => {
            "interrupted: waiting for running tasks to stop; once more to kill them".to_owned()
        }
        RunEvent::Interrupted { force: true } => "killing running tasks".to_owned(),
        RunEvent::OutputWritten { path, .. } => format!("wrote   {}", path.display()),
        RunEvent::RunFinished { tally, wall_ms, .. } => {
            format!("{} in {}", format::tally(tally), format::milliseconds(*wall_ms))
        }
        _ => return None,
    })
}

impl<W: Write> Observer for Plain<W> {
    fn event(&mut self, event: &RunEvent) {
        if let Some(text) = describe(event, self.notes) {
            self.line(&text);
        }
    }
}
