//! `lsn completions`: the command line's words, for shells.

use super::{Cli, CliResult, Global, Status};
use clap::CommandFactory;
use clap_complete::{Shell, generate};
use std::io;

/// Arguments of `lsn completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "for example: lsn completions bash > ~/.local/share/bash-completion/completions/lsn")]
pub struct Args {
    /// The shell that will read them
    shell: Shell,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "lsn", &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script)?;
    Ok(Status::Done)
}
