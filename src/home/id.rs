//! Run ids: the moment a run began, so that their order is the order of time.

use super::CreateError;
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

/// Names a run within a project: `20261123-083500-123`, UTC to the millisecond.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    fn at(time: SystemTime) -> Self {
        let text = humantime::format_rfc3339_millis(time).to_string();
        // 2026-11-23T08:35:00.123Z
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        Self(format!("{}-{}-{}", &digits[..8], &digits[8..14], &digits[14..17]))
    }

    /// A new id, with its directory in `runs`.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn create(runs: &Path) -> Result<Self, CreateError> {
        let mut time = SystemTime::now();
        loop {
            let id = Self::at(time);
            let directory = runs.join(&id.0);
            match fs::create_dir(&directory) {
                Ok(()) => return Ok(id),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => time += Duration::from_millis(1),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(runs).map_err(CreateError::at(runs))?;
                }
                Err(error) => return Err(CreateError::at(directory)(error)),
            }
        }
    }

    /// All runs, oldest first.
    #[must_use]
    pub fn list(runs: &Path) -> Vec<Self> {
        let entries = fs::read_dir(runs).into_iter().flatten().flatten();
        let mut ids: Vec<_> = entries.filter_map(|entry| entry.file_name().to_str().and_then(Self::parse)).collect();
        ids.sort();
        ids
    }

    /// Reads an id; `None` for anything that does not look like one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
        (text.chars().map(shape).collect::<String>() == "00000000-000000-000").then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_are_unique() {
        let runs = tempfile::tempdir().unwrap();
        let ids: Vec<_> = (0..5).map(|_| RunId::create(&runs.path().join("runs")).unwrap()).collect();
        let mut sorted = ids.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(ids, sorted);
        assert_eq!(RunId::list(&runs.path().join("runs")), ids);
        assert_eq!(RunId::at(SystemTime::UNIX_EPOCH).as_str(), "19700101-000000-000");
        assert_eq!(RunId::parse("latest"), None);
    }
}
