//! The driver: turns the scheduler's commands into attempts, and what becomes of them into events.

use super::{
    observers::Observers,
    scheduler::{Command, Event, Policy, Scheduler, Spec, Start, State},
    world::DiskWorld,
};
use crate::{
    executor::{
        Attempt, Executor, Failure, Publication, Reporter, Stop, Success,
        resources::{Capacity, Grant},
    },
    home::{RunDirectory, RunEvent, RunStatus, Tally},
    manifest::{Task, TaskIndex},
    plan::{Content, Decision, Input, KeyManifest, Known, Plan, PlanError, Planner},
};
use lsn_cache::{Catalog, Stamp, TaskKey};
use lsn_stage::{Determinism, FailureClass, StageEvent};
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::MissedTickBehavior,
};

/// How often moving views are redrawn and the journal reaches the disk's cache.
const TICK: Duration = Duration::from_millis(100);

/// How often finished tasks' results are made durable while a run goes on.
const FLUSH_EVERY: Duration = Duration::from_secs(10);

/// What a person can do to a running run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Again,
}

/// What a run left.
#[derive(Debug)]
pub struct Outcome {
    pub status: RunStatus,
    pub tally: Tally,
    /// Outputs by task index, as far as the run got.
    pub known: Known,
    pub failures: Vec<(TaskIndex, Failure)>,
}

/// Everything a driver needs.
pub struct Driver<'a> {
    planner: &'a Planner,
    world: &'a mut DiskWorld,
    executor: &'a dyn Executor,
    observers: Rc<RefCell<Observers>>,
    directory: RunDirectory,
    scheduler: Scheduler,
    known: Known,
    manifests: HashMap<TaskIndex, (TaskKey, Arc<KeyManifest>)>,
    forced: Vec<bool>,
    tally: Tally,
    failures: Vec<(TaskIndex, Failure)>,
    stop: watch::Sender<Stop>,
    tasks: JoinSet<(TaskIndex, u32, Result<Success, Failure>)>,
    /// Which attempt each asynchronous task is; needed where one panics.
    attempts: HashMap<tokio::task::Id, (TaskIndex, u32)>,
    timers: JoinSet<TaskIndex>,
    pending: Vec<Command>,
    catalog: Catalog,
    /// When results were last made durable, and how many tasks had been executed then.
    flushed: (Instant, u64),
}

/// What a driver starts from.
pub struct Setup<'a> {
    pub planner: &'a Planner,
    pub plan: Plan,
    pub world: &'a mut DiskWorld,
    pub executor: &'a dyn Executor,
    pub observers: Rc<RefCell<Observers>>,
    pub directory: RunDirectory,
    pub capacity: Capacity,
    pub policy: Policy,
    /// Tasks whose earlier result must not be taken.
    pub forced: Vec<TaskIndex>,
    /// Made durable from time to time.
    pub catalog: Catalog,
}

/// The scheduler's view of a plan.
fn starts(plan: &Plan) -> Vec<Start> {
    let start = |decision: &Decision| match decision {
        Decision::Cached { .. } => Start::Cached,
        Decision::Run { key, .. } => Start::Run(*key),
        Decision::Waiting { .. } => Start::Waiting,
        Decision::Excluded => Start::Excluded,
    };
    plan.decisions.iter().map(start).collect()
}

