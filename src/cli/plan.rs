//! `lsn plan`: what a run would do, and why.

use super::{
    CliError, CliResult, Global, PipelineArgs, Status, Style,
    load::{StoreArgs, load, open_options, targets},
    write_json,
};
use crate::{
    executor::{
        GpuChoice, capacity,
        resources::{Capacity, Demand},
    },
    plan::{Decision, Plan, Planner, Selection},
    progress,
    run::{self, OpenOptions, Session},
};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

/// Arguments of `lsn plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Plan for this many tasks at once
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// As in `lsn run`
    #[arg(long, value_name = "GPUS")]
    gpus: Option<GpuChoice>,
    /// As in `lsn run`
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// As in `lsn run`
    #[arg(long, value_name = "TARGET", conflicts_with = "until")]
    only: Vec<String>,
    /// As in `lsn run`
    #[arg(long, value_name = "TARGET")]
    until: Vec<String>,
    /// List cached tasks one by one, too
    #[arg(short, long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let loaded = load(&args.pipeline.manifest()?, &args.pipeline.overrides)?;
    let pipeline = &loaded.pipeline;
    let selection = Selection {
        forced: targets(pipeline, &args.force)?,
        only: targets(pipeline, &args.only)?,
        until: targets(pipeline, &args.until)?,
    };
    let session = open_for_planning(&open_options(pipeline, &args.store))?;
    let planner = Planner::new(Arc::clone(pipeline), &loaded.registry, &selection);
    let (plan, _) = run::plan(&session, &planner)?;
    for notice in session.take_notices() {
        eprintln!("{} {notice}", Style::warning("warning:"));
    }
    // Asking for the GPUs of a machine takes longer than a plan.
    if pipeline.tasks.iter().any(|task| task.resources.gpus > 0.0) {
        let capacity = capacity(args.jobs, &args.gpus.clone().unwrap_or_default())
            .map_err(|error| CliError::usage(error.to_string()))?;
        for task in impossible(&planner, &plan, &capacity) {
            eprintln!("{} {task}", Style::warning("warning:"));
        }
    }
    if args.json {
        let mut out = io::stdout().lock();
        write_json(&mut out, &run::planned(&planner, &plan))?;
        return Ok(Status::Done);
    }
    if args.all {
        for (task, decision) in pipeline.tasks.iter().zip(&plan.decisions) {
            if let Decision::Cached { took, .. } = decision {
                println!("{:8}{}  {}", Style::faint("cached"), task.id, Style::faint(progress::duration(*took)));
            }
        }
    }
    print_plan(&planner, &plan, args.jobs);
    Ok(Status::Done)
}

/// Opens a project to plan in; a project that was never run is planned against an empty store.
///
/// # Errors
/// The store cannot be read.
pub fn open_for_planning(options: &OpenOptions) -> CliResult<Session> {
    Ok(Session::for_planning(options)?)
}

/// What a run would refuse to start here, one line for each stage.
fn impossible(planner: &Planner, plan: &Plan, capacity: &Capacity) -> Vec<String> {
    let mut stages: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    for (task, decision) in planner.pipeline().tasks.iter().zip(&plan.decisions) {
        if matches!(decision, Decision::Run { .. } | Decision::Waiting { .. })
            && let Err(why) = Demand::of(&task.resources, capacity)
        {
            stages.entry((&task.stage.0, why.to_string())).or_default().push(&task.id.0);
        }
    }
    let line = |((_, why), tasks): ((&str, String), Vec<&str>)| {
        let more = if tasks.len() > 1 { format!(" and {} more like it", tasks.len() - 1) } else { String::new() };
        format!("task `{}`{more} cannot run here: {why}", tasks[0])
    };
    stages.into_iter().map(line).collect()
}

