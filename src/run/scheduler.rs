//! The pure scheduler: state and event in, state and commands out. It knows no clock, no process and no file.

use crate::{
    executor::resources::{Capacity, Demand, Free, Grant, Impossible},
    manifest::{Resources, Retries, TaskIndex},
    plan::Graph,
};
use lsn_cache::TaskKey;
use lsn_digest::Canonical;
use lsn_stage::FailureClass;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// No retry waits longer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// What a scheduler must know of a task.
#[derive(Debug, Clone)]
pub struct Spec {
    pub resources: Resources,
    pub retries: Retries,
    /// Expected duration in milliseconds; decides who goes first, nothing else.
    pub duration: u64,
}

/// What a plan says of a task at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Cached,
    Run(TaskKey),
    Waiting,
    Excluded,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A task that waited was decided: its outputs are in the store.
    FoundCached(TaskIndex),
    /// A task that waited was decided: it runs.
    MustRun(TaskIndex, TaskKey),
    /// A task that waited cannot be decided.
    Undecidable(TaskIndex),
    Succeeded(TaskIndex),
    Failed(TaskIndex, FailureClass),
    /// The wait before another attempt is over.
    RetryDue(TaskIndex),
    /// Stop starting; let what runs come to a point it can go on from.
    Interrupt,
    /// Stop at once.
    Kill,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// All it waits for is done: decide it.
    Decide(TaskIndex),
    /// Attempts are counted from 1.
    Start { task: TaskIndex, attempt: u32, grant: Grant },
    /// Send [`Event::RetryDue`] after the delay.
    RetryAfter { task: TaskIndex, attempt: u32, delay: Duration },
    /// The task will not run, because this one failed.
    Skip { task: TaskIndex, because: TaskIndex },
    /// The task can never run on this machine.
    Refuse { task: TaskIndex, why: Impossible },
    /// Ask all running tasks to stop.
    Terminate,
    /// End all running tasks.
    Kill,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Excluded,
    /// Number of dependencies that are not done.
    Waiting(u32),
    Deciding,
    Ready,
    /// Another task with the same key runs; its result is this one's too.
    Following(TaskIndex),
    Running(Grant),
    BackingOff,
    Cached,
    Succeeded,
    Failed(FailureClass),
    Skipped(TaskIndex),
}

impl State {
    /// Whether the task's outputs are available.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Cached | Self::Succeeded)
    }

    /// Whether nothing more will happen to the task.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.is_done() || matches!(self, Self::Excluded | Self::Failed(_) | Self::Skipped(_))
    }
}

/// Options of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Finish what does not depend on a failed task.
    pub keep_going: bool,
    /// Spreads retries of different runs.
    pub seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Halt {
    No,
    /// A task failed and the run does not keep going.
    Failure,
    Interrupted,
    Killed,
}

/// Ready tasks of one demand, longest way to the end first.
type Queue = BTreeSet<(std::cmp::Reverse<u64>, TaskIndex)>;

/// The state of a run's scheduling.
pub struct Scheduler {
    graph: Graph,
    specs: Vec<Spec>,
    priority: Vec<u64>,
    states: Vec<State>,
    attempts: Vec<u32>,
    keys: Vec<Option<TaskKey>>,
    /// Who computes a key, while it is being computed.
    leaders: HashMap<TaskKey, TaskIndex>,
    followers: HashMap<TaskIndex, Vec<TaskIndex>>,
    queues: HashMap<Demand, Queue>,
    free: Free,
    policy: Policy,
    halt: Halt,
    running: usize,
    unsettled: usize,
}

