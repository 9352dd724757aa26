//! Garbage collection: what goes, what stays, and who may be publishing meanwhile.

use crate::common::{TestStore, age, key, large, record};
use lsn_cache::{Artifact, Digest, GcPolicy, Lookup, OpenMode, Ownership, Store, StoreError};
use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn artifact(test: &TestStore, seed: u8) -> Artifact {
    let path = test.path(&format!("out-{seed}"));
    fs::write(&path, large(seed)).unwrap();
    let artifact = test.store.capture(&path, Ownership::Own).unwrap();
    fs::remove_file(path).unwrap();
    artifact
}

fn publish(test: &TestStore, name: &str, seeds: &[u8], days: u32) {
    let names = ["a", "b", "c"];
    let outputs = seeds.iter().zip(names).map(|(seed, name)| (name, artifact(test, *seed)));
    test.store.put_action(&record(name, outputs)).unwrap();
    age(&record_path(test, name), days * DAY);
}

fn record_path(test: &TestStore, name: &str) -> PathBuf {
    let hex = key(name).0.hex();
    test.store.root().join("actions").join(&hex[..2]).join(hex)
}

fn age_blobs(test: &TestStore, days: u32) {
    for (digest, _) in test.store.blobs().unwrap() {
        age(&test.store.blob_path(&digest), days * DAY);
    }
}

fn is_hit(test: &TestStore, name: &str) -> bool {
    matches!(test.store.action(&key(name)).unwrap(), Lookup::Hit(_))
}

fn blobs(test: &TestStore) -> BTreeSet<Digest> {
    test.store.blobs().unwrap().into_iter().map(|(digest, _)| digest).collect()
}

fn of(seeds: &[u8]) -> BTreeSet<Digest> {
    seeds.iter().map(|seed| Digest::of(&large(*seed))).collect()
}

fn older_than(days: u32) -> GcPolicy {
    GcPolicy { max_age: Some(days * DAY), ..GcPolicy::default() }
}

#[test]
fn only_what_nothing_refers_to_goes_by_default() {
    let test = TestStore::new();
    publish(&test, "old", &[1, 2], 900);
    artifact(&test, 3);
    age_blobs(&test, 900);
    artifact(&test, 4);
    let report = test.store.gc(&BTreeSet::new(), &GcPolicy::default()).unwrap();
    assert_eq!((report.actions, report.blobs, report.freed), (0, 1, 20_000));
    assert_eq!(blobs(&test), of(&[1, 2, 4]), "the young blob may be about to get its record");
    assert!(is_hit(&test, "old"));
}

#[test]
fn age_spares_roots_pins_and_what_was_used() {
    let test = TestStore::new();
    for (name, seed) in [("root", 1), ("pinned", 2), ("used", 3), ("forgotten", 4)] {
        publish(&test, name, &[seed, 9], 60);
    }
    age_blobs(&test, 60);
    test.store.pin(&key("pinned"), "for the paper").unwrap();
    assert!(is_hit(&test, "used"));
    let policy = GcPolicy { dry_run: true, ..older_than(30) };
    let roots = BTreeSet::from([key("root")]);
    let planned = test.store.gc(&roots, &policy).unwrap();
    assert_eq!(blobs(&test).len(), 5);
    let done = test.store.gc(&roots, &older_than(30)).unwrap();
    assert_eq!(done, planned);
    assert_eq!((done.actions, done.blobs), (1, 1));
    assert_eq!(blobs(&test), of(&[1, 2, 3, 9]));
    assert!(["root", "pinned", "used"].iter().all(|name| is_hit(&test, name)) && !is_hit(&test, "forgotten"));

    assert_eq!(test.store.pins().unwrap()[0].note, "for the paper");
    assert!(test.store.unpin(&key("pinned")).unwrap());
    assert!(!test.store.unpin(&key("pinned")).unwrap());
    age(&record_path(&test, "pinned"), 60 * DAY);
    test.store.gc(&roots, &older_than(30)).unwrap();
    assert!(!is_hit(&test, "pinned"));
}

#[test]
fn a_size_limit_takes_the_least_recently_used_first() {
    let test = TestStore::new();
    for (name, seed, days) in [("newest", 1, 2), ("middle", 2, 3), ("oldest", 3, 4)] {
        publish(&test, name, &[seed], days);
    }
    age_blobs(&test, 4);
    let policy = GcPolicy { max_size: Some(45_000), ..GcPolicy::default() };
    let report = test.store.gc(&BTreeSet::new(), &policy).unwrap();
    assert_eq!((report.actions, report.blobs), (1, 1));
    assert!(report.kept <= 45_000);
    assert_eq!(blobs(&test), of(&[1, 2]));
}

