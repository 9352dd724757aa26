//! Process groups and the mark by which the processes of a run are known.

use rustix::process::{Pid, Signal};
use std::{fs, os::unix::ffi::OsStrExt};

/// The environment variable that every process of a run carries: `<run id>`.
pub const RUN_MARK: &str = "LSN_RUN_ID";

/// A process group, named by its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(i32);

impl Group {
    /// `None` for the numbers that mean something else to `kill` (0, 1 and negative ones).
    #[must_use]
    pub fn new(leader: i32) -> Option<Self> {
        (leader > 1).then_some(Self(leader))
    }

    #[must_use]
    pub fn leader(self) -> i32 {
        self.0
    }

    /// Sends a signal to all members; a group that is gone already is fine.
    pub fn signal(self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.0) {
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }
}

/// Living processes whose environment carries [`RUN_MARK`] with a value that `wanted` accepts, except this one.
#[must_use]
pub fn marked(wanted: impl Fn(&str) -> bool) -> Vec<i32> {
    let own = std::process::id();
    let prefix = [RUN_MARK.as_bytes(), b"="].concat();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process of another user, or one that just ended, cannot be read and is not ours.
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        let carries = environment
            .split(|byte| *byte == 0)
            .filter_map(|variable| variable.strip_prefix(prefix.as_slice()))
            .any(|value| std::str::from_utf8(value).is_ok_and(&wanted));
        if pid != own && carries {
            found.extend(i32::try_from(pid));
        }
    }
    found
}

/// Kills every process that [`marked`] finds, until there is none left or `rounds` are over; says how many were killed.
pub fn kill_marked(wanted: impl Fn(&str) -> bool, rounds: usize) -> usize {
    let mut killed = std::collections::BTreeSet::new();
    for _ in 0..rounds {
        let found = marked(&wanted);
        // A dying process loses its environment, and with it the mark, before its locks.
        if found.is_empty() && !killed.iter().any(|&pid| is_alive(pid)) {
            break;
        }
        for pid in found {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            killed.insert(pid);
        }
        // A killed process keeps its entry until the kernel has torn it down.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    killed.len()
}

/// Whether a process with this number lives (a zombie does not).
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { return false };
    // The state follows the command name, which is in parentheses and may hold any byte.
    let after_name = stat.iter().rposition(|byte| *byte == b')').map(|at| &stat[at + 1..]);
    after_name.is_some_and(|rest| !matches!(rest.first_chunk::<2>(), Some([b' ', b'Z' | b'X'])))
}

/// The command line of a process, for messages.
#[must_use]
pub fn command_line(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = bytes
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| std::ffi::OsStr::from_bytes(word).to_string_lossy().into_owned())
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_never_everybody() {
        assert_eq!(Group::new(0), None);
        assert_eq!(Group::new(1), None);
        assert_eq!(Group::new(-7), None);
        assert_eq!(Group::new(7).map(Group::leader), Some(7));
    }

    #[test]
    fn a_marked_process_is_found_and_killed() {
        let mark = format!("test-{}", std::process::id());
        let mut child = std::process::Command::new("sleep").arg("60").env(RUN_MARK, &mark).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // The mark is readable only once the child has executed its program.
        while marked(|run| run == mark).is_empty() {
            std::thread::yield_now();
        }
        assert!(is_alive(pid));
        assert_eq!(kill_marked(|run| run == mark, 100), 1);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
        assert!(!is_alive(pid));
    }
}
