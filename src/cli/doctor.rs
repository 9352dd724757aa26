//! `lsn doctor`: whether this machine and this project are in order, and what to do where not.

use super::{CliResult, Global, Status, Style, write_json};
use crate::{
    executor::{GpuChoice, capacity},
    home::Home,
    manifest::{self, ByteSize, Overrides},
};
use lsn_cache::{OpenMode, Store};
use serde::Serialize;
use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Below this, a warning about free space is due.
const LITTLE_SPACE: u64 = 5 << 30;

/// Arguments of `lsn doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    /// Worth knowing, nothing to do.
    Note,
    Warning,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do about it.
    advice: Option<String>,
}

impl Check {
    fn new(what: &'static str, verdict: Verdict, found: impl Into<String>) -> Self {
        Self { what, verdict, found: found.into(), advice: None }
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let here = env::current_dir()?;
    let home = Home::find(&here);
    let root = home.as_ref().map_or(here.as_path(), Home::root).to_owned();
    let mut checks = vec![Check::new("lsn", Verdict::Good, env!("CARGO_PKG_VERSION"))];
    checks.extend(machine());
    checks.push(shell());
    checks.push(space(&root));
    checks.push(file_system(&root));
    checks.push(hub());
    checks.push(store(home.as_ref()));
    checks.extend(manifests(&root));

    let mut out = io::stdout().lock();
    if args.json {
        write_json(&mut out, &checks)?;
    } else {
        for check in &checks {
            let word = match check.verdict {
                Verdict::Good => Style::good("good   "),
                Verdict::Note => Style::faint("note   "),
                Verdict::Warning => Style::warning("warning"),
                Verdict::Bad => Style::error("bad    "),
            };
            writeln!(out, "{word}  {:13}{}", check.what, check.found)?;
            if let Some(advice) = &check.advice {
                writeln!(out, "{:22}{} {advice}", "", Style::hint("hint:"))?;
            }
        }
    }
    let bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    Ok(if bad { Status::Failed } else { Status::Done })
}

fn machine() -> Vec<Check> {
    let capacity = match capacity(None, &GpuChoice::Detect) {
        Ok(capacity) => capacity,
        Err(error) => return vec![Check::new("gpus", Verdict::Bad, error.to_string())],
    };
    let mem = capacity
        .mem
        .map_or_else(|| "unknown".to_owned(), |bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)));
    let gpus = match capacity.gpus.len() {
        0 => Check::new("gpus", Verdict::Note, "none; stages run on the processor"),
        count => {
            let names: Vec<&str> = capacity.gpus.iter().map(|gpu| gpu.name.as_str()).collect();
            Check::new("gpus", Verdict::Good, format!("{count}: {}", names.join(", ")))
        }
    };
    let cpus = Check::new("cpus", Verdict::Good, capacity.cpus.to_string());
    vec![cpus, Check::new("memory", Verdict::Good, mem), gpus]
}

fn shell() -> Check {
    let ran = Command::new("sh").args(["-c", "exit 0"]).stdin(Stdio::null()).status();
    match ran {
        Ok(status) if status.success() => Check::new("shell", Verdict::Good, "`sh` works"),
        Ok(status) => Check::new("shell", Verdict::Bad, format!("`sh -c 'exit 0'` ended with {status}")),
        Err(error) => Check::new("shell", Verdict::Bad, format!("cannot start `sh`: {error}"))
            .advice("`command` stages need a POSIX shell on the PATH"),
    }
}

fn space(root: &Path) -> Check {
    match rustix::fs::statvfs(root) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{:.1} GiB free at {}", free as f64 / f64::from(1 << 30), root.display());
            if free < LITTLE_SPACE {
                let advice = format!(
                    "`lsn cache gc` frees what no run refers to; below {} runs may fail",
                    ByteSize(LITTLE_SPACE)
                );
                Check::new("disk", Verdict::Warning, found).advice(advice)
            } else {
                Check::new("disk", Verdict::Good, found)
            }
        }
        Err(error) => Check::new("disk", Verdict::Warning, format!("cannot ask for free space: {error}")),
    }
}

/// What the store asks of a file system: renaming over, hard links; and whether copies are free.
fn file_system(root: &Path) -> Check {
    let probe = || -> io::Result<bool> {
        let directory = tempfile::Builder::new().prefix(".lsn-doctor-").tempdir_in(root)?;
        let (a, b, c) = (directory.path().join("a"), directory.path().join("b"), directory.path().join("c"));
        fs::write(&a, b"probe")?;
        fs::write(&b, b"older")?;
        fs::rename(&a, &b)?;
        fs::hard_link(&b, &c)?;
        let (from, to) = (fs::File::open(&b)?, fs::File::create_new(&a)?);
        Ok(rustix::fs::ioctl_ficlone(&to, &from).is_ok())
    };
    match probe() {
        Ok(true) => Check::new("file system", Verdict::Good, "renames, hard links and reflinks work"),
        Ok(false) => Check::new("file system", Verdict::Good, "renames and hard links work; no reflinks"),
        Err(error) => Check::new("file system", Verdict::Bad, format!("{}: {error}", root.display()))
            .advice("the project needs a writable file system with hard links"),
    }
}

fn hub() -> Check {
    if env::var_os("HF_HUB_OFFLINE").is_some_and(|value| value != "0" && !value.is_empty()) {
        return Check::new("hub", Verdict::Note, "HF_HUB_OFFLINE is set: models come from disk only");
    }
    let home = env::var_os("HOME").map(PathBuf::from);
    let file = env::var_os("HF_HOME").map(PathBuf::from).or_else(|| home.map(|home| home.join(".cache/huggingface")));
    let stored = file.is_some_and(|directory| directory.join("token").exists());
    if stored || env::var_os("HF_TOKEN").is_some_and(|token| !token.is_empty()) {
        Check::new("hub", Verdict::Good, "a Hugging Face token is there")
    } else {
        Check::new("hub", Verdict::Note, "no Hugging Face token: gated models cannot be fetched")
            .advice("set HF_TOKEN where a pipeline needs one")
    }
}

fn store(home: Option<&Home>) -> Check {
    let Some(home) = home else {
        return Check::new("store", Verdict::Note, "no `.lsn` here or above: nothing was run yet");
    };
    match Store::open(&home.store(), OpenMode::ReadOnly) {
        Ok(store) if store.is_writable() || store.root().exists() => {
            let runs = fs::read_dir(home.runs()).map_or(0, Iterator::count);
            Check::new("store", Verdict::Good, format!("{}, {runs} runs", home.store().display()))
        }
        Ok(_) => Check::new("store", Verdict::Note, "no store yet"),
        Err(error) => Check::new("store", Verdict::Bad, error.to_string())
            .advice("`lsn cache verify` looks closer; moving the store away costs time, never correctness"),
    }
}

fn manifests(root: &Path) -> Vec<Check> {
    let found = fs::read_dir(root.join("pipelines")).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = found
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
        .collect();
    paths.sort();
    let registry = lsn_stages::registry();
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            match manifest::load(&path, &Overrides::from_environment(), &registry) {
                Ok((_, warnings)) if warnings.is_empty() => Check::new("pipeline", Verdict::Good, name),
                Ok((_, warnings)) => {
                    Check::new("pipeline", Verdict::Warning, format!("{name}: {} warnings", warnings.len()))
                        .advice(format!("`lsn validate {name}` shows them"))
                }
                Err(errors) => {
                    Check::new("pipeline", Verdict::Bad, format!("{name}: {} problems", errors.problems.len()))
                        .advice(format!("`lsn validate {name}` shows them"))
                }
            }
        })
        .collect()
}
