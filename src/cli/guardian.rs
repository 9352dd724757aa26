//! `lsn guardian` (hidden): kills what a dead run left behind.

use super::{CliResult, Global, Status};
use crate::executor::guardian;

/// Arguments of `lsn guardian`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run whose processes are watched
    #[arg(long)]
    run: String,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    guardian::watch(std::io::stdin().lock(), &args.run);
    Ok(Status::Done)
}
