//! A child process in its own group: started without copying the parent, watched through a descriptor, reaped with its costs.

use super::{guardian::Guardian, process::Group};
use crate::home::Usage;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::{
    cell::RefCell,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{ChildStdout, Command},
    rc::Rc,
    time::Instant,
};
use tokio::io::{Interest, unix::AsyncFd};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

/// A running child. Dropping it kills and reaps its whole group.
pub struct Process {
    group: Group,
    watch: AsyncFd<OwnedFd>,
    guardian: Rc<RefCell<Option<Guardian>>>,
    started: Instant,
    reaped: bool,
}

impl Process {
    /// Starts `command` as the leader of a new process group.
    ///
    /// Nothing here needs code between fork and exec, so the standard library uses `posix_spawn`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(
        command: &mut Command,
        guardian: &Rc<RefCell<Option<Guardian>>>,
    ) -> io::Result<(Self, Option<ChildStdout>)> {
        let started = Instant::now();
        let mut child = command.process_group(0).spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let group = Group::new(pid).ok_or_else(|| io::Error::other("the child has no process number"))?;
        if let Some(guardian) = guardian.borrow_mut().as_mut() {
            guardian.register(group);
        }
        let stdout = child.stdout.take();
        let watch = Pid::from_raw(pid)
            .ok_or_else(|| io::Error::other("the child has no process number"))
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::NONBLOCK)?))
            // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives.
            .and_then(|fd| Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?));
        match watch {
            Ok(watch) => Ok((Self { group, watch, guardian: Rc::clone(guardian), started, reaped: false }, stdout)),
            Err(error) => {
                group.signal(Signal::KILL);
                let _ = child.wait();
                Err(error)
            }
        }
    }

    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// Waits for the leader to end, then kills whatever it left in its group, and reaps it.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub async fn wait(&mut self) -> io::Result<(Exit, Usage)> {
        let _ready = self.watch.readable().await?;
        self.reap()
    }

    fn reap(&mut self) -> io::Result<(Exit, Usage)> {
        // While the leader is not reaped its number cannot be used again, so this hits nobody else.
        self.group.signal(Signal::KILL);
        let mut status = 0;
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        let pid = loop {
            // SAFETY: both pointers are valid for writes for the duration of the call.
            let pid = unsafe { libc::wait4(self.group.leader(), &raw mut status, 0, usage.as_mut_ptr()) };
            if pid >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break pid;
            }
        };
        self.reaped = true;
        if let Some(guardian) = self.guardian.borrow_mut().as_mut() {
            guardian.release(self.group);
        }
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: zeroed is a valid value of this plain C structure, and wait4 has filled it in.
        let usage = unsafe { usage.assume_init() };
        let exit = if libc::WIFSIGNALED(status) {
            Exit::Signal(libc::WTERMSIG(status))
        } else {
            Exit::Code(libc::WEXITSTATUS(status))
        };
        let milliseconds = |time: libc::timeval| u64::try_from(time.tv_sec * 1000 + time.tv_usec / 1000).unwrap_or(0);
        let usage = Usage {
            wall_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            cpu_ms: milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime),
            peak_rss: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        };
        Ok((exit, usage))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.reap();
        }
    }
}