impl Scheduler {
    /// A scheduler, and what to do first.
    #[must_use]
    pub fn new(
        graph: Graph,
        specs: Vec<Spec>,
        starts: &[Start],
        capacity: Capacity,
        policy: Policy,
    ) -> (Self, Vec<Command>) {
        let priority = graph.critical_path(|task| specs[task.0 as usize].duration.max(1));
        let mut new = Self {
            states: vec![State::Excluded; graph.len()],
            attempts: vec![0; graph.len()],
            keys: vec![None; graph.len()],
            leaders: HashMap::new(),
            followers: HashMap::new(),
            queues: HashMap::new(),
            free: Free::all(capacity),
            policy,
            halt: Halt::No,
            running: 0,
            unsettled: 0,
            graph,
            specs,
            priority,
        };
        for (task, start) in new.graph.tasks().zip(starts) {
            let at = task.0 as usize;
            new.states[at] = match start {
                Start::Excluded => State::Excluded,
                Start::Cached => State::Cached,
                Start::Run(_) => State::Deciding,
                Start::Waiting => {
                    let open = new.graph.dependencies(task).iter().filter(|on| !new.state(**on).is_done());
                    State::Waiting(u32::try_from(open.count()).unwrap_or(u32::MAX))
                }
            };
            new.unsettled += usize::from(!new.states[at].is_final());
        }
        let mut commands = Vec::new();
        for (task, start) in new.graph.tasks().zip(starts) {
            match start {
                Start::Run(key) => new.must_run(task, *key, &mut commands),
                // All it waited for turned out to be cached.
                Start::Waiting if new.states[task.0 as usize] == State::Waiting(0) => new.decide(task, &mut commands),
                _ => {}
            }
        }
        new.start_what_fits(&mut commands);
        (new, commands)
    }

    #[must_use]
    pub fn state(&self, task: TaskIndex) -> &State {
        &self.states[task.0 as usize]
    }

    /// How many attempts the task has had, the present one included.
    #[must_use]
    pub fn attempts(&self, task: TaskIndex) -> u32 {
        self.attempts[task.0 as usize]
    }

