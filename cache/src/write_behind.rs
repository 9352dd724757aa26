//! Starting large outputs on their way to the disk while a task still writes them.
//!
//! A file is only published when its bytes are durable (invariant 1), and a freshly written file of some GiB still lies
//! in memory when its task ends: the flush would then take as long as the disk needs for all of it. Asking for the
//! write-back of what has grown meanwhile leaves little to wait for. It is a request and no promise: what a task writes
//! again, cuts off or replaces afterwards is for the flush at the end, which asks for the whole file as ever. Digests
//! are taken at the end, too: of a file that still grows, nothing tells which bytes were written a second time.

use rustix::fs::{Mode, OFlags, open};
use std::{
    collections::HashMap,
    fs::File,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How often outputs are looked at. What a task writes within one period is what the flush at its end finds untouched.
const PERIOD: Duration = Duration::from_millis(50);

/// Only files that have grown by so much since the last look are worth a request.
const WORTHWHILE: u64 = 16 << 20;

/// A directory with more entries is not looked through to its end: its files are not the large ones.
const MOST_ENTRIES: usize = 200;

/// Watches the outputs that running tasks write. Cheap to clone; one thread serves all, and only while there is
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
    watched: HashMap<u64, Arc<Watched>>,
    next: u64,
    running: bool,
}

/// The outputs of one task.
#[derive(Debug)]
struct Watched {
    paths: Vec<PathBuf>,
    asked: Mutex<Asked>,
}

/// Device and inode → how far write-back was asked for.
type Asked = HashMap<(u64, u64), u64>;

/// Watches the outputs of one task until it is dropped.
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

    /// Begins to watch files, and files under directories, whether or not they exist yet. Nothing can go wrong that
    /// matters: without it a flush takes longer.
    #[must_use]
    pub fn watch(&self, paths: Vec<PathBuf>) -> Watch {
        let mut state = self.shared.lock();
        let id = state.next;
        state.next += 1;
        state.watched.insert(id, Arc::new(Watched { paths, asked: Mutex::default() }));
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
        let mut state = self.lock();
        while !state.watched.is_empty() {
            let all: Vec<_> = state.watched.values().cloned().collect();
            drop(state);
            for watched in all {
                let mut asked = watched.asked.lock().unwrap_or_else(PoisonError::into_inner);
                for path in &watched.paths {
                    look_through(path, &mut asked);
                }
            }
            state = self.lock();
            if !state.watched.is_empty() {
                let waited = self.changed.wait_timeout(state, PERIOD).unwrap_or_else(PoisonError::into_inner);
                state = waited.0;
            }
        }
        state.running = false;
    }
}

fn look_through(root: &Path, asked: &mut Asked) {
    // Files come and go while their task runs: whatever cannot be read now is passed over.
    let entries = walkdir::WalkDir::new(root).follow_root_links(false).into_iter().take(MOST_ENTRIES).flatten();
    for entry in entries.filter(|entry| entry.file_type().is_file()) {
        let Ok(metadata) = entry.metadata() else { continue };
        let done = asked.entry((metadata.dev(), metadata.ino())).or_default();
        // Cut off, or another file under the old number.
        if metadata.len() < *done {
            *done = 0;
        }
        if metadata.len() - *done >= WORTHWHILE
            && let Some(file) = open_file(entry.path())
        {
            start_write_back(&file, *done, metadata.len() - *done);
            *done = metadata.len();
        }
    }
}

/// Opens what was a file a moment ago; should a link or a pipe have taken its place, neither followed nor waited for.
fn open_file(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).ok().map(File::from)
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
    use std::fs;

    #[test]
    fn what_has_grown_is_asked_for_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/large");
        fs::create_dir(directory.path().join("a")).unwrap();
        let mut asked = HashMap::new();
        let size = |asked: &Asked| asked.values().sum::<u64>();
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
    fn an_output_may_be_a_file_a_directory_or_not_there_yet_and_links_are_somebody_elses() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        let mut asked = HashMap::new();
        look_through(&file, &mut asked);
        assert!(asked.is_empty());
        File::create(&file).unwrap().set_len(WORTHWHILE).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        look_through(&link, &mut asked);
        assert!(asked.is_empty(), "a link was followed");
        assert!(open_file(&link).is_none(), "a link was opened");
        look_through(&file, &mut asked);
        assert_eq!(asked.values().copied().collect::<Vec<_>>(), [WORTHWHILE]);
    }

    /// Writes `bytes` at the start of the file through a mapping, as some programs fill their outputs.
    fn write_through_mapping(path: &Path, bytes: &[u8]) {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let length = bytes.len();
        // SAFETY: a new shared mapping within the file, which nobody cuts off; written to and unmapped right here.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let at = libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, file.as_raw_fd(), 0);
            assert_ne!(at, libc::MAP_FAILED);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), length);
            assert_eq!(libc::munmap(at, length), 0);
        }
    }

    /// What is on its way to the disk may still change, in every way that files change (invariant 1): the digest and
    /// the blob are of the last bytes.
    #[test]
    fn an_output_may_change_after_its_write_back_began() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 5] = [
            ("rewritten", |path| {
                let file = File::options().write(true).open(path).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, &[7; 70_000], 4097).unwrap();
            }),
            ("cut off", |path| File::options().write(true).open(path).unwrap().set_len(WORTHWHILE + 13).unwrap()),
            ("emptied and filled anew", |path| fs::write(path, vec![3; 3 << 20]).unwrap()),
            ("written through a mapping", |path| write_through_mapping(path, &[9; 50_000])),
            ("replaced", |path| {
                let other = path.with_extension("new");
                fs::write(&other, vec![5; 17 << 20]).unwrap();
                fs::rename(&other, path).unwrap();
            }),
        ];
        let directory = tempfile::tempdir().unwrap();
        let store = crate::Store::open(&directory.path().join("store"), crate::OpenMode::ReadWrite).unwrap();
        for (name, change) in changes {
            let path = directory.path().join("output");
            fs::write(&path, vec![1; 40 << 20]).unwrap();
            let mut asked = HashMap::new();
            look_through(&path, &mut asked);
            assert_eq!(asked.values().copied().collect::<Vec<_>>(), [40 << 20]);
            change(&path);
            look_through(&path, &mut asked);
            let last = fs::read(&path).unwrap();
            let artifact = store.capture(&path, crate::Ownership::Own).unwrap();
            assert_eq!(artifact.digest(), lsn_digest::Digest::of(&last), "{name}");
            assert!(store.read_blob(&artifact.digest()).unwrap() == last, "{name}");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn its_thread_ends_with_the_last_watch_and_comes_back_with_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let write_behind = WriteBehind::new();
        for _ in 0..3 {
            let watches = [0, 1].map(|i| write_behind.watch(vec![directory.path().join(i.to_string())]));
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
