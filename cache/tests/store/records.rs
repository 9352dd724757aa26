//! Action records: publishing, looking up, and every way in which a lookup can miss.

use crate::common::{TestStore, damage, key, large, record};
use lsn_cache::{
    ActionRecord, Artifact, Catalog, Digest, Index, Lookup, MemoryIndex, MissReason, Ownership, ParseRecordError,
    Published, StoreError, StoreEvent,
};
use proptest::prelude::*;
use std::{fs, sync::Arc};

fn large_file(test: &TestStore, seed: u8) -> Artifact {
    let path = test.path(&format!("large-{seed}"));
    fs::write(&path, large(seed)).unwrap();
    test.store.capture(&path, Ownership::Own).unwrap()
}

fn small_file(test: &TestStore, content: &str) -> Artifact {
    let path = test.path(content);
    fs::write(&path, content).unwrap();
    test.store.capture(&path, Ownership::Own).unwrap()
}

fn hit(lookup: Lookup) -> ActionRecord {
    match lookup {
        Lookup::Hit(record) => *record,
        Lookup::Miss(reason) => panic!("missed: {reason}"),
    }
}

fn miss(lookup: Lookup) -> MissReason {
    match lookup {
        Lookup::Miss(reason) => reason,
        Lookup::Hit(_) => panic!("hit"),
    }
}

fn same(a: &ActionRecord, b: &ActionRecord) -> bool {
    // NaN metrics are not equal to themselves; the written form is.
    a.encode().unwrap() == b.encode().unwrap()
}

#[test]
fn what_was_published_is_found() {
    let test = TestStore::new();
    let published = record("a", [("x", large_file(&test, 1)), ("y", small_file(&test, "y"))]);
    assert_eq!(miss(test.store.action(&key("a")).unwrap()), MissReason::Absent);
    assert_eq!(test.store.put_action(&published).unwrap(), Published::New);
    test.store.sync().unwrap();
    assert!(same(&hit(test.store.action(&key("a")).unwrap()), &published));
    assert!(matches!(test.store.put_action(&published).unwrap(), Published::Same));
    let all: Vec<_> = test.store.actions().unwrap().map(|record| record.unwrap().key).collect();
    assert_eq!(all, [key("a")]);
    assert!(same(&test.store.latest_action("p", "a").unwrap().unwrap(), &published));
    assert!(test.store.latest_action("p", "b").unwrap().is_none());
    assert_eq!(test.temporaries(), 0);
}

#[test]
fn a_record_needs_its_blobs() {
    // Invariant 2.
    let test = TestStore::new();
    let artifact = large_file(&test, 1);
    let blob = test.store.blob_path(&artifact.digest());
    damage(&blob, |bytes| bytes.truncate(10));
    let torn = test.store.put_action(&record("a", [("x", artifact.clone())]));
    assert!(matches!(torn, Err(StoreError::BlobSize { found: 10, .. })), "{torn:?}");
    fs::remove_file(&blob).unwrap();
    let missing = test.store.put_action(&record("a", [("x", artifact)]));
    assert!(matches!(missing, Err(StoreError::BlobMissing { .. })), "{missing:?}");
    assert_eq!(miss(test.store.action(&key("a")).unwrap()), MissReason::Absent);
}

#[test]
fn the_first_result_stays_and_a_differing_one_is_told() {
    // Invariant 6.
    let test = TestStore::new();
    let first = record("a", [("x", small_file(&test, "first"))]);
    let second = record("a", [("x", small_file(&test, "second"))]);
    test.store.put_action(&first).unwrap();
    let Published::Differs(existing) = test.store.put_action(&second).unwrap() else { panic!("not told") };
    assert!(same(&existing, &first));
    assert!(same(&hit(test.store.action(&key("a")).unwrap()), &first));
}

