//! `lsn show`: an artifact or the result of a task.

use super::{CliError, CliResult, Global, Status, Style, load::home, write_json};
use crate::{home::PastRun, progress};
use lsn_cache::{Access, ActionRecord, Artifact, Digest, Entry, Lookup, OpenMode, Store, TaskKey};
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

/// Entries of a directory that are listed.
const LISTED: usize = 40;

/// Arguments of `lsn show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A task (`verify`), one of its outputs (`verify.rows`), or a digest or task key (the beginning will do)
    #[arg(value_name = "ARTIFACT|TASK")]
    what: String,
    /// Copy the artifact to this path instead
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Print the content of a file artifact
    #[arg(long)]
    content: bool,
    /// The store, if not the project's own `.lsn/store`
    #[arg(long, value_name = "DIR", env = "LSN_STORE")]
    store: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What a word stands for.
enum Found {
    Record(Box<ActionRecord>),
    Artifact { record: Box<ActionRecord>, output: String },
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let home = home()?;
    let store = Store::open(&args.store.clone().unwrap_or_else(|| home.store()), OpenMode::ReadOnly)?;
    let found = match by_task(&home, &store, &args.what)? {
        Some(found) => Some(found),
        None => by_digest(&store, &args.what)?,
    };
    let Some(found) = found else {
        return Err(CliError::usage(format!("`{}` is neither a task of an earlier run nor in the store", args.what))
            .hint("`lsn status --all` lists tasks; digests need at least 6 digits"));
    };
    let mut out = io::stdout().lock();
    match found {
        Found::Record(record) if args.output.is_some() || args.content => {
            match record.outputs.iter().collect::<Vec<_>>().as_slice() {
                [(_, only)] => give(args, &store, only, &mut out)?,
                several => {
                    let names: Vec<_> = several.iter().map(|(name, _)| format!("{}.{name}", args.what)).collect();
                    return Err(CliError::usage(format!("`{}` has {} outputs", args.what, names.len()))
                        .hint(format!("name one of: {}", names.join(", "))));
                }
            }
        }
        Found::Record(record) if args.json => {
            write_json(&mut out, &record)?;
        }
        Found::Record(record) => describe(&record, &mut out)?,
        Found::Artifact { record, output } => {
            let Some(artifact) = record.outputs.get(&output) else { return Ok(Status::Failed) };
            if args.json {
                write_json(&mut out, artifact)?;
            } else if args.output.is_some() || args.content {
                give(args, &store, artifact, &mut out)?;
            } else {
                writeln!(out, "{} of {}", Style::strong(&output), record.provenance.task)?;
                list(artifact, &mut out)?;
            }
        }
    }
    Ok(Status::Done)
}

/// A task of the latest run that knows it, or `task.output`.
fn by_task(home: &crate::home::Home, store: &Store, word: &str) -> CliResult<Option<Found>> {
    for run in PastRun::all(home).iter().rev() {
        let (task, output) = match run.task(word) {
            Some(task) => (task, None),
            None => {
                // Outputs have no dots, task names may.
                let Some((task, output)) = word.rsplit_once('.') else { continue };
                let Some(task) = run.task(task) else { continue };
                (task, Some(output.to_owned()))
            }
        };
        let Some(key) = task.key else { continue };
        if let Lookup::Hit(record) = store.action(&key)? {
            return match output {
                None => Ok(Some(Found::Record(record))),
                Some(output) if record.outputs.contains_key(&output) => Ok(Some(Found::Artifact { record, output })),
                Some(output) => {
                    let names: Vec<_> = record.outputs.keys().map(String::as_str).collect();
                    Err(CliError::usage(format!("task `{}` has no output `{output}`", task.task))
                        .hint(format!("it has: {}", names.join(", "))))
                }
            };
        }
    }
    Ok(None)
}

/// A task key or an artifact's digest, by its first digits.
fn by_digest(store: &Store, word: &str) -> CliResult<Option<Found>> {
    if word.len() < 6 || !word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let word = word.to_ascii_lowercase();
    if let Ok(digest) = word.parse::<Digest>()
        && let Lookup::Hit(record) = store.action(&TaskKey(digest))?
    {
        return Ok(Some(Found::Record(record)));
    }
    for record in store.actions()? {
        let record = Box::new(record?);
        if record.key.0.hex().starts_with(&word) {
            return Ok(Some(Found::Record(record)));
        }
        let output = record.outputs.iter().find(|(_, artifact)| artifact.digest().hex().starts_with(&word));
        if let Some(output) = output.map(|(name, _)| name.clone()) {
            return Ok(Some(Found::Artifact { record, output }));
        }
    }
    Ok(None)
}

fn describe(record: &ActionRecord, out: &mut impl Write) -> CliResult<()> {
    let provenance = &record.provenance;
    writeln!(out, "{} of pipeline {}", Style::strong(&provenance.task), provenance.pipeline)?;
    writeln!(out, "  key       {}", record.key)?;
    let finished = humantime::format_rfc3339_seconds(provenance.finished());
    writeln!(out, "  finished  {finished}, after {}", progress::duration(provenance.duration()))?;
    for (name, count) in &provenance.rows {
        writeln!(out, "  rows      {count} {name}")?;
    }
    for (name, value) in &provenance.metrics {
        writeln!(out, "  metric    {name} = {value}")?;
    }
    for (name, artifact) in &record.outputs {
        writeln!(out, "  output    {}", Style::strong(name))?;
        list(artifact, out)?;
    }
    Ok(())
}

fn list(artifact: &Artifact, out: &mut impl Write) -> CliResult<()> {
    match artifact {
        Artifact::File(file) => writeln!(out, "    file {}, {} bytes", file.digest, file.size)?,
        Artifact::Directory(directory) => {
            let files = artifact.files().count();
            writeln!(out, "    directory {}, {files} files, {} bytes", directory.digest(), artifact.size())?;
            for (path, entry) in directory.entries().iter().take(LISTED) {
                match entry {
                    Entry::File(file) => {
                        writeln!(out, "      {:>12}  {}  {path}", file.size, Style::faint(file.digest.short()))?;
                    }
                    Entry::Directory => writeln!(out, "      {:>12}  {:12}  {path}/", "", "")?,
                }
            }
            if directory.entries().len() > LISTED {
                writeln!(out, "      … {} more", directory.entries().len() - LISTED)?;
            }
        }
    }
    Ok(())
}

/// Copies the artifact out, or prints it.
fn give(args: &Args, store: &Store, artifact: &Artifact, out: &mut impl Write) -> CliResult<()> {
    if let Some(target) = &args.output {
        store.materialize(artifact, target, Access::Editable)?;
        return Ok(());
    }
    let Artifact::File(file) = artifact else {
        return Err(CliError::usage("a directory cannot be printed").hint("copy it with `--output PATH`"));
    };
    let bytes = match &file.inline {
        Some(bytes) => bytes.to_vec(),
        None => store.read_blob(&file.digest)?,
    };
    if io::stdout().is_terminal() && bytes.contains(&0) {
        return Err(
            CliError::usage("the content is binary and stdout is a terminal").hint("copy it with `--output PATH`")
        );
    }
    Ok(out.write_all(&bytes)?)
}
