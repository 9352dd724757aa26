//! `lsn cache`: what the store holds, whether it is sound, and what may go.

use super::{CliError, CliResult, Global, Status, Style, load::home, runs::is_running, write_json};
use crate::{
    executor::sweep,
    home::{Home, PastRun},
    manifest::ByteSize,
    progress,
};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use lsn_cache::{
    Amount, Catalog, EventHandler, GcPolicy, Lookup, MissReason, OpenMode, SledIndex, Store, StoreError, TaskKey,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// How long the state of an interrupted task is kept.
const SCRATCH_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// Arguments of `lsn cache`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The store, if not the project's own `.lsn/store`
    #[arg(long, value_name = "DIR", env = "LSN_STORE", global = true)]
    store: Option<PathBuf>,
    /// As JSON; `ls`, one result a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what the store holds
    Stats,
    /// List results, latest last
    Ls {
        /// Only of tasks whose name contains this
        #[arg(value_name = "TEXT")]
        task: Option<String>,
    },
    /// Read everything and check it; what is damaged goes to quarantine and is made anew by the next run
    Verify,
    /// Remove what nothing refers to, and what the limits say; nothing that is younger than an hour
    Gc {
        /// Remove results unused for longer, such as `30d`
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        max_age: Option<Duration>,
        /// Remove the longest unused results until the store has at most so many bytes, such as `20GiB`
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_size: Option<u64>,
        /// This many latest runs of each pipeline stay, and as many that computed something: results, journals and logs
        #[arg(long, value_name = "N", default_value_t = 5)]
        keep_runs: usize,
        /// Say what would go, and remove nothing
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Forget the result of a task that is wrong: the next run computes it anew
    Forget {
        /// A task of an earlier run, or the beginning of a task key
        #[arg(value_name = "TASK|KEY")]
        what: String,
    },
    /// Keep a result whatever `gc` is told
    Pin {
        /// A task of an earlier run, or the beginning of a task key; without one, list the pins
        #[arg(value_name = "TASK|KEY")]
        what: Option<String>,
        /// Why it is kept
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
        /// Do not keep it any longer
        #[arg(long, requires = "what")]
        remove: bool,
    },
    /// Build the index of a pipeline anew from the store
    Reindex {
        /// The pipeline's name; without one, all that have an index
        #[arg(value_name = "PIPELINE")]
        pipeline: Option<String>,
    },
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let home = home();
    let path = match (&args.store, &home) {
        (Some(store), _) => store.clone(),
        (None, Ok(home)) => home.store(),
        (None, Err(_)) => return home.map(|_| Status::Done),
    };
    let open = |mode| Store::open(&path, mode);
    let json = args.json;
    match &args.command {
        Command::Stats => stats(&open(OpenMode::ReadOnly)?, json),
        Command::Ls { task } => list(&open(OpenMode::ReadOnly)?, task.as_deref(), json),
        Command::Verify => verify(&open(OpenMode::ReadWrite)?, json),
        Command::Gc { max_age, max_size, keep_runs, dry_run } => {
            let policy = GcPolicy { max_age: *max_age, max_size: *max_size, dry_run: *dry_run, ..GcPolicy::default() };
            collect(&open(OpenMode::ReadWrite)?, home.ok().as_ref(), &policy, *keep_runs, json)
        }
        Command::Forget { what } => forget(&open(OpenMode::ReadWrite)?, home.ok().as_ref(), what, json),
        Command::Pin { what, note, remove } => {
            let store = open(OpenMode::ReadWrite)?;
            match what {
                None => pins(&store, json),
                Some(what) => pin(&store, home.ok().as_ref(), what, (!remove).then_some(note), json),
            }
        }
        Command::Reindex { pipeline } => reindex(&open(OpenMode::ReadWrite)?, &home?, pipeline.as_deref(), json),
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    ByteSize::parse(text)
        .map(|size| size.0)
        .ok_or_else(|| format!("`{text}` is no size; write one like `20 GB` or `20GiB`"))
}

fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

fn amount(amount: Amount) -> String {
    format!("{:>8}  {}", amount.count, bytes(amount.bytes))
}

fn stats(store: &Store, json: bool) -> CliResult<Status> {
    let stats = store.stats()?;
    let mut out = io::stdout().lock();
    if json {
        write_json(&mut out, &stats)?;
        return Ok(Status::Done);
    }
    writeln!(out, "store          {}", store.root().display())?;
    writeln!(out, "results        {}", amount(stats.actions))?;
    writeln!(out, "blobs          {}", amount(stats.blobs))?;
    for (namespace, segments) in &stats.rows {
        writeln!(out, "rows           {}  {namespace}", amount(*segments))?;
    }
    writeln!(out, "pins           {:>8}", stats.pins)?;
    if stats.quarantined.count > 0 {
        writeln!(out, "quarantine     {}", amount(stats.quarantined))?;
    }
    if stats.temporaries.count > 0 {
        writeln!(out, "being written  {}", amount(stats.temporaries))?;
    }
    Ok(Status::Done)
}

fn list(store: &Store, task: Option<&str>, json: bool) -> CliResult<Status> {
    let mut records = store.actions()?.collect::<Result<Vec<_>, _>>()?;
    records.retain(|record| task.is_none_or(|task| record.provenance.task.contains(task)));
    records.sort_by_key(|record| record.provenance.finished_ms);
    let mut out = io::stdout().lock();
    for record in records {
        if json {
            serde_json::to_writer(&mut out, &record).map_err(io::Error::from)?;
            writeln!(out)?;
            continue;
        }
        let provenance = &record.provenance;
        let size: u64 = record.outputs.values().map(lsn_cache::Artifact::size).sum();
        writeln!(
            out,
            "{}  {}  {:>10}  {:>8}  {} ({})",
            record.key.0.short(),
            humantime::format_rfc3339_seconds(provenance.finished()),
            bytes(size),
            progress::duration(provenance.duration()),
            provenance.task,
            provenance.pipeline
        )?;
    }
    Ok(Status::Done)
}

fn verify(store: &Store, json: bool) -> CliResult<Status> {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("  {bar:32} {bytes}/{total_bytes}  {bytes_per_sec}") {
        bar.set_style(style);
    }
    let report = store.verify(|progress| {
        bar.set_length(progress.total.bytes);
        bar.set_position(progress.done.bytes);
    })?;
    bar.finish_and_clear();
    let status = if report.is_sound() { Status::Done } else { Status::Failed };
    let mut out = io::stdout().lock();
    if json {
        let unusable: BTreeMap<_, _> = report.unusable.iter().map(|(key, why)| (key, why.to_string())).collect();
        write_json(
            &mut out,
            &json!({
                "sound": report.is_sound(), "blobs": report.blobs, "actions": report.actions, "rows": report.rows,
                "damaged": report.damaged, "unusable": unusable, "damaged_rows": report.damaged_rows,
            }),
        )?;
        return Ok(status);
    }
    for digest in &report.damaged {
        writeln!(out, "{} blob {digest} is damaged; moved to quarantine", Style::error("×"))?;
    }
    for (key, reason) in &report.unusable {
        writeln!(out, "{} result {}: {reason}", Style::error("×"), key.0.short())?;
    }
    for (segment, damaged) in &report.damaged_rows {
        writeln!(out, "{} row segment {segment}: {damaged} damaged bytes", Style::error("×"))?;
    }
    writeln!(
        out,
        "{} blobs ({}), {} results, {} rows: {}",
        report.blobs.count,
        bytes(report.blobs.bytes),
        report.actions,
        report.rows,
        if report.is_sound() { "all sound" } else { "run the pipelines again to make anew what is damaged" }
    )?;
    Ok(status)
}

fn collect(store: &Store, home: Option<&Home>, policy: &GcPolicy, keep_runs: usize, json: bool) -> CliResult<Status> {
    let mut roots = BTreeSet::new();
    let mut forgotten = 0;
    if let Some(home) = home {
        // Of each pipeline the latest runs, and the latest that computed something: their logs are the ones worth reading.
        let mut kept: BTreeMap<String, [usize; 2]> = BTreeMap::new();
        for run in PastRun::all(home).iter().rev() {
            let [all, computed] = kept.entry(run.pipeline.clone()).or_default();
            let has_computed = run.tasks.iter().any(|task| task.attempts > 0);
            *all += 1;
            *computed += usize::from(has_computed);
            if *all <= keep_runs || (has_computed && *computed <= keep_runs) || is_running(run) {
                roots.extend(run.tasks.iter().filter_map(|task| task.key));
            } else {
                forgotten += 1;
                if !policy.dry_run {
                    fs::remove_dir_all(home.run(&run.run).path())?;
                }
            }
        }
    }
    if let Some(home) = home.filter(|_| !policy.dry_run) {
        sweep::remove_abandoned(home, SCRATCH_KEPT);
    }
    let report = store.gc(&roots, policy)?;
    if json {
        let removed = json!({"dry_run": policy.dry_run, "runs": forgotten, "store": report});
        write_json(&mut io::stdout().lock(), &removed)?;
        return Ok(Status::Done);
    }
    let word = if policy.dry_run { "would remove" } else { "removed" };
    println!(
        "{word} {} results, {} blobs, {} row segments, {} leftovers and {forgotten} runs' journals and logs: {} freed, {} kept",
        report.actions,
        report.blobs,
        report.row_segments,
        report.leftovers,
        bytes(report.freed),
        bytes(report.kept)
    );
    if report.newer_records > 0 {
        eprintln!(
            "{} {} results were written by a newer lsn; no blob was removed",
            Style::warning("warning:"),
            report.newer_records
        );
    }
    Ok(Status::Done)
}

fn pins(store: &Store, json: bool) -> CliResult<Status> {
    let pins = store.pins()?;
    let mut out = io::stdout().lock();
    if json {
        write_json(&mut out, &pins)?;
        return Ok(Status::Done);
    }
    for pin in pins {
        writeln!(out, "{}  {}", pin.key, pin.note)?;
    }
    Ok(Status::Done)
}

/// Pins a result with a note, or unpins it where there is none.
fn pin(store: &Store, home: Option<&Home>, what: &str, note: Option<&String>, json: bool) -> CliResult<Status> {
    let key = find_key(store, home, what)?;
    let (done, changed, pinned) = match note {
        Some(note) => {
            store.pin(&key, if note.is_empty() { what } else { note })?;
            ("pinned", true, true)
        }
        None if store.unpin(&key)? => ("unpinned", true, false),
        None => ("was not pinned:", false, false),
    };
    let mut out = io::stdout().lock();
    if json {
        write_json(&mut out, &json!({"key": key, "pinned": pinned, "changed": changed}))?;
    } else {
        writeln!(out, "{done} {key}")?;
    }
    Ok(Status::Done)
}

fn forget(store: &Store, home: Option<&Home>, what: &str, json: bool) -> CliResult<Status> {
    let key = find_key(store, home, what)?;
    let there = store.forget_action(&key)?;
    let mut out = io::stdout().lock();
    if json {
        write_json(&mut out, &json!({"key": key, "forgotten": there}))?;
    } else {
        writeln!(out, "{} {key}", if there { "forgot" } else { "there is no result of" })?;
    }
    Ok(Status::Done)
}

/// The one result that `what` names.
fn find_key(store: &Store, home: Option<&Home>, what: &str) -> CliResult<TaskKey> {
    match find_keys(store, home, what)?.as_slice() {
        [one] => Ok(*one),
        [] => Err(CliError::usage(format!("`{what}` names no result"))
            .hint("`lsn cache ls` lists them; of a key give 6 digits or more")),
        many => Err(CliError::usage(format!("`{what}` names {} results", many.len())).hint("give more digits")),
    }
}

fn find_keys(store: &Store, home: Option<&Home>, what: &str) -> CliResult<Vec<TaskKey>> {
    for run in home.map(PastRun::all).unwrap_or_default().iter().rev() {
        if let Some(key) = run.task(what).and_then(|task| task.key)
            && matches!(store.action(&key)?, Lookup::Hit(_) | Lookup::Miss(MissReason::BlobMissing { .. }))
        {
            return Ok(vec![key]);
        }
    }
    let wanted = what.to_ascii_lowercase();
    Ok(store.action_keys()?.into_iter().filter(|key| wanted.len() >= 6 && key.0.hex().starts_with(&wanted)).collect())
}

fn reindex(store: &Store, home: &Home, pipeline: Option<&str>, json: bool) -> CliResult<Status> {
    let paths: Vec<PathBuf> = match pipeline {
        Some(pipeline) => vec![home.index(pipeline)],
        None => {
            let parent = home.index("-").parent().map(ToOwned::to_owned).unwrap_or_default();
            let entries = fs::read_dir(&parent).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
        }
    };
    let mut indexed = BTreeMap::new();
    for path in paths {
        let holder = format!("lsn cache reindex (process {})", std::process::id());
        let index = SledIndex::open(&path, &holder, &EventHandler::default()).map_err(StoreError::from)?;
        let records = Catalog::new(store.clone(), Arc::new(index)).reindex()?;
        indexed.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), records);
    }
    let mut out = io::stdout().lock();
    if json {
        write_json(&mut out, &indexed)?;
        return Ok(Status::Done);
    }
    for (pipeline, records) in indexed {
        writeln!(out, "{pipeline}: {records} results")?;
    }
    Ok(Status::Done)
}
