//! Artifacts: from files to the store and back.

use crate::common::{TestStore, damage, large, tree};
use lsn_cache::{Access, Artifact, Catalog, Digest, MemoryIndex, Ownership, Stamp, StoreError};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::Arc,
};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn small_files_travel_inside_and_large_ones_are_blobs() {
    let test = TestStore::new();
    let out = test.path("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("small"), "text").unwrap();
    fs::write(out.join("binary"), [0xff, 0, 0xfe]).unwrap();
    fs::write(out.join("large"), large(1)).unwrap();
    let artifact = test.store.capture(&out, Ownership::Own).unwrap();
    let blobs: Vec<&str> = artifact.blobs().map(|(path, _)| path).collect();
    assert_eq!(blobs, ["large"]);
    assert_eq!(test.store.blobs().unwrap(), [(Digest::of(&large(1)), 20_000)]);
    let again: Artifact = serde_json::from_str(&serde_json::to_string(&artifact).unwrap()).unwrap();
    assert_eq!(again, artifact);
    let back = test.path("back");
    test.store.materialize(&again, &back, Access::ReadOnly).unwrap();
    assert_eq!(tree(&back), tree(&out));
}

#[test]
fn the_inline_bytes_of_one_artifact_are_limited() {
    let test = TestStore::new();
    let out = test.path("out");
    fs::create_dir(&out).unwrap();
    for i in 0..20u8 {
        fs::write(out.join(format!("{i:02}")), vec![i; 4000]).unwrap();
    }
    let artifact = test.store.capture(&out, Ownership::Own).unwrap();
    let inline: u64 = artifact.files().filter(|(_, file)| file.inline.is_some()).map(|(_, file)| file.size).sum();
    assert_eq!(inline, 32_000);
    assert_eq!(artifact.blobs().count(), 12);
    assert_eq!(artifact.size(), 80_000);
}

#[test]
fn somebody_elses_file_is_only_read() {
    // Invariant 7, for a file that is captured as foreign, one behind a link, and one with a second name elsewhere.
    let test = TestStore::new();
    let precious = test.path("precious");
    fs::write(&precious, large(1)).unwrap();
    set_mode(&precious, 0o640);
    let before = fs::metadata(&precious).unwrap();
    let out = test.path("out");
    fs::create_dir(&out).unwrap();
    symlink(&precious, out.join("link")).unwrap();
    test.store.capture(&precious, Ownership::Foreign).unwrap();
    test.store.capture(&out, Ownership::Own).unwrap();
    let after = fs::metadata(&precious).unwrap();
    assert_eq!((after.ino(), after.nlink(), after.mode()), (before.ino(), 1, before.mode()));
    assert_eq!(after.modified().unwrap(), before.modified().unwrap());

    fs::write(&precious, large(2)).unwrap();
    fs::hard_link(&precious, out.join("second-name")).unwrap();
    let artifact = test.store.capture(&out.join("second-name"), Ownership::Own).unwrap();
    assert_eq!(mode(&precious), 0o640);
    fs::write(&precious, "edited").unwrap();
    assert_eq!(test.store.read_blob(&artifact.digest()).unwrap(), large(2));
}

#[test]
fn links_are_what_is_behind_them() {
    let test = TestStore::new();
    let (plain, linked) = (test.path("plain"), test.path("linked"));
    for directory in [&plain, &linked] {
        fs::create_dir_all(directory.join("sub")).unwrap();
        fs::write(directory.join("sub/x"), large(1)).unwrap();
    }
    fs::create_dir(plain.join("again")).unwrap();
    fs::write(plain.join("again/x"), large(1)).unwrap();
    symlink("sub", linked.join("again")).unwrap();
    let of = |path: &Path| test.store.capture(path, Ownership::Own).unwrap();
    assert_eq!(of(&plain), of(&linked));

    symlink("../linked", linked.join("sub/up")).unwrap();
    symlink("..", linked.join("sub/loop")).unwrap();
    assert!(matches!(test.store.capture(&linked, Ownership::Own), Err(StoreError::LinkCycle { .. })));
    fs::remove_file(linked.join("sub/loop")).unwrap();
    fs::remove_file(linked.join("sub/up")).unwrap();
    symlink("nowhere", linked.join("dangling")).unwrap();
    let error = test.store.capture(&linked, Ownership::Own).unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("dangling"), "{error}");
    assert_eq!(test.temporaries(), 0);
}

