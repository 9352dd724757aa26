//! `lsn exec JOB` (hidden): the worker that runs one built-in stage.

use super::{CliError, CliResult, Global, Status};
use crate::executor;
use lsn_stage::CancelToken;
use std::{fs::File, io, os::fd::AsFd, path::PathBuf};
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `lsn exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job specification
    #[arg(value_name = "JOB")]
    job: PathBuf,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let parent = rustix::process::getppid();
    // The worker dies with its coordinator, even where no guardian is left to see to it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).map_err(io::Error::from)?;
    if rustix::process::getppid() != parent {
        return Err(CliError::failed("the coordinator is gone"));
    }
    let pipe = take_stdout()?;
    let cancel = CancelToken::default();
    cancel_on_signals(cancel.clone())?;
    let report = executor::run_job(&args.job, pipe, &lsn_stages::registry(), cancel)
        .map_err(|error| CliError::failed(error.to_string()))?;
    Ok(if report.is_success() { Status::Done } else { Status::Failed })
}

/// Stdout is the event pipe. Whatever else writes to it shall end in the log instead.
fn take_stdout() -> io::Result<File> {
    let pipe = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    // SAFETY: both descriptors are open; the old stdout lives on in `pipe`.
    if unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(pipe)
}

/// SIGTERM and SIGINT ask the stage to stop at a point it can go on from.
fn cancel_on_signals(cancel: CancelToken) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminations, mut interrupts) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminations.recv() => {}
                _ = interrupts.recv() => {}
            }
        });
        cancel.cancel();
    })?;
    Ok(())
}
