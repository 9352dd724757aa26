//! `lsn why TASK`: why a task will run or is cached, and what decides it.

use super::{
    CliResult, Global, OverrideArgs, Status, Style,
    load::{StoreArgs, load, open_options, targets},
    pipeline::find_manifest,
    plan::open_for_planning,
};
use crate::{
    plan::{Decision, Planner, Selection},
    progress, run,
};
use std::{path::PathBuf, sync::Arc};

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
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let loaded = load(&find_manifest(args.manifest.as_deref())?, &args.overrides)?;
    let pipeline = &loaded.pipeline;
    let wanted = targets(pipeline, std::slice::from_ref(&args.task))?;
    let session = open_for_planning(&open_options(pipeline, &args.store))?;
    let selection = Selection { until: wanted.clone(), ..Selection::default() };
    let planner = Planner::new(Arc::clone(pipeline), &loaded.registry, &selection);
    let (plan, _) = run::plan(&session, &planner)?;
    for task in wanted {
        let spec = planner.task(task);
        println!("{}", Style::strong(&spec.id));
        let manifest = match &plan.decisions[task.0 as usize] {
            Decision::Cached { key, took, .. } => {
                println!(
                    "  cached: its result is in the store (key {}, took {})",
                    key.0.short(),
                    progress::duration(*took)
                );
                let record = session.catalog.lookup(key)?;
                if let lsn_cache::Lookup::Hit(record) = record { Some((*key, record.key_manifest)) } else { None }
            }
            Decision::Run { key, manifest, reasons } => {
                println!("  will run (key {})", key.0.short());
                reasons.iter().for_each(|reason| println!("  - {reason}"));
                Some((*key, manifest.to_json()))
            }
            Decision::Waiting { reasons } => {
                println!("  not decided yet");
                reasons.iter().for_each(|reason| println!("  - {reason}"));
                None
            }
            Decision::Excluded => None,
        };
        if args.key
            && let Some((key, manifest)) = manifest
        {
            println!("  key {}", key.0);
            let text = serde_json::to_string_pretty(&manifest).map_err(std::io::Error::from)?;
            text.lines().for_each(|line| println!("  {line}"));
        }
    }
    Ok(Status::Done)
}
