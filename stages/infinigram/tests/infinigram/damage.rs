//! Files that are not what they should be give errors, whatever is in them.

use lsn_infinigram::{
    BuildOptions, CorpusCounts, DESCRIPTION_FILE, Index, IndexError, MatchProfile, TokenWidth, build,
};
use proptest::prelude::*;
use std::{fs, path::Path};

const DOCUMENTS: [&[u32]; 4] = [&[1, 2, 3, 1, 2], &[], &[300, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8]];

fn small_index(dir: &Path) {
    build(dir, BuildOptions::new(TokenWidth::U16), DOCUMENTS).unwrap();
}

/// Asks everything there is to ask; answers may be wrong, but there is no panic.
fn ask(index: &Index) {
    for query in [&[][..], &[1, 2], &[2, 3, 4], &[9], &[65_535], &[3, 65_535, 300]] {
        let _ = (index.count(query), index.ntd(query), index.infgram_ntd(query), index.infgram_prob(query, &3));
        let _ = MatchProfile::of(index, query, usize::MAX);
        let Ok(found) = index.find(query) else { continue };
        for (shard, ranks) in found.ranks.into_iter().enumerate() {
            for rank in ranks {
                let _ = index.occurrence(shard, rank);
            }
        }
    }
    for document in 0..index.documents() + 2 {
        let _ = index.document(document);
    }
}

proptest! {
    #[test]
    fn no_file_content_makes_a_search_fall_over(
        file in proptest::sample::select(vec!["tokenized.0", "offset.0", "table.0"]),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
        described in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        small_index(dir.path());
        let path = dir.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&path, bytes).unwrap();
        if !described {
            fs::remove_file(dir.path().join(DESCRIPTION_FILE)).unwrap();
        }
        let width = (!described).then_some(TokenWidth::U16);
        if let Ok(index) = Index::open(dir.path(), width) {
            ask(&index);
        }
    }
}

#[test]
fn truncated_files_are_damaged() {
    for file in ["tokenized.0", "offset.0", "table.0"] {
        let dir = tempfile::tempdir().unwrap();
        small_index(dir.path());
        let path = dir.path().join(file);
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let opened = Index::open(dir.path(), None);
            assert!(matches!(opened, Err(IndexError::Damaged { .. })), "{file} of {len} bytes: {opened:?}");
        }
    }
}

#[test]
fn a_pointer_out_of_range_is_named() {
    let dir = tempfile::tempdir().unwrap();
    small_index(dir.path());
    let path = dir.path().join("table.0");
    let entries = fs::read(&path).unwrap().len();
    // All entries point behind the end, then to the middle of a token.
    for (entry, problem) in [(255, "points to byte 255"), (3, "points to byte 3,")] {
        fs::write(&path, vec![entry; entries]).unwrap();
        let index = Index::open(dir.path(), None).unwrap();
        for error in [
            index.count(&[1]).unwrap_err(),
            index.ntd(&[]).unwrap_err(),
            index.prob(&[1], &2).unwrap_err(),
            index.longest_matches(&[1, 2], 5).unwrap_err(),
            index.occurrence(0, 0).unwrap_err(),
        ] {
            assert!(matches!(error, IndexError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains(problem) && error.to_string().contains("table.0"), "{error}");
        }
    }
}

#[test]
fn what_cannot_be_an_index_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let open = |width| Index::open(dir.path(), width).unwrap_err();
    assert!(matches!(open(None), IndexError::NoIndex { .. }));
    small_index(dir.path());
    assert!(matches!(open(Some(TokenWidth::U32)), IndexError::OtherWidth { found: TokenWidth::U16, .. }));
    let description = dir.path().join(DESCRIPTION_FILE);
    let text = fs::read_to_string(&description).unwrap();
    fs::write(&description, text.replace("\"format\": 1", "\"format\": 2, \"colour\": true")).unwrap();
    assert!(matches!(open(None), IndexError::NewerFormat { format: 2, newest: 1, .. }));
    fs::remove_file(&description).unwrap();
    assert!(matches!(open(None), IndexError::UnknownWidth { .. }));
    // Without the description, the files themselves tell of another width.
    for width in [TokenWidth::U8, TokenWidth::U32] {
        assert!(matches!(open(Some(width)), IndexError::Damaged { .. }));
    }
    fs::remove_file(dir.path().join("offset.0")).unwrap();
    assert!(open(Some(TokenWidth::U16)).to_string().contains("no `offset.0`"));
    let missing = Index::open(&dir.path().join("missing"), None).unwrap_err();
    assert!(matches!(&missing, IndexError::Io { action: "read", .. }), "{missing}");
}

#[test]
fn tokens_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    small_index(dir.path());
    let index = Index::open(dir.path(), None).unwrap();
    assert!(matches!(index.count(&[65_536]), Err(IndexError::TokenTooLarge { token: 65_536, .. })));
    assert!(matches!(index.prob(&[1], &70_000), Err(IndexError::TokenTooLarge { token: 70_000, .. })));
}