    #[must_use]
    pub fn free(&self) -> &Free {
        &self.free
    }

    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.halt >= Halt::Interrupted
    }

    /// Whether the run is over: nothing runs, and nothing will.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.unsettled == 0 || (self.running == 0 && self.halt > Halt::No)
    }

    /// Takes an event and says what to do.
    pub fn handle(&mut self, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        match event {
            Event::FoundCached(task) => self.finish(task, State::Cached, &mut commands),
            Event::MustRun(task, key) => self.must_run(task, key, &mut commands),
            Event::Undecidable(task) => self.fail(task, FailureClass::User, &mut commands),
            Event::Succeeded(task) => {
                self.release(task);
                self.finish(task, State::Succeeded, &mut commands);
            }
            Event::Failed(task, class) => {
                self.release(task);
                self.retry_or_fail(task, class, &mut commands);
            }
            Event::RetryDue(task) => {
                if *self.state(task) == State::BackingOff {
                    self.enqueue(task, &mut commands);
                }
            }
            Event::Interrupt => {
                if self.halt < Halt::Interrupted {
                    self.halt = Halt::Interrupted;
                    commands.push(Command::Terminate);
                }
            }
            Event::Kill => {
                if self.halt < Halt::Killed {
                    self.halt = Halt::Killed;
                    commands.push(Command::Kill);
                }
            }
        }
        self.start_what_fits(&mut commands);
        commands
    }

    fn set(&mut self, task: TaskIndex, state: State) {
        let slot = &mut self.states[task.0 as usize];
        if state.is_final() && !slot.is_final() {
            self.unsettled -= 1;
        }
        *slot = state;
    }

    fn decide(&mut self, task: TaskIndex, commands: &mut Vec<Command>) {
        self.set(task, State::Deciding);
        commands.push(Command::Decide(task));
    }

    fn must_run(&mut self, task: TaskIndex, key: TaskKey, commands: &mut Vec<Command>) {
        self.keys[task.0 as usize] = Some(key);
        match self.leaders.get(&key) {
            // One key is computed once at a time.
            Some(leader) => {
                let leader = *leader;
                self.set(task, State::Following(leader));
                self.followers.entry(leader).or_default().push(task);
            }
            None => {
                self.leaders.insert(key, task);
                self.enqueue(task, commands);
            }
        }
    }

    fn enqueue(&mut self, task: TaskIndex, commands: &mut Vec<Command>) {
        match Demand::of(&self.specs[task.0 as usize].resources, self.free.capacity()) {
            Ok(demand) => {
                self.set(task, State::Ready);
                let entry = (std::cmp::Reverse(self.priority[task.0 as usize]), task);
                self.queues.entry(demand).or_default().insert(entry);
            }
            Err(why) => {
                commands.push(Command::Refuse { task, why });
                self.fail(task, FailureClass::User, commands);
            }
        }
    }

    fn start_what_fits(&mut self, commands: &mut Vec<Command>) {
        while self.halt == Halt::No && !self.free.is_exhausted() {
            let mut heads: Vec<_> =
                self.queues.iter().filter_map(|(demand, queue)| queue.first().map(|first| (*first, *demand))).collect();
            heads.sort_unstable();
            let started = heads.into_iter().find_map(|(entry, demand)| Some((entry, demand, self.free.take(&demand)?)));
            let Some((entry, demand, grant)) = started else { break };
            if let Some(queue) = self.queues.get_mut(&demand) {
                queue.remove(&entry);
            }
            let task = entry.1;
            self.attempts[task.0 as usize] += 1;
            self.running += 1;
            self.set(task, State::Running(grant.clone()));
            commands.push(Command::Start { task, attempt: self.attempts[task.0 as usize], grant });
        }
    }

    fn release(&mut self, task: TaskIndex) {
        if let State::Running(grant) = self.state(task).clone() {
            self.free.give_back(&grant);
            self.running -= 1;
        }
    }

    /// Forgets that `task` leads its key; returns those that follow it.
    fn disband(&mut self, task: TaskIndex) -> Vec<TaskIndex> {
        if let Some(key) = self.keys[task.0 as usize]
            && self.leaders.get(&key) == Some(&task)
        {
            self.leaders.remove(&key);
        }
        self.followers.remove(&task).unwrap_or_default()
    }

    fn finish(&mut self, task: TaskIndex, state: State, commands: &mut Vec<Command>) {
        self.set(task, state);
        // The leader's result is in the store now, unless it could not be published: each follower is decided again.
        for follower in self.disband(task) {
            self.decide(follower, commands);
        }
        for at in 0..self.graph.dependents(task).len() {
            let dependent = self.graph.dependents(task)[at];
            if let State::Waiting(open) = &mut self.states[dependent.0 as usize] {
                *open -= 1;
                if *open == 0 {
                    self.decide(dependent, commands);
                }
            }
        }
    }

    fn retry_or_fail(&mut self, task: TaskIndex, class: FailureClass, commands: &mut Vec<Command>) {
        let attempt = self.attempts(task);
        let retries = &self.specs[task.0 as usize].retries;
        if self.halt == Halt::No && class.is_transient() && attempt <= retries.max {
            let delay = backoff(retries.backoff, attempt, task, self.policy.seed);
            self.set(task, State::BackingOff);
            commands.push(Command::RetryAfter { task, attempt, delay });
        } else {
            self.fail(task, class, commands);
        }
    }

    fn fail(&mut self, task: TaskIndex, class: FailureClass, commands: &mut Vec<Command>) {
        self.set(task, State::Failed(class));
        // The same key would fail the same way.
        for follower in self.disband(task) {
            self.set(follower, State::Skipped(task));
            commands.push(Command::Skip { task: follower, because: task });
            self.skip_dependents(follower, task, commands);
        }
        self.skip_dependents(task, task, commands);
        if !self.policy.keep_going && class != FailureClass::Cancelled {
            self.halt = self.halt.max(Halt::Failure);
        }
    }

    fn skip_dependents(&mut self, task: TaskIndex, because: TaskIndex, commands: &mut Vec<Command>) {
        let mut stack = self.graph.dependents(task).to_vec();
        while let Some(dependent) = stack.pop() {
            if !self.state(dependent).is_final() {
                self.set(dependent, State::Skipped(because));
                commands.push(Command::Skip { task: dependent, because });
                stack.extend_from_slice(self.graph.dependents(dependent));
            }
        }
    }
}

/// The wait after a failed attempt: `base · 2^(attempt−1)`, spread by up to a quarter to either side.
fn backoff(base: Duration, attempt: u32, task: TaskIndex, seed: u64) -> Duration {
    let doubled = base.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX)).min(LONGEST_BACKOFF);
    let mut hash = Canonical::new("lsn/backoff/1");
    hash.u64(seed).u64(task.0.into()).u64(attempt.into());
    let spread = f64::from(hash.finish().as_bytes()[0]) / 255.0;
    doubled.mul_f64(0.75 + 0.5 * spread)
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
