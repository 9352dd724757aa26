//! The journal of a run: one event a line, each with a checksum.
//!
//! A line is a JSON object whose last field, `crc`, is the CRC-32 of everything before it. Reading stops at nothing: a
//! torn or damaged line is left out and counted (invariant 8).

use super::RunEvent;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

const CHECKSUM: &str = ",\"crc\":\"";

/// An event with its moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    pub what: RunEvent,
}

impl Entry {
    #[must_use]
    pub fn now(what: RunEvent) -> Self {
        Self { at: now_ms(), what }
    }

    /// The entry as a line with its checksum.
    fn line(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        let closed = line.pop();
        debug_assert_eq!(closed, Some(b'}'));
        let crc = crc32fast::hash(&line);
        line.extend_from_slice(format!("{CHECKSUM}{crc:08x}\"}}\n").as_bytes());
        Ok(line)
    }

    fn parse(line: &str) -> Option<Self> {
        let (body, crc) = line.rsplit_once(CHECKSUM)?;
        let crc = u32::from_str_radix(crc.strip_suffix("\"}")?, 16).ok()?;
        (crc32fast::hash(body.as_bytes()) == crc).then(|| serde_json::from_str(&format!("{body}}}")).ok()).flatten()
    }
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Writes a journal. Nothing decides by it, so nothing waits for the disk.
pub struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    failed: bool,
}

impl Journal {
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), failed: false })
    }

    /// Adds an event. A journal that cannot be written is given up with one warning: a run needs none.
    pub fn append(&mut self, event: &RunEvent) {
        let written = Entry::now(event.clone()).line().map_err(io::Error::from);
        self.check(written.is_ok());
        if let Ok(line) = written {
            let result = self.file.write_all(&line);
            self.check(result.is_ok());
        }
    }

    /// Hands everything to the operating system, so that a killed process loses nothing.
    pub fn flush(&mut self) {
        let result = self.file.flush();
        self.check(result.is_ok());
    }

    fn check(&mut self, ok: bool) {
        if !ok && !self.failed {
            self.failed = true;
            tracing::warn!("cannot write the journal `{}`; the run goes on without it", self.path.display());
        }
    }
}

/// A journal as read back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    pub entries: Vec<Entry>,
    /// Lines that were torn or damaged.
    pub damaged: usize,
}

/// Reads what can be read of a journal.
///
/// # Errors
/// The file cannot be read at all.
pub fn read(path: &Path) -> io::Result<History> {
    let bytes = std::fs::read(path)?;
    let mut history = History::default();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match std::str::from_utf8(line).ok().and_then(Entry::parse) {
            Some(entry) => history.entries.push(entry),
            None => history.damaged += 1,
        }
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::TaskId;
    use proptest::prelude::*;

    fn events() -> Vec<RunEvent> {
        (0..20)
            .map(|i| RunEvent::TaskNote { task: TaskId(format!("t{i}")), text: format!("{{\"crc\":\"x\" {i}\n") })
            .collect()
    }

    fn written() -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.jsonl");
        let mut journal = Journal::create(&path).unwrap();
        events().iter().for_each(|event| journal.append(event));
        journal.flush();
        std::fs::read(path).unwrap()
    }

    fn read_bytes(bytes: &[u8]) -> History {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path()).unwrap()
    }

    #[test]
    fn a_journal_reads_back_and_every_line_is_json() {
        let bytes = written();
        let history = read_bytes(&bytes);
        assert_eq!(history.damaged, 0);
        assert_eq!(history.entries.into_iter().map(|entry| entry.what).collect::<Vec<_>>(), events());
        for line in std::str::from_utf8(&bytes).unwrap().lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }

    proptest! {
        /// Invariant 8: whatever happens to a journal, the sound lines are read and nothing else is believed.
        #[test]
        fn damage_loses_only_the_damaged_lines(cut in 0_usize..1000, flip in 0_usize..1000, bit in 0_u8..8) {
            let whole = written();
            let torn = &whole[..whole.len() * cut / 1000];
            let lines = torn.iter().filter(|byte| **byte == b'\n').count();
            let history = read_bytes(torn);
            prop_assert!(history.entries.len() == lines || history.entries.len() == lines + 1);

            let mut flipped = whole.clone();
            let at = whole.len() * flip / 1000;
            flipped[at] ^= 1 << bit;
            let history = read_bytes(&flipped);
            prop_assert!(history.entries.len() >= 18);
            prop_assert!(history.entries.iter().all(|entry| events().contains(&entry.what)));
        }
    }
}
