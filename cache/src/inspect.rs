//! Looking into a store: how much of what, and whether it is all sound.

use crate::{
    Artifact, MissReason, Store, StoreError, StoreResult, TaskKey,
    layout::{for_each_digest, list},
};
use lsn_digest::Digest;
use rayon::prelude::*;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// A number of files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    pub count: u64,
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What a store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StoreStats {
    pub blobs: Amount,
    pub actions: Amount,
    /// Namespace → segments.
    pub rows: BTreeMap<String, Amount>,
    pub pins: u64,
    pub quarantined: Amount,
    /// Files being written, or left behind by a crash.
    pub temporaries: Amount,
}

/// How far [`Store::verify`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyProgress {
    pub done: Amount,
    pub total: Amount,
}

/// What [`Store::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blobs that were read.
    pub blobs: Amount,
    /// Blobs whose bytes were not what their name says; they are in quarantine now.
    pub damaged: BTreeSet<Digest>,
    /// Records that were read.
    pub actions: u64,
    /// Records that cannot be used, and why.
    pub unusable: BTreeMap<TaskKey, MissReason>,
    /// Rows that were read.
    pub rows: u64,
    /// Row segments with damaged bytes, and how many.
    pub damaged_rows: BTreeMap<String, u64>,
}

impl VerifyReport {
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.unusable.is_empty() && self.damaged_rows.is_empty()
    }
}

impl Store {
    /// Counts what is there; reads no contents.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn stats(&self) -> StoreResult<StoreStats> {
        let mut stats = StoreStats::default();
        for_each_digest(&self.layout().blobs(), |_, path| count(&mut stats.blobs, path))?;
        for_each_digest(&self.layout().actions(), |_, path| count(&mut stats.actions, path))?;
        for namespace in self.rows().namespaces()? {
            let mut amount = Amount::default();
            for segment in self.rows().segments(&namespace)? {
                count(&mut amount, &segment)?;
            }
            stats.rows.insert(namespace, amount);
        }
        stats.pins = self.pins()?.len() as u64;
        for entry in list(&self.layout().quarantine())? {
            count(&mut stats.quarantined, &entry.path())?;
        }
        for entry in list(&self.layout().tmp())? {
            count(&mut stats.temporaries, &entry.path())?;
        }
        Ok(stats)
    }

    /// All blobs with their sizes in bytes, in no particular order.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn blobs(&self) -> StoreResult<Vec<(Digest, u64)>> {
        let mut blobs = Vec::new();
        for_each_digest(&self.layout().blobs(), |digest, path| {
            let mut amount = Amount::default();
            count(&mut amount, path)?;
            if amount.count == 1 {
                blobs.push((digest, amount.bytes));
            }
            Ok(())
        })?;
        Ok(blobs)
    }

    /// Reads everything: every blob against its name, every record against its checksum and its blobs, every row.
    /// Damaged blobs go to quarantine (if the store may be changed) and each problem is an event too.
    ///
    /// `progress` is called after each blob, from several threads.
    ///
    /// # Errors
    /// The store cannot be read at all.
    pub fn verify(&self, progress: impl Fn(VerifyProgress) + Sync) -> StoreResult<VerifyReport> {
        let blobs = self.blobs()?;
        let total = Amount { count: blobs.len() as u64, bytes: blobs.iter().map(|(_, size)| size).sum() };
        let done = Mutex::new(Amount::default());
        let damaged = blobs
            .par_iter()
            .map(|(digest, size)| {
                let verdict = match self.verify_blob(digest) {
                    Ok(_) => Ok(None),
                    Err(StoreError::BlobDamaged { .. }) => Ok(Some(*digest)),
                    // Removed meanwhile by gc.
                    Err(StoreError::BlobMissing { .. }) => Ok(None),
                    Err(error) => Err(error),
                };
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.add(*size);
                progress(VerifyProgress { done: *done, total });
                verdict
            })
            .collect::<StoreResult<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect();
        let mut report = VerifyReport { blobs: total, damaged, ..VerifyReport::default() };
        self.verify_actions(&mut report)?;
        for namespace in self.rows().namespaces()? {
            let (rows, damaged) = self.rows().verify(&namespace)?;
            report.rows += rows;
            if damaged > 0 {
                report.damaged_rows.insert(namespace, damaged);
            }
        }
        Ok(report)
    }

    fn verify_actions(&self, report: &mut VerifyReport) -> StoreResult<()> {
        for key in self.action_keys()? {
            report.actions += 1;
            let reason = match self.action(&key)? {
                crate::Lookup::Miss(MissReason::Absent) => None,
                crate::Lookup::Miss(reason) => Some(reason),
                crate::Lookup::Hit(record) => record.outputs.iter().find_map(|(output, artifact)| {
                    wrong_inline(artifact).map(|(path, digest)| MissReason::BlobDamaged {
                        output: output.clone(),
                        path: path.to_owned(),
                        digest,
                    })
                }),
            };
            if let Some(reason) = reason {
                report.unusable.insert(key, reason);
            }
        }
        Ok(())
    }
}

/// The first inline content that is not what its digest says.
fn wrong_inline(artifact: &Artifact) -> Option<(&str, Digest)> {
    let wrong = artifact.files().find(|(_, file)| {
        file.inline.as_ref().is_some_and(|bytes| Digest::of(bytes) != file.digest || bytes.len() as u64 != file.size)
    });
    wrong.map(|(path, file)| (path, file.digest))
}

fn count(amount: &mut Amount, path: &Path) -> StoreResult<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => {
            amount.add(metadata.len());
            Ok(())
        }
        // Removed since it was listed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("look at", path)(error)),
    }
}
