//! Garbage collection: removing what no run, pin or recent use refers to.
//!
//! Safe beside publishers on any machine, without locks: a blob is only removed when it is unreferenced *and* older than
//! a grace period, and a publisher that finds a blob already there renews its time. What falls into the instant between
//! looking and removing is caught by moving the file aside first and looking at its time once more.

use crate::{
    MissReason, Store, StoreError, StoreResult, TaskKey,
    layout::{for_each_digest, list},
    store::Temporary,
};
use lsn_digest::Digest;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Below this a publisher's renewal of a blob's time might come too late; shorter periods are raised to it.
pub const SHORTEST_GRACE: Duration = Duration::from_secs(600);

/// What gc may remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcPolicy {
    /// Records and row segments unused for longer are removed.
    pub max_age: Option<Duration>,
    /// Least recently used records and row segments are removed until the store has at most so many bytes.
    pub max_size: Option<u64>,
    /// Nothing younger is removed. At least [`SHORTEST_GRACE`].
    pub grace: Duration,
    /// Only say what would be removed.
    pub dry_run: bool,
}

impl Default for GcPolicy {
    /// Removes only what nothing refers to and is an hour old.
    fn default() -> Self {
        Self { max_age: None, max_size: None, grace: Duration::from_secs(3600), dry_run: false }
    }
}

/// What gc removed, or would remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GcReport {
    pub actions: u64,
    pub blobs: u64,
    pub row_segments: u64,
    /// Left-overs of crashes in `tmp/`, and old files in quarantine.
    pub leftovers: u64,
    /// Bytes of all these.
    pub freed: u64,
    /// Bytes that remain.
    pub kept: u64,
    /// Records of a newer program: as it is unknown what they refer to, no blob was removed.
    pub newer_records: u64,
}

/// Something that may go, oldest use first.
struct Candidate {
    used: SystemTime,
    size: u64,
    what: What,
}

enum What {
    Action { key: TaskKey, blobs: Vec<Digest> },
    Segment(PathBuf),
}

struct Collector<'a> {
    store: &'a Store,
    policy: &'a GcPolicy,
    now: SystemTime,
    grace: Duration,
    /// Blob → number of records that list it.
    references: HashMap<Digest, u32>,
    blobs: BTreeMap<Digest, (u64, SystemTime)>,
    report: GcReport,
}

impl Store {
    /// Removes what is neither pinned, nor among `roots` (the task keys that live and kept runs refer to), nor young.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn gc(&self, roots: &BTreeSet<TaskKey>, policy: &GcPolicy) -> StoreResult<GcReport> {
        self.check_writable()?;
        let mut keep = roots.clone();
        keep.extend(self.pins()?.into_iter().map(|pin| pin.key));
        let mut collector = Collector {
            store: self,
            policy,
            now: SystemTime::now(),
            grace: policy.grace.max(SHORTEST_GRACE),
            references: HashMap::new(),
            blobs: BTreeMap::new(),
            report: GcReport::default(),
        };
        collector.run(&keep)?;
        Ok(collector.report)
    }
}