#[test]
fn what_is_neither_file_nor_directory_is_refused() {
    let test = TestStore::new();
    let socket = test.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(
        test.store.capture(&socket, Ownership::Own),
        Err(StoreError::Unsupported { kind: "a socket", .. })
    ));
    use std::os::unix::ffi::OsStrExt;
    let out = test.path("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    assert!(matches!(test.store.capture(&out, Ownership::Own), Err(StoreError::NameNotUtf8 { .. })));
}

#[test]
fn editing_a_copy_does_not_reach_the_store() {
    let test = TestStore::new();
    for (name, file_mode) in [("plain", 0o644), ("tool", 0o755)] {
        let out = test.path(name);
        fs::write(&out, large(file_mode as u8)).unwrap();
        set_mode(&out, file_mode);
        let artifact = test.store.capture(&out, Ownership::Own).unwrap();
        let (read, edit) = (test.path(&format!("{name}-read")), test.path(&format!("{name}-edit")));
        test.store.materialize(&artifact, &read, Access::ReadOnly).unwrap();
        test.store.materialize(&artifact, &edit, Access::Editable).unwrap();
        assert_eq!(mode(&read), file_mode & 0o555);
        assert_eq!(mode(&edit) & 0o700, file_mode & 0o700);
        fs::write(&edit, "edited").unwrap();
        assert_eq!(fs::read(&read).unwrap(), large(file_mode as u8));
        test.store.verify_blob(&artifact.digest()).unwrap();
    }
}