#[test]
fn a_lost_blob_is_a_miss_with_its_name_and_the_next_result_mends_it() {
    let test = TestStore::new();
    let out = test.path("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("part"), large(5)).unwrap();
    let published = record("a", [("rows", test.store.capture(&out, Ownership::Own).unwrap())]);
    test.store.put_action(&published).unwrap();
    let digest = Digest::of(&large(5));
    let (output, path) = ("rows".to_owned(), "part".to_owned());

    damage(&test.store.blob_path(&digest), |bytes| bytes.truncate(7));
    let torn = MissReason::BlobSize { output: output.clone(), path: path.clone(), digest, expected: 20_000, found: 7 };
    assert_eq!(miss(test.store.action(&key("a")).unwrap()), torn);
    fs::remove_file(test.store.blob_path(&digest)).unwrap();
    let missing = MissReason::BlobMissing { output, path, digest };
    assert_eq!(miss(test.store.action(&key("a")).unwrap()), missing);
    assert!(missing.to_string().contains("`rows`, file `part`"), "{missing}");

    fs::remove_dir_all(&out).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(out.join("part"), large(5)).unwrap();
    let again = record("a", [("rows", test.store.capture(&out, Ownership::Own).unwrap())]);
    // The same bytes again make the old record whole; others replace it.
    assert_eq!(test.store.put_action(&again).unwrap(), Published::Same);
    hit(test.store.action(&key("a")).unwrap());
    fs::remove_file(test.store.blob_path(&digest)).unwrap();
    let other = record("a", [("rows", large_file(&test, 6))]);
    assert_eq!(test.store.put_action(&other).unwrap(), Published::Replaced(missing));
    assert!(same(&hit(test.store.action(&key("a")).unwrap()), &other));
}

#[test]
fn a_changed_blob_is_found_out_by_its_time_and_a_known_one_is_not_read_again() {
    let test = TestStore::new();
    let index = Arc::new(MemoryIndex::new());
    let catalog = Catalog::new(test.store.clone(), index.clone());
    let published = record("a", [("x", large_file(&test, 1))]);
    test.store.put_action(&published).unwrap();
    catalog.note_published(&published).unwrap();
    hit(catalog.lookup(&key("a")).unwrap());

    // Same size, same time: only a full verification can tell. Any ordinary write moves the time.
    let blob = test.store.blob_path(&Digest::of(&large(1)));
    let time = fs::metadata(&blob).unwrap().modified().unwrap();
    damage(&blob, |bytes| bytes[3] ^= 1);
    fs::File::open(&blob).unwrap().set_modified(time).unwrap();
    hit(catalog.lookup(&key("a")).unwrap());

    crate::common::age(&blob, std::time::Duration::from_secs(5));
    let reason = miss(catalog.lookup(&key("a")).unwrap());
    assert!(matches!(reason, MissReason::BlobDamaged { .. }), "{reason}");
    assert!(matches!(test.events()[..], [StoreEvent::BlobQuarantined { .. }]));

    // Invariant 8: without the index the same is found out, by reading.
    index.clear().unwrap();
    let reason = miss(catalog.lookup(&key("a")).unwrap());
    assert!(matches!(reason, MissReason::BlobMissing { .. }), "{reason}");
    let again = large_file(&test, 1);
    assert_eq!(test.store.put_action(&record("a", [("x", again)])).unwrap(), Published::Same);
    hit(catalog.lookup(&key("a")).unwrap());
}

#[test]
fn a_record_of_a_newer_program_is_left_alone() {
    let test = TestStore::new();
    let published = record("a", [("x", small_file(&test, "x"))]);
    test.store.put_action(&published).unwrap();
    let hex = key("a").0.hex();
    let path = test.store.root().join("actions").join(&hex[..2]).join(&hex);
    let newer = String::from_utf8(fs::read(&path).unwrap()).unwrap().replacen("lsn-action 1", "lsn-action 99", 1);
    fs::write(&path, &newer).unwrap();
    assert_eq!(miss(test.store.action(&key("a")).unwrap()), MissReason::NewerFormat { found: 99 });
    assert!(matches!(test.store.put_action(&published).unwrap(), Published::NotReplaced(_)));
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
}

#[test]
fn a_damaged_record_is_a_miss_with_an_event_and_is_replaced() {
    let test = TestStore::new();
    let published = record("a", [("x", small_file(&test, "x"))]);
    test.store.put_action(&published).unwrap();
    let hex = key("a").0.hex();
    let path = test.store.root().join("actions").join(&hex[..2]).join(&hex);
    damage(&path, |bytes| bytes.truncate(bytes.len() / 2));
    assert!(matches!(miss(test.store.action(&key("a")).unwrap()), MissReason::Damaged { .. }));
    assert!(matches!(test.events()[..], [StoreEvent::RecordDamaged { key: of, .. }] if of == key("a")));
    assert!(matches!(test.store.put_action(&published).unwrap(), Published::Replaced(MissReason::Damaged { .. })));
    assert!(same(&hit(test.store.action(&key("a")).unwrap()), &published));
}

#[test]
fn a_record_in_another_records_place_is_not_taken_for_it() {
    let bytes = record("a", []).encode().unwrap();
    assert_eq!(ActionRecord::decode(&key("b"), &bytes), Err(ParseRecordError::OtherKey(key("a"))));
}

#[test]
fn reindexing_brings_back_what_the_store_knows() {
    // Invariant 8.
    let test = TestStore::new();
    for (name, finished) in [("old", 1000), ("new", 2000)] {
        let mut published = record(name, [("x", small_file(&test, name))]);
        published.provenance.task = "t".to_owned();
        published.provenance.finished_ms = finished;
        test.store.put_action(&published).unwrap();
    }
    let catalog = Catalog::new(test.store.clone(), Arc::new(MemoryIndex::new()));
    assert!(catalog.latest_action("p", "t").unwrap().is_none());
    assert_eq!(catalog.reindex().unwrap(), 2);
    assert_eq!(catalog.latest_action("p", "t").unwrap().unwrap().key, key("new"));
    let time = catalog.task_time("p", "t").unwrap().unwrap();
    assert_eq!((time.runs, time.last_ms, time.mean_ms), (2, 1500, 1500.0));
}

proptest! {
    #[test]
    fn no_damage_to_a_record_goes_unnoticed(at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<bool>()) {
        let whole = record("a", []);
        let mut bytes = whole.encode().unwrap();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= flip;
        }
        // The checksum is hexadecimal: a flip that only changes the case of a digit changes nothing.
        match ActionRecord::decode(&key("a"), &bytes) {
            Ok(read) => prop_assert!(!cut && flip == 0x20 && same(&read, &whole)),
            Err(error) => prop_assert!(!matches!(error, ParseRecordError::Content(_)), "{}", error),
        }
    }
}
