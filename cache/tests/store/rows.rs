//! Rows: several writers at once, and whatever can happen to a segment.

use crate::common::{TestStore, damage, open};
use lsn_cache::{Digest, OpenMode, Rows, Store, StoreError, StoreEvent};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Bytes of a frame in front of its value.
const FRAME: usize = 48;
const HEADER: usize = 16;

fn key(number: u32) -> Digest {
    Digest::of(&number.to_le_bytes())
}

fn value(number: u32) -> Vec<u8> {
    (0..number % 97).map(|i| (i * number) as u8).collect()
}

fn segments(store: &Store, namespace: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(store.root().join("rows").join(namespace)) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "rows" || e == "live")).collect();
    paths.sort();
    paths
}

fn extension(path: &Path) -> &str {
    path.extension().unwrap().to_str().unwrap()
}

/// What a process leaves that is killed: the rows it wrote, not sealed, not locked.
fn leave_unsealed(store: &Store, namespace: &str, numbers: impl IntoIterator<Item = u32>) -> PathBuf {
    let rows = store.rows().open(namespace).unwrap();
    for number in numbers {
        rows.put(&key(number), &value(number)).unwrap();
    }
    let live = segments(store, namespace).into_iter().find(|path| extension(path) == "live").unwrap();
    let copy = live.with_file_name("000000000000-dead.live");
    fs::copy(&live, &copy).unwrap();
    rows.close().unwrap();
    fs::remove_file(live.with_extension("rows")).unwrap();
    copy
}

fn found(rows: &Rows, numbers: std::ops::Range<u32>) -> Vec<u32> {
    let all = numbers.filter(|number| match rows.get(&key(*number)).unwrap() {
        Some(bytes) => {
            assert_eq!(bytes, value(*number), "row {number}");
            true
        }
        None => false,
    });
    all.collect()
}

#[test]
fn rows_are_there_at_once_and_after_reopening() {
    let test = TestStore::new();
    let rows = test.store.rows().open("generate").unwrap();
    assert!(segments(&test.store, "generate").is_empty(), "a writer that adds nothing leaves nothing");
    rows.put(&key(1), &value(1)).unwrap();
    rows.put(&key(1), b"second").unwrap();
    assert_eq!(rows.get(&key(1)).unwrap().unwrap(), value(1));
    assert_eq!(rows.get(&key(2)).unwrap(), None);
    assert_eq!(rows.len(), 1);
    rows.flush().unwrap();
    rows.close().unwrap();
    assert_eq!(segments(&test.store, "generate").iter().map(|path| extension(path)).collect::<Vec<_>>(), ["rows"]);
    let rows = test.store.rows().open("generate").unwrap();
    rows.put(&key(1), b"third").unwrap();
    assert_eq!(rows.get(&key(1)).unwrap().unwrap(), value(1));
    assert_eq!(test.store.rows().namespaces().unwrap(), ["generate"]);
    assert_eq!(test.store.rows().open("other").unwrap().get(&key(1)).unwrap(), None);
    assert_eq!((test.events(), test.temporaries()), (vec![], 0));
}

#[test]
fn a_namespace_cannot_leave_its_directory() {
    let test = TestStore::new();
    for name in ["", "..", "a/b", ".hidden", "A", "ü"] {
        assert!(matches!(test.store.rows().open(name), Err(StoreError::BadName { .. })), "{name}");
    }
    test.store.rows().open("label.quality-2").unwrap();
}

#[test]
fn writers_see_each_other_when_they_look_again() {
    let test = TestStore::new();
    let (one, two) = (test.store.rows().open("n").unwrap(), test.store.rows().open("n").unwrap());
    one.put(&key(1), &value(1)).unwrap();
    assert_eq!(two.get(&key(1)).unwrap(), None);
    two.refresh().unwrap();
    assert_eq!(two.get(&key(1)).unwrap().unwrap(), value(1));
    two.put(&key(2), &value(2)).unwrap();
    let reader = Store::open(test.store.root(), OpenMode::ReadOnly).unwrap().rows().open("n").unwrap();
    assert_eq!(found(&reader, 0..5), [1, 2]);
    drop((one, two));
    assert_eq!(found(&reader, 0..5), [1, 2], "an open segment stays readable when it is renamed");
    assert_eq!(test.events(), []);
}

