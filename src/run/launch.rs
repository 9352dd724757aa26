//! One run from plan to last line.

use super::{
    driver::{Driver, Outcome, Setup, Signal},
    observers::Observers,
    outputs::{OutputError, Outputs, Placing},
    scheduler::Policy,
    session::Session,
    world::DiskWorld,
};
use crate::{
    executor::{Executor, GpuChoice, GpusHidden, Local, LocalOptions, capacity, sweep},
    home::{Planned, PlannedTask, RunEvent, RunId, RunStatus, Tally, journal::Journal},
    manifest::Pipeline,
    plan::{Decision, Plan, PlanError, Planner, Selection},
    progress::Observer,
};
use lsn_cache::StoreError;
use lsn_digest::Digest;
use lsn_stage::Registry;
use std::{cell::RefCell, io, path::PathBuf, rc::Rc, sync::Arc, time::Instant};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::LocalSet,
};

/// What a person asks of a run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    pub selection: Selection,
    /// Tasks at once.
    pub jobs: Option<u32>,
    pub gpus: GpuChoice,
    pub keep_going: bool,
    /// How artifacts of `outputs:` are put into the project.
    pub placing: Placing,
}

/// A run could not begin, or not end in order.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Gpus(#[from] GpusHidden),
    #[error("{} cannot be planned", if .0.len() == 1 { "a task".to_owned() } else { format!("{} tasks", .0.len()) })]
    Plan(Vec<PlanError>),
    #[error("cannot write `{path}`: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("cannot start: {0}")]
    Start(io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Plans what a run would do, and gives the world that it was planned in.
///
/// # Errors
/// Every task that can neither run nor be taken from the store.
pub fn plan(session: &Session, planner: &Planner) -> Result<(Plan, DiskWorld), RunError> {
    let pipeline = planner.pipeline();
    let mut world = DiskWorld::new(session.home.root(), &pipeline.name, session.catalog.clone(), session.indexed);
    let plan = planner.plan(&mut world).map_err(RunError::Plan)?;
    Ok((plan, world))
}

/// A plan as journals and machines see it.
#[must_use]
pub fn planned(planner: &Planner, plan: &Plan) -> RunEvent {
    let task = |task: &crate::manifest::Task, decision: &Decision, took: &Option<std::time::Duration>| {
        let (planned, key, reasons) = match decision {
            Decision::Cached { key, .. } => (Planned::Cached, Some(*key), Vec::new()),
            Decision::Run { key, reasons, .. } => (Planned::Run, Some(*key), reasons.clone()),
            Decision::Waiting { reasons } => (Planned::Waiting, None, reasons.clone()),
            Decision::Excluded => (Planned::Excluded, None, Vec::new()),
        };
        PlannedTask {
            task: task.id.clone(),
            stage: task.stage.clone(),
            planned,
            key,
            reasons,
            took_ms: took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        }
    };
    let tasks = planner.pipeline().tasks.iter().zip(&plan.decisions).zip(&plan.durations);
    RunEvent::Planned {
        counts: plan.counts(),
        tasks: tasks.map(|((spec, decision), took)| task(spec, decision, took)).collect(),
    }
}

/// Runs a pipeline.
///
/// # Errors
/// It cannot be planned or started, or its outputs cannot be written. A failed task is no error but an outcome.
pub fn run(
    session: &Session,
    pipeline: &Arc<Pipeline>,
    registry: &Registry,
    run: &RunId,
    options: &RunOptions,
    views: Vec<Box<dyn Observer>>,
) -> Result<Outcome, RunError> {
    let started = Instant::now();
    let capacity = capacity(options.jobs, &options.gpus)?;
    let directory = session.home.run(run);
    let journal =
        Journal::create(&directory.journal()).map_err(|error| RunError::Io { path: directory.journal(), error })?;
    let observers = Rc::new(RefCell::new(Observers::new(journal, views)));
    let emit = |event: RunEvent| observers.borrow_mut().emit(&event);
    emit(RunEvent::RunStarted {
        run: run.clone(),
        pipeline: pipeline.name.clone(),
        manifest: pipeline.manifest.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        jobs: capacity.jobs,
    });
    let notices = || session.take_notices().into_iter().for_each(|message| emit(RunEvent::Warning { message }));
    if let Some(results) = session.rebuilt {
        emit(RunEvent::Warning { message: format!("index rebuilt from {results} results of the store") });
    }
    notices();

    let planner = Planner::new(Arc::clone(pipeline), registry, &options.selection);
    let (plan, mut world) = match plan(session, &planner) {
        Ok(planned) => planned,
        Err(error) => {
            let tally = Tally { failed: 1, ..Tally::default() };
            emit(RunEvent::RunFinished { status: RunStatus::Failed, tally, wall_ms: elapsed_ms(started) });
            observers.borrow_mut().flush();
            return Err(error);
        }
    };
    notices();
    emit(planned(&planner, &plan));
    observers.borrow_mut().flush();
    for (task, decision) in pipeline.tasks.iter().zip(&plan.decisions) {
        if let Decision::Cached { key, .. } = decision {
            session.catalog.note_used(&pipeline.name, &task.id.0, *key)?;
        }
    }

    let swept = sweep::sweep(&session.home, &pipeline.name, session.catalog.store());
    if swept.processes > 0 {
        let message = format!("ended {} processes that a killed run had left", swept.processes);
        emit(RunEvent::Warning { message });
    }
    let outcome = if plan.is_settled() {
        settled(plan)
    } else {
        sweep::mark_live(&session.home, run, &pipeline.name).map_err(RunError::Start)?;
        let local = LocalOptions {
            home: session.home.clone(),
            run: run.clone(),
            catalog: session.catalog.clone(),
            gpus_managed: !capacity.gpus.is_empty(),
        };
        let executor = Local::start(local).map_err(RunError::Start)?;
        let policy = Policy { keep_going: options.keep_going, seed: seed(run) };
        let setup = Setup {
            planner: &planner,
            plan,
            world: &mut world,
            executor: &executor,
            observers: Rc::clone(&observers),
            directory,
            capacity,
            policy,
            forced: options.selection.forced.clone(),
            catalog: session.catalog.clone(),
        };
        let outcome = drive(setup);
        // Whatever happened, nothing may wait for the guardian's mercy.
        executor.finish();
        outcome.map_err(RunError::Start)?
    };
    notices();
    session.catalog.flush()?;
    if !pipeline.publish.is_empty() {
        // What is killed while it writes leaves a directory, too.
        sweep::mark_live(&session.home, run, &pipeline.name).map_err(RunError::Start)?;
    }
    let written = write_outputs(session, pipeline, run, options.placing, &outcome, &emit);
    let status = if written.is_err() && outcome.status == RunStatus::Done { RunStatus::Failed } else { outcome.status };
    sweep::unmark_live(&session.home, run);
    emit(RunEvent::RunFinished { status, tally: outcome.tally, wall_ms: elapsed_ms(started) });
    observers.borrow_mut().flush();
    written?;
    Ok(outcome)
}

/// Nothing to do: the plan is the outcome.
fn settled(plan: Plan) -> Outcome {
    let counts = plan.counts();
    let tally = Tally { cached: counts.cached as u64, excluded: counts.excluded as u64, ..Tally::default() };
    Outcome { status: RunStatus::Done, tally, known: plan.known, failures: Vec::new() }
}

/// Runs the driver on this thread; the asynchronous machinery is only built when there is something to wait for.
fn drive(setup: Setup<'_>) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let signals = listen()?;
        let outcome = Driver::new(setup).run(signals).await;
        // Nobody listens any more; what follows may be interrupted at any point.
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            if !is_ignored(signal) {
                // SAFETY: the default disposition is valid for these signals.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
        }
        Ok(outcome)
    })
}

