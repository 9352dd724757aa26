//! Cleaning up after runs that were killed together with their guardian.

use super::{process::kill_marked, remove::remove_tree, turn::Turn, worker::STATE};
use crate::home::{Home, RunId};
use lsn_cache::{Lookup, Store, TaskKey};
use lsn_digest::Digest;
use std::{fs, io, path::Path, thread, time::Duration};

/// How often, and with what pause, a lock is asked for that a process killed by a guardian may still hold while it dies.
const DYING_ROUNDS: usize = 40;
const DYING_PAUSE: Duration = Duration::from_millis(5);

/// What a sweep found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs that did not end in order.
    pub runs: usize,
    /// Processes of theirs that were still alive.
    pub processes: usize,
}

/// Says that `run` of `pipeline` has processes from now on.
///
/// # Errors
/// The file cannot be written.
pub fn mark_live(home: &Home, run: &RunId, pipeline: &str) -> io::Result<()> {
    let own = home.runs().join(run.as_str());
    fs::create_dir_all(&own)?;
    fs::create_dir_all(home.live())?;
    // Whole or not at all: a mark without its pipeline would be nobody's, and stay for good.
    let draft = own.join("live");
    fs::write(&draft, pipeline)?;
    fs::rename(draft, home.live().join(run.as_str()))
}

/// The run ended and left nothing.
pub fn unmark_live(home: &Home, run: &RunId) {
    // A mark that stays costs the next run one look at the process table.
    let _ = fs::remove_file(home.live().join(run.as_str()));
}

/// Whether the run has a mark: it runs, or it was killed.
#[must_use]
pub fn is_live(home: &Home, run: &RunId) -> bool {
    home.live().join(run.as_str()).exists()
}

/// Kills what dead runs of `pipeline` left, and removes their working directories. The caller holds the pipeline's lock,
/// so every marked run of it is dead.
pub fn sweep(home: &Home, pipeline: &str, store: &Store) -> Swept {
    let mut swept = Swept::default();
    for entry in fs::read_dir(home.live()).into_iter().flatten().flatten() {
        let Some(run) = entry.file_name().to_str().and_then(RunId::parse) else { continue };
        if fs::read_to_string(entry.path()).is_ok_and(|owner| owner == pipeline) {
            swept.runs += 1;
            let mark = home.mark(&run);
            swept.processes += kill_marked(|found| found == mark, 1000);
            remove_work(home, &run);
            unmark_live(home, &run);
        }
    }
    if swept.runs > 0 {
        remove_all_finished(home, store);
    }
    swept
}

/// Scratch directories of workers that were killed between publishing and tidying up. Those without a result stay: their tasks
/// go on from them.
fn remove_all_finished(home: &Home, store: &Store) {
    for entry in fs::read_dir(home.scratch()).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        let Ok(key) = name.parse::<Digest>().map(TaskKey) else { continue };
        if matches!(store.action(&key), Ok(Lookup::Hit(_))) {
            let scratch = home.scratch_of(&key);
            let mut rounds = 0..DYING_ROUNDS;
            while !remove_finished(&scratch) && rounds.next().is_some() {
                thread::sleep(DYING_PAUSE);
            }
        }
    }
}

/// Removes the scratch directory of a task whose result is there, and its lock; says `false` where somebody holds the lock.
pub(super) fn remove_finished(scratch: &Path) -> bool {
    match Turn::try_take(scratch) {
        Ok(Some(_turn)) => {
            let _ = remove_tree(scratch);
            true
        }
        Ok(None) => false,
        Err(_) => true,
    }
}

/// Working directories of commands are named after their run; nobody goes on in them.
fn remove_work(home: &Home, run: &RunId) {
    let prefix = format!("{run}-");
    for entry in fs::read_dir(home.scratch()).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            let _ = remove_tree(&entry.path());
        }
    }
}

/// Removes what interrupted tasks kept to go on from and nobody went on from for so long.
pub fn remove_abandoned(home: &Home, after: Duration) {
    for entry in fs::read_dir(home.scratch()).into_iter().flatten().flatten() {
        let Some(key) = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()).map(TaskKey) else {
            continue;
        };
        let scratch = home.scratch_of(&key);
        // Checkpoints come and go in `state`, which shows when it was last worked on.
        let touched = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let last = touched(&scratch).max(touched(&scratch.join(STATE)));
        let age = last.and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > after)
            && let Ok(Some(_turn)) = Turn::try_take(&scratch)
        {
            let _ = remove_tree(&scratch);
        }
    }
}