#[test]
fn one_content_may_be_executable_here_and_not_there() {
    let test = TestStore::new();
    let out = test.path("out");
    fs::create_dir(&out).unwrap();
    for (name, file_mode) in [("data", 0o644), ("tool", 0o755)] {
        fs::write(out.join(name), large(1)).unwrap();
        set_mode(&out.join(name), file_mode);
    }
    let artifact = test.store.capture(&out, Ownership::Own).unwrap();
    for access in [Access::ReadOnly, Access::Editable] {
        let back = test.path(&format!("{access:?}"));
        test.store.materialize(&artifact, &back, access).unwrap();
        assert_eq!((mode(&back.join("data")) & 0o111, mode(&back.join("tool")) & 0o100), (0, 0o100));
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_half_made_stays() {
    let test = TestStore::new();
    let out = test.path("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("a"), large(1)).unwrap();
    fs::write(out.join("b"), large(2)).unwrap();
    let artifact = test.store.capture(&out, Ownership::Own).unwrap();
    let target = test.path("target");
    fs::create_dir(&target).unwrap();
    assert!(test.store.materialize(&artifact, &target, Access::ReadOnly).is_err());
    fs::remove_dir(&target).unwrap();

    let blob = test.store.blob_path(&Digest::of(&large(2)));
    damage(&blob, |bytes| bytes[0] ^= 1);
    let error = test.store.materialize(&artifact, &target, Access::Editable).unwrap_err();
    assert!(matches!(error, StoreError::BlobDamaged { .. }), "{error}");
    let error = test.store.materialize(&artifact, &target, Access::ReadOnly).unwrap_err();
    assert!(matches!(error, StoreError::BlobMissing { .. }), "{error}");
    fs::write(&blob, "short").unwrap();
    let error = test.store.materialize(&artifact, &target, Access::ReadOnly).unwrap_err();
    assert!(matches!(error, StoreError::BlobSize { found: 5, .. }), "{error}");
    let names: Vec<_> = fs::read_dir(test.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "only the store and the output: {names:?}");
}

#[test]
fn a_stamp_moves_with_every_write() {
    let test = TestStore::new();
    let out = test.path("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("a"), "1").unwrap();
    let catalog = Catalog::new(test.store.clone(), Arc::new(MemoryIndex::new()));
    let digest = catalog.digest_path(&out).unwrap();
    assert_eq!(digest.stamp, Stamp::of(&out).unwrap());
    fs::write(out.join("b"), "").unwrap();
    assert_ne!(digest.stamp, Stamp::of(&out).unwrap());
    fs::remove_file(out.join("b")).unwrap();
    set_mode(&out.join("a"), 0o755);
    assert_ne!(digest.stamp, Stamp::of(&out).unwrap());
}

/// A random tree: path of at most three names → content, or `None` for a directory; with executable bits.
fn random_tree() -> impl Strategy<Value = BTreeMap<Vec<u8>, Option<(Vec<u8>, bool)>>> {
    let path = prop::collection::vec(0u8..4, 1..4);
    let small = prop::collection::vec(any::<u8>(), 0..50);
    let large = any::<u8>().prop_map(|seed| vec![seed; 5000]);
    let content = prop::option::weighted(0.8, (prop_oneof![small, large], any::<bool>()));
    prop::collection::btree_map(path, content, 0..12)
}

fn write_tree(root: &Path, tree: &BTreeMap<Vec<u8>, Option<(Vec<u8>, bool)>>) {
    fs::create_dir(root).unwrap();
    for (path, content) in tree {
        let names = path.iter().map(|name| ["a", "b.txt", "ü", "B"][usize::from(*name)]);
        let path = names.fold(root.to_owned(), |path, name| path.join(name));
        // A name can be both a file and the parent of another: the first one stays.
        if fs::create_dir_all(path.parent().unwrap()).is_err() || path.exists() {
            continue;
        }
        match content {
            None => fs::create_dir(&path).unwrap(),
            Some((bytes, executable)) => {
                fs::write(&path, bytes).unwrap();
                set_mode(&path, if *executable { 0o755 } else { 0o644 });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_directory_comes_back_as_it_was(random in random_tree()) {
        let test = TestStore::new();
        let out = test.path("out");
        write_tree(&out, &random);
        let catalog = Catalog::new(test.store.clone(), Arc::new(MemoryIndex::new()));
        let scanned = catalog.digest_path(&out).unwrap();
        let artifact = test.store.capture(&out, Ownership::Own).unwrap();
        prop_assert_eq!(scanned.digest, artifact.digest());
        prop_assert_eq!(scanned.size, artifact.size());
        for access in [Access::ReadOnly, Access::Editable] {
            let back = test.path(&format!("{access:?}"));
            test.store.materialize(&artifact, &back, access).unwrap();
            prop_assert_eq!(tree(&back), tree(&out));
            prop_assert_eq!(catalog.digest_path(&back).unwrap().digest, artifact.digest());
        }
    }

    #[test]
    fn two_trees_have_one_digest_exactly_if_they_are_equal(a in random_tree(), b in random_tree()) {
        let test = TestStore::new();
        let (one, two) = (test.path("one"), test.path("two"));
        write_tree(&one, &a);
        write_tree(&two, &b);
        let modes = |root: &Path| -> Vec<bool> {
            let files = tree(root).into_iter().filter(|(_, content)| content.is_some());
            files.map(|(path, _)| mode(&root.join(path)) & 0o100 != 0).collect()
        };
        let equal = tree(&one) == tree(&two) && modes(&one) == modes(&two);
        let digest = |path: &Path| test.store.capture(path, Ownership::Foreign).unwrap().digest();
        prop_assert_eq!(digest(&one) == digest(&two), equal);
    }
}
