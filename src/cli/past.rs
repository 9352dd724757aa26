//! Arguments that name a past run.

use super::{CliError, CliResult};
use crate::home::{Home, PastRun, RunId};

/// The run that a word names: its id, the beginning of it, or `last`; `-1` is the one before, and so on.
///
/// # Errors
/// There is no such run, or several.
pub fn find_run(home: &Home, word: &str) -> CliResult<PastRun> {
    let runs: Vec<_> = RunId::list(&home.runs()).into_iter().filter(|run| home.run(run).journal().is_file()).collect();
    if runs.is_empty() {
        return Err(CliError::usage("there has been no run here").hint("start one with `lsn run`"));
    }
    let back = match word {
        "last" => Some(0),
        other => other.strip_prefix('-').and_then(|back| back.parse::<usize>().ok()),
    };
    let found: Vec<_> = match back {
        Some(back) => runs.iter().rev().skip(back).take(1).collect(),
        None => runs.iter().filter(|run| run.as_str().starts_with(word)).collect(),
    };
    match found.as_slice() {
        [one] => PastRun::read(home, one)
            .map_err(|error| CliError::failed(format!("cannot read the journal of run {one}: {error}"))),
        [] => Err(CliError::usage(format!("there is no run `{word}`")).hint("`lsn runs` lists them")),
        many => Err(CliError::usage(format!("`{word}` names {} runs", many.len())).hint("`lsn runs` lists them")),
    }
}
