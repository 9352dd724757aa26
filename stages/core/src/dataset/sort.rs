//! External merge sort of encoded rows: bounded memory whatever the number of rows.

use super::DataSetError;
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

/// Bytes of rows that are kept in memory before a sorted run is written out.
const BUDGET: usize = 64 << 20;
/// Runs that are merged at once; more are merged in rounds.
const FAN_IN: usize = 64;

/// A sort key and an encoded row.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// Collects entries and gives them back sorted by key, then by row.
pub(super) struct Sorter {
    directory: PathBuf,
    budget: usize,
    entries: Vec<Entry>,
    held: usize,
    runs: Vec<PathBuf>,
    written: usize,
}

impl Sorter {
    pub fn new(directory: &Path) -> Self {
        Self::with_budget(directory, BUDGET)
    }

    pub fn with_budget(directory: &Path, budget: usize) -> Self {
        Self { directory: directory.to_owned(), budget, entries: Vec::new(), held: 0, runs: Vec::new(), written: 0 }
    }

    pub fn push(&mut self, key: Vec<u8>, row: Vec<u8>) -> Result<(), DataSetError> {
        self.held += key.len() + row.len() + size_of::<Entry>();
        self.entries.push((key, row));
        if self.held > self.budget { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), DataSetError> {
        self.entries.sort_unstable();
        let entries = std::mem::take(&mut self.entries);
        self.held = 0;
        let run = self.write_run(entries.into_iter().map(Ok))?;
        self.runs.push(run);
        if self.runs.len() == FAN_IN {
            let runs = std::mem::take(&mut self.runs);
            let merged = Merge::open(&runs, Vec::new())?;
            let run = self.write_run(merged)?;
            for run in runs {
                std::fs::remove_file(&run).map_err(DataSetError::io("remove", &run))?;
            }
            self.runs.push(run);
        }
        Ok(())
    }

    fn write_run(
        &mut self,
        entries: impl Iterator<Item = Result<Entry, DataSetError>>,
    ) -> Result<PathBuf, DataSetError> {
        let path = self.directory.join(format!("run-{}", self.written));
        self.written += 1;
        let mut out = BufWriter::new(File::create(&path).map_err(DataSetError::io("create", &path))?);
        for entry in entries {
            let (key, row) = entry?;
            let mut write =
                |bytes: &[u8]| out.write_all(&(bytes.len() as u64).to_le_bytes()).and_then(|()| out.write_all(bytes));
            write(&key).and_then(|()| write(&row)).map_err(DataSetError::io("write", &path))?;
        }
        out.flush().map_err(DataSetError::io("write", &path))?;
        Ok(path)
    }

    pub fn finish(mut self) -> Result<Merge, DataSetError> {
        self.entries.sort_unstable();
        Merge::open(&self.runs, std::mem::take(&mut self.entries))
    }
}

/// Sorted entries of several runs.
pub(super) struct Merge {
    runs: Vec<(PathBuf, BufReader<File>)>,
    memory: std::vec::IntoIter<Entry>,
    queue: BinaryHeap<Reverse<(Entry, usize)>>,
}

impl Merge {
    fn open(runs: &[PathBuf], memory: Vec<Entry>) -> Result<Self, DataSetError> {
        let mut new = Self { runs: Vec::new(), memory: memory.into_iter(), queue: BinaryHeap::new() };
        for path in runs {
            let file = File::open(path).map_err(DataSetError::io("open", path))?;
            new.runs.push((path.clone(), BufReader::new(file)));
        }
        for source in 0..=new.runs.len() {
            new.refill(source)?;
        }
        Ok(new)
    }

    fn refill(&mut self, source: usize) -> Result<(), DataSetError> {
        let entry = match self.runs.get_mut(source) {
            Some((path, file)) => read_entry(file).map_err(DataSetError::io("read", path))?,
            None => self.memory.next(),
        };
        self.queue.extend(entry.map(|entry| Reverse((entry, source))));
        Ok(())
    }
}

fn read_entry(file: &mut impl Read) -> std::io::Result<Option<Entry>> {
    let mut length = [0; 8];
    let mut bytes = |first: bool| -> std::io::Result<Option<Vec<u8>>> {
        match file.read_exact(&mut length) {
            Err(error) if first && error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
        file.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    };
    let Some(key) = bytes(true)? else { return Ok(None) };
    Ok(bytes(false)?.map(|row| (key, row)))
}

impl Iterator for Merge {
    type Item = Result<Entry, DataSetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((entry, source)) = self.queue.pop()?;
        Some(self.refill(source).map(|()| entry))
    }
}
