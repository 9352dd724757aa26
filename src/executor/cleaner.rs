//! Removing working directories beside the work: on some file systems a removal waits for the disk, and no task should.

use super::remove::remove_tree;
use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

/// One: more of them spin on the lock of the directory that all working directories lie in.
const THREADS: usize = 1;

/// A few threads that remove directories.
pub struct Cleaner {
    sender: mpsc::Sender<PathBuf>,
    threads: Vec<JoinHandle<()>>,
}

impl Cleaner {
    /// # Errors
    /// A thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<PathBuf>();
        let receiver = Arc::new(Mutex::new(receiver));
        let work = move |receiver: &Mutex<mpsc::Receiver<PathBuf>>| {
            loop {
                let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(directory) = next else { return };
                // What cannot be removed now is removed by the sweep of a later run.
                let _ = remove_tree(&directory);
            }
        };
        let threads = (0..THREADS).map(|_| {
            let receiver = Arc::clone(&receiver);
            thread::Builder::new().name("cleaner".to_owned()).spawn(move || work(&receiver))
        });
        Ok(Self { sender, threads: threads.collect::<io::Result<_>>()? })
    }

    pub fn remove(&self, directory: PathBuf) {
        // The receivers live as long as this value.
        let _ = self.sender.send(directory);
    }

    /// Waits until everything is removed.
    pub fn finish(self) {
        drop(self.sender);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn everything_is_gone_when_it_has_finished() {
        let root = tempfile::tempdir().unwrap();
        let cleaner = Cleaner::start().unwrap();
        for i in 0..50 {
            let directory = root.path().join(i.to_string());
            fs::create_dir_all(directory.join("deep")).unwrap();
            fs::write(directory.join("deep/file"), "x").unwrap();
            cleaner.remove(directory);
        }
        cleaner.finish();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
