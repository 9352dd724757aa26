//! The index and the stat cache: fast where they know, right where they do not.

use crate::common::TestStore;
use lsn_cache::{Catalog, Digest, EventHandler, Index, IndexError, MemoryIndex, SledIndex, StoreEvent, Table};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

fn open(path: &Path) -> SledIndex {
    let handler = EventHandler::new(|event| panic!("{event}"));
    // A child that another test forks holds the lock until its exec.
    SledIndex::open_waiting(path, "run 7", &handler).unwrap()
}

#[test]
fn entries_come_back_after_a_flush() {
    let test = TestStore::new();
    let path = test.path("index");
    let index = open(&path);
    assert!(index.is_new());
    index.put(Table::Stat, b"k", b"stat").unwrap();
    index.put(Table::Time, b"k", b"time").unwrap();
    index.put(Table::Time, b"gone", b"").unwrap();
    index.flush().unwrap();
    index.remove(Table::Time, b"gone").unwrap();
    index.flush().unwrap();
    drop(index);
    let index = open(&path);
    assert!(!index.is_new());
    assert_eq!(index.get(Table::Stat, b"k").unwrap().unwrap(), b"stat");
    assert_eq!(index.entries(Table::Time).unwrap(), [(b"k".to_vec(), b"time".to_vec())]);
    index.clear().unwrap();
    assert_eq!(index.get(Table::Stat, b"k").unwrap(), None);
}

#[test]
fn a_locked_index_says_who_has_it() {
    let test = TestStore::new();
    let path = test.path("index");
    let first = open(&path);
    let error = SledIndex::open(&path, "run 8", &EventHandler::default()).unwrap_err();
    let IndexError::Locked { holder, .. } = &error else { panic!("{error}") };
    assert_eq!(holder.as_deref(), Some("run 7"));
    assert!(error.to_string().contains("run 7"), "{error}");
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| SledIndex::open_waiting(&path, "run 8", &EventHandler::default()).unwrap());
        drop(first);
        waiting.join().unwrap()
    });
    let error = SledIndex::open(&path, "run 9", &EventHandler::default()).unwrap_err();
    assert!(error.to_string().contains("run 8"), "{error}");
    drop(waiting);
    open(&path);
}

type Damage = fn(&Path);

#[test]
fn a_damaged_index_is_begun_anew_with_an_event() {
    // Invariant 8.
    let test = TestStore::new();
    let path = test.path("index");
    let damages: [(&str, Damage); 3] = [
        ("garbage", |path| fs::write(path.join("db"), b"garbage").unwrap()),
        ("no configuration", |path| fs::write(path.join("conf"), [0xff; 100]).unwrap()),
        ("a file in its place", |path| {
            fs::remove_dir_all(path).unwrap();
            fs::write(path, "not a directory").unwrap();
        }),
    ];
    for (name, damage) in damages {
        let index = open(&path);
        for i in 0..1000u32 {
            index.put(Table::Stat, &i.to_le_bytes(), &[7; 64]).unwrap();
        }
        index.flush().unwrap();
        drop(index);
        damage(&path);
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = events.clone();
        let handler = EventHandler::new(move |event| sink.lock().unwrap().push(event));
        let index = SledIndex::open(&path, "run", &handler).unwrap();
        index.put(Table::Stat, b"k", b"v").unwrap();
        index.flush().unwrap();
        let events = events.lock().unwrap();
        // sled repairs some damage by itself; what it cannot repair must be told.
        if index.is_new() {
            assert!(matches!(events[..], [StoreEvent::IndexRecreated { .. }]), "{name}: {events:?}");
        } else {
            assert!(events.is_empty(), "{name}: {events:?}");
        }
        assert_eq!(index.get(Table::Stat, b"k").unwrap().unwrap(), b"v", "{name}");
    }
}

#[test]
fn a_deleted_index_is_simply_new() {
    // Invariant 8.
    let test = TestStore::new();
    let path = test.path("index");
    let index = open(&path);
    index.put(Table::Stat, b"k", b"v").unwrap();
    index.flush().unwrap();
    drop(index);
    fs::remove_dir_all(&path).unwrap();
    let index = open(&path);
    assert!(index.is_new());
    assert_eq!(index.get(Table::Stat, b"k").unwrap(), None);
}

/// Lets the clock go on until a file written now would get another time: the condition is the clock itself.
fn wait_until_clean(path: &Path) {
    let written = fs::metadata(path).unwrap().modified().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while written.elapsed().unwrap_or_default() < Duration::from_millis(60) {
        assert!(Instant::now() < deadline, "the clock stands still");
        std::thread::yield_now();
    }
}

