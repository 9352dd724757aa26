//! `lsn init`: a small pipeline that works at once.

use super::{CliError, CliResult, Global, Status, Style, write_json};
use serde_json::json;
use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

const PIPELINE: &str = include_str!("init/words.yaml");
const FABLE: &str = include_str!("init/fable.txt");
const RIDDLE: &str = include_str!("init/riddle.txt");

/// What git shall not see.
const IGNORED: [&str; 2] = [".lsn/", "results/"];

/// Arguments of `lsn init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project directory; made where it does not exist
    // Not called `directory`: clap would take it for the global option of that name, and enter it before it is there.
    #[arg(value_name = "DIR", default_value = ".")]
    project: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let files = [("pipelines/words.yaml", PIPELINE), ("data/fable.txt", FABLE), ("data/riddle.txt", RIDDLE)];
    if let Some((name, _)) = files.iter().find(|(name, _)| args.project.join(name).exists()) {
        let path = args.project.join(name);
        return Err(CliError::usage(format!(
            "`{}` is there already, and `lsn init` overwrites nothing",
            path.display()
        ))
        .hint("start in another directory: `lsn init DIR`"));
    }
    for (name, text) in files {
        let path = args.project.join(name);
        write_new(&path, text).map_err(|error| failed(&path, &error))?;
    }
    let ignore = args.project.join(".gitignore");
    let added = ignore_results(&ignore).map_err(|error| failed(&ignore, &error))?;

    let mut out = io::stdout().lock();
    let manifest = args.project.join("pipelines/words.yaml");
    if args.json {
        let written: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        let report = json!({"directory": args.project, "files": written, "ignored": added});
        write_json(&mut out, &report)?;
        return Ok(Status::Done);
    }
    for (name, _) in files {
        writeln!(out, "wrote {}", args.project.join(name).display())?;
    }
    if !added.is_empty() {
        writeln!(out, "added {} to {}", added.join(" and "), ignore.display())?;
    }
    let command =
        if args.project == Path::new(".") { "lsn run".to_owned() } else { format!("lsn run {}", manifest.display()) };
    writeln!(out, "now try: {}", Style::strong(command))?;
    Ok(Status::Done)
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::failed(format!("cannot write `{}`: {error}", path.display()))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::File::create_new(path)?.write_all(text.as_bytes())
}

/// Adds the lines that are missing; what is there stays as it is.
fn ignore_results(path: &Path) -> io::Result<Vec<&'static str>> {
    let old = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let there = |line: &&str| old.lines().any(|known| known.trim().trim_start_matches('/') == *line);
    let added: Vec<&str> = IGNORED.into_iter().filter(|line| !there(line)).collect();
    if !added.is_empty() {
        let mut text = old;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&added.join("\n"));
        text.push('\n');
        fs::write(path, text)?;
    }
    Ok(added)
}