#[test]
fn a_publisher_that_finds_an_old_blob_keeps_it() {
    let test = TestStore::new();
    artifact(&test, 1);
    age_blobs(&test, 60);
    // Somebody makes the same bytes again and has not published the record yet.
    let again = artifact(&test, 1);
    assert_eq!(test.store.gc(&BTreeSet::new(), &GcPolicy::default()).unwrap().blobs, 0);
    age_blobs(&test, 60);
    test.store.put_action(&record("a", [("x", again)])).unwrap();
    fs::remove_file(record_path(&test, "a")).unwrap();
    assert_eq!(test.store.gc(&BTreeSet::new(), &GcPolicy::default()).unwrap().blobs, 0, "publishing renews the time");
}

#[test]
fn while_a_newer_program_has_records_no_blob_goes() {
    let test = TestStore::new();
    publish(&test, "newer", &[1], 60);
    age_blobs(&test, 60);
    let path = record_path(&test, "newer");
    let text = fs::read_to_string(&path).unwrap().replacen("lsn-action 1", "lsn-action 7", 1);
    fs::write(&path, text).unwrap();
    age(&path, 60 * DAY);
    let report = test.store.gc(&BTreeSet::new(), &older_than(30)).unwrap();
    assert_eq!((report.newer_records, report.blobs, report.actions), (1, 0, 0));
    assert_eq!(blobs(&test), of(&[1]));
}

#[test]
fn leftovers_of_crashes_go_when_they_are_old() {
    let test = TestStore::new();
    let tmp = test.store.root().join("tmp");
    fs::write(tmp.join("dead"), "1234").unwrap();
    age(&tmp.join("dead"), DAY);
    fs::write(tmp.join("alive"), "").unwrap();
    let report = test.store.gc(&BTreeSet::new(), &GcPolicy::default()).unwrap();
    assert_eq!((report.leftovers, report.freed), (1, 4));
    assert!(tmp.join("alive").exists() && !tmp.join("dead").exists());
}

#[test]
fn rows_go_by_age_unless_their_namespace_is_used() {
    let test = TestStore::new();
    for namespace in ["used", "unused"] {
        let rows = test.store.rows().open(namespace).unwrap();
        rows.put(&Digest::of(b"k"), b"v").unwrap();
        rows.close().unwrap();
        for entry in fs::read_dir(test.store.root().join("rows").join(namespace)).unwrap() {
            age(&entry.unwrap().path(), 60 * DAY);
        }
    }
    test.store.rows().open("used").unwrap();
    let report = test.store.gc(&BTreeSet::new(), &older_than(30)).unwrap();
    assert_eq!(report.row_segments, 1);
    assert_eq!(test.store.rows().open("used").unwrap().len(), 1);
    assert_eq!(test.store.rows().open("unused").unwrap().len(), 0);
}

#[test]
fn what_is_counted_is_what_is_there() {
    let test = TestStore::new();
    publish(&test, "a", &[1, 2], 0);
    let rows = test.store.rows().open("n").unwrap();
    rows.put(&Digest::of(b"k"), b"v").unwrap();
    test.store.pin(&key("a"), "").unwrap();
    let stats = test.store.stats().unwrap();
    assert_eq!((stats.blobs.count, stats.blobs.bytes, stats.actions.count, stats.pins), (2, 40_000, 1, 1));
    assert_eq!((stats.rows["n"].count, stats.temporaries.count, stats.quarantined.count), (1, 0, 0));
    let reader = Store::open(test.store.root(), OpenMode::ReadOnly).unwrap();
    assert!(matches!(reader.gc(&BTreeSet::new(), &GcPolicy::default()), Err(StoreError::ReadOnly { .. })));
}

#[test]
fn verification_finds_every_kind_of_damage() {
    let test = TestStore::new();
    publish(&test, "sound", &[1], 0);
    publish(&test, "flipped", &[2], 0);
    publish(&test, "gone", &[3], 0);
    let calls = std::sync::Mutex::new(Vec::new());
    let report = test.store.verify(|progress| calls.lock().unwrap().push(progress)).unwrap();
    assert!(report.is_sound());
    assert_eq!((report.blobs.count, report.actions), (3, 3));
    let last = calls.into_inner().unwrap().into_iter().max_by_key(|progress| progress.done.count).unwrap();
    assert_eq!(last.done, last.total);

    crate::common::damage(&test.store.blob_path(&Digest::of(&large(2))), |bytes| bytes[9] ^= 2);
    fs::remove_file(test.store.blob_path(&Digest::of(&large(3)))).unwrap();
    let report = test.store.verify(|_| {}).unwrap();
    assert_eq!(report.damaged, of(&[2]));
    assert_eq!(report.unusable.keys().copied().collect::<BTreeSet<_>>(), [key("flipped"), key("gone")].into());
}
