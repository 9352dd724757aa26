//! `lsn why TASK`: why a task will run, does not run yet or last ran, and what decides its result.

use super::{
    CliResult, Global, OverrideArgs, Status, Style,
    load::{StoreArgs, load, open_options, targets},
    pipeline::find_manifest,
    plan::open_for_planning,
    runs::is_running,
    write_json,
};
use crate::{
    home::{PastRun, PastTask, Planned, RunId, TaskState, now_ms},
    manifest::{TaskId, TaskIndex},
    plan::{Decision, KeyManifest, Planner, Reason, Selection, excerpt},
    progress, run,
};
use lsn_cache::{ActionRecord, Lookup, TaskKey};
use serde::Serialize;
use serde_json::Value;
use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

/// Artifacts of one input that are listed.
const LISTED: usize = 8;

/// Arguments of `lsn why`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A stage, a task (`generate[seed=3]`), or a pattern with `*`
    #[arg(value_name = "TASK")]
    task: String,
    /// The pipeline manifest; may be left out where there is only one `pipelines/*.yaml`
    #[arg(short = 'f', long = "file", value_name = "PIPELINE")]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    overrides: OverrideArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Show the key manifest: everything that decides the task's outputs
    #[arg(short, long)]
    key: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What is known about a task.
#[derive(Debug, Serialize)]
struct Why {
    task: TaskId,
    planned: Planned,
    key: Option<TaskKey>,
    /// Why it will run.
    reasons: Vec<Reason>,
    /// How it stands in the run that is under way.
    now: Option<Now>,
    /// How its present result came about.
    last: Option<Last>,
    /// What decides its result.
    key_manifest: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Now {
    run: RunId,
    state: TaskState,
    /// The state in words, with what the task waits for.
    says: String,
}

/// What the record and the journals tell of a result.
#[derive(Debug, Serialize)]
struct Last {
    /// As which task; a stage may have been renamed since.
    task: String,
    took_ms: u64,
    finished_ms: u64,
    /// The run that computed it; `None` if its journal is gone.
    run: Option<RunId>,
    /// Why that run computed it.
    reasons: Vec<Reason>,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let loaded = load(&find_manifest(args.manifest.as_deref())?, &args.overrides)?;
    let pipeline = &loaded.pipeline;
    let wanted = targets(pipeline, std::slice::from_ref(&args.task))?;
    let session = open_for_planning(&open_options(pipeline, &args.store))?;
    let selection = Selection { until: wanted.clone(), ..Selection::default() };
    let planner = Planner::new(Arc::clone(pipeline), &loaded.registry, &selection);
    let (plan, _) = run::plan(&session, &planner)?;
    let runs: Vec<_> = PastRun::all(&session.home).into_iter().filter(|run| run.pipeline == pipeline.name).collect();
    let mut all = Vec::with_capacity(wanted.len());
    for task in wanted {
        let mut why = Why {
            task: planner.task(task).id.clone(),
            planned: Planned::Excluded,
            key: None,
            reasons: Vec::new(),
            now: runs.iter().rev().find(|run| is_running(run)).and_then(|run| standing(run, &planner, task)),
            last: None,
            key_manifest: None,
        };
        match &plan.decisions[task.0 as usize] {
            Decision::Cached { key, .. } => {
                (why.planned, why.key) = (Planned::Cached, Some(*key));
                if let Lookup::Hit(record) = session.catalog.lookup(key)? {
                    why.last = Some(last(&record, &runs));
                    why.key_manifest = Some(record.key_manifest);
                }
            }
            Decision::Run { key, manifest, reasons } => {
                (why.planned, why.key) = (Planned::Run, Some(*key));
                why.reasons.clone_from(reasons);
                why.key_manifest = Some(manifest.to_json());
            }
            Decision::Waiting { reasons } => {
                why.planned = Planned::Waiting;
                why.reasons.clone_from(reasons);
            }
            Decision::Excluded => {}
        }
        all.push(why);
    }
    let mut out = io::stdout().lock();
    if args.json {
        write_json(&mut out, &all)?;
    } else {
        for why in &all {
            why.write(args.key, &mut out)?;
        }
    }
    Ok(Status::Done)
}

impl Why {
    fn write(&self, whole_key: bool, out: &mut impl Write) -> CliResult<()> {
        writeln!(out, "{}", Style::strong(&self.task))?;
        let key = self.key.map(|key| key.0.short()).unwrap_or_default();
        let took = self.last.as_ref().map_or_else(String::new, |last| progress::milliseconds(last.took_ms));
        match (self.planned, &self.now) {
            (Planned::Cached, _) => writeln!(out, "  cached: its result is in the store (key {key}, took {took})")?,
            (Planned::Run, None) => writeln!(out, "  will run (key {key})")?,
            (Planned::Waiting, None) => writeln!(out, "  not decided yet")?,
            (Planned::Run | Planned::Waiting, Some(now)) => writeln!(out, "  {} (run {})", now.says, now.run)?,
            (Planned::Excluded, _) => writeln!(out, "  not selected")?,
        }
        for reason in &self.reasons {
            writeln!(out, "  - {reason}")?;
        }
        if let Some(last) = &self.last {
            last.write(&self.task, out)?;
        }
        match (&self.key_manifest, self.key) {
            (Some(manifest), Some(key)) if whole_key => {
                writeln!(out, "  key {}", key.0)?;
                let text = serde_json::to_string_pretty(manifest).map_err(io::Error::from)?;
                for line in text.lines() {
                    writeln!(out, "  {line}")?;
                }
            }
            (Some(manifest), _) => {
                if let Some(manifest) = KeyManifest::from_json(manifest) {
                    describe(&manifest, out)?;
                }
            }
            (None, _) => {}
        }
        Ok(())
    }
}

impl Last {
    fn write(&self, task: &TaskId, out: &mut impl Write) -> CliResult<()> {
        let finished = std::time::UNIX_EPOCH + std::time::Duration::from_millis(self.finished_ms);
        let finished = humantime::format_rfc3339_seconds(finished);
        let name = if self.task == task.0 { String::new() } else { format!(" as `{}`", self.task) };
        match &self.run {
            Some(run) => writeln!(out, "  last ran{name} in run {run}, until {finished}, because:")?,
            None => writeln!(out, "  last ran{name} until {finished}; the journal of that run is gone")?,
        }
        for reason in &self.reasons {
            writeln!(out, "  - {reason}")?;
        }
        Ok(())
    }
}

/// How the result of a record came about.
fn last(record: &ActionRecord, runs: &[PastRun]) -> Last {
    let provenance = &record.provenance;
    let computed = |task: &&PastTask| task.state == TaskState::Executed && task.key == Some(record.key);
    let found = runs.iter().rev().find_map(|run| Some((run, run.task(&provenance.task).filter(computed)?)));
    Last {
        task: provenance.task.clone(),
        took_ms: provenance.duration_ms,
        finished_ms: provenance.finished_ms,
        run: found.map(|(run, _)| run.run.clone()),
        reasons: found.map(|(_, task)| task.reasons.clone()).unwrap_or_default(),
    }
}

/// How a task stands in a run that is under way; `None` if it is done there, or has no part in it.
fn standing(run: &PastRun, planner: &Planner, task: TaskIndex) -> Option<Now> {
    let spec = planner.task(task);
    let past = run.task(&spec.id.0)?;
    let says = match past.state {
        TaskState::Running => {
            let since = past.started.map_or(0, |started| now_ms().saturating_sub(started));
            format!("runs now, for {}", progress::milliseconds(since))
        }
        TaskState::Ready => match &past.failure {
            Some((class, message)) => format!("waits to be tried again after it failed ({class}): {message}"),
            None => format!("ready, but not started: {}", waits_for_resources(run, planner, task)),
        },
        TaskState::Waiting => {
            let open = planner.graph().dependencies(task).iter().filter_map(|on| run.task(&planner.task(*on).id.0));
            let open = open.filter(|on| !matches!(on.state, TaskState::Cached | TaskState::Executed));
            let open: Vec<_> = open.map(|on| format!("{} ({})", on.task, word(on.state))).collect();
            format!("waits for {}", listed(&open))
        }
        TaskState::Failed => "failed in the run that is under way".to_owned(),
        TaskState::Skipped => "skipped by the run that is under way, for something that it needs failed".to_owned(),
        TaskState::Cancelled => "stopped with the run, which is being interrupted".to_owned(),
        TaskState::Cached | TaskState::Executed | TaskState::Excluded => return None,
    };
    Some(Now { run: run.run.clone(), state: past.state, says })
}

/// What a task asks for, and who holds how much of that.
fn waits_for_resources(run: &PastRun, planner: &Planner, task: TaskIndex) -> String {
    let resources = &planner.task(task).resources;
    let mut wants = vec![format!("{} cpus", resources.cpus.max(1))];
    if resources.gpus > 0.0 {
        wants.push(format!("{} gpus", resources.gpus));
    }
    if let Some(mem) = resources.mem {
        wants.push(format!("{} MiB of memory", mem >> 20));
    }
    let running = run.tasks.iter().filter(|task| task.state == TaskState::Running);
    let holders: Vec<_> = running
        .map(|task| {
            let gpus = if task.gpus.is_empty() { String::new() } else { format!(", gpu {}", task.gpus.join(",")) };
            format!("{} ({} cpus{gpus})", task.task, task.cpus)
        })
        .collect();
    if holders.is_empty() {
        return format!("it wants {}, and nothing else runs", wants.join(", "));
    }
    let jobs = format!("{} of at most {} tasks run", holders.len(), run.jobs);
    format!("it wants {}; {jobs} and hold: {}", wants.join(", "), listed(&holders))
}

fn word(state: TaskState) -> &'static str {
    match state {
        TaskState::Cached => "cached",
        TaskState::Waiting => "waits itself",
        TaskState::Ready => "not started",
        TaskState::Running => "runs",
        TaskState::Executed => "done",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "stopped",
        TaskState::Skipped => "skipped",
        TaskState::Excluded => "not selected",
    }
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let text = names[..names.len() - more].join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

/// What decides a result, a line each.
fn describe(manifest: &KeyManifest, out: &mut impl Write) -> CliResult<()> {
    writeln!(out, "  decided by (all of it: `--key`)")?;
    writeln!(out, "    uses {}, behaviour version {}", manifest.stage, manifest.version)?;
    for (name, value) in manifest.params.as_object().into_iter().flatten() {
        writeln!(out, "    params.{name}: {}", excerpt(value))?;
    }
    for (name, artifacts) in &manifest.inputs {
        let digests: Vec<_> = artifacts.iter().map(|artifact| artifact.digest.short()).collect();
        writeln!(out, "    input {name}: {}", listed(&digests))?;
    }
    for (name, value) in &*manifest.env {
        writeln!(out, "    env.{name}: {}", excerpt(&Value::from(value.as_str())))?;
    }
    Ok(())
}
