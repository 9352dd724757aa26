//! The pure planner: pipeline and world in, a decision with its reasons per task out.

use super::{
    graph::Graph,
    key::{KEY_FORMAT, KeyInput, KeyManifest},
    reason::{Reason, differences},
    world::{ProjectInput, World, WorldError},
};
use crate::manifest::{Pipeline, Source, Task, TaskIndex};
use lsn_cache::{Artifact, Lookup, MissReason, TaskKey};
use lsn_digest::Digest;
use lsn_stage::{Determinism, Registry, command::CommandParams};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The stage type whose program sees the names of its input files.
pub const COMMAND: &str = "command";

/// Output name → artifact.
pub type Outputs = BTreeMap<String, Artifact>;

/// What is known of every task's outputs, by task index.
pub type Known = Vec<Option<Arc<Outputs>>>;

/// Where an input's bytes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file or directory of the project.
    Project(PathBuf),
    /// An output in the store.
    Stored(Artifact),
}

/// One input artifact of a task that can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub digest: Digest,
    /// The file name by which a program sees it.
    pub name: String,
    pub content: Content,
}

/// What is to become of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Its outputs are in the store.
    Cached { key: TaskKey, outputs: Arc<Outputs>, took: Duration },
    /// All its inputs are known and there is no usable result.
    Run { key: TaskKey, manifest: Arc<KeyManifest>, reasons: Vec<Reason> },
    /// Some inputs are known only after other tasks have run; then it is decided again.
    Waiting { reasons: Vec<Reason> },
    /// Not selected.
    Excluded,
}

/// Which tasks a run is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Tasks that run even if they are cached.
    pub forced: Vec<TaskIndex>,
    /// Only these, with whatever they need taken from the store.
    pub only: Vec<TaskIndex>,
    /// These and whatever they need; with `only` empty too: everything.
    pub until: Vec<TaskIndex>,
}

/// A task that can neither run nor be taken from the store.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("task `{task}`: {error}")]
    World { task: String, error: WorldError },
    #[error("task `{task}`: stage type `{uses}` is unknown")]
    UnknownType { task: String, uses: String },
    #[error("task `{task}` is selected with `--only`, but `{needs}`, which it needs, is not in the store")]
    NotSelected { task: String, needs: String },
}

struct TypeFacts {
    name: Arc<str>,
    version: u32,
    determinism: Determinism,
}

/// Decides tasks, one at a time or all at once.
pub struct Planner {
    pipeline: Arc<Pipeline>,
    graph: Graph,
    types: HashMap<String, TypeFacts>,
    forced: Vec<bool>,
    /// Needed for what is selected.
    wanted: Vec<bool>,
    /// May run.
    selected: Vec<bool>,
}

impl Planner {
    #[must_use]
    pub fn new(pipeline: Arc<Pipeline>, registry: &Registry, selection: &Selection) -> Self {
        let graph = Graph::of(&pipeline);
        let flags = |tasks: &[TaskIndex]| {
            let mut flags = vec![false; graph.len()];
            tasks.iter().for_each(|task| flags[task.0 as usize] = true);
            flags
        };
        let (wanted, selected) = match (selection.only.as_slice(), selection.until.as_slice()) {
            ([], []) => (vec![true; graph.len()], vec![true; graph.len()]),
            ([], until) => (graph.with_ancestors(until), graph.with_ancestors(until)),
            (only, _) => (graph.with_ancestors(only), flags(only)),
        };
        let types = registry
            .iter()
            .map(|stage| {
                let facts =
                    TypeFacts { name: stage.name().into(), version: stage.version(), determinism: stage.determinism() };
                (stage.name().to_owned(), facts)
            })
            .collect();
        Self { forced: flags(&selection.forced), pipeline, graph, types, wanted, selected }
    }

    #[must_use]
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    #[must_use]
    pub fn task(&self, task: TaskIndex) -> &Task {
        &self.pipeline.tasks[task.0 as usize]
    }

    /// How far two computations of a task must agree.
    #[must_use]
    pub fn determinism(&self, task: TaskIndex) -> Determinism {
        self.types.get(&self.task(task).uses).map_or(Determinism::Exact, |facts| facts.determinism)
    }

