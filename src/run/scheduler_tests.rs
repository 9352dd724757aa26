//! The scheduler under random graphs, random resources and random ends of tasks, held to what must always be true.

use super::*;
use crate::executor::resources::Gpu;
use lsn_digest::Digest;
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Case {
    dependencies: Vec<Vec<u32>>,
    specs: Vec<Spec>,
    /// What happens at each attempt that a task makes, last entry for all further ones.
    fates: Vec<Vec<Fate>>,
    /// Tasks with equal numbers have equal keys.
    keys: Vec<u8>,
    /// What a waiting task turns out to be.
    cached: Vec<bool>,
    capacity: Capacity,
    keep_going: bool,
    /// Which of several running tasks ends next.
    order: Vec<usize>,
    /// After so many events the person interrupts.
    interrupt: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Succeeds,
    FailsForNow,
    FailsForGood,
}

fn key(number: u8) -> TaskKey {
    TaskKey(Digest::of(&[number]))
}

fn cases() -> impl Strategy<Value = Case> {
    let fate = prop_oneof![6 => Just(Fate::Succeeds), 2 => Just(Fate::FailsForNow), 1 => Just(Fate::FailsForGood)];
    (1_usize..16).prop_flat_map(move |n| {
        let dependencies: Vec<_> =
            (0..n).map(|at| prop::collection::vec(0..u32::try_from(at.max(1)).unwrap(), 0..3.min(at + 1))).collect();
        let gpus = prop_oneof![Just(0.0), Just(0.3), Just(0.5), Just(1.0), Just(2.0)];
        let spec = (gpus, 0_u32..4, prop::option::of(0_u64..120), 0_u32..3, 0_u64..50).prop_map(
            |(gpus, cpus, mem, max, duration)| Spec {
                resources: Resources { gpus, cpus, mem, gpu_mem: None, time: None },
                retries: Retries { max, backoff: Duration::from_millis(10) },
                duration,
            },
        );
        let capacity = (1_u32..4, 1_u32..4, 1_usize..3).prop_map(|(jobs, cpus, gpus)| Capacity {
            jobs,
            cpus,
            mem: Some(100),
            gpus: (0..gpus).map(|name| Gpu { name: name.to_string(), mem: None }).collect(),
        });
        (
            dependencies,
            prop::collection::vec(spec, n),
            prop::collection::vec(prop::collection::vec(fate.clone(), 1..4), n),
            prop::collection::vec(0_u8..12, n),
            prop::collection::vec(any::<bool>(), n),
            capacity,
            any::<bool>(),
            prop::collection::vec(any::<usize>(), 200),
            prop::option::weighted(0.2, 0_usize..20),
        )
            .prop_map(|(dependencies, specs, fates, keys, cached, capacity, keep_going, order, interrupt)| {
                Case { dependencies, specs, fates, keys, cached, capacity, keep_going, order, interrupt }
            })
    })
}

/// What the test itself keeps count of.
struct Watch<'a> {
    case: &'a Case,
    running: Vec<(TaskIndex, u32, Grant)>,
    waiting: Vec<TaskIndex>,
    decide: Vec<TaskIndex>,
    starts: Vec<u32>,
    done: Vec<bool>,
    skipped: Vec<bool>,
    refused: Vec<bool>,
    interrupted: bool,
}