impl<'a> Driver<'a> {
    #[must_use]
    pub fn new(setup: Setup<'a>) -> Self {
        let Setup { planner, plan, world, executor, observers, directory, capacity, policy, forced, catalog } = setup;
        let specs = planner.pipeline().tasks.iter().zip(&plan.durations).map(|(task, duration)| Spec {
            resources: task.resources.clone(),
            retries: task.retries.clone(),
            duration: duration.map_or(0, |duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        });
        let (scheduler, pending) =
            Scheduler::new(planner.graph().clone(), specs.collect(), &starts(&plan), capacity, policy);
        let manifests = planner
            .graph()
            .tasks()
            .zip(&plan.decisions)
            .filter_map(|(task, decision)| match decision {
                Decision::Run { key, manifest, .. } => Some((task, (*key, Arc::clone(manifest)))),
                _ => None,
            })
            .collect();
        let counts = plan.counts();
        let mut flags = vec![false; planner.graph().len()];
        forced.iter().for_each(|task| flags[task.0 as usize] = true);
        Self {
            planner,
            world,
            executor,
            observers,
            directory,
            scheduler,
            known: plan.known,
            manifests,
            forced: flags,
            tally: Tally { cached: counts.cached as u64, ..Tally::default() },
            failures: Vec::new(),
            stop: watch::channel(Stop::No).0,
            tasks: JoinSet::new(),
            attempts: HashMap::new(),
            timers: JoinSet::new(),
            pending,
            catalog,
            flushed: (Instant::now(), 0),
        }
    }

    /// Runs to the end.
    pub async fn run(mut self, mut signals: mpsc::UnboundedReceiver<Signal>) -> Outcome {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut signals_open = true;
        self.obey();
        while !self.scheduler.is_finished() {
            let event = tokio::select! {
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                Some(Ok(task)) = self.timers.join_next() => Some(Event::RetryDue(task)),
                signal = signals.recv(), if signals_open => match signal {
                    Some(signal) => self.signalled(signal),
                    None => { signals_open = false; None }
                },
                _ = ticks.tick() => {
                    self.observers.borrow_mut().tick();
                    self.flush_sometimes();
                    None
                }
            };
            if let Some(event) = event {
                let commands = self.scheduler.handle(event);
                self.pending.extend(commands);
                self.obey();
            }
        }
        self.executor.finish();
        self.conclude()
    }

    /// Bounds what a power cut can cost, without making any task wait for the disk.
    fn flush_sometimes(&mut self) {
        if self.flushed.0.elapsed() >= FLUSH_EVERY && self.tally.executed > self.flushed.1 {
            self.flushed = (Instant::now(), self.tally.executed);
            let catalog = self.catalog.clone();
            tokio::task::spawn_blocking(move || {
                if let Err(error) = catalog.flush() {
                    tracing::warn!("{error}");
                }
            });
        }
    }

    fn conclude(mut self) -> Outcome {
        for task in self.planner.graph().tasks() {
            match self.scheduler.state(task) {
                State::Excluded => self.tally.excluded += 1,
                state if !state.is_final() => self.tally.left += 1,
                _ => {}
            }
        }
        let status = if self.scheduler.is_interrupted() {
            RunStatus::Interrupted
        } else if self.tally.failed > 0 {
            RunStatus::Failed
        } else {
            RunStatus::Done
        };
        Outcome { status, tally: self.tally, known: self.known, failures: self.failures }
    }

    fn emit(&self, event: &RunEvent) {
        self.observers.borrow_mut().emit(event);
    }

    /// Carries out what the scheduler wants, and what that leads to at once.
    fn obey(&mut self) {
        while !self.pending.is_empty() {
            let mut events = Vec::new();
            for command in std::mem::take(&mut self.pending) {
                events.extend(self.carry_out(command));
            }
            for event in events {
                let commands = self.scheduler.handle(event);
                self.pending.extend(commands);
            }
        }
    }

    fn carry_out(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Decide(task) => Some(self.decide(task)),
            Command::Start { task, attempt, grant } => self.start(task, attempt, grant),
            Command::RetryAfter { task, delay, .. } => {
                self.timers.spawn_local(async move {
                    tokio::time::sleep(delay).await;
                    task
                });
                None
            }
            Command::Skip { task, because } => {
                self.tally.skipped += 1;
                let (task, because) = (self.spec(task).id.clone(), self.spec(because).id.clone());
                self.emit(&RunEvent::TaskSkipped { task, because });
                None
            }
            Command::Refuse { task, why } => {
                self.failed(task, 0, Failure::new(FailureClass::User, why.to_string()), None);
                None
            }
            Command::Terminate => {
                self.stop.send_replace(Stop::Terminate);
                None
            }
            Command::Kill => {
                self.stop.send_replace(Stop::Kill);
                None
            }
        }
    }

