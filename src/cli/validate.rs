//! `lsn validate`: everything that is wrong with manifests, without running anything.

use super::{CliError, CliResult, Global, OverrideArgs, Status, Style, pipeline::find_manifest, style, write_json};
use crate::manifest::{self, Problem};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::PathBuf,
};

/// Arguments of `lsn validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifests; by default the only one in `pipelines/`
    #[arg(value_name = "PIPELINE")]
    manifests: Vec<PathBuf>,
    #[command(flatten)]
    overrides: OverrideArgs,
    /// Count warnings, such as input files that do not exist, as errors
    #[arg(long)]
    strict: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What was found out about one manifest.
#[derive(Debug, Serialize)]
struct Checked {
    manifest: PathBuf,
    valid: bool,
    stages: usize,
    tasks: usize,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let manifests = if args.manifests.is_empty() { vec![find_manifest(None)?] } else { args.manifests.clone() };
    let registry = lsn_stages::registry();
    let overrides = args.overrides.overrides();
    let mut all = Vec::with_capacity(manifests.len());
    for path in manifests {
        let checked = match manifest::load(&path, &overrides, &registry) {
            Ok((pipeline, warnings)) => Checked {
                manifest: path,
                valid: !args.strict || warnings.is_empty(),
                stages: pipeline.tasks.iter().map(|task| &task.stage).collect::<BTreeSet<_>>().len(),
                tasks: pipeline.tasks.len(),
                problems: Vec::new(),
                warnings,
            },
            Err(errors) => Checked {
                manifest: path,
                valid: false,
                stages: 0,
                tasks: 0,
                problems: errors.problems,
                warnings: Vec::new(),
            },
        };
        all.push(checked);
    }
    if args.json {
        let mut out = io::stdout().lock();
        write_json(&mut out, &all)?;
    } else {
        print(&all)?;
    }
    let broken = all.iter().filter(|checked| !checked.valid).count();
    if broken == 0 {
        return Ok(Status::Done);
    }
    let problems: usize = all.iter().map(|checked| checked.problems.len()).sum();
    Err(if problems == 0 {
        CliError::usage("there are warnings, and `--strict` counts them as errors")
    } else {
        CliError::usage(format!("{} in {}", count(problems, "problem"), count(broken, "manifest")))
    })
}

fn print(all: &[Checked]) -> CliResult<()> {
    for checked in all {
        eprint!("{}", manifest::render(&checked.problems, style::width(), style::is_on()));
        eprint!("{}", manifest::render(&checked.warnings, style::width(), style::is_on()));
        if checked.problems.is_empty() {
            let mut out = io::stdout().lock();
            let numbers = format!("{} in {}", count(checked.tasks, "task"), count(checked.stages, "stage"));
            let warnings = match checked.warnings.len() {
                0 => String::new(),
                warnings => format!(", {}", count(warnings, "warning")),
            };
            writeln!(out, "{} {}: {numbers}{warnings}", Style::good("valid"), checked.manifest.display())?;
        }
    }
    Ok(())
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