impl Watch<'_> {
    fn obey(&mut self, graph: &Graph, commands: Vec<Command>) -> Result<(), TestCaseError> {
        for command in commands {
            match command {
                Command::Decide(task) => {
                    prop_assert!(graph.dependencies(task).iter().all(|on| self.done[on.0 as usize]));
                    self.decide.push(task);
                }
                Command::Start { task, attempt, grant } => {
                    let at = task.0 as usize;
                    self.starts[at] += 1;
                    prop_assert!(!self.interrupted, "started after the interrupt");
                    prop_assert!(!self.done[at], "a task that is done was started again");
                    prop_assert_eq!(self.starts[at], attempt);
                    prop_assert!(attempt <= self.case.specs[at].retries.max + 1);
                    prop_assert!(graph.dependencies(task).iter().all(|on| self.done[on.0 as usize]));
                    let same_key =
                        self.running.iter().any(|(other, ..)| self.case.keys[other.0 as usize] == self.case.keys[at]);
                    prop_assert!(!same_key, "one key is computed twice at a time");
                    self.running.push((task, attempt, grant));
                    self.check_capacity()?;
                }
                Command::RetryAfter { task, attempt, delay } => {
                    let base = Duration::from_millis(10) * (1 << (attempt - 1));
                    prop_assert!(
                        delay >= base.mul_f64(0.74) && delay <= base.mul_f64(1.26),
                        "{delay:?} after {attempt}"
                    );
                    self.waiting.push(task);
                }
                Command::Skip { task, .. } => self.skipped[task.0 as usize] = true,
                Command::Refuse { task, .. } => self.refused[task.0 as usize] = true,
                Command::Terminate | Command::Kill => {}
            }
        }
        Ok(())
    }

    /// Never more than there is, of anything.
    fn check_capacity(&self) -> Result<(), TestCaseError> {
        let capacity = &self.case.capacity;
        prop_assert!(self.running.len() <= capacity.jobs as usize);
        prop_assert!(self.running.iter().map(|(.., grant)| grant.cpus).sum::<u32>() <= capacity.cpus.max(1));
        prop_assert!(self.running.iter().map(|(.., grant)| grant.mem).sum::<u64>() <= 100);
        for gpu in &capacity.gpus {
            let held: f64 = self
                .running
                .iter()
                .filter(|(.., grant)| grant.gpus.contains(&gpu.name))
                .map(|(task, ..)| self.case.specs[task.0 as usize].resources.gpus.min(1.0))
                .sum();
            prop_assert!(held <= 1.0 + 1e-9, "gpu {} is held {held} times", gpu.name);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn it_never_over_commits_never_repeats_and_always_ends(case in cases()) {
        let n = case.dependencies.len();
        let graph = Graph::from_dependencies(
            case.dependencies.iter().enumerate().map(|(at, list)| {
                list.iter().copied().filter(move |on| (*on as usize) < at).map(TaskIndex)
            }),
        );
        // As a plan would have it: what waits for nothing is decided, the rest waits.
        let starts: Vec<_> = graph.tasks().map(|task| {
            let at = task.0 as usize;
            if !graph.dependencies(task).is_empty() { Start::Waiting }
            else if case.cached[at] { Start::Cached }
            else { Start::Run(key(case.keys[at])) }
        }).collect();
        let policy = Policy { keep_going: case.keep_going, seed: 7 };
        let mut watch = Watch {
            case: &case, running: Vec::new(), waiting: Vec::new(), decide: Vec::new(), starts: vec![0; n],
            done: starts.iter().map(|start| *start == Start::Cached).collect(),
            skipped: vec![false; n], refused: vec![false; n], interrupted: false,
        };
        let (mut scheduler, commands) =
            Scheduler::new(graph.clone(), case.specs.clone(), &starts, case.capacity.clone(), policy);
        watch.obey(&graph, commands)?;
        let mut published = std::collections::BTreeSet::new();
        let mut order = case.order.iter().cycle();
        for step in 0.. {
            prop_assert!(step < 2000, "it does not end");
            if scheduler.is_finished() && watch.decide.is_empty() {
                break;
            }
            let event = if case.interrupt == Some(step) {
                watch.interrupted = true;
                Event::Interrupt
            } else if let Some(task) = watch.decide.pop() {
                let at = task.0 as usize;
                if case.cached[at] || published.contains(&case.keys[at]) {
                    watch.done[at] = true;
                    Event::FoundCached(task)
                } else {
                    Event::MustRun(task, key(case.keys[at]))
                }
            } else if !watch.running.is_empty() {
                let (task, attempt, _) = watch.running.remove(order.next().unwrap() % watch.running.len());
                let at = task.0 as usize;
                let fates = &case.fates[at];
                match fates[(attempt as usize - 1).min(fates.len() - 1)] {
                    Fate::Succeeds => {
                        watch.done[at] = true;
                        published.insert(case.keys[at]);
                        Event::Succeeded(task)
                    }
                    Fate::FailsForNow => Event::Failed(task, FailureClass::Infrastructure),
                    Fate::FailsForGood => Event::Failed(task, FailureClass::User),
                }
            } else {
                prop_assert!(!watch.waiting.is_empty(), "nothing runs, nothing waits, and it is not finished");
                Event::RetryDue(watch.waiting.remove(0))
            };
            let commands = scheduler.handle(event);
            watch.obey(&graph, commands)?;
        }
        prop_assert_eq!(scheduler.running(), watch.running.len());
        let stopped = watch.interrupted || graph.tasks().any(|task| matches!(scheduler.state(task), State::Failed(_)));
        for task in graph.tasks() {
            let at = task.0 as usize;
            let state = scheduler.state(task);
            prop_assert_eq!(state.is_done(), watch.done[at]);
            if !stopped || (case.keep_going && !watch.interrupted) {
                prop_assert!(state.is_final(), "{task:?} is {state:?} at the end");
            }
            if let State::Skipped(because) = state {
                prop_assert!(watch.skipped[at]);
                prop_assert!(matches!(scheduler.state(*because), State::Failed(_)));
            }
            if watch.refused[at] {
                prop_assert!(case.specs[at].resources.gpus.ceil() as usize > case.capacity.gpus.len());
            }
        }
    }
}

fn spec(duration: u64) -> Spec {
    Spec { resources: Resources::default(), retries: Retries { max: 0, backoff: Duration::ZERO }, duration }
}

fn one_job() -> Capacity {
    Capacity { jobs: 1, cpus: 1, mem: None, gpus: Vec::new() }
}

#[test]
fn the_longest_way_to_the_end_goes_first() {
    // 0 is short but much waits for it; 1 and 2 stand alone.
    let graph = Graph::from_dependencies([vec![], vec![], vec![], vec![TaskIndex(0)]].into_iter());
    let specs = vec![spec(1), spec(20), spec(5), spec(100)];
    let starts = [Start::Run(key(0)), Start::Run(key(1)), Start::Run(key(2)), Start::Waiting];
    let (mut scheduler, first) = Scheduler::new(graph, specs, &starts, one_job(), Policy::default());
    let started = |commands: &[Command]| {
        commands.iter().find_map(|command| if let Command::Start { task, .. } = command { Some(task.0) } else { None })
    };
    assert_eq!(started(&first), Some(0));
    let next = scheduler.handle(Event::Succeeded(TaskIndex(0)));
    assert!(next.contains(&Command::Decide(TaskIndex(3))));
    // The longest of all is not decided yet, so the longest that is ready goes.
    assert_eq!(started(&next), Some(1));
    scheduler.handle(Event::MustRun(TaskIndex(3), key(3)));
    assert_eq!(started(&scheduler.handle(Event::Succeeded(TaskIndex(1)))), Some(3));
}

#[test]
fn a_second_interrupt_kills_and_nothing_starts_any_more() {
    let graph = Graph::from_dependencies([vec![], vec![]].into_iter());
    let starts = [Start::Run(key(0)), Start::Run(key(1))];
    let (mut scheduler, _) = Scheduler::new(graph, vec![spec(1), spec(1)], &starts, one_job(), Policy::default());
    assert_eq!(scheduler.handle(Event::Interrupt), [Command::Terminate]);
    assert_eq!(scheduler.handle(Event::Interrupt), []);
    assert_eq!(scheduler.handle(Event::Kill), [Command::Kill]);
    assert!(!scheduler.is_finished());
    assert_eq!(scheduler.handle(Event::Failed(TaskIndex(0), FailureClass::Cancelled)), []);
    assert!(scheduler.is_finished() && scheduler.is_interrupted());
}
