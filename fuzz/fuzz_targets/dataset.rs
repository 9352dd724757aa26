//! A data-set directory with hostile files: no schema or shard may make the reader panic, hang or allocate without bound.
//!
//! The first byte says which record is read and how the shard is stored. Of what follows, up to the first NUL is `schema.json`
//! (empty: the one that fits) and the rest is the shard.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lsn_stage::{
    dataset::{DataSetReader, ReadOptions, SCHEMA_FILE},
    record::{DiversityLabel, Generation, OverlapLabel, Prompt, QualityLabel, Record, ScoredRow, VerifiableLabel},
};
use serde_json::json;
use std::{fs, path::Path};

fuzz_target!(|data: &[u8]| {
    let Some((&head, rest)) = data.split_first() else { return };
    let compressed = head & 0x80 != 0;
    let middle = rest.iter().position(|&byte| byte == 0).unwrap_or(0);
    let (schema, shard) = (&rest[..middle], rest.get(middle + 1..).unwrap_or_default());
    match head % 7 {
        0 => read::<Generation>(schema, shard, compressed),
        1 => read::<Prompt>(schema, shard, compressed),
        2 => read::<QualityLabel>(schema, shard, compressed),
        3 => read::<DiversityLabel>(schema, shard, compressed),
        4 => read::<VerifiableLabel>(schema, shard, compressed),
        5 => read::<OverlapLabel>(schema, shard, compressed),
        _ => read::<ScoredRow>(schema, shard, compressed),
    }
});

fn read<R: Record>(schema: &[u8], shard: &[u8], compressed: bool) {
    let directory = tempfile::Builder::new().tempdir_in("/dev/shm").expect("a directory in memory");
    let fitting = json!({
        "format": 1, "record": R::TYPE, "record_version": R::VERSION, "rows": 1, "prompts": 1, "shards": 1,
        "compression": if compressed { "zstd" } else { "none" }, "grouped_by": "prompt_id", "sorted_by": R::ORDER,
    });
    let write =
        |name: &str, content: &[u8]| fs::write(directory.path().join(name), content).expect("memory to write to");
    write(SCHEMA_FILE, if schema.is_empty() { fitting.to_string().into_bytes() } else { schema.to_vec() }.as_slice());
    write("part-00000.jsonl", shard);
    write("part-00000.jsonl.zst", shard);
    let rows = read_rows::<R>(directory.path());
    let Ok(reader) = DataSetReader::<R>::open_with(directory.path(), tolerant()) else { return };
    if let Ok(groups) = reader.groups() {
        let grouped: usize = groups.map_while(Result::ok).map(|group| group.rows.len()).sum();
        assert_eq!(grouped, rows, "groups are the rows");
    }
}

/// Reads all rows; each can be written, and what is written reads again.
fn read_rows<R: Record>(directory: &Path) -> usize {
    let Ok(reader) = DataSetReader::<R>::open_with(directory, tolerant()) else { return 0 };
    let Ok(rows) = reader.rows() else { return 0 };
    rows.map_while(Result::ok)
        .inspect(|row| {
            let text = serde_json::to_string(row).expect("a row that was read can be written");
            let again: R = serde_json::from_str(&text).expect("a row that was written can be read");
            assert_eq!(again.prompt_id(), row.prompt_id());
        })
        .count()
}

fn tolerant() -> ReadOptions {
    ReadOptions { max_rejected: u64::MAX, rejected: None }
}
