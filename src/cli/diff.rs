//! `lsn diff RUN RUN`: what differs between two runs, in what went in and what came out.

use super::{CliResult, Global, Status, Style, load::home, past::find_run, write_json};
use crate::{
    home::{PastRun, PastTask},
    plan::{KeyManifest, differences},
};
use lsn_cache::{ActionRecord, Lookup, OpenMode, Store};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    path::PathBuf,
};

/// Arguments of `lsn diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run: its id or the beginning of it, `last`, or `-1` for the one before
    #[arg(value_name = "OLD", default_value = "-1", allow_hyphen_values = true)]
    old: String,
    /// The run to compare it with, named likewise
    #[arg(value_name = "NEW", default_value = "last", allow_hyphen_values = true)]
    new: String,
    /// The store, if not the project's own `.lsn/store`
    #[arg(long, value_name = "DIR", env = "LSN_STORE")]
    store: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What differs in one task.
#[derive(Debug, Serialize)]
struct TaskDifference {
    task: String,
    lines: Vec<String>,
    metrics: BTreeMap<String, (Option<f64>, Option<f64>)>,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let home = home()?;
    let (old, new) = (find_run(&home, &args.old)?, find_run(&home, &args.new)?);
    let store = Store::open(&args.store.clone().unwrap_or_else(|| home.store()), OpenMode::ReadOnly)?;
    let found = compare(&store, &old, &new)?;
    let mut out = io::stdout().lock();
    if args.json {
        write_json(&mut out, &found)?;
        return Ok(Status::Done);
    }
    writeln!(out, "{} → {}", old.run, new.run)?;
    for task in &found {
        writeln!(out, "{}", Style::strong(&task.task))?;
        for line in &task.lines {
            writeln!(out, "  {line}")?;
        }
        for (name, (old, new)) in &task.metrics {
            let value = |value: &Option<f64>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:.6}"));
            writeln!(out, "  metric {name}: {} → {}", value(old), value(new))?;
        }
    }
    if found.is_empty() {
        writeln!(out, "no difference")?;
    }
    Ok(Status::Done)
}

fn compare(store: &Store, old: &PastRun, new: &PastRun) -> CliResult<Vec<TaskDifference>> {
    let names: BTreeSet<_> = old.tasks.iter().chain(&new.tasks).map(|task| &task.task.0).collect();
    let mut found = Vec::new();
    for name in names {
        let (before, after) = (old.task(name), new.task(name));
        let mut lines = Vec::new();
        let mut metrics = BTreeMap::new();
        match (before, after) {
            (Some(before), Some(after)) if before.key != after.key => {
                let (before, after) = (record(store, before)?, record(store, after)?);
                match (&before, &after) {
                    (Some(before), Some(after)) => {
                        lines.extend(manifest_lines(before, after));
                        metrics = changed_metrics(before, after);
                    }
                    _ => lines.push("the result of one of the runs is not in the store".to_owned()),
                }
            }
            (Some(_), Some(_)) => {}
            (None, _) => lines.push("only in the new run".to_owned()),
            (_, None) => lines.push("only in the old run".to_owned()),
        }
        if !lines.is_empty() || !metrics.is_empty() {
            found.push(TaskDifference { task: name.clone(), lines, metrics });
        }
    }
    Ok(found)
}

fn record(store: &Store, task: &PastTask) -> CliResult<Option<ActionRecord>> {
    let Some(key) = task.key else { return Ok(None) };
    Ok(match store.action(&key)? {
        Lookup::Hit(record) => Some(*record),
        Lookup::Miss(_) => None,
    })
}

fn manifest_lines(before: &ActionRecord, after: &ActionRecord) -> Vec<String> {
    let manifests = (KeyManifest::from_json(&before.key_manifest), KeyManifest::from_json(&after.key_manifest));
    let (Some(before), Some(after)) = manifests else { return vec!["its key manifest is of a newer lsn".to_owned()] };
    differences(&before, &after, &|_| false).iter().map(ToString::to_string).collect()
}

fn changed_metrics(before: &ActionRecord, after: &ActionRecord) -> BTreeMap<String, (Option<f64>, Option<f64>)> {
    let (before, after) = (&before.provenance.metrics, &after.provenance.metrics);
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .map(|name| (name.clone(), (before.get(name).copied(), after.get(name).copied())))
        .filter(|(_, (before, after))| before != after)
        .collect()
}
