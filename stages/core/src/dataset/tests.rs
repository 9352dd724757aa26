use super::{sort::Sorter, *};
use crate::record::{DiversityLabel, Prompt, PromptId};
use proptest::prelude::*;
use std::{fs, path::Path};

fn label(prompt: PromptId, sampler: &str) -> DiversityLabel {
    DiversityLabel {
        prompt_id: prompt,
        sampler: sampler.into(),
        samples: 2,
        self_bleu: Some(0.1),
        log_self_bleu: None,
        embedding_entropy: None,
        log_embedding_entropy: None,
        vendi_score: None,
    }
}

fn write(path: &Path, rows: &[DiversityLabel], options: WriteOptions) -> Schema {
    let mut writer = DataSetWriter::create_with(path, options).unwrap();
    for row in rows {
        writer.push(row).unwrap();
    }
    writer.finish().unwrap()
}

fn read(path: &Path) -> Vec<DiversityLabel> {
    let reader = DataSetReader::open(path).unwrap();
    reader.rows().unwrap().map(Result::unwrap).collect()
}

fn prompt(index: u32) -> PromptId {
    PromptId::new("d", &index.to_string(), None)
}

#[test]
fn rows_come_back_in_one_order_whatever_the_shards_and_the_compression() {
    let root = tempfile::tempdir().unwrap();
    let mut rows = Vec::new();
    for index in 0..20 {
        for sampler in ["b", "a"] {
            rows.push(label(prompt(index), sampler));
        }
    }
    let one = WriteOptions::default();
    let many = WriteOptions { shards: Some(5), compression: Compression::Zstd };
    let schema = write(&root.path().join("one"), &rows, one);
    assert_eq!((schema.rows, schema.prompts, schema.shards), (40, 20, 1));
    rows.reverse();
    write(&root.path().join("many"), &rows, many);
    write(&root.path().join("again"), &rows, one);
    assert_eq!(read(&root.path().join("one")), read(&root.path().join("many")));
    let bytes = |name: &str| fs::read(root.path().join(name).join("part-00000.jsonl")).unwrap();
    assert_eq!(bytes("one"), bytes("again"));

    let reader = DataSetReader::<DiversityLabel>::open(&root.path().join("many")).unwrap();
    let groups: Vec<_> = reader.groups().unwrap().map(Result::unwrap).collect();
    assert_eq!(groups.len(), 20);
    assert!(groups.iter().all(|g| g.rows.len() == 2 && g.rows.iter().all(|row| row.prompt_id == g.prompt_id)));
    let by_shard: usize = (0..5).map(|index| reader.shard_rows(index).unwrap().count()).sum();
    assert_eq!(by_shard, 40);
}

#[test]
fn a_lookup_joins_on_the_prompt_and_counts_what_nobody_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("labels");
    let rows: Vec<_> = (0..10).filter(|index| index % 3 != 0).map(|index| label(prompt(index), "a")).collect();
    write(&path, &rows, WriteOptions { shards: Some(3), ..WriteOptions::default() });
    let mut lookup = DataSetReader::<DiversityLabel>::open(&path).unwrap().lookup().unwrap();
    let mut asked: Vec<_> = (0..9).map(prompt).collect();
    asked.sort();
    for id in asked {
        let expected = rows.iter().filter(|row| row.prompt_id == id).count();
        assert_eq!(lookup.take(id).unwrap().len(), expected);
    }
    assert_eq!(lookup.finish().unwrap(), 0);
    let lookup = DataSetReader::<DiversityLabel>::open(&path).unwrap().lookup().unwrap();
    assert_eq!(lookup.finish().unwrap(), 6);
}

#[test]
fn malformed_rows_are_counted_shown_and_copied() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("prompts");
    let mut writer = DataSetWriter::create(&path).unwrap();
    for text in ["a", "b", "c"] {
        writer.push(&Prompt::new("d", text, None)).unwrap();
    }
    writer.finish().unwrap();
    let part = path.join("part-00000.jsonl");
    let mut lines: Vec<String> = fs::read_to_string(&part).unwrap().lines().map(str::to_owned).collect();
    lines[1] = "{\"prompt\": 3".to_owned();
    fs::write(&part, lines.join("\n") + "\n").unwrap();

    let error = DataSetReader::<Prompt>::open(&path).unwrap().rows().unwrap().find_map(Result::err).unwrap();
    assert!(error.to_string().contains("part-00000.jsonl:2"), "{error}");

    let options = ReadOptions::beside(&root.path().join("out"), 1);
    let reader = DataSetReader::<Prompt>::open_with(&path, options).unwrap();
    assert_eq!(reader.rows().unwrap().filter(Result::is_ok).count(), 2);
    assert_eq!(reader.rejected(), 1);
    let copy = fs::read_to_string(root.path().join("rejected.jsonl")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(copy.trim()).unwrap();
    assert_eq!((entry["line"].as_u64(), entry["row"].as_str()), (Some(2), Some("{\"prompt\": 3")));
}

