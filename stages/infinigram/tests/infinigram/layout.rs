//! What a build leaves on disk, and what it refuses.

use lsn_infinigram::{BuildOptions, CorpusCounts, Index, IndexBuilder, IndexError, TokenWidth, build};
use std::{collections::BTreeSet, fs, path::Path};

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The bytes that the infini-gram package's own tools write for these documents.
#[test]
fn the_files_are_those_of_the_package() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), BuildOptions::new(TokenWidth::U16), [&[256, 1][..], &[1]]).unwrap();
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("tokenized.0"), [0xff, 0xff, 0, 1, 1, 0, 0xff, 0xff, 1, 0]);
    assert_eq!(read("offset.0"), [[0, 0, 0, 0, 0, 0, 0, 0], [6, 0, 0, 0, 0, 0, 0, 0]].concat());
    // 256 is less than 1, byte by byte; the end of the shard is less than any token.
    assert_eq!(read("table.0"), [2, 8, 4, 0, 6]);
    assert_eq!(names(dir.path()), ["index.json", "offset.0", "table.0", "tokenized.0"].map(str::to_owned).into());
}

#[test]
fn many_shards_keep_the_order_of_documents() {
    let dir = tempfile::tempdir().unwrap();
    let documents: Vec<[u32; 3]> = (0..25).map(|document| [document, 100, document + 1]).collect();
    // Four tokens a shard: one document each.
    let options = BuildOptions { memory: 4 * 5, ..BuildOptions::new(TokenWidth::U8) };
    assert_eq!(build(dir.path(), options, &documents).unwrap().shards, 25);
    let index = Index::open(dir.path(), None).unwrap();
    for (number, document) in (0..).zip(&documents) {
        assert_eq!(index.document(number).unwrap().as_deref(), Some(&document[..]));
    }
    assert_eq!(index.document(25).unwrap(), None);
    assert_eq!(index.count(&[100]).unwrap(), 25);
}

#[test]
fn indexes_are_joined() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    build(dirs[0].path(), BuildOptions::new(TokenWidth::U8), [[1, 2, 3]]).unwrap();
    build(dirs[1].path(), BuildOptions::new(TokenWidth::U8), [[2, 3, 4]]).unwrap();
    let index = Index::open_all(&dirs.each_ref().map(tempfile::TempDir::path), None).unwrap();
    assert_eq!((index.shards(), index.documents(), index.tokens()), (2, 2, 8));
    assert_eq!(index.count(&[2, 3]).unwrap(), 2);
    assert_eq!(index.document(1).unwrap().unwrap(), [2, 3, 4]);
}

#[test]
fn a_build_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = BuildOptions { memory: 4 * 5, ..BuildOptions::new(TokenWidth::U8) };
    let failed = build(dir.path(), options.clone(), [&[1, 2, 3][..], &[1, 2], &[7, 255]]).unwrap_err();
    assert!(matches!(failed, IndexError::SeparatorInDocument { document: 2, .. }), "{failed}");
    assert!(names(dir.path()).is_empty());
    let failed = build(dir.path(), options.clone(), [&[1, 2, 3][..], &[1, 2, 3, 4]]).unwrap_err();
    assert!(matches!(failed, IndexError::DocumentTooLong { document: 1, tokens: 4, most: 3 }), "{failed}");
    assert!(names(dir.path()).is_empty());
    let failed = build::<&[u32]>(dir.path(), options.clone(), []).unwrap_err();
    assert!(matches!(failed, IndexError::NoDocuments), "{failed}");
    let mut builder = IndexBuilder::create(dir.path(), options).unwrap();
    builder.push(&[1]).unwrap();
    let failed = builder.push(&[256]).unwrap_err();
    assert!(matches!(failed, IndexError::TokenTooLarge { token: 256, .. }), "{failed}");
    builder.finish().unwrap();
    let failed = IndexBuilder::create(dir.path(), BuildOptions::new(TokenWidth::U8)).unwrap_err();
    assert!(matches!(failed, IndexError::Exists { .. }), "{failed}");
    assert_eq!(Index::open(dir.path(), None).unwrap().tokens(), 2);
}

#[test]
fn the_bytes_do_not_depend_on_threads_and_are_the_same_again() {
    let documents: Vec<Vec<u32>> = (0..40).map(|i| (0..i).map(|j| (i * j) % 11).collect()).collect();
    let built = [1, 1, 3].map(|threads| {
        let dir = tempfile::tempdir().unwrap();
        let memory = 100 * 8 * threads as u64;
        build(dir.path(), BuildOptions { memory, threads, ..BuildOptions::new(TokenWidth::U32) }, &documents).unwrap();
        names(dir.path()).into_iter().map(|name| fs::read(dir.path().join(name)).unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(built[0], built[1]);
    assert_eq!(built[0], built[2]);
}

/// Where the package's shortcut for ranges of equal tokens goes wrong, the exact answer and its answer differ.
#[test]
fn next_tokens_are_exact_and_as_the_package_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let documents = [&[1, 7][..], &[1, 8], &[2, 1], &[3, 1]];
    build(dir.path(), BuildOptions::new(TokenWidth::U16), documents).unwrap();
    let index = Index::open(dir.path(), None).unwrap();
    let next = index.ntd(&[1]).unwrap();
    assert_eq!((next.prompt_count, next.document_ends), (4, 2));
    assert_eq!(next.tokens, [(7, 1), (8, 1)].into());
    assert_eq!(index.ntd_compat(&[1], 0).unwrap(), [(0, 4)].into());
    // Three occurrences are counted one by one, and so is what does not end the shard.
    assert_eq!(index.ntd_compat(&[3], 0).unwrap(), [(1, 1)].into());
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), BuildOptions::new(TokenWidth::U16), [&[1, 7][..], &[1, 8], &[2, 1], &[3, 1], &[9]]).unwrap();
    let index = Index::open(dir.path(), None).unwrap();
    assert_eq!(index.ntd_compat(&[1], 0).unwrap(), [(0, 2), (7, 1), (8, 1)].into());
}