#[test]
fn the_segment_of_a_dead_writer_is_completed() {
    let test = TestStore::new();
    let live = leave_unsealed(&test.store, "n", 0..50);
    let reader = open(test.store.root(), OpenMode::ReadOnly).0.rows().open("n").unwrap();
    assert_eq!(found(&reader, 0..60).len(), 50);
    assert!(live.exists(), "a reader changes nothing");
    let rows = test.store.rows().open("n").unwrap();
    assert_eq!(found(&rows, 0..60).len(), 50);
    assert_eq!(segments(&test.store, "n"), [live.with_extension("rows")]);
    assert!(matches!(test.events()[..], [StoreEvent::SegmentRecovered { rows: 50, .. }]));
    drop(rows);
    assert_eq!(found(&test.store.rows().open("n").unwrap(), 0..60).len(), 50);
    assert_eq!(test.events(), []);
}

#[test]
fn a_segment_cut_anywhere_keeps_every_whole_row() {
    let test = TestStore::new();
    let live = leave_unsealed(&test.store, "n", 0..8);
    let bytes = fs::read(&live).unwrap();
    let ends: Vec<usize> = (0..8u32)
        .scan(HEADER, |end, number| {
            *end += FRAME + value(number).len();
            Some(*end)
        })
        .collect();
    assert_eq!(*ends.last().unwrap(), bytes.len());
    for cut in 0..=bytes.len() {
        for path in segments(&test.store, "n") {
            fs::remove_file(path).unwrap();
        }
        fs::write(&live, &bytes[..cut]).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count() as u32;
        let rows = test.store.rows().open("n").unwrap();
        assert_eq!(found(&rows, 0..8), (0..whole).collect::<Vec<_>>(), "cut at {cut}");
        if cut % 7 != 0 {
            continue;
        }
        // The lost rows can be added again, and everything is sound afterwards.
        for number in 0..8 {
            rows.put(&key(number), &value(number)).unwrap();
        }
        rows.close().unwrap();
        assert_eq!(found(&test.store.rows().open("n").unwrap(), 0..8).len(), 8);
    }
}

#[test]
fn a_sealed_segment_cut_anywhere_keeps_every_whole_row() {
    let test = TestStore::new();
    let rows = test.store.rows().open("n").unwrap();
    for number in 0..4 {
        rows.put(&key(number), &value(number)).unwrap();
    }
    rows.close().unwrap();
    let path = segments(&test.store, "n").remove(0);
    let bytes = fs::read(&path).unwrap();
    for cut in 0..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let ends = (0..4u32).scan(HEADER, |end, number| {
            *end += FRAME + value(number).len();
            Some(*end)
        });
        let whole = ends.filter(|end| *end <= cut).count() as u32;
        let rows = test.store.rows().open("n").unwrap();
        assert_eq!(found(&rows, 0..4), (0..whole).collect::<Vec<_>>(), "cut at {cut}");
    }
}

#[test]
fn a_damaged_row_is_written_again() {
    let test = TestStore::new();
    let rows = test.store.rows().open("n").unwrap();
    for number in [50, 51] {
        rows.put(&key(number), &value(number)).unwrap();
    }
    rows.close().unwrap();
    damage(&segments(&test.store, "n")[0], |bytes| bytes[HEADER + FRAME + 5] ^= 1);
    let rows = test.store.rows().open("n").unwrap();
    assert_eq!(found(&rows, 50..52), [51]);
    assert!(matches!(test.events()[..], [StoreEvent::RowsDamaged { bytes: 98, .. }]));
    rows.put(&key(50), &value(50)).unwrap();
    assert_eq!(found(&rows, 50..52), [50, 51]);
    rows.close().unwrap();
    let report = test.store.verify(|_| {}).unwrap();
    assert_eq!((report.rows, report.damaged_rows), (2, BTreeMap::from([("n".to_owned(), 98)])));
    test.store.rows().compact("n").unwrap();
    assert!(test.store.verify(|_| {}).unwrap().is_sound(), "compaction leaves damage behind");
    assert_eq!(found(&test.store.rows().open("n").unwrap(), 50..52), [50, 51]);
}

