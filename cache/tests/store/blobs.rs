//! Blobs: what a name promises, and what happens when the promise was broken from outside.

use crate::common::{TestStore, damage, large};
use lsn_cache::{Digest, OpenMode, STORE_VERSION, Store, StoreError, StoreEvent};
use proptest::prelude::*;
use std::{fs, io::Write, os::unix::fs::PermissionsExt};

#[test]
fn a_name_appears_only_with_all_its_bytes() {
    // Invariant 1, as far as it can be seen without cutting the power: the name comes last, and only complete.
    let test = TestStore::new();
    let bytes = large(1);
    let digest = Digest::of(&bytes);
    let mut writer = test.store.blob_writer().unwrap();
    writer.write_all(&bytes).unwrap();
    assert_eq!(test.store.blob_size(&digest).unwrap(), None);
    assert_eq!(test.temporaries(), 1);
    drop(writer);
    assert_eq!(test.store.blob_size(&digest).unwrap(), None);
    assert_eq!(test.temporaries(), 0);

    let mut writer = test.store.blob_writer().unwrap();
    writer.write_all(&bytes).unwrap();
    assert_eq!(writer.finish().unwrap(), (digest, bytes.len() as u64));
    assert_eq!(test.store.read_blob(&digest).unwrap(), bytes);
    assert_eq!(test.temporaries(), 0);
    let mode = fs::metadata(test.store.blob_path(&digest)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
}

#[test]
fn a_reader_that_fails_leaves_nothing() {
    struct Failing(usize);
    impl std::io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            if self.0 > 3 { Err(std::io::Error::other("gone")) } else { Ok(buffer.len()) }
        }
    }
    let test = TestStore::new();
    assert!(matches!(test.store.put_reader(Failing(0)), Err(StoreError::Io { .. })));
    assert_eq!(test.store.blobs().unwrap(), []);
    assert_eq!(test.temporaries(), 0);
}

#[test]
fn damaged_bytes_go_to_quarantine_and_are_made_anew() {
    let test = TestStore::new();
    let bytes = large(2);
    let digest = test.store.put_bytes(&bytes).unwrap();
    damage(&test.store.blob_path(&digest), |bytes| bytes[777] ^= 4);
    let Err(StoreError::BlobDamaged { quarantined, .. }) = test.store.read_blob(&digest) else {
        panic!("damage went unnoticed")
    };
    assert!(quarantined.starts_with(test.store.root().join("quarantine")) && quarantined.exists());
    assert!(matches!(test.events()[..], [StoreEvent::BlobQuarantined { digest: of, .. }] if of == digest));
    assert!(matches!(test.store.read_blob(&digest), Err(StoreError::BlobMissing { .. })));
    test.store.put_bytes(&bytes).unwrap();
    assert_eq!(test.store.read_blob(&digest).unwrap(), bytes);
}

#[test]
fn a_torn_blob_is_replaced_by_the_next_put() {
    let test = TestStore::new();
    let bytes = large(3);
    let digest = test.store.put_bytes(&bytes).unwrap();
    damage(&test.store.blob_path(&digest), |bytes| bytes.truncate(100));
    assert_eq!(test.store.put_bytes(&bytes).unwrap(), digest);
    assert_eq!(test.store.read_blob(&digest).unwrap(), bytes);
}

#[test]
fn a_newer_store_is_read_and_not_written() {
    let test = TestStore::new();
    let digest = test.store.put_bytes(b"old").unwrap();
    fs::write(test.store.root().join("format"), format!("lsn-store {}\n", STORE_VERSION + 1)).unwrap();
    let store = Store::open(test.store.root(), OpenMode::ReadWrite).unwrap();
    assert!(!store.is_writable());
    assert_eq!(store.read_blob(&digest).unwrap(), b"old");
    let error = store.put_bytes(b"new").unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { found, .. } if found == STORE_VERSION + 1), "{error}");
    assert!(matches!(store.rows().open("r").unwrap().put(&digest, b""), Err(StoreError::NewerFormat { .. })));
}

#[test]
fn only_a_store_is_opened_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("s");
    assert!(matches!(Store::open(&root, OpenMode::ReadOnly), Err(StoreError::NoStore { .. })));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("thesis.tex"), "precious").unwrap();
    assert!(matches!(Store::open(&root, OpenMode::ReadWrite), Err(StoreError::NotAStore { .. })));
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1, "invariant 7: nothing was added to somebody's directory");
    fs::remove_file(root.join("thesis.tex")).unwrap();
    Store::open(&root, OpenMode::ReadWrite).unwrap();
    let reader = Store::open(&root, OpenMode::ReadOnly).unwrap();
    assert!(matches!(reader.put_bytes(b"x"), Err(StoreError::ReadOnly { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn however_bytes_come_in_they_have_one_name(bytes in prop::collection::vec(any::<u8>(), 0..60_000), piece in 1usize..9000) {
        let test = TestStore::new();
        let digest = Digest::of(&bytes);
        let mut writer = test.store.blob_writer().unwrap();
        for piece in bytes.chunks(piece) {
            writer.write_all(piece).unwrap();
        }
        prop_assert_eq!(writer.finish().unwrap(), (digest, bytes.len() as u64));
        prop_assert_eq!(test.store.put_reader(&bytes[..]).unwrap(), (digest, bytes.len() as u64));
        prop_assert_eq!(test.store.put_bytes(&bytes).unwrap(), digest);
        prop_assert_eq!(test.store.read_blob(&digest).unwrap(), &bytes[..]);
        prop_assert_eq!(test.store.verify_blob(&digest).unwrap(), bytes.len() as u64);
        prop_assert_eq!(test.store.blobs().unwrap(), vec![(digest, bytes.len() as u64)]);
        prop_assert_eq!(test.temporaries(), 0);
    }
}