#[test]
fn an_unfinished_writer_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = DataSetWriter::create(&root.path().join("rows")).unwrap();
    writer.push(&Prompt::new("d", "a", None)).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

proptest! {
    #[test]
    fn the_external_sort_equals_the_sort_in_memory(
        mut entries in prop::collection::vec((prop::collection::vec(0_u8..4, 0..4), prop::collection::vec(any::<u8>(), 0..8)), 0..400),
        budget in 0_usize..2000,
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::with_budget(root.path(), budget);
        for (key, row) in entries.clone() {
            sorter.push(key, row).unwrap();
        }
        let sorted: Vec<_> = sorter.finish().unwrap().map(Result::unwrap).collect();
        entries.sort();
        prop_assert_eq!(sorted, entries);
    }
}

#[test]
fn a_schema_that_claims_more_shards_than_there_are_costs_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("rows");
    let schema = write(&path, &[label(prompt(0), "a")], WriteOptions::default());
    let claimed = Schema { shards: u32::MAX, ..schema };
    fs::write(path.join(SCHEMA_FILE), serde_json::to_vec(&claimed).unwrap()).unwrap();
    let reader = DataSetReader::<DiversityLabel>::open(&path).unwrap();
    assert!(matches!(reader.rows().err(), Some(DataSetError::WrongShard { .. } | DataSetError::Io { .. })));
}

#[test]
fn parallel_readers_give_the_same_groups() {
    let root = tempfile::tempdir().unwrap();
    let rows: Vec<_> = (0..60).flat_map(|index| ["a", "b", "c"].map(|sampler| label(prompt(index), sampler))).collect();
    for shards in [1, 2, 7] {
        let path = root.path().join(shards.to_string());
        write(&path, &rows, WriteOptions { shards: Some(shards), ..WriteOptions::default() });
        let reader = DataSetReader::<DiversityLabel>::open(&path).unwrap();
        let flat = |group: Result<Group<DiversityLabel>, DataSetError>| {
            let group = group.unwrap();
            (group.prompt_id, group.rows)
        };
        let expected: Vec<_> = reader.groups().unwrap().map(flat).collect();
        assert_eq!(expected.len(), 60);
        for readers in [0, 1, 2, 3, 50] {
            for ahead in [0, 1, 40] {
                let read = std::thread::scope(|scope| -> Vec<_> {
                    reader.parallel_groups(scope, readers, ahead).unwrap().map(flat).collect()
                });
                assert_eq!(read, expected, "{shards} shards, {readers} readers");
                // Whoever leaves early waits for nobody.
                let some = std::thread::scope(|scope| {
                    reader.parallel_groups(scope, readers, ahead).unwrap().take(5).map(flat).collect::<Vec<_>>()
                });
                assert_eq!(some, expected[..5]);
            }
        }
    }
}

#[test]
fn parallel_readers_see_what_is_missing_or_damaged() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("rows");
    let rows: Vec<_> = (0..40).map(|index| label(prompt(index), "a")).collect();
    write(&path, &rows, WriteOptions { shards: Some(4), ..WriteOptions::default() });
    let error = || {
        let reader = DataSetReader::<DiversityLabel>::open(&path).unwrap();
        std::thread::scope(|scope| {
            let mut groups = reader.parallel_groups(scope, 2, 4).unwrap();
            let error = groups.by_ref().find_map(Result::err).unwrap();
            assert!(groups.next().is_none(), "nothing comes after an error");
            error
        })
    };
    let shard = path.join("part-00002.jsonl");
    let whole = fs::read_to_string(&shard).unwrap();
    let short: String = whole.lines().skip(1).map(|line| format!("{line}\n")).collect();
    fs::write(&shard, short).unwrap();
    assert!(matches!(error(), DataSetError::RowCount { expected: 40, found: 39, .. }));
    fs::write(&shard, &whole[..whole.len() - 10]).unwrap();
    let said = error().to_string();
    assert!(said.contains("part-00002.jsonl"), "{said}");
}