#[test]
fn many_small_segments_become_one() {
    let test = TestStore::new();
    let reader = test.store.rows().open("n").unwrap();
    for number in 0..40 {
        let rows = test.store.rows().open("n").unwrap();
        rows.put(&key(number), &value(number)).unwrap();
        rows.put(&key(1000), b"shared").unwrap();
        rows.close().unwrap();
    }
    assert!(segments(&test.store, "n").len() < 16);
    let before = test.store.rows().open("n").unwrap();
    let done = test.store.rows().compact("n").unwrap();
    assert_eq!((done.rows, segments(&test.store, "n").len()), (41, 1));
    assert_eq!(found(&before, 0..50).len(), 40, "whoever has the old segments open still reads them");
    reader.refresh().unwrap();
    assert_eq!((found(&reader, 0..50).len(), reader.len()), (40, 41));
    assert_eq!(test.store.rows().compact("n").unwrap().merged, 0);
}

#[test]
fn a_segment_of_a_newer_program_is_neither_read_nor_removed() {
    let test = TestStore::new();
    let rows = test.store.rows().open("n").unwrap();
    rows.put(&key(1), &value(1)).unwrap();
    rows.close().unwrap();
    let path = segments(&test.store, "n").remove(0);
    damage(&path, |bytes| {
        bytes[8] = 2;
        let checksum = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    });
    let rows = test.store.rows().open("n").unwrap();
    assert!(found(&rows, 0..2).is_empty());
    rows.put(&key(1), &value(1)).unwrap();
    rows.close().unwrap();
    test.store.rows().compact("n").unwrap();
    assert!(path.exists());
}

/// What one of several writers, or a bystander, does.
#[derive(Debug, Clone)]
enum Step {
    Put(usize, u32),
    Flush(usize),
    Refresh(usize),
    Reopen(usize),
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..3, 0u32..60).prop_map(|(writer, number)| Step::Put(writer, number)),
        1 => (0usize..3).prop_map(Step::Flush),
        1 => (0usize..3).prop_map(Step::Refresh),
        1 => (0usize..3).prop_map(Step::Reopen),
        1 => Just(Step::Compact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_interleaving_of_writers_keeps_every_row(steps in prop::collection::vec(step(), 0..60)) {
        let test = TestStore::new();
        let open = || test.store.rows().open("n").unwrap();
        let mut writers = [open(), open(), open()];
        let mut put = std::collections::BTreeSet::new();
        for step in steps {
            match step {
                Step::Put(writer, number) => {
                    writers[writer].put(&key(number), &value(number)).unwrap();
                    prop_assert_eq!(writers[writer].get(&key(number)).unwrap(), Some(value(number)));
                    put.insert(number);
                }
                Step::Flush(writer) => writers[writer].flush().unwrap(),
                Step::Refresh(writer) => {
                    writers[writer].refresh().unwrap();
                    prop_assert_eq!(found(&writers[writer], 0..60), put.iter().copied().collect::<Vec<_>>());
                }
                Step::Reopen(writer) => {
                    writers[writer] = open();
                    prop_assert_eq!(writers[writer].len(), put.len());
                }
                Step::Compact => drop(test.store.rows().compact("n").unwrap()),
            }
        }
        drop(writers);
        prop_assert_eq!(found(&open(), 0..60), put.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(test.events(), vec![]);
    }

    #[test]
    fn flipped_bits_cost_the_rows_they_hit(
        sealed in any::<bool>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
    ) {
        let test = TestStore::new();
        let path = if sealed {
            let rows = test.store.rows().open("n").unwrap();
            for number in 0..30 {
                rows.put(&key(number), &value(number)).unwrap();
            }
            rows.close().unwrap();
            segments(&test.store, "n").remove(0)
        } else {
            leave_unsealed(&test.store, "n", 0..30)
        };
        let mut hit = std::collections::BTreeSet::new();
        damage(&path, |bytes| {
            for (at, bit) in &flips {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                let mut start = HEADER;
                for number in 0..30u32 {
                    let end = start + FRAME + value(number).len();
                    if (start..end).contains(&at) {
                        hit.insert(number);
                    }
                    start = end;
                }
            }
        });
        let rows = test.store.rows().open("n").unwrap();
        let kept = found(&rows, 0..30);
        for number in 0..30 {
            // Two flips of one bit undo each other.
            prop_assert!(kept.contains(&number) || hit.contains(&number), "row {} was lost", number);
        }
    }
}
