//! The live view: one moving line per running task and one for the whole.

use super::{Observer, plain::describe};
use crate::{home::RunEvent, manifest::TaskId};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lsn_stage::RowCounts;
use std::{collections::BTreeMap, time::Duration};

/// Bars appear for tasks that run longer than this; shorter ones would only flicker.
const APPEARS_AFTER: Duration = Duration::from_millis(300);

struct Line {
    started: std::time::Instant,
    gpus: String,
    bar: Option<ProgressBar>,
    progress: Option<(u64, Option<u64>, String)>,
    rows: Option<RowCounts>,
    note: String,
}

/// For people at a terminal.
pub struct Terminal {
    bars: MultiProgress,
    total: Option<ProgressBar>,
    running: BTreeMap<TaskId, Line>,
    notes: bool,
    /// Finished tasks are worth a line each only where there are not hundreds of them.
    brief: bool,
}

/// More tasks than this are counted, not listed.
const LISTED: usize = 60;

impl Terminal {
    /// Draws on stderr.
    #[must_use]
    pub fn new(notes: bool) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        Self { bars, total: None, running: BTreeMap::new(), notes, brief: false }
    }

    fn say(&self, text: &str) {
        // Above the moving lines; a terminal that went away is no reason to end a run.
        let _ = self.bars.println(text);
    }

    fn step(&self, tasks: u64) {
        if let Some(total) = &self.total {
            total.inc(tasks);
        }
    }

    fn style(template: &str) -> ProgressStyle {
        ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━╸ ")
            .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
    }
}

impl Line {
    /// Brings the bar into step with what is known.
    fn show(&mut self, task: &TaskId, bars: &MultiProgress, total: Option<&ProgressBar>) {
        if self.bar.is_none() && self.started.elapsed() >= APPEARS_AFTER {
            let bar = ProgressBar::new_spinner();
            let bar = match total {
                Some(total) => bars.insert_before(total, bar),
                None => bars.add(bar),
            };
            bar.set_style(Terminal::style("{spinner} {prefix}  {wide_msg} {elapsed:>5}"));
            bar.set_prefix(format!("{task}{}", self.gpus));
            self.bar = Some(bar);
        }
        let Some(bar) = &self.bar else { return };
        if let Some((done, Some(of), unit)) = &self.progress
            && bar.length() != Some(*of)
        {
            bar.set_length(*of);
            let template = format!(
                "{{spinner}} {{prefix}}  {{bar:24}} {{pos}}/{{len}} {unit}  {{per_sec}}  eta {{eta}}  {{wide_msg}} {{elapsed:>5}}"
            );
            bar.set_style(Terminal::style(&template));
            bar.set_position(*done);
        }
        let mut message = String::new();
        match &self.progress {
            Some((done, Some(_), _)) => bar.set_position(*done),
            Some((done, None, unit)) => message = format!("{done} {unit}  "),
            None => {}
        }
        if let Some(rows) = self.rows.filter(|rows| rows.reused > 0) {
            message.push_str(&format!("{} reused  ", rows.reused));
        }
        message.push_str(&self.note);
        bar.set_message(message);
        bar.tick();
    }
}

impl Observer for Terminal {
    fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Planned { counts, .. } => {
                self.brief = counts.run + counts.waiting > LISTED;
                let all = counts.run + counts.waiting + counts.cached;
                let total = self.bars.add(ProgressBar::new(all as u64));
                total.set_style(Self::style("  {bar:32} {pos}/{len} tasks  {wide_msg} {elapsed:>5}"));
                total.set_position(counts.cached as u64);
                total.set_message(format!("{} cached", counts.cached));
                self.total = Some(total);
            }
            RunEvent::TaskStarted { task, gpus, .. } => {
                let gpus = if gpus.is_empty() { String::new() } else { format!(" [gpu {}]", gpus.join(",")) };
                let line = Line {
                    started: std::time::Instant::now(),
                    gpus,
                    bar: None,
                    progress: None,
                    rows: None,
                    note: String::new(),
                };
                self.running.insert(task.clone(), line);
                return;
            }
            RunEvent::TaskProgress { task, done, total, unit } => {
                if let Some(line) = self.running.get_mut(task) {
                    line.progress = Some((*done, *total, unit.clone()));
                }
            }
            RunEvent::TaskRows { task, rows } => {
                if let Some(line) = self.running.get_mut(task) {
                    line.rows = Some(*rows);
                }
            }
            RunEvent::TaskMetric { task, name, value } => {
                if let Some(line) = self.running.get_mut(task) {
                    line.note = format!("{name} {value:.4}");
                }
            }
            RunEvent::TaskFinished { task, .. } | RunEvent::TaskFailed { task, .. } => {
                if let Some(Line { bar: Some(bar), .. }) = self.running.remove(task) {
                    bar.finish_and_clear();
                }
                if !matches!(event, RunEvent::TaskFailed { retry_in_ms: Some(_), .. }) {
                    self.step(1);
                }
                if self.brief && matches!(event, RunEvent::TaskFinished { .. }) {
                    return;
                }
            }
            RunEvent::TaskCached { .. } => {
                self.step(1);
                return;
            }
            RunEvent::RunFinished { .. } => {
                if let Some(total) = self.total.take() {
                    total.finish_and_clear();
                }
            }
            _ => {}
        }
        if let Some(text) = describe(event, self.notes) {
            self.say(&text);
        }
    }

    fn tick(&mut self) {
        for (task, line) in &mut self.running {
            line.show(task, &self.bars, self.total.as_ref());
        }
        if let Some(total) = &self.total {
            total.set_message(match self.running.len() {
                0 => String::new(),
                1 => "1 running".to_owned(),
                several => format!("{several} running"),
            });
            total.tick();
        }
    }
}