    /// Decides all tasks. The run that follows starts from this very value (invariant 4).
    ///
    /// # Errors
    /// Every task that can neither run nor be taken from the store.
    pub fn plan(&self, world: &mut dyn World) -> Result<Plan, Vec<PlanError>> {
        let mut known: Known = vec![None; self.graph.len()];
        let mut decisions = Vec::with_capacity(self.graph.len());
        let mut problems = Vec::new();
        for task in self.graph.tasks() {
            let at = task.0 as usize;
            if !self.wanted[at] {
                decisions.push(Decision::Excluded);
                continue;
            }
            let decision = match self.decide(task, &known, world) {
                Ok(decision) => decision,
                Err(problem) => {
                    problems.push(problem);
                    Decision::Excluded
                }
            };
            let decision = match decision {
                Decision::Cached { outputs, key, took } => {
                    known[at] = Some(Arc::clone(&outputs));
                    Decision::Cached { key, outputs, took }
                }
                _ if !self.selected[at] => Decision::Excluded,
                decision => decision,
            };
            if self.selected[at]
                && let Some(needs) = self.graph.dependencies(task).iter().find(|dependency| {
                    decisions[dependency.0 as usize] == Decision::Excluded && !self.selected[dependency.0 as usize]
                })
            {
                let (task, needs) = (self.task(task).id.to_string(), self.task(*needs).id.to_string());
                problems.push(PlanError::NotSelected { task, needs });
            }
            decisions.push(decision);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let durations = self
            .pipeline
            .tasks
            .iter()
            .zip(&decisions)
            .map(|(task, decision)| match decision {
                Decision::Cached { took, .. } => Some(*took),
                Decision::Excluded => None,
                Decision::Run { .. } | Decision::Waiting { .. } => world.duration(&task.id),
            })
            .collect();
        Ok(Plan { decisions, known, durations })
    }

    /// Decides one task by what is known of the outputs it needs.
    ///
    /// # Errors
    /// Its inputs cannot be read.
    pub fn decide(&self, task: TaskIndex, known: &Known, world: &mut dyn World) -> Result<Decision, PlanError> {
        let spec = self.task(task);
        let facts = self
            .types
            .get(&spec.uses)
            .ok_or_else(|| PlanError::UnknownType { task: spec.id.to_string(), uses: spec.uses.clone() })?;
        let failed = |error| PlanError::World { task: spec.id.to_string(), error };
        let mut inputs = BTreeMap::new();
        for (name, sources) in &spec.inputs {
            let mut artifacts = Vec::with_capacity(sources.len());
            self.each_input(sources, known, world, spec.uses == COMMAND, &mut |digest, name| {
                artifacts.push(KeyInput { digest, name });
            })
            .map_err(failed)?;
            inputs.insert(name.clone(), artifacts);
        }
        let manifest = KeyManifest {
            format: KEY_FORMAT,
            stage: Arc::clone(&facts.name),
            version: facts.version,
            params: Arc::clone(&spec.params),
            inputs,
            env: Arc::clone(&spec.env),
        };

        let waits_on: Vec<TaskIndex> =
            self.graph.dependencies(task).iter().copied().filter(|on| known[on.0 as usize].is_none()).collect();
        if !waits_on.is_empty() {
            let tasks = waits_on.iter().map(|on| self.task(*on).id.clone()).collect();
            let mut reasons = self.compare(spec, &manifest, known, world).unwrap_or_default();
            reasons.push(Reason::Upstream { tasks });
            return Ok(Decision::Waiting { reasons });
        }

        let key = manifest.key();
        let run = |reasons| Decision::Run { key, manifest: Arc::new(manifest.clone()), reasons };
        if !spec.cache {
            return Ok(run(vec![Reason::Uncached]));
        }
        if self.forced[task.0 as usize] {
            return Ok(run(vec![Reason::Forced]));
        }
        match world.lookup(&key).map_err(failed)? {
            Lookup::Hit(record) => {
                let took = record.provenance.duration();
                Ok(Decision::Cached { key, outputs: Arc::new(record.outputs), took })
            }
            Lookup::Miss(MissReason::Absent) => {
                let reasons = match self.compare(spec, &manifest, known, world) {
                    None => vec![Reason::New],
                    Some(reasons) if reasons.is_empty() => vec![Reason::RecordMissing],
                    Some(reasons) => reasons,
                };
                Ok(run(reasons))
            }
            Lookup::Miss(reason) => Ok(run(vec![Reason::BlobMissing { message: reason.to_string() }])),
        }
    }

    /// The inputs of a task whose dependencies are all known, with their contents.
    ///
    /// # Errors
    /// A project file cannot be read.
    pub fn inputs(
        &self,
        task: TaskIndex,
        known: &Known,
        world: &mut dyn World,
    ) -> Result<BTreeMap<String, Vec<Input>>, PlanError> {
        let spec = self.task(task);
        let mut inputs = BTreeMap::new();
        for (name, sources) in &spec.inputs {
            let mut list = Vec::with_capacity(sources.len());
            for source in sources {
                let project = |input: ProjectInput| Input {
                    digest: input.digest,
                    name: file_name(&input.path),
                    content: Content::Project(input.path),
                };
                let failed = |error| PlanError::World { task: spec.id.to_string(), error };
                match source {
                    Source::Output { task: producer, output } => {
                        let outputs = known[producer.0 as usize].as_deref();
                        if let Some(artifact) = outputs.and_then(|outputs| outputs.get(output)) {
                            list.push(Input {
                                digest: artifact.digest(),
                                name: self.output_name(*producer, output),
                                content: Content::Stored(artifact.clone()),
                            });
                        }
                    }
                    Source::Path { path } => list.push(project(world.path(path).map_err(failed)?)),
                    Source::Glob { pattern } => {
                        list.extend(world.glob(pattern).map_err(failed)?.into_iter().map(project));
                    }
                }
            }
            inputs.insert(name.clone(), list);
        }
        Ok(inputs)
    }

    /// Visits digest and (where asked for) file name of every artifact that is known.
    fn each_input(
        &self,
        sources: &[Source],
        known: &Known,
        world: &mut dyn World,
        names: bool,
        visit: &mut dyn FnMut(Digest, Option<String>),
    ) -> Result<(), WorldError> {
        for source in sources {
            match source {
                Source::Output { task, output } => {
                    // An optional output that was not written is an input that is not there.
                    if let Some(artifact) = known[task.0 as usize].as_deref().and_then(|outputs| outputs.get(output)) {
                        visit(artifact.digest(), names.then(|| self.output_name(*task, output)));
                    }
                }
                Source::Path { path } => {
                    let input = world.path(path)?;
                    visit(input.digest, names.then(|| file_name(&input.path)));
                }
                Source::Glob { pattern } => {
                    for input in world.glob(pattern)? {
                        visit(input.digest, names.then(|| file_name(&input.path)));
                    }
                }
            }
        }
        Ok(())
    }

    /// The file name by which a program sees an output: as its command wrote it, else the output's name.
    fn output_name(&self, producer: TaskIndex, output: &str) -> String {
        let spec = self.task(producer);
        let declared = || spec.params.get("outputs")?.get(output)?.as_str();
        match (spec.uses == COMMAND).then(declared).flatten() {
            Some(path) => file_name(Path::new(path)),
            None => output.to_owned(),
        }
    }

    /// What differs from the nearest earlier result; `None` where there is none.
    fn compare(
        &self,
        spec: &Task,
        manifest: &KeyManifest,
        known: &Known,
        world: &mut dyn World,
    ) -> Option<Vec<Reason>> {
        let undecided = |input: &str| {
            spec.inputs.get(input).is_some_and(|sources| {
                sources
                    .iter()
                    .any(|source| matches!(source, Source::Output { task, .. } if known[task.0 as usize].is_none()))
            })
        };
        let mut nearest =
            world.earlier(&spec.id).iter().map(|old| differences(old, manifest, &undecided)).min_by_key(Vec::len)?;
        for reason in &mut nearest {
            if let Reason::InputChanged { input, position, source, new: Some(_), .. } = reason {
                *source = spec.inputs.get(input).and_then(|sources| self.origin(sources, position.unwrap_or(0)));
            }
        }
        Some(nearest)
    }

    /// In words where an input's artifact comes from.
    fn origin(&self, sources: &[Source], position: usize) -> Option<String> {
        // A glob before the position stands for an unknown number of artifacts.
        let globs = sources.iter().any(|source| matches!(source, Source::Glob { .. }));
        let source = if globs {
            sources.iter().find(|source| matches!(source, Source::Glob { .. }))
        } else {
            sources.get(position)
        };
        Some(match source? {
            Source::Output { task, output } => format!("from {}.{output}", self.task(*task).id),
            Source::Path { path } => format!("file {}", path.display()),
            Source::Glob { pattern } => format!("files {pattern}"),
        })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The path that a `command` declares for an output, without the trailing `/` of a directory.
#[must_use]
pub fn command_output<'a>(params: &'a CommandParams, output: &str) -> Option<&'a str> {
    params.outputs.get(output).map(|path| path.trim_end_matches('/'))
}

/// A decision per task.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// By task index.
    pub decisions: Vec<Decision>,
    pub known: Known,
    /// How long each task took when it last ran, where that is known.
    pub durations: Vec<Option<Duration>>,
}

