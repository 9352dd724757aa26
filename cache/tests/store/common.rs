//! A store in a temporary directory, with its events.

use lsn_cache::{ActionRecord, Artifact, Digest, EventHandler, OpenMode, Provenance, Store, StoreEvent, TaskKey};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

pub struct TestStore {
    pub directory: tempfile::TempDir,
    pub store: Store,
    events: Arc<Mutex<Vec<StoreEvent>>>,
}

impl TestStore {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, events) = open(&directory.path().join("store"), OpenMode::ReadWrite);
        Self { directory, store, events }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn events(&self) -> Vec<StoreEvent> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    /// Files in `tmp/`: there must be none once everybody is done.
    pub fn temporaries(&self) -> usize {
        fs::read_dir(self.store.root().join("tmp")).unwrap().count()
    }
}

pub fn open(root: &Path, mode: OpenMode) -> (Store, Arc<Mutex<Vec<StoreEvent>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = events.clone();
    let store = Store::open_with(root, mode, EventHandler::new(move |event| sink.lock().unwrap().push(event))).unwrap();
    (store, events)
}

pub fn key(name: &str) -> TaskKey {
    TaskKey(Digest::of(name.as_bytes()))
}

pub fn record(name: &str, outputs: impl IntoIterator<Item = (&'static str, Artifact)>) -> ActionRecord {
    ActionRecord {
        key: key(name),
        key_manifest: json!({"stage": "test", "params": {"name": name}}),
        outputs: outputs.into_iter().map(|(name, artifact)| (name.to_owned(), artifact)).collect(),
        determinism: "exact".to_owned(),
        provenance: Provenance {
            pipeline: "p".to_owned(),
            task: name.to_owned(),
            finished_ms: 1_700_000_000_000,
            duration_ms: 1500,
            facts: BTreeMap::from([("lsn".to_owned(), json!("0.1.0"))]),
            rows: BTreeMap::from([("computed".to_owned(), 3)]),
            metrics: BTreeMap::from([("loss".to_owned(), f64::NAN), ("rate".to_owned(), 0.1)]),
        },
    }
}

/// Bytes that are too many to travel inline, different for each seed.
pub fn large(seed: u8) -> Vec<u8> {
    (0..20_000u32).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

/// Changes a file that the store made read-only.
pub fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Makes a file look as if it was last written so long ago.
pub fn age(path: &Path, by: Duration) {
    let time = SystemTime::now() - by;
    // Opening for reading is enough for an owner, and works for read-only files too.
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Everything below a directory: relative path → content, `None` for directories.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let entries = walkdir::WalkDir::new(root).follow_links(true).min_depth(1).into_iter().map(|entry| {
        let entry = entry.unwrap();
        let content = entry.file_type().is_file().then(|| fs::read(entry.path()).unwrap());
        (entry.path().strip_prefix(root).unwrap().to_owned(), content)
    });
    entries.collect()
}
