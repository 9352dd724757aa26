//! The guardian: one small process per run that outlives a killed coordinator just long enough to clean up after it.
//!
//! The coordinator tells it over a pipe which process groups live (`+<pgid>`, `-<pgid>`) and says `done` at the end. When
//! the pipe closes without `done`, the coordinator is dead: every registered group and every process that carries the
//! run's mark is killed (invariant 10).

use super::process::{Group, RUN_MARK, kill_marked};
use rustix::process::Signal;
use std::{
    collections::BTreeSet,
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
};

/// The coordinator's end of the pipe.
pub struct Guardian {
    child: Child,
    pipe: ChildStdin,
}

impl Guardian {
    /// Starts a guardian for a run: this program again, in a process group of its own.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(run: &str) -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .args(["guardian", "--run", run])
            .env_remove(RUN_MARK)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take().ok_or_else(|| io::Error::other("the guardian has no pipe"))?;
        Ok(Self { child, pipe })
    }

    /// From now on the group dies with the coordinator. A dead guardian is no error: the next run sweeps.
    pub fn register(&mut self, group: Group) {
        let _ = self.pipe.write_all(format!("+{}\n", group.leader()).as_bytes());
    }

    /// The group is gone; its number may be used again by others.
    pub fn release(&mut self, group: Group) {
        let _ = self.pipe.write_all(format!("-{}\n", group.leader()).as_bytes());
    }

    /// The run ended in order: the guardian goes without killing anything.
    pub fn dismiss(mut self) {
        let _ = self.pipe.write_all(b"done\n");
        drop(self.pipe);
        let _ = self.child.wait();
    }
}

/// The guardian's side: reads until the pipe closes, then cleans up unless told `done`.
pub fn watch(mut pipe: impl BufRead, run: &str) {
    let _ = rustix::process::setsid();
    let mut groups = BTreeSet::new();
    let mut line = String::new();
    loop {
        line.clear();
        // A failing read is treated as a closed pipe.
        if pipe.read_line(&mut line).unwrap_or(0) == 0 {
            break;
        }
        let line = line.trim_end();
        if line == "done" {
            return;
        }
        let Some((sign, number)) = line.split_at_checked(1) else { continue };
        let Some(group) = number.parse().ok().and_then(Group::new) else { continue };
        match sign {
            "+" => groups.insert(group),
            _ => groups.remove(&group),
        };
    }
    for group in groups {
        group.signal(Signal::KILL);
    }
    kill_marked(|mark| mark == run, 200);
}