/// Whether whoever started this program wants it to go on at this signal (`nohup`, a shell's `&`).
fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the pointer is valid for writes, and zeroed is a valid value of this plain C structure.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// The first SIGINT or SIGTERM asks, every later one insists.
fn listen() -> io::Result<mpsc::UnboundedReceiver<Signal>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let heard = |number, kind| if is_ignored(number) { Ok(None) } else { signal(kind).map(Some) };
    let mut interrupts = heard(libc::SIGINT, SignalKind::interrupt())?;
    let mut terminations = heard(libc::SIGTERM, SignalKind::terminate())?;
    let mut hangups = heard(libc::SIGHUP, SignalKind::hangup())?;
    tokio::task::spawn_local(async move {
        let mut wish = Signal::Interrupt;
        loop {
            tokio::select! {
                () = next(&mut interrupts) => {}
                () = next(&mut terminations) => {}
                () = next(&mut hangups) => {}
            }
            if sender.send(wish).is_err() {
                return;
            }
            wish = Signal::Again;
        }
    });
    Ok(receiver)
}

/// The next signal of a kind; never, where it is not listened to.
async fn next(heard: &mut Option<tokio::signal::unix::Signal>) {
    match heard {
        Some(signals) => {
            signals.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Leaves the artifacts of `outputs:` in the project, as far as they exist.
fn write_outputs(
    session: &Session,
    pipeline: &Pipeline,
    run: &RunId,
    placing: Placing,
    outcome: &Outcome,
    emit: &dyn Fn(RunEvent),
) -> Result<(), OutputError> {
    if pipeline.publish.is_empty() || outcome.status == RunStatus::Interrupted {
        return Ok(());
    }
    let mut outputs = Outputs::open(&session.home, &pipeline.name, run, placing);
    let mut first_error = None;
    for publish in &pipeline.publish {
        let artifact = outcome.known[publish.task.0 as usize].as_ref().and_then(|known| known.get(&publish.output));
        let Some(artifact) = artifact else { continue };
        match outputs.write(publish, artifact, &session.catalog) {
            Ok(true) => emit(RunEvent::OutputWritten { path: publish.path.clone(), digest: artifact.digest() }),
            Ok(false) => {}
            Err(error @ OutputError::Kept { .. }) => emit(RunEvent::Warning { message: error.to_string() }),
            Err(error) => {
                emit(RunEvent::Warning { message: error.to_string() });
                first_error.get_or_insert(error);
            }
        }
    }
    outputs.save()?;
    first_error.map_or(Ok(()), Err)
}

/// Spreads the retries of runs that start together.
fn seed(run: &RunId) -> u64 {
    let digest = Digest::of(format!("{run} {}", std::process::id()).as_bytes());
    u64::from_le_bytes(*digest.as_bytes().first_chunk().unwrap_or(&[0; 8]))
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
