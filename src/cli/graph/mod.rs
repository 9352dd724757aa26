//! `lsn graph`: a pipeline's stages or tasks as a drawing, coloured by what a run would do.

mod layout;
mod svg;
mod text;

use super::{
    CliError, CliResult, Global, PipelineArgs, Status, Style,
    load::{Loaded, StoreArgs, load, open_options},
    plan::open_for_planning,
};
use crate::{
    home::Home,
    manifest::{Pipeline, Source},
    plan::{Decision, Planner, Selection},
    run,
};
use clap::ValueEnum;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

/// Arguments of `lsn graph`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// How to draw it
    #[arg(short, long, value_name = "FORMAT", default_value = "mermaid")]
    format: Format,
    /// One node per task instead of one per stage
    #[arg(short, long)]
    tasks: bool,
    /// Leave out what a run would do
    #[arg(long)]
    no_plan: bool,
    /// Write it to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Formats of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For Markdown
    Mermaid,
    /// For Graphviz
    Dot,
    /// For browsers
    Svg,
    /// For machines
    Json,
}

/// What a run would do with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Nothing.
    Cached,
    /// Some of its tasks.
    Partly,
    /// All of it.
    Run,
    /// It depends on what comes before.
    Waiting,
    /// Not known.
    Unknown,
}

/// A stage or a task.
#[derive(Debug, Clone, Serialize)]
struct Node {
    name: String,
    uses: String,
    tasks: usize,
    cached: usize,
    state: State,
}

impl Node {
    /// The lines of its label.
    fn lines(&self) -> Vec<String> {
        let name = if self.tasks > 1 { format!("{} × {}", self.name, self.tasks) } else { self.name.clone() };
        let mut lines = vec![name, self.uses.clone()];
        match self.state {
            State::Cached => lines.push("cached".to_owned()),
            State::Partly => lines.push(format!("{} cached, {} to run", self.cached, self.tasks - self.cached)),
            State::Run => lines.push("to run".to_owned()),
            State::Waiting => lines.push("depends".to_owned()),
            State::Unknown => {}
        }
        lines
    }
}

/// Nodes in topological order, and who feeds whom.
#[derive(Debug, Clone, Serialize)]
struct Drawing {
    pipeline: String,
    nodes: Vec<Node>,
    /// (from, to), sorted.
    edges: Vec<(usize, usize)>,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let loaded = load(&args.pipeline.manifest()?, &args.pipeline.overrides)?;
    let decisions = if args.no_plan { None } else { decisions(&loaded, &args.store) };
    let drawing = draw(&loaded.pipeline, decisions.as_deref(), args.tasks);
    let text = match args.format {
        Format::Mermaid => text::mermaid(&drawing),
        Format::Dot => text::dot(&drawing),
        Format::Svg => svg::svg(&drawing),
        Format::Json => serde_json::to_string_pretty(&drawing).map_err(io::Error::from)? + "\n",
    };
    match &args.output {
        Some(path) => fs::write(path, text)
            .map_err(|error| CliError::failed(format!("cannot write `{}`: {error}", path.display())))?,
        None => io::stdout().lock().write_all(text.as_bytes())?,
    }
    Ok(Status::Done)
}

/// What a run would do; `None`, with a warning where one is due, when it cannot be told.
fn decisions(loaded: &Loaded, store: &StoreArgs) -> Option<Vec<Decision>> {
    if !Home::of(&loaded.pipeline.root).directory().exists() {
        return None;
    }
    let planned = open_for_planning(&open_options(&loaded.pipeline, store)).and_then(|session| {
        let planner = Planner::new(Arc::clone(&loaded.pipeline), &loaded.registry, &Selection::default());
        Ok(run::plan(&session, &planner)?.0.decisions)
    });
    match planned {
        Ok(decisions) => Some(decisions),
        Err(error) => {
            eprintln!("{} drawn without what a run would do: {}", Style::warning("warning:"), error.message);
            None
        }
    }
}

fn draw(pipeline: &Pipeline, decisions: Option<&[Decision]>, by_task: bool) -> Drawing {
    let mut nodes: Vec<Node> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut node_of = Vec::with_capacity(pipeline.tasks.len());
    let mut waiting: Vec<usize> = Vec::new();
    for (at, task) in pipeline.tasks.iter().enumerate() {
        let name = if by_task { &task.id.0 } else { &task.stage.0 };
        let node = *known.entry(name).or_insert_with(|| {
            nodes.push(Node {
                name: name.clone(),
                uses: task.uses.clone(),
                tasks: 0,
                cached: 0,
                state: State::Unknown,
            });
            waiting.push(0);
            nodes.len() - 1
        });
        node_of.push(node);
        nodes[node].tasks += 1;
        match decisions.map(|decisions| &decisions[at]) {
            Some(Decision::Cached { .. }) => nodes[node].cached += 1,
            Some(Decision::Waiting { .. }) => waiting[node] += 1,
            _ => {}
        }
    }
    if decisions.is_some() {
        for (node, waiting) in nodes.iter_mut().zip(waiting) {
            node.state = match (node.cached, waiting) {
                (cached, _) if cached == node.tasks => State::Cached,
                (0, waiting) if waiting == node.tasks => State::Waiting,
                (0, _) => State::Run,
                _ => State::Partly,
            };
        }
    }
    let mut edges = BTreeSet::new();
    for (at, task) in pipeline.tasks.iter().enumerate() {
        for source in task.inputs.values().flatten() {
            if let Source::Output { task: from, .. } = source {
                let (from, to) = (node_of[from.0 as usize], node_of[at]);
                // Instances of a stage may feed each other.
                if from != to {
                    edges.insert((from, to));
                }
            }
        }
    }
    Drawing { pipeline: pipeline.name.clone(), nodes, edges: edges.into_iter().collect() }
}
