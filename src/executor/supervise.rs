//! Waiting for a process under its limits and the person's wishes, and what its end means.

use super::{
    Failure, Stop,
    memory::{oom_kills, resident},
    spawn::{Exit, Process},
};
use crate::home::Usage;
use lsn_stage::FailureClass;
use rustix::process::Signal;
use std::{io, sync::OnceLock, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Between the request to end and the kill, when a limit was passed.
const GRACE: Duration = Duration::from_secs(5);

/// How often memory is looked at, where a limit is declared.
const MEMORY_INTERVAL: Duration = Duration::from_millis(200);

/// The conventional exit code of "try again later" (`EX_TEMPFAIL` of sysexits.h).
const TRY_AGAIN: i32 = 75;

/// What a process may use.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    pub time: Option<Duration>,
    /// Bytes.
    pub mem: Option<u64>,
}

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Itself,
    TimeLimit(Duration),
    /// It held this many bytes.
    Memory {
        held: u64,
        limit: u64,
    },
    /// The person stopped the run.
    Stopped,
}

/// A process that ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub exit: Exit,
    pub usage: Usage,
    pub cause: Cause,
    /// The kernel killed something for memory meanwhile.
    pub oom: bool,
}

/// Waits for the process to end, and ends it when a limit is passed or the person says so.
///
/// # Errors
/// The process cannot be waited for.
pub async fn supervise(process: &mut Process, limits: Limits, stop: &mut watch::Receiver<Stop>) -> io::Result<Ended> {
    let group = process.group();
    let oom_before = oom_kills_at_start();
    let far = Instant::now() + Duration::from_secs(86_400 * 365);
    let mut deadline = limits.time.map_or(far, |time| Instant::now() + time);
    let mut look = if limits.mem.is_some() { Instant::now() + MEMORY_INTERVAL } else { far };
    let mut cause = Cause::Itself;
    let mut stop_open = true;
    // The run may have been stopped before this process was there to hear it.
    let obey = |wish: Stop, cause: &mut Cause| {
        if wish > Stop::No {
            if *cause == Cause::Itself {
                *cause = Cause::Stopped;
            }
            group.signal(if wish == Stop::Kill { Signal::KILL } else { Signal::TERM });
        }
    };
    obey(*stop.borrow_and_update(), &mut cause);
    loop {
        tokio::select! {
            ended = process.wait() => {
                let (exit, usage) = ended?;
                let oom = matches!(exit, Exit::Signal(9) | Exit::Code(137))
                    && oom_kills() > oom_before;
                return Ok(Ended { exit, usage, cause, oom });
            }
            changed = stop.changed(), if stop_open => match changed {
                Ok(()) => obey(*stop.borrow_and_update(), &mut cause),
                Err(_) => stop_open = false,
            },
            () = sleep_until(deadline), if deadline < far => {
                if let (Cause::Itself, Some(time)) = (cause, limits.time) {
                    cause = Cause::TimeLimit(time);
                    group.signal(Signal::TERM);
                    deadline = Instant::now() + GRACE;
                } else {
                    group.signal(Signal::KILL);
                    deadline = far;
                }
            }
            () = sleep_until(look), if look < far => {
                look = Instant::now() + MEMORY_INTERVAL;
                let held = resident(group.leader());
                if let Some(limit) = limits.mem.filter(|limit| held > *limit) {
                    cause = Cause::Memory { held, limit };
                    group.signal(Signal::KILL);
                    look = far;
                }
            }
        }
    }
}

/// The kernel's counter of kills for memory when the first task of this run began.
fn oom_kills_at_start() -> u64 {
    static FIRST: OnceLock<u64> = OnceLock::new();
    *FIRST.get_or_init(oom_kills)
}

impl Ended {
    /// Whether the process ended by itself and said that all went well. One that was told to stop may end well, too, with
    /// its work half done.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.exit == Exit::Code(0) && self.cause == Cause::Itself
    }

    /// What its end means, where it did not go well and the task itself gave no better account.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
        let failure = match (self.cause, self.exit) {
            (Cause::TimeLimit(time), _) => Failure::new(
                FailureClass::TimeLimit,
                format!("it ran longer than its time limit of {}", humantime::format_duration(time)),
            )
            .hint("raise `timeout`, or find out what it waits for"),
            (Cause::Memory { held, limit }, _) => Failure::new(
                FailureClass::OutOfMemory,
                format!("it held {} MiB of memory, {} MiB are declared", megabytes(held), megabytes(limit)),
            )
            .hint("raise `resources.mem`"),
            (Cause::Stopped, _) => Failure::new(FailureClass::Cancelled, "interrupted"),
            (Cause::Itself, _) if self.oom => {
                Failure::new(FailureClass::OutOfMemory, "the kernel killed it because memory ran out")
                    .hint("declare `resources.mem`, or run fewer tasks at once with `-j`")
            }
            (Cause::Itself, Exit::Code(TRY_AGAIN)) => {
                Failure::new(FailureClass::Infrastructure, "it ended with exit code 75 (try again later)")
            }
            // A shell reports the signal that ended its command this way.
            (Cause::Itself, Exit::Code(code @ 129..=192)) => by_signal(code - 128),
            (Cause::Itself, Exit::Signal(signal)) => by_signal(signal),
            (Cause::Itself, Exit::Code(code)) => {
                Failure::new(FailureClass::User, format!("it ended with exit code {code}"))
            }
        };
        Failure { usage: self.usage, ..failure }
    }
}

fn by_signal(signal: i32) -> Failure {
    // A program that crashes does so again; one that was killed from outside may not be.
    let class = match signal {
        libc::SIGKILL | libc::SIGTERM | libc::SIGHUP | libc::SIGINT => FailureClass::Infrastructure,
        _ => FailureClass::User,
    };
    Failure::new(class, format!("it was ended by signal {signal}"))
}
