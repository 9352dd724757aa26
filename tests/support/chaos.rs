//! Killing things at random moments, and what must hold afterwards.

use super::{Project, marked_processes, wait_until};
use lsn::home::{Home, PastRun, RunId};
use lsn_cache::{OpenMode, Store};
use rustix::process::{Pid, Signal, kill_process};
use std::{collections::BTreeSet, fs, process::Child, time::Duration};

/// A small generator of our own, so that a printed seed repeats the test (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn kill(pid: i32) {
    // It may have ended by itself in the meantime.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

/// The guardian is the child of the coordinator that does not carry the run's mark.
fn children(pid: u32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .collect()
}

/// Tasks whose result is published.
pub fn published(project: &Project) -> BTreeSet<String> {
    match Store::open(&project.path(".lsn/store"), OpenMode::ReadOnly) {
        Ok(store) => store.actions().unwrap().map(|record| record.unwrap().provenance.task).collect(),
        Err(_) => BTreeSet::new(),
    }
}

/// Tasks that were begun in any run after the first `runs`.
pub fn begun_after(project: &Project, runs: usize) -> BTreeSet<String> {
    let all = PastRun::all(&Home::of(project.root()));
    let begun = all.iter().skip(runs).flat_map(|run| &run.tasks).filter(|task| task.attempts > 0);
    begun.map(|task| task.task.0.clone()).collect()
}

/// How many runs the project has had.
pub fn number_of_runs(project: &Project) -> usize {
    PastRun::all(&Home::of(project.root())).len()
}

/// Kills something of a running run; says whether tasks were running.
pub fn strike(project: &Project, child: &mut Child, random: &mut Random) -> bool {
    // Tasks are the leaders of their groups; what a shell makes of a killed child of its own is its affair.
    let leads = |pid: &i32| rustix::process::getpgid(Pid::from_raw(*pid)).is_ok_and(|group| group.as_raw_pid() == *pid);
    let workers: Vec<_> = marked_processes(project).into_iter().filter(leads).collect();
    let pid = i32::try_from(child.id()).unwrap();
    match random.below(4) {
        // The coordinator alone: the guardian ends its tasks.
        0 => {
            kill(pid);
            child.wait().unwrap();
            wait_until("the guardian has ended the tasks", || marked_processes(project).is_empty());
        }
        // A worker alone: the run goes on and tries it again.
        1 if !workers.is_empty() => kill(workers[random.below(workers.len() as u64) as usize]),
        // Coordinator and guardian together: the tasks live on until the next run sweeps.
        2 => {
            let guardian: Vec<_> = children(child.id()).into_iter().filter(|pid| !workers.contains(pid)).collect();
            guardian.into_iter().chain([pid]).for_each(kill);
        }
        // Everything at once.
        _ => children(child.id()).into_iter().chain([pid]).chain(marked_processes(project)).for_each(kill),
    }
    !workers.is_empty()
}

/// No process and no directory of a run is left.
pub fn assert_nothing_is_left(project: &Project) {
    assert_eq!(marked_processes(project), Vec::<i32>::new());
    let left = |directory: &str| -> Vec<String> {
        let entries = fs::read_dir(project.path(directory)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(left(".lsn/scratch"), Vec::<String>::new());
    assert_eq!(left(".lsn/live"), Vec::<String>::new());
}

/// Lines in the journals of all runs of the project: its clock, which goes as fast as the machine does.
pub fn events(project: &Project) -> usize {
    let home = Home::of(project.root());
    let lines =
        |run| fs::read(home.run(&run).journal()).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count());
    RunId::list(&home.runs()).into_iter().map(lines).sum()
}

/// Runs `pipeline.yaml` again and again, each time killing something at a random one of the `calm` events of an undisturbed
/// run, until a run ends by itself. No task whose result is there may begin again. Gives the kills, and how many of them came
/// while tasks ran.
pub fn run_through_kills(project: &Project, calm: usize, random: &mut Random) -> (usize, usize) {
    let (mut kills, mut interrupted_work) = (0, 0);
    loop {
        let before = published(project);
        let runs = number_of_runs(project);
        let mut child = project.spawn(&["run", "pipeline.yaml", "--progress", "none"]);
        // Up to a millisecond more, so that it falls between events, too.
        let (moment, more) = (events(project) + random.below(calm as u64) as usize, random.below(1000));
        let mut running = true;
        wait_until("the run has got to the moment of the kill, or its end", || {
            running = child.try_wait().unwrap().is_none();
            !running || events(project) >= moment
        });
        std::thread::sleep(Duration::from_micros(more));
        if running && child.try_wait().unwrap().is_none() {
            interrupted_work += usize::from(strike(project, &mut child, random));
            kills += 1;
        }
        let ended = child.wait().unwrap();
        let again: Vec<_> = begun_after(project, runs).intersection(&before).cloned().collect();
        assert!(again.is_empty(), "finished and begun again: {again:?}");
        if ended.success() {
            return (kills, interrupted_work);
        }
    }
}

/// The seed of a crash test, printed so that it can be repeated: `LSN_CRASH_SEED`, or a new one.
pub fn crash_seed() -> Random {
    let seed = std::env::var("LSN_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) ^ lsn::home::now_ms());
    println!("LSN_CRASH_SEED={seed}");
    Random(seed)
}
