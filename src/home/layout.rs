//! `.lsn/`: what the engine keeps beside a project.

use super::RunId;
use lsn_cache::TaskKey;
use lsn_digest::Digest;
use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The directory's name.
pub const HOME: &str = ".lsn";

/// A directory or file of `.lsn/` cannot be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot create `{path}`: {source}")]
pub struct CreateError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl CreateError {
    /// With the path that could not be created.
    pub fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self { path, source }
    }
}

/// The paths of a project's `.lsn/`.
///
/// ```text
/// store/                          the store, unless told otherwise
/// index/<pipeline>                an index per pipeline, with its lock beside it
/// runs/<run id>/journal.jsonl     what happened
/// runs/<run id>/logs/             what the tasks said, a file per attempt
/// runs/<run id>/jobs/             what `lsn exec` was told, while it runs
/// scratch/                        directories of running and interrupted tasks
/// live/<run id>                   runs that have processes; of a dead run: something to sweep
/// published/<pipeline>.json       the project files that lsn wrote
/// ```
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
    directory: PathBuf,
}

impl Home {
    /// The home of the project at `root`; nothing is created. Its paths are absolute: tasks run elsewhere.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        // Without a present directory a relative path leads nowhere anyway.
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { directory: root.join(HOME), root }
    }

    /// The home in `start` or the nearest directory above it that has one.
    #[must_use]
    pub fn find(start: &Path) -> Option<Self> {
        start.ancestors().find(|directory| directory.join(HOME).is_dir()).map(Self::of)
    }

    /// Creates the directory, with a note to version control that nothing in it is for keeping.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(&self) -> Result<(), CreateError> {
        if !self.directory.is_dir() {
            fs::create_dir_all(&self.directory).map_err(CreateError::at(&self.directory))?;
        }
        let ignore = self.directory.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").map_err(CreateError::at(ignore))?;
        }
        Ok(())
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    #[must_use]
    pub fn index(&self, pipeline: &str) -> PathBuf {
        self.directory.join("index").join(file_name(pipeline))
    }

    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.directory.join("runs")
    }

    #[must_use]
    pub fn run(&self, run: &RunId) -> RunDirectory {
        RunDirectory(self.runs().join(run.as_str()))
    }

    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.directory.join("scratch")
    }

    /// What survives crashes and retries of a built-in stage: checkpoints.
    #[must_use]
    pub fn scratch_of(&self, key: &TaskKey) -> PathBuf {
        self.scratch().join(key.0.hex())
    }

    #[must_use]
    pub fn live(&self) -> PathBuf {
        self.directory.join("live")
    }

    #[must_use]
    pub fn published(&self, pipeline: &str) -> PathBuf {
        self.directory.join("published").join(format!("{}.json", file_name(pipeline)))
    }

    /// What the processes of a run carry in their environment; names the project too, for run ids are unique in one only.
    #[must_use]
    pub fn mark(&self, run: &RunId) -> String {
        let project = self.directory.canonicalize().unwrap_or_else(|_| self.directory.clone());
        format!("{}:{run}", Digest::of(project.as_os_str().as_bytes()).short())
    }
}

/// The directory of one run.
#[derive(Debug, Clone)]
pub struct RunDirectory(PathBuf);

impl RunDirectory {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.jsonl")
    }

    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The log of one attempt at a task.
    #[must_use]
    pub fn log(&self, task: &str, attempt: u32) -> PathBuf {
        self.logs().join(format!("{}.{attempt}.log", file_name(task)))
    }

    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.0.join("jobs")
    }
}

/// A file name for any text: kept where it is harmless, else its harmless characters and a piece of its digest.
#[must_use]
pub fn file_name(text: &str) -> String {
    let harmless = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '=' | ',' | '[' | ']' | '+');
    if text.chars().all(harmless) && !text.starts_with('.') && !text.is_empty() && text.len() <= 120 {
        return text.to_owned();
    }
    let kept: String = text.chars().filter(|c| c.is_ascii() && harmless(*c) && *c != '.').take(80).collect();
    format!("{kept}~{}", Digest::of(text.as_bytes()).short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_texts_have_different_harmless_names() {
        assert_eq!(file_name("generate[seed=3]"), "generate[seed=3]");
        assert_ne!(file_name("a/b"), file_name("a:b"));
        assert!(!file_name("../../etc").contains('/'));
        assert!(!file_name(".lock").starts_with('.'));
        assert!(file_name(&"x".repeat(500)).len() < 120);
    }
}