    fn spec(&self, task: TaskIndex) -> &'a Task {
        self.planner.task(task)
    }

    fn decide(&mut self, task: TaskIndex) -> Event {
        match self.planner.decide(task, &self.known, self.world) {
            Ok(Decision::Cached { key, outputs, .. }) => {
                self.known[task.0 as usize] = Some(outputs);
                self.tally.cached += 1;
                self.emit(&RunEvent::TaskCached { task: self.spec(task).id.clone(), key });
                Event::FoundCached(task)
            }
            Ok(Decision::Run { key, manifest, reasons }) => {
                self.manifests.insert(task, (key, manifest));
                self.emit(&RunEvent::TaskDecided { task: self.spec(task).id.clone(), key, reasons });
                Event::MustRun(task, key)
            }
            Ok(Decision::Waiting { .. } | Decision::Excluded) => {
                self.undecidable(task, "its inputs are not there although everything before it is done".to_owned())
            }
            Err(PlanError::World { error, .. }) => self.undecidable(task, error.to_string()),
            Err(error) => self.undecidable(task, error.to_string()),
        }
    }

    fn undecidable(&mut self, task: TaskIndex, message: String) -> Event {
        self.failed(task, 0, Failure::new(FailureClass::User, message), None);
        Event::Undecidable(task)
    }

    fn start(&mut self, task: TaskIndex, attempt: u32, grant: Grant) -> Option<Event> {
        let spec = self.spec(task);
        let prepared = self.attempt(task, attempt, grant);
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(message) => {
                self.failed(task, attempt, Failure::new(FailureClass::User, message), None);
                return Some(Event::Failed(task, FailureClass::User));
            }
        };
        self.emit(&RunEvent::TaskStarted {
            task: spec.id.clone(),
            attempt,
            cpus: prepared.grant.cpus,
            gpus: prepared.grant.gpus.clone(),
            log: prepared.log.clone(),
        });
        let (observers, id) = (Rc::clone(&self.observers), spec.id.clone());
        let reporter: Reporter = Rc::new(move |event| {
            let task = id.clone();
            let event = match event {
                StageEvent::Progress { done, total, unit } => RunEvent::TaskProgress { task, done, total, unit },
                StageEvent::Metric { name, value } => RunEvent::TaskMetric { task, name, value },
                StageEvent::Rows(rows) => RunEvent::TaskRows { task, rows },
                StageEvent::Note { text } => RunEvent::TaskNote { task, text },
                StageEvent::Warning { text } => RunEvent::TaskWarning { task, text },
            };
            observers.borrow_mut().emit(&event);
        });
        let running = self.executor.execute(prepared, reporter, self.stop.subscribe());
        let handle = self.tasks.spawn_local(async move { (task, attempt, running.await) });
        self.attempts.insert(handle.id(), (task, attempt));
        None
    }

    fn attempt(&mut self, task: TaskIndex, attempt: u32, grant: Grant) -> Result<Attempt, String> {
        let spec = self.spec(task);
        let (key, manifest) = self.manifests.get(&task).cloned().ok_or("it has no key yet")?;
        let inputs = self.planner.inputs(task, &self.known, self.world).map_err(|error| error.to_string())?;
        let watched = self.watched(&inputs);
        let forced = self.forced[task.0 as usize];
        Ok(Attempt {
            task: spec.id.clone(),
            attempt,
            pipeline: self.planner.pipeline().name.clone(),
            key,
            manifest,
            uses: spec.uses.clone(),
            params: Arc::clone(&spec.params),
            inputs,
            outputs: Arc::clone(&spec.outputs),
            env: Arc::clone(&spec.env),
            secrets: Arc::clone(&spec.secrets),
            determinism: self.planner.determinism(task),
            mem: spec.resources.mem,
            grant,
            timeout: spec.timeout,
            publish: spec.cache,
            adopt: spec.cache && !forced,
            watched,
            log: self.directory.log(&spec.id.0, attempt),
        })
    }

    fn watched(&self, inputs: &BTreeMap<String, Vec<Input>>) -> Vec<(PathBuf, Stamp)> {
        let stamp = |path: &Path| Some((path.to_owned(), self.world.stamp(path)?));
        inputs
            .values()
            .flatten()
            .filter_map(|input| match &input.content {
                Content::Project(path) => stamp(path),
                Content::Stored(_) => None,
            })
            .collect()
    }

    fn ended(
        &mut self,
        ended: Result<(TaskIndex, u32, Result<Success, Failure>), tokio::task::JoinError>,
    ) -> Option<Event> {
        let (task, attempt, result) = match ended {
            Ok(ended) => ended,
            // An executor that panics is a bug, and the end of that attempt only.
            Err(error) => {
                let (task, attempt) = self.attempts.remove(&error.id())?;
                (task, attempt, Err(Failure::new(FailureClass::User, format!("the executor failed: {error}"))))
            }
        };
        match result {
            Ok(success) => {
                self.succeeded(task, attempt, success);
                Some(Event::Succeeded(task))
            }
            Err(failure) => {
                let class = failure.class;
                let event = Event::Failed(task, class);
                // Only the scheduler knows whether there is another attempt; ask it before telling anybody.
                let commands = self.scheduler.handle(event);
                let delay = commands.iter().find_map(|command| match command {
                    Command::RetryAfter { task: same, delay, .. } if *same == task => Some(*delay),
                    _ => None,
                });
                self.failed(task, attempt, failure, delay);
                self.pending.extend(commands);
                self.obey();
                None
            }
        }
    }

    fn succeeded(&mut self, task: TaskIndex, attempt: u32, success: Success) {
        let Success { outputs, publication, rows, metrics, usage } = success;
        let spec = self.spec(task);
        match &publication {
            Publication::Done => {}
            Publication::Withheld { why } if spec.cache => {
                let message = format!("the result of `{}` is used by this run only: {why}", spec.id);
                self.emit(&RunEvent::Warning { message });
            }
            Publication::Withheld { .. } => {}
            Publication::Differs => {
                let id = &spec.id;
                let message = match self.planner.determinism(task) {
                    Determinism::Exact => format!(
                        "`{id}` gave other bytes than before, although its stage type promises the same everywhere; the earlier result stays"
                    ),
                    Determinism::Seeded => format!(
                        "`{id}` gave other bytes than before; another kind of machine, or a bug; the earlier result stays"
                    ),
                    Determinism::Sampled => {
                        format!("`{id}` gave other bytes than before, as its stage type may; the earlier result stays")
                    }
                };
                self.emit(&RunEvent::Warning { message });
            }
        }
        self.tally.executed += 1;
        let key = self.manifests.get(&task).map(|(key, _)| *key);
        if let Some(key) = key {
            self.emit(&RunEvent::TaskFinished {
                task: spec.id.clone(),
                attempt,
                key,
                outputs: outputs.iter().map(|(name, artifact)| (name.clone(), artifact.digest())).collect(),
                usage,
                rows,
                metrics,
                published: !matches!(publication, Publication::Withheld { .. }),
            });
        }
        self.known[task.0 as usize] = Some(Arc::new(outputs));
    }

    fn failed(&mut self, task: TaskIndex, attempt: u32, failure: Failure, retry: Option<Duration>) {
        let spec = self.spec(task);
        self.emit(&RunEvent::TaskFailed {
            task: spec.id.clone(),
            attempt,
            class: failure.class,
            message: failure.message.clone(),
            hint: failure.hint.clone(),
            usage: failure.usage,
            log: self.directory.log(&spec.id.0, attempt),
            retry_in_ms: retry.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        });
        if retry.is_none() {
            // A task that was stopped did not fail: the next run goes on with it.
            if failure.class == FailureClass::Cancelled {
                self.tally.left += 1;
            } else {
                self.tally.failed += 1;
            }
            self.failures.push((task, failure));
        }
    }

    fn signalled(&mut self, signal: Signal) -> Option<Event> {
        self.emit(&RunEvent::Interrupted { force: signal == Signal::Again });
        Some(match signal {
            Signal::Interrupt => Event::Interrupt,
            Signal::Again => Event::Kill,
        })
    }
}
