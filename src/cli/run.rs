//! `lsn run`: brings a pipeline's outputs up to date.

use super::{
    CliError, CliResult, Global, PipelineArgs, Status, Style,
    load::{StoreArgs, load, open_options, targets},
    plan::print_plan,
};
use crate::{
    executor::GpuChoice,
    home::{RunId, RunStatus},
    plan::{Planner, Selection},
    progress::{Json, Observer, Plain, Terminal},
    run::{self, Placing, RunOptions, Session},
};
use clap::{ValueEnum, builder::FalseyValueParser};
use std::{
    fs,
    io::{self, IsTerminal, Write},
    sync::Arc,
};

/// How to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Moving lines on a terminal, else plain
    Auto,
    Plain,
    /// Every event as a JSON line on stdout
    Json,
    None,
}

/// Arguments of `lsn run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Tasks to run at once (default: one per core)
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// After a failure, finish what does not depend on it
    #[arg(short, long)]
    keep_going: bool,
    /// Run these stages or tasks even if their results are there
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// Run these stages or tasks only; what they need must be there
    #[arg(long, value_name = "TARGET", conflicts_with = "until")]
    only: Vec<String>,
    /// Run these stages or tasks and what they need
    #[arg(long, value_name = "TARGET")]
    until: Vec<String>,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// How to show progress
    #[arg(long, value_name = "HOW", default_value = "auto")]
    progress: Progress,
    /// Fail instead of waiting for another run of this pipeline
    #[arg(long)]
    no_wait: bool,
    /// GPUs to hand out: a number, or names as in CUDA_VISIBLE_DEVICES (`0,2`; a single one: `2,`)
    #[arg(long, value_name = "GPUS")]
    gpus: Option<GpuChoice>,
    /// Replace files at output paths even if lsn did not write them
    #[arg(long)]
    overwrite: bool,
    /// Leave outputs as read-only links into the store: no time and no space, whatever their size, but not to be edited.
    /// Where the file system has reflinks, outputs cost nothing and are editable without this
    #[arg(long, env = "LSN_LINK_OUTPUTS", value_parser = FalseyValueParser::new())]
    link_outputs: bool,
}

pub fn execute(args: &Args, global: &Global) -> CliResult<Status> {
    let loaded = load(&args.pipeline.manifest()?, &args.pipeline.overrides)?;
    let pipeline = &loaded.pipeline;
    let selection = Selection {
        forced: targets(pipeline, &args.force)?,
        only: targets(pipeline, &args.only)?,
        until: targets(pipeline, &args.until)?,
    };
    let open = open_options(pipeline, &args.store);
    if args.dry_run {
        let session = super::plan::open_for_planning(&open)?;
        let planner = Planner::new(Arc::clone(pipeline), &loaded.registry, &selection);
        let (plan, _) = run::plan(&session, &planner)?;
        print_plan(&planner, &plan, args.jobs);
        return Ok(Status::Done);
    }

    let runs = open.home.runs();
    open.home.create()?;
    let id = RunId::create(&runs)?;
    let waiting = |holder: &str| eprintln!("waiting for {holder} of pipeline `{}` to end", pipeline.name);
    let waiting: Option<&dyn Fn(&str)> = if args.no_wait { None } else { Some(&waiting) };
    let session = Session::for_run(&open, &id, waiting).inspect_err(|_| {
        // A run that never began leaves no trace.
        let _ = fs::remove_dir(runs.join(id.as_str()));
    })?;
    let options = RunOptions {
        selection,
        jobs: args.jobs,
        gpus: args.gpus.clone().unwrap_or_default(),
        keep_going: args.keep_going,
        placing: Placing { overwrite: args.overwrite, link: args.link_outputs },
    };
    let outcome =
        run::run(&session, pipeline, &loaded.registry, &id, &options, views(args.progress, global.verbose > 0))?;
    match outcome.status {
        RunStatus::Done => {
            if let Some(summary) = &pipeline.summary
                && args.progress != Progress::Json
            {
                // The work is done and kept; a reader that is gone changes nothing about it.
                let _ = writeln!(io::stdout(), "{}", summary.trim_end());
            }
            Ok(Status::Done)
        }
        RunStatus::Failed => {
            let failed: Vec<_> =
                outcome.failures.iter().map(|(task, _)| &pipeline.tasks[task.0 as usize].id.0).collect();
            let error = match failed.as_slice() {
                [one] => {
                    CliError::failed(format!("task `{one}` failed")).hint(format!("the whole log: lsn logs '{one}'"))
                }
                many => CliError::failed(format!("{} tasks failed", many.len())).hint("which ones: lsn status"),
            };
            Err(error)
        }
        RunStatus::Interrupted => {
            eprintln!("{} run again to go on from here", Style::hint("hint:"));
            Ok(Status::Interrupted)
        }
    }
}

fn views(progress: Progress, notes: bool) -> Vec<Box<dyn Observer>> {
    match progress {
        Progress::None => Vec::new(),
        Progress::Json => vec![Box::new(Json::new(io::stdout()))],
        Progress::Auto if io::stderr().is_terminal() => vec![Box::new(Terminal::new(notes))],
        Progress::Auto | Progress::Plain => vec![Box::new(Plain::new(io::stderr(), notes))],
    }
}