#[test]
fn a_file_is_read_once() {
    let test = TestStore::new();
    let index = Arc::new(MemoryIndex::new());
    let catalog = Catalog::new(test.store.clone(), index.clone());
    let path = test.path("input");
    fs::write(&path, "content").unwrap();
    wait_until_clean(&path);
    let digest = catalog.digest_path(&path).unwrap();
    assert_eq!((digest.digest, digest.size, digest.files), (Digest::of(b"content"), 7, 1));
    let entries = index.entries(Table::Stat).unwrap();
    assert_eq!(entries.len(), 1);
    // A marker in the entry shows that the second answer comes from it.
    let (key, mut value) = entries.into_iter().next().unwrap();
    let at = value.len() - 32;
    value[at..].copy_from_slice(Digest::of(b"marker").as_bytes());
    index.put(Table::Stat, &key, &value).unwrap();
    assert_eq!(catalog.digest_path(&path).unwrap().digest, Digest::of(b"marker"));

    // Renaming keeps the file's identity except for its change time: it is read again, and once.
    let moved = test.path("moved");
    fs::rename(&path, &moved).unwrap();
    assert_eq!(catalog.digest_path(&moved).unwrap().digest, Digest::of(b"content"));
    // Same size, and the old modification time put back: the change time tells.
    let time = fs::metadata(&moved).unwrap().modified().unwrap();
    fs::write(&moved, "CONTENT").unwrap();
    fs::File::options().write(true).open(&moved).unwrap().set_modified(time).unwrap();
    assert_eq!(catalog.digest_path(&moved).unwrap().digest, Digest::of(b"CONTENT"));
}

#[test]
fn what_was_written_this_very_moment_is_not_remembered() {
    let test = TestStore::new();
    let index = Arc::new(MemoryIndex::new());
    let catalog = Catalog::new(test.store.clone(), index.clone());
    let path = test.path("input");
    // A time in the future stands for "now": as long as it lasts, a write could leave it as it is.
    fs::write(&path, "one").unwrap();
    let later = std::time::SystemTime::now() + Duration::from_secs(3600);
    fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    assert_eq!(catalog.digest_path(&path).unwrap().digest, Digest::of(b"one"));
    assert_eq!(index.entries(Table::Stat).unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_digest_is_never_stale(contents in prop::collection::vec(prop::array::uniform4(any::<u8>()), 1..60)) {
        // Rewrites in place, same size, as fast as the machine can: many fall into one tick of the clock.
        let test = TestStore::new();
        let catalog = Catalog::new(test.store.clone(), Arc::new(MemoryIndex::new()));
        let path = test.path("input");
        for content in contents {
            fs::write(&path, content).unwrap();
            prop_assert_eq!(catalog.digest_path(&path).unwrap().digest, Digest::of(&content));
        }
    }

    #[test]
    fn both_indexes_are_the_same_map(steps in prop::collection::vec((0u8..4, 0u8..8, any::<Option<u8>>()), 0..60)) {
        let test = TestStore::new();
        let path = test.path("index");
        let mut sled = open(&path);
        let memory = MemoryIndex::new();
        let mut oracle = BTreeMap::new();
        for (action, key, value) in steps {
            match (action, value) {
                (0, _) => sled.flush().unwrap(),
                (1, _) => {
                    sled.flush().unwrap();
                    drop(sled);
                    sled = open(&path);
                }
                (_, Some(value)) => {
                    sled.put(Table::Latest, &[key], &[value]).unwrap();
                    memory.put(Table::Latest, &[key], &[value]).unwrap();
                    oracle.insert(vec![key], vec![value]);
                }
                (_, None) => {
                    sled.remove(Table::Latest, &[key]).unwrap();
                    memory.remove(Table::Latest, &[key]).unwrap();
                    oracle.remove(&vec![key]);
                }
            }
            prop_assert_eq!(sled.get(Table::Latest, &[key]).unwrap(), oracle.get(&vec![key]).cloned());
        }
        let wanted: Vec<_> = oracle.into_iter().collect();
        prop_assert_eq!(sled.entries(Table::Latest).unwrap(), wanted.clone());
        prop_assert_eq!(memory.entries(Table::Latest).unwrap(), wanted);
        prop_assert_eq!(sled.entries(Table::Stat).unwrap(), vec![]);
    }
}