/// A line per task that is not cached, then the numbers.
pub fn print_plan(planner: &Planner, plan: &Plan, jobs: Option<u32>) {
    let tasks = || planner.pipeline().tasks.iter().zip(&plan.decisions).zip(&plan.durations);
    let width = tasks()
        .filter(|((_, decision), _)| matches!(decision, Decision::Run { .. } | Decision::Waiting { .. }))
        .map(|((task, _), _)| task.id.0.chars().count())
        .max()
        .unwrap_or(0)
        .min(40);
    let mut out = io::stdout().lock();
    // One line stands for all tasks of a stage with the same reasons.
    let mut groups: BTreeMap<(String, bool, String), usize> = BTreeMap::new();
    let key = |stage: &str, waiting: bool, reasons: &str| (stage.to_owned(), waiting, reasons.to_owned());
    let mut lines = Vec::new();
    for ((task, decision), duration) in tasks() {
        let (waiting, reasons) = match decision {
            Decision::Run { reasons, .. } => (false, reasons),
            Decision::Waiting { reasons } => (true, reasons),
            Decision::Cached { .. } | Decision::Excluded => continue,
        };
        let said = reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        *groups.entry(key(&task.stage.0, waiting, &said)).or_default() += 1;
        lines.push((task, waiting, said, *duration));
    }
    const FOLDED_FROM: usize = 8;
    for (task, waiting, said, duration) in lines {
        let group = groups.get_mut(&key(&task.stage.0, waiting, &said));
        let word = if waiting { Style::faint("maybe  ") } else { Style::strong("run    ") };
        let took = duration.map(|took| format!("  ~{}", progress::duration(took))).unwrap_or_default();
        let written = match group {
            Some(0) => continue,
            Some(count) if *count >= FOLDED_FROM => {
                let line = format!("{} and {} more of `{}`", task.id, *count - 1, task.stage);
                *count = 0;
                writeln!(out, "{word} {line}  {said}{}", Style::faint(took))
            }
            _ => writeln!(out, "{word} {:width$}  {said}{}", task.id.0, Style::faint(took)),
        };
        if written.is_err() {
            return;
        }
    }
    let _ = writeln!(out, "{}", totals(planner, plan, jobs));
}

fn totals(planner: &Planner, plan: &Plan, jobs: Option<u32>) -> String {
    let counts = plan.counts();
    let mut text = format!("{} to run, {} waiting, {} cached", counts.run, counts.waiting, counts.cached);
    if counts.excluded > 0 {
        text.push_str(&format!(", {} not selected", counts.excluded));
    }
    let (work, unknown) = plan.work();
    if work > Duration::ZERO {
        let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u32));
        // No schedule is shorter than the longest chain, or than all work spread evenly.
        let chain = planner
            .graph()
            .critical_path(|task| match &plan.decisions[task.0 as usize] {
                Decision::Run { .. } | Decision::Waiting { .. } => {
                    plan.durations[task.0 as usize].map_or(0, |took| took.as_millis() as u64)
                }
                _ => 0,
            })
            .into_iter()
            .max()
            .unwrap_or(0);
        let wall = (work / jobs).max(Duration::from_millis(chain));
        text.push_str(&format!("; about {}", progress::duration(wall)));
        let gpu = gpu_time(planner, plan);
        if gpu > Duration::ZERO {
            text.push_str(&format!(" and {} of GPU", progress::duration(gpu)));
        }
    }
    if unknown > 0 && counts.cached + counts.run + counts.waiting > unknown {
        text.push_str(&format!(" ({unknown} never ran)"));
    }
    let saved = plan.saved();
    if saved >= Duration::from_secs(1) {
        text.push_str(&format!("; {} saved by the cache", progress::duration(saved)));
    }
    text
}

/// GPU time that the tasks to run took when they last ran.
fn gpu_time(planner: &Planner, plan: &Plan) -> Duration {
    let tasks = planner.pipeline().tasks.iter().zip(&plan.decisions).zip(&plan.durations);
    tasks
        .filter(|((_, decision), _)| matches!(decision, Decision::Run { .. } | Decision::Waiting { .. }))
        .filter_map(|((task, _), took)| took.map(|took| took.mul_f64(task.resources.gpus.max(0.0))))
        .sum()
}