impl Collector<'_> {
    fn run(&mut self, keep: &BTreeSet<TaskKey>) -> StoreResult<()> {
        self.list_blobs()?;
        let mut total: u64 = self.blobs.values().map(|(size, _)| size).sum();
        let mut candidates = self.list_actions(keep, &mut total)?;
        candidates.extend(self.list_segments(&mut total)?);
        candidates.sort_by_key(|candidate| candidate.used);
        if self.report.newer_records == 0 {
            total -= self.remove_unreferenced()?;
        }
        for candidate in candidates {
            let too_old = self.policy.max_age.is_some_and(|max_age| self.is_older(candidate.used, max_age));
            let too_much = self.policy.max_size.is_some_and(|max_size| total > max_size);
            if too_old || too_much {
                total -= self.remove_candidate(&candidate)?;
            }
        }
        self.remove_leftovers()?;
        self.report.kept = total;
        Ok(())
    }

    fn is_older(&self, time: SystemTime, age: Duration) -> bool {
        self.now.duration_since(time).is_ok_and(|passed| passed > age)
    }

    fn list_blobs(&mut self) -> StoreResult<()> {
        let blobs = &mut self.blobs;
        for_each_digest(&self.store.layout().blobs(), |digest, path| {
            if let Some((size, time)) = size_and_time(path)? {
                blobs.insert(digest, (size, time));
            }
            Ok(())
        })
    }

    /// Counts references, and returns the records that may go.
    fn list_actions(&mut self, keep: &BTreeSet<TaskKey>, total: &mut u64) -> StoreResult<Vec<Candidate>> {
        let mut candidates = Vec::new();
        for key in self.store.action_keys()? {
            let Some((size, used)) = size_and_time(&self.store.layout().action(&key))? else { continue };
            *total += size;
            let blobs = match self.store.parse_record(&key)? {
                Ok(record) => record.outputs.values().flat_map(|o| o.blobs().map(|(_, f)| f.digest)).collect(),
                Err(MissReason::NewerFormat { .. }) => {
                    self.report.newer_records += 1;
                    continue;
                }
                Err(_) => Vec::new(),
            };
            for digest in &blobs {
                *self.references.entry(*digest).or_default() += 1;
            }
            if !keep.contains(&key) && self.is_older(used, self.grace) {
                candidates.push(Candidate { used, size, what: What::Action { key, blobs } });
            }
        }
        Ok(candidates)
    }

    fn list_segments(&self, total: &mut u64) -> StoreResult<Vec<Candidate>> {
        let rows = self.store.rows();
        let mut candidates = Vec::new();
        for namespace in rows.namespaces()? {
            for path in rows.sealed_segments(&namespace)? {
                let Some((size, used)) = size_and_time(&path)? else { continue };
                *total += size;
                if self.is_older(used, self.grace) {
                    candidates.push(Candidate { used, size, what: What::Segment(path) });
                }
            }
        }
        Ok(candidates)
    }

    fn remove_unreferenced(&mut self) -> StoreResult<u64> {
        let unreferenced: Vec<Digest> =
            self.blobs.keys().filter(|digest| !self.references.contains_key(digest)).copied().collect();
        unreferenced.iter().map(|digest| self.remove_blob(digest)).sum()
    }

    /// Removes a record and the blobs that only it listed, or a segment; returns the bytes freed.
    fn remove_candidate(&mut self, candidate: &Candidate) -> StoreResult<u64> {
        match &candidate.what {
            What::Segment(path) => {
                if !self.remove(path, candidate.used)? {
                    return Ok(0);
                }
                self.report.row_segments += 1;
                self.report.freed += candidate.size;
                Ok(candidate.size)
            }
            What::Action { key, blobs } => {
                if !self.remove(&self.store.layout().action(key), candidate.used)? {
                    return Ok(0);
                }
                self.report.actions += 1;
                self.report.freed += candidate.size;
                let mut freed = candidate.size;
                for digest in blobs {
                    if let Some(count) = self.references.get_mut(digest) {
                        *count -= 1;
                        if *count == 0 {
                            self.references.remove(digest);
                            if self.report.newer_records == 0 {
                                freed += self.remove_blob(digest)?;
                            }
                        }
                    }
                }
                Ok(freed)
            }
        }
    }

    fn remove_blob(&mut self, digest: &Digest) -> StoreResult<u64> {
        let Some((size, time)) = self.blobs.get(digest).copied() else { return Ok(0) };
        if !self.is_older(time, self.grace) || !self.remove(&self.store.blob_path(digest), time)? {
            return Ok(0);
        }
        self.blobs.remove(digest);
        self.report.blobs += 1;
        self.report.freed += size;
        Ok(size)
    }

    /// Removes a file unless its time was renewed since it was `seen`; whether it is gone (or would be).
    fn remove(&self, path: &Path, seen: SystemTime) -> StoreResult<bool> {
        if self.policy.dry_run {
            return Ok(true);
        }
        let aside: Temporary = self.store.temporary();
        match fs::rename(path, aside.path()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(StoreError::io("remove", path)(error)),
        }
        let renewed = size_and_time(aside.path())?.is_some_and(|(_, time)| time > seen);
        if renewed {
            aside.link_new(path)?;
        }
        Ok(!renewed)
    }

    fn remove_leftovers(&mut self) -> StoreResult<()> {
        for directory in [self.store.layout().tmp(), self.store.layout().quarantine()] {
            for entry in list(&directory)? {
                let path = entry.path();
                let Some((size, time)) = size_and_time(&path)? else { continue };
                if !self.is_older(time, self.grace) {
                    continue;
                }
                if !self.policy.dry_run {
                    fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
                }
                self.report.leftovers += 1;
                self.report.freed += size;
            }
        }
        Ok(())
    }
}

/// Bytes and modification time; `None` if the file is gone.
fn size_and_time(path: &Path) -> StoreResult<Option<(u64, SystemTime)>> {
    match fs::symlink_metadata(path).and_then(|metadata| Ok((metadata.len(), metadata.modified()?))) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("look at", path)(error)),
    }
}
