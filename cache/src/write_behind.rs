//! Starting large outputs on their way to the disk while a task still writes them.
//!
//! A file is only published when its bytes are durable (invariant 1), and a freshly written file of some GiB still lies
//! in memory when its task ends: the flush would then take as long as the disk needs for all of it. Asking for the
//! write-back of what has grown meanwhile leaves little to wait for, and costs no more: each byte is written once.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How often directories are looked at.
const PERIOD: Duration = Duration::from_millis(100);

/// Only files that have grown by so much since the last look are worth a request.
const WORTHWHILE: u64 = 16 << 20;

/// A directory with more entries is not looked through to its end: its files are not the large ones.
const MOST_ENTRIES: usize = 200;

/// Watches the directories that running tasks write to. Cheap to clone; one thread serves all, and only while there is
/// something to watch.
#[derive(Debug, Clone, Default)]
pub struct WriteBehind {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    watched: HashMap<u64, PathBuf>,
    next: u64,
    running: bool,
}

/// Watches one directory until it is dropped.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    id: u64,
}

impl WriteBehind {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to watch the files under `directory`. Nothing can go wrong that matters: without it a flush takes longer.
    #[must_use]
    pub fn watch(&self, directory: &Path) -> Watch {
        let mut state = self.shared.lock();
        let id = state.next;
        state.next += 1;
        state.watched.insert(id, directory.to_owned());
        if !state.running {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new().name("write-behind".to_owned());
            state.running = thread.spawn(move || shared.run()).is_ok();
        }
        Watch { shared: self.shared.clone(), id }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.watched.remove(&self.id);
        if state.watched.is_empty() {
            self.shared.changed.notify_all();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        // Inode → how far write-back was asked for.
        let mut asked = HashMap::new();
        let mut state = self.lock();
        while !state.watched.is_empty() {
            let waited = self.changed.wait_timeout(state, PERIOD).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            let directories: Vec<PathBuf> = state.watched.values().cloned().collect();
            drop(state);
            for directory in &directories {
                look_through(directory, &mut asked);
            }
            state = self.lock();
        }
        state.running = false;
    }
}

fn look_through(directory: &Path, asked: &mut HashMap<(u64, u64), u64>) {
    // Files come and go while their task runs: whatever cannot be read now is passed over.
    let entries = walkdir::WalkDir::new(directory).into_iter().take(MOST_ENTRIES).flatten();
    for entry in entries.filter(|entry| entry.file_type().is_file()) {
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
        let done = asked.entry((metadata.dev(), metadata.ino())).or_default();
        if metadata.len() < *done {
            *done = 0;
        }
        if metadata.len() - *done >= WORTHWHILE
            && let Ok(file) = File::open(entry.path())
        {
            start_write_back(&file, *done, metadata.len() - *done);
            *done = metadata.len();
        }
    }
}

/// Asks the kernel to begin writing these dirty bytes, without waiting for it.
#[cfg(target_os = "linux")]
fn start_write_back(file: &File, from: u64, length: u64) {
    let (Ok(from), Ok(length)) = (i64::try_from(from), i64::try_from(length)) else { return };
    // SAFETY: the call touches no memory of ours, and the descriptor is open for its duration.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), from, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}

/// Other systems have no such request; their flush takes as long as it takes.
#[cfg(not(target_os = "linux"))]
fn start_write_back(_file: &File, _from: u64, _length: u64) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_grown_is_asked_for_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/large");
        fs::create_dir(directory.path().join("a")).unwrap();
        let mut asked = HashMap::new();
        let size = |asked: &HashMap<(u64, u64), u64>| asked.values().sum::<u64>();
        let file = File::create(&path).unwrap();
        for (length, wanted) in [(WORTHWHILE - 1, 0), (WORTHWHILE, WORTHWHILE), (WORTHWHILE + 5, WORTHWHILE), (3, 0)] {
            file.set_len(length).unwrap();
            look_through(directory.path(), &mut asked);
            assert_eq!(size(&asked), wanted, "at {length}");
        }
        fs::remove_dir_all(directory.path().join("a")).unwrap();
        look_through(directory.path(), &mut asked);
    }

    #[test]
    fn its_thread_ends_with_the_last_watch_and_comes_back_with_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let write_behind = WriteBehind::new();
        for _ in 0..3 {
            let watches = [write_behind.watch(directory.path()), write_behind.watch(directory.path())];
            assert!(write_behind.shared.lock().running);
            drop(watches);
            // The thread holds one of the two references until it ends.
            let deadline = std::time::Instant::now() + Duration::from_secs(60);
            while write_behind.shared.lock().running {
                assert!(std::time::Instant::now() < deadline, "the thread goes on");
                std::thread::yield_now();
            }
        }
    }
}
