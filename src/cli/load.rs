//! From the words on the command line to an expanded pipeline and its project.

use super::{CliError, CliResult, ErrorKind, OverrideArgs, Style, style};
use crate::{
    home::{CreateError, Home},
    manifest::{self, Pipeline, TaskIndex},
    plan::{PlanError, TargetError, find_targets},
    run::{OpenError, OpenOptions, OutputError, RunError},
};
use lsn_stage::Registry;
use std::{
    env,
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where to keep results.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StoreArgs {
    /// The store, if not the project's own `.lsn/store`
    #[arg(long, value_name = "DIR", env = "LSN_STORE")]
    pub store: Option<PathBuf>,
}

/// A pipeline with the stage types that it is made of.
pub struct Loaded {
    pub pipeline: Arc<Pipeline>,
    pub registry: Registry,
}

/// Reads a manifest; warnings go to stderr.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path, overrides: &OverrideArgs) -> CliResult<Loaded> {
    let registry = lsn_stages::registry();
    let (pipeline, warnings) = manifest::load(path, &overrides.overrides(), &registry).map_err(|errors| {
        let mut error = CliError::usage(errors.to_string());
        error.text = manifest::render(&errors.problems, style::width(), style::is_on());
        error
    })?;
    if !warnings.is_empty() {
        eprint!("{}", manifest::render(&warnings, style::width(), style::is_on()));
    }
    Ok(Loaded { pipeline: Arc::new(pipeline), registry })
}

/// How to open the project of a pipeline.
#[must_use]
pub fn open_options(pipeline: &Pipeline, store: &StoreArgs) -> OpenOptions {
    OpenOptions { home: Home::of(&pipeline.root), pipeline: pipeline.name.clone(), store: store.store.clone() }
}

/// The project that the present directory belongs to.
///
/// # Errors
/// There is none: no run has been made here.
pub fn home() -> CliResult<Home> {
    let here =
        env::current_dir().map_err(|error| CliError::failed(format!("cannot find the present directory: {error}")))?;
    Home::find(&here).ok_or_else(|| {
        CliError::usage(format!("no `.lsn` in `{}` or above it", here.display()))
            .hint("go to a project in which `lsn run` was used, or name one with `-C`")
    })
}

/// All tasks that the words name.
///
/// # Errors
/// A word names none.
pub fn targets(pipeline: &Pipeline, words: &[String]) -> CliResult<Vec<TaskIndex>> {
    let mut found = Vec::new();
    for word in words {
        found.extend(find_targets(pipeline, word)?);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

impl From<TargetError> for CliError {
    fn from(error: TargetError) -> Self {
        let message = error.to_string();
        match error {
            TargetError::Unknown { nearest: Some(nearest), .. } => {
                Self::usage(message).hint(format!("did you mean `{nearest}`?"))
            }
            _ => Self::usage(message).hint("`lsn plan` lists the tasks"),
        }
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        let message = error.to_string();
        match error {
            OpenError::Busy { .. } => Self::failed(message).hint("leave out `--no-wait` to wait for it"),
            OpenError::Home(error) => error.into(),
            OpenError::Store(error) => error.into(),
        }
    }
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        let message = error.to_string();
        match error {
            RunError::Plan(problems) => {
                let mut new = Self::new(ErrorKind::Usage, message);
                for problem in &problems {
                    new.text.push_str(&format!("{} {problem}\n", Style::error("×")));
                }
                if problems.iter().any(|problem| matches!(problem, PlanError::NotSelected { .. })) {
                    new = new.hint("`--until` runs what a task needs, too");
                }
                new
            }
            RunError::Gpus(_) => Self::usage(message),
            RunError::Store(error) => error.into(),
            RunError::Io { error, .. } | RunError::Start(error) | RunError::Output(OutputError::Io { error, .. }) => {
                Self::failed(message).hints(io_hint(Some(error.kind()), ""))
            }
            RunError::Output(_) => Self::failed(message),
        }
    }
}

impl From<lsn_cache::StoreError> for CliError {
    fn from(error: lsn_cache::StoreError) -> Self {
        let message = error.to_string();
        let hint = io_hint(io_kind(&error), &message);
        Self::failed(message).hints(hint)
    }
}

impl From<CreateError> for CliError {
    fn from(error: CreateError) -> Self {
        Self::failed(error.to_string()).hints(io_hint(Some(error.source.kind()), ""))
    }
}

/// What the operating system said, at the bottom of an error.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.find_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind)
}

/// What to do where lsn cannot write. The index tells what happened only in the words of `message`.
fn io_hint(kind: Option<io::ErrorKind>, message: &str) -> Option<&'static str> {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match kind {
        Some(PermissionDenied | ReadOnlyFilesystem) => Some(
            "a run keeps its state in `.lsn` of the project and must be able to write there; `lsn plan` only reads",
        ),
        Some(StorageFull | QuotaExceeded) => Some(MAKE_ROOM),
        None if message.contains("No space left on device") => Some(MAKE_ROOM),
        _ => None,
    }
}

const MAKE_ROOM: &str =
    "make room: `lsn cache gc` removes what no recent run used; or keep results on another disk with `--store`";

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lsn_cannot_write_has_a_path_and_a_way_out() {
        let denied = CreateError::at("/ro/.lsn")(io::ErrorKind::PermissionDenied.into());
        let error = CliError::from(OpenError::from(denied));
        assert!(error.message.starts_with("cannot create `/ro/.lsn`: "), "{error}");
        assert!(error.hints[0].contains("must be able to write"), "{error}");
        let source = io::ErrorKind::StorageFull.into();
        let error = CliError::from(lsn_cache::StoreError::Io { action: "write", path: "/full/blob".into(), source });
        assert_eq!(error.hints, [MAKE_ROOM]);
        let message = "IO error: No space left on device (os error 28)".to_owned();
        let index = lsn_cache::IndexError::Failed { path: "/full/index".into(), message };
        assert_eq!(CliError::from(lsn_cache::StoreError::from(index)).hints, [MAKE_ROOM]);
        let other = CreateError::at("/x")(io::ErrorKind::NotADirectory.into());
        assert!(CliError::from(other).hints.is_empty());
    }
}
