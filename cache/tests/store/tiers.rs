//! Tiers: results travel whole or not at all, and nothing that arrives is trusted.

use crate::common::{TestStore, damage, key, large, record};
use lsn_cache::{Digest, Lookup, Ownership, ParseRecordError, Published, StoreError, TierError};
use std::fs;

fn publish(test: &TestStore, name: &str, seed: u8) {
    let out = test.path(name);
    fs::create_dir(&out).unwrap();
    fs::write(out.join("small"), name).unwrap();
    fs::write(out.join("large"), large(seed)).unwrap();
    let artifact = test.store.capture(&out, Ownership::Own).unwrap();
    assert_eq!(test.store.put_action(&record(name, [("x", artifact)])).unwrap(), Published::New);
}

fn is_hit(test: &TestStore, name: &str) -> bool {
    matches!(test.store.action(&key(name)).unwrap(), Lookup::Hit(_))
}

#[test]
fn a_result_travels_there_and_back() {
    let (here, group, elsewhere) = (TestStore::new(), TestStore::new(), TestStore::new());
    publish(&here, "a", 1);
    assert!(!here.store.push(&group.store, &key("absent")).unwrap());
    assert!(here.store.push(&group.store, &key("a")).unwrap());
    assert!(here.store.push(&group.store, &key("a")).unwrap(), "twice does no harm");
    assert!(elsewhere.store.pull(&group.store, &key("absent")).unwrap().is_none());
    let pulled = elsewhere.store.pull(&group.store, &key("a")).unwrap().unwrap();
    assert_eq!(pulled.key, key("a"));
    assert!(is_hit(&elsewhere, "a") && elsewhere.store.verify(|_| {}).unwrap().is_sound());
}

#[test]
fn damaged_bytes_of_a_tier_do_not_come_in() {
    let (here, group) = (TestStore::new(), TestStore::new());
    publish(&group, "a", 1);
    damage(&group.store.blob_path(&Digest::of(&large(1))), |bytes| bytes[5] ^= 1);
    let error = here.store.pull(&group.store, &key("a")).unwrap_err();
    assert!(matches!(error, TierError::BlobDamaged { .. }), "{error}");
    assert_eq!((here.store.blobs().unwrap().len(), here.temporaries(), is_hit(&here, "a")), (0, 0, false));

    fs::remove_file(group.store.blob_path(&Digest::of(&large(1)))).unwrap();
    assert!(here.store.pull(&group.store, &key("a")).unwrap().is_none());

    let hex = key("a").0.hex();
    damage(&group.store.root().join("actions").join(&hex[..2]).join(&hex), |bytes| bytes[100] ^= 1);
    let error = here.store.pull(&group.store, &key("a")).unwrap_err();
    assert!(matches!(error, TierError::RecordDamaged { source: ParseRecordError::Checksum, .. }), "{error}");
}

#[test]
fn a_damaged_blob_is_not_sent() {
    let (here, group) = (TestStore::new(), TestStore::new());
    publish(&here, "a", 1);
    damage(&here.store.blob_path(&Digest::of(&large(1))), |bytes| bytes[5] ^= 1);
    let error = here.store.push(&group.store, &key("a")).unwrap_err();
    assert!(matches!(error, TierError::BlobDamaged { .. }), "{error}");
    assert_eq!((group.store.blobs().unwrap().len(), group.temporaries(), is_hit(&group, "a")), (0, 0, false));
}

#[test]
fn rows_travel_by_segment() {
    let (here, group, elsewhere) = (TestStore::new(), TestStore::new(), TestStore::new());
    for number in 0..3u8 {
        let rows = here.store.rows().open("n").unwrap();
        rows.put(&Digest::of(&[number]), &[number]).unwrap();
        rows.close().unwrap();
    }
    assert_eq!(here.store.push_rows(&group.store, "n").unwrap(), 3);
    assert_eq!(here.store.push_rows(&group.store, "n").unwrap(), 0);
    assert_eq!(elsewhere.store.pull_rows(&group.store, "n").unwrap(), 3);
    let rows = elsewhere.store.rows().open("n").unwrap();
    assert_eq!(rows.get(&Digest::of(&[2])).unwrap().unwrap(), [2]);
    assert_eq!(rows.len(), 3);
    use lsn_cache::Tier;
    for name in ["../../format", "a.rows/b", ".rows", "x"] {
        let error = group.store.get_rows("n", name).unwrap_err();
        assert!(matches!(error, TierError::Store(StoreError::BadName { .. })), "{name}");
    }
}
