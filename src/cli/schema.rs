//! `lsn schema`: JSON Schemas for editors and machines.

use super::{CliError, CliResult, Global, Status};
use crate::manifest;
use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

/// Arguments of `lsn schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The parameters of this stage type instead of a whole manifest
    #[arg(long, value_name = "TYPE")]
    stage: Option<String>,
    /// Write it to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let registry = lsn_stages::registry();
    let schema = match &args.stage {
        Some(name) => super::stage::find(&registry, name)?.schema(),
        None => manifest::json_schema(&registry),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(io::Error::from)?;
    match &args.output {
        Some(path) => fs::write(path, text + "\n")
            .map_err(|error| CliError::failed(format!("cannot write `{}`: {error}", path.display())))?,
        None => writeln!(io::stdout().lock(), "{text}")?,
    }
    Ok(Status::Done)
}
