//! The command line: one file per command; data on stdout, everything else on stderr.

mod cache;
mod completions;
mod diff;
mod doctor;
mod error;
mod exec;
mod graph;
mod guardian;
mod heuristics;
mod index;
mod init;
mod load;
mod logits_file;
mod logs;
mod past;
mod pipeline;
mod plan;
mod run;
mod runs;
mod sampler;
mod schema;
mod show;
mod stage;
mod status;
mod style;
mod validate;
mod why;

pub use error::{CliError, CliResult, ErrorKind};
pub use pipeline::{OverrideArgs, PipelineArgs};
pub use style::Style;

use clap::{Args, ColorChoice, Parser, Subcommand};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Turns hand-tuned sampling heuristics into a learned sampler network: pipelines whose every artifact is
/// content-hashed, every rerun minimal and every crash survivable.
#[derive(Debug, Parser)]
#[command(name = "lsn", version, about, propagate_version = true, max_term_width = 100)]
#[command(after_help = "exit codes: 0 done, 1 a task failed, 2 usage or manifest error, 130 interrupted")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Run as if started in DIR
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// When to use colour
    #[arg(long, value_name = "WHEN", default_value_t = ColorChoice::Auto, global = true)]
    pub color: ColorChoice,
    /// Say more on stderr (twice: debug)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// What a command leaves behind when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Done,
    /// The command worked, and what it looked at is not all right (a failed task, a damaged blob): exit code 1.
    Failed,
    Interrupted,
}

/// The commands. Each variant's arguments and `execute` live in the module of the same name.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring a pipeline's outputs up to date
    Run(run::Args),
    /// Say what a run would do, and why
    Plan(plan::Args),
    /// Say why a task will run, or what decides its result
    Why(why::Args),
    /// Say everything that is wrong with manifests
    Validate(validate::Args),
    /// Draw a pipeline
    Graph(graph::Args),
    /// Show how a run stands, task by task
    Status(status::Args),
    /// Print what tasks said
    Logs(logs::Args),
    /// List the runs of this project
    Runs(runs::Args),
    /// Compare two runs: what went in and what came out
    Diff(diff::Args),
    /// Show an artifact or the result of a task
    Show(show::Args),
    /// Look after the store
    Cache(cache::Args),
    /// List and describe stage types, or run a stage by hand
    Stage(stage::Args),
    /// List, describe and expand heuristics, or apply one to logits
    Heuristics(heuristics::Args),
    /// Describe or convert a sampler network, or apply one to logits
    Sampler(sampler::Args),
    /// Index the n-grams of text, and ask such an index
    Index(index::Args),
    /// Write a small pipeline that works at once
    Init(init::Args),
    /// Look whether this machine and this project are in order
    Doctor(doctor::Args),
    /// Print the JSON Schema of manifests
    Schema(schema::Args),
    /// Print a shell's completion script
    Completions(completions::Args),
    #[command(hide = true)]
    Exec(exec::Args),
    #[command(hide = true)]
    Guardian(guardian::Args),
}

impl Command {
    fn execute(self, global: &Global) -> CliResult<Status> {
        match self {
            Self::Run(args) => run::execute(&args, global),
            Self::Plan(args) => plan::execute(&args, global),
            Self::Why(args) => why::execute(&args, global),
            Self::Validate(args) => validate::execute(&args, global),
            Self::Graph(args) => graph::execute(&args, global),
            Self::Stage(args) => stage::execute(&args, global),
            Self::Heuristics(args) => heuristics::execute(&args, global),
            Self::Sampler(args) => sampler::execute(&args, global),
            Self::Index(args) => index::execute(&args, global),
            Self::Init(args) => init::execute(&args, global),
            Self::Doctor(args) => doctor::execute(&args, global),
            Self::Schema(args) => schema::execute(&args, global),
            Self::Completions(args) => completions::execute(&args, global),
            Self::Status(args) => status::execute(&args, global),
            Self::Logs(args) => logs::execute(&args, global),
            Self::Runs(args) => runs::execute(&args, global),
            Self::Diff(args) => diff::execute(&args, global),
            Self::Show(args) => show::execute(&args, global),
            Self::Cache(args) => cache::execute(&args, global),
            Self::Exec(args) => exec::execute(&args, global),
            Self::Guardian(args) => guardian::execute(&args, global),
        }
    }
}

/// Writes what a command found as indented JSON, and ends the line.
fn write_json(out: &mut impl Write, found: &(impl Serialize + ?Sized)) -> CliResult<()> {
    serde_json::to_writer_pretty(&mut *out, found).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors; clap knows which stream and code each deserves.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    style::choose(cli.global.color);
    trace(cli.global.verbose);
    if let Some(directory) = &cli.global.directory
        && let Err(error) = std::env::set_current_dir(directory)
    {
        return CliError::usage(format!("cannot enter `{}`: {error}", directory.display())).report();
    }
    if !matches!(cli.command, Command::Run(_) | Command::Exec(_) | Command::Guardian(_)) {
        end_with_reader();
    }
    match cli.command.execute(&cli.global) {
        Ok(Status::Done) => ExitCode::SUCCESS,
        Ok(Status::Failed) => ExitCode::from(1),
        Ok(Status::Interrupted) => ExitCode::from(130),
        Err(error) => error.report(),
    }
}

/// A command that only says something ends quietly when nobody reads on (`lsn cache ls | head`), as programs on Unix do. A run
/// goes on.
fn end_with_reader() {
    // SAFETY: the default disposition is valid for this signal, and no other thread runs yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Diagnostics for developers: `LSN_LOG` in the syntax of `tracing_subscriber::EnvFilter`, or `-v`.
fn trace(verbose: u8) {
    let filter = match (std::env::var("LSN_LOG"), verbose) {
        (Ok(filter), _) => filter,
        (Err(_), 0) => return,
        (Err(_), 1) => "lsn=info,lsn_cache=info".to_owned(),
        (Err(_), _) => "lsn=debug,lsn_cache=debug,lsn_stages=debug".to_owned(),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