/// How many tasks a plan leaves in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    pub cached: usize,
    pub run: usize,
    pub waiting: usize,
    pub excluded: usize,
}

impl Plan {
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for decision in &self.decisions {
            match decision {
                Decision::Cached { .. } => counts.cached += 1,
                Decision::Run { .. } => counts.run += 1,
                Decision::Waiting { .. } => counts.waiting += 1,
                Decision::Excluded => counts.excluded += 1,
            }
        }
        counts
    }

    /// Whether nothing is left to run.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let counts = self.counts();
        counts.run + counts.waiting == 0
    }

    /// Time that tasks which are not cached took when they last ran, and how many of them never ran.
    #[must_use]
    pub fn work(&self) -> (Duration, usize) {
        let mut known = Duration::ZERO;
        let mut unknown = 0;
        for (decision, duration) in self.decisions.iter().zip(&self.durations) {
            if matches!(decision, Decision::Run { .. } | Decision::Waiting { .. }) {
                match duration {
                    Some(duration) => known += *duration,
                    None => unknown += 1,
                }
            }
        }
        (known, unknown)
    }

    /// Time that the cached tasks took when they ran.
    #[must_use]
    pub fn saved(&self) -> Duration {
        self.decisions
            .iter()
            .map(|decision| if let Decision::Cached { took, .. } = decision { *took } else { Duration::ZERO })
            .sum()
    }
}
