//! The world as it is: project files through the stat cache, results through the catalog.

use crate::{
    home::HOME,
    manifest::TaskId,
    plan::{KeyManifest, ProjectInput, World, WorldError},
};
use globset::GlobBuilder;
use lsn_cache::{Catalog, Lookup, Stamp, StoreError, TaskKey};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Component, Path, PathBuf},
    time::Duration,
};

/// Answers from disk. What a project file held when it was first asked for holds for the whole run.
pub struct DiskWorld {
    root: PathBuf,
    pipeline: String,
    catalog: Catalog,
    paths: HashMap<PathBuf, (ProjectInput, Stamp)>,
    globs: HashMap<String, Vec<PathBuf>>,
    /// Latest record of every task, read from the store where the index has none.
    from_store: Option<BTreeMap<String, (u64, KeyManifest, Duration)>>,
    /// Whether the index knows the latest records; a temporary one does not.
    indexed: bool,
}

impl DiskWorld {
    #[must_use]
    pub fn new(root: &Path, pipeline: &str, catalog: Catalog, indexed: bool) -> Self {
        Self {
            root: root.to_owned(),
            pipeline: pipeline.to_owned(),
            catalog,
            paths: HashMap::new(),
            globs: HashMap::new(),
            from_store: None,
            indexed,
        }
    }

    /// The state that a project file had when its digest was taken.
    #[must_use]
    pub fn stamp(&self, path: &Path) -> Option<Stamp> {
        self.paths.get(path).map(|(_, stamp)| *stamp)
    }

    fn digest(&mut self, path: PathBuf) -> Result<ProjectInput, WorldError> {
        if let Some((input, _)) = self.paths.get(&path) {
            return Ok(input.clone());
        }
        let found = self.catalog.digest_path(&path).map_err(|error| {
            if error.is_not_found() {
                return WorldError::Missing { path: self.shown(&path) };
            }
            match error {
                StoreError::Index(_) => WorldError::Store(error),
                other => WorldError::Unreadable { path: self.shown(&path), message: other.to_string() },
            }
        })?;
        let input = ProjectInput { path: path.clone(), digest: found.digest };
        self.paths.insert(path, (input.clone(), found.stamp));
        Ok(input)
    }

    /// A path as the manifest spells it.
    fn shown(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }

    fn expand(&mut self, pattern: &str) -> Result<Vec<PathBuf>, WorldError> {
        if let Some(found) = self.globs.get(pattern) {
            return Ok(found.clone());
        }
        // As in shells: `*` stays within one directory, `**` does not.
        let matcher = GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .map_err(|error| WorldError::Pattern { pattern: pattern.to_owned(), message: error.kind().to_string() })?
            .compile_matcher();
        let fixed: PathBuf = Path::new(pattern)
            .components()
            .take_while(|part| !matches!(part, Component::Normal(name) if is_pattern(&name.to_string_lossy())))
            .collect();
        let mut found: Vec<PathBuf> = walkdir::WalkDir::new(self.root.join(&fixed))
            .follow_links(true)
            .into_iter()
            .filter_entry(|entry| entry.file_name() != HOME)
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
            .filter(|path| path.strip_prefix(&self.root).is_ok_and(|relative| matcher.is_match(relative)))
            .collect();
        found.sort();
        if found.is_empty() {
            return Err(WorldError::NoMatch { pattern: pattern.to_owned() });
        }
        self.globs.insert(pattern.to_owned(), found.clone());
        Ok(found)
    }

    /// What the store says of a task, from one reading of all records.
    fn in_store(&mut self, task: &str) -> Option<&(u64, KeyManifest, Duration)> {
        if self.from_store.is_none() {
            let mut latest = BTreeMap::new();
            for record in self.catalog.store().actions().into_iter().flatten().flatten() {
                let provenance = &record.provenance;
                if provenance.pipeline != self.pipeline {
                    continue;
                }
                let newer = latest
                    .get(&provenance.task)
                    .is_none_or(|(finished, ..): &(u64, KeyManifest, Duration)| *finished < provenance.finished_ms);
                if newer && let Some(manifest) = KeyManifest::from_json(&record.key_manifest) {
                    let entry = (provenance.finished_ms, manifest, provenance.duration());
                    latest.insert(provenance.task.clone(), entry);
                }
            }
            self.from_store = Some(latest);
        }
        self.from_store.as_ref().and_then(|latest| latest.get(task))
    }
}

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '[', '{'])
}

impl World for DiskWorld {
    fn path(&mut self, path: &Path) -> Result<ProjectInput, WorldError> {
        self.digest(self.root.join(path))
    }

    fn glob(&mut self, pattern: &str) -> Result<Vec<ProjectInput>, WorldError> {
        self.expand(pattern)?.into_iter().map(|path| self.digest(path)).collect()
    }

    fn lookup(&mut self, key: &TaskKey) -> Result<Lookup, WorldError> {
        Ok(self.catalog.lookup(key)?)
    }

    fn earlier(&mut self, task: &TaskId) -> Vec<KeyManifest> {
        if !self.indexed {
            return self.in_store(&task.0).map(|(_, manifest, _)| manifest.clone()).into_iter().collect();
        }
        let record = self.catalog.latest_action(&self.pipeline, &task.0).ok().flatten();
        record.and_then(|record| KeyManifest::from_json(&record.key_manifest)).into_iter().collect()
    }

    fn duration(&mut self, task: &TaskId) -> Option<Duration> {
        if !self.indexed {
            return self.in_store(&task.0).map(|(_, _, duration)| *duration);
        }
        let time = self.catalog.task_time(&self.pipeline, &task.0).ok().flatten()?;
        Some(Duration::from_secs_f64(time.mean_ms / 1000.0))
    }
}
