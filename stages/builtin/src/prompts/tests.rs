use super::*;
use crate::harness::{Harness, read};
use lsn_stage::record::Check;
use serde_json::json;
use std::{collections::BTreeSet, path::Path};

fn params(value: serde_json::Value) -> PromptsParams {
    serde_json::from_value(value).unwrap()
}

fn run(harness: &Harness, sources: &[&Path], value: serde_json::Value) -> StageResult<(Vec<Prompt>, Vec<Prompt>)> {
    let params = params(value);
    let ctx = harness.context(&[("sources", sources)], &["rows", "heldout"]);
    let split = params.held_out > 0.0;
    Prompts.run(params, &ctx)?;
    let heldout = if split { read(ctx.output("heldout")?) } else { vec![] };
    Ok((read(ctx.output("rows")?), heldout))
}

fn texts(prompts: &[Prompt]) -> BTreeSet<&str> {
    prompts.iter().map(|prompt| prompt.prompt.as_str()).collect()
}

#[test]
fn all_text_formats_give_the_same_prompts() {
    let harness = Harness::new();
    let rows = json!([
        {"prompt": "one, two", "ground_truth": "3", "note": "a"},
        {"prompt": "say \"x\"\nthen y", "ground_truth": "4", "note": "b"},
    ]);
    let lines: String = rows.as_array().unwrap().iter().map(|row| format!("{row}\n")).collect();
    let table = "prompt,ground_truth,note\n\"one, two\",3,a\n\"say \"\"x\"\"\nthen y\",4,b\n";
    let sources = [
        harness.file("lines", format!("\u{feff}\n{lines}\n")),
        harness.file("array", rows.to_string()),
        harness.file("pretty", serde_json::to_string_pretty(&rows).unwrap()),
        harness.file("document", serde_json::to_string_pretty(&json!({"about": [1], "rows": rows})).unwrap()),
        harness.file("table", table),
        harness.file("zstd", zstd::encode_all(lines.as_bytes(), 1).unwrap()),
    ];
    let expected = run(&harness, &[&sources[0]], json!({})).unwrap().0;
    assert_eq!(expected.len(), 2);
    assert_eq!(expected[0].checks, [Check::Verifiable]);
    assert!(expected.iter().all(|prompt| prompt.extra.contains_key("note") && prompt.dataset == "prompts"));
    for source in &sources[1..] {
        assert_eq!(run(&harness, &[source], json!({})).unwrap().0, expected, "{}", source.display());
    }
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_files_are_read() {
    use parquet::{
        data_type::ByteArrayType,
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::parser::parse_message_type,
    };
    let harness = Harness::new();
    let path = harness.path("file");
    let schema = "message rows { required binary prompt (UTF8); required binary answer (UTF8); }";
    let schema = std::sync::Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, properties.into()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for column in [["p", "q"], ["1", "2"]] {
        let mut out = group.next_column().unwrap().unwrap();
        out.typed::<ByteArrayType>().write_batch(&column.map(Into::into), None, None).unwrap();
        out.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    let rows = run(&harness, &[&path], json!({"source": {"ground_truth_key": "answer"}})).unwrap().0;
    assert_eq!(texts(&rows), BTreeSet::from(["p", "q"]));
    let p = rows.iter().find(|row| row.prompt == "p").unwrap();
    assert_eq!(p.ground_truth, Some(json!("1")));
}

#[test]
fn the_reference_switches_and_reserved_fields_are_understood() {
    let harness = Harness::new();
    let row = json!({
        "messages": [{"content": "hi"}], "score": 2, "model": "x", "prompt_id": "theirs",
        "incidence_vector": {"check_factual": false, "check_ifeval_or_math_or_gsm8k": true, "check_diversity": true},
    });
    let file = harness.file("rows", row.to_string());
    let with = json!({"sources": [{"prompt_key": "/messages/0/content", "name": "chat"}]});
    let rows = run(&harness, &[&file], with).unwrap().0;
    assert_eq!(rows[0].checks, [Check::Diversity, Check::Verifiable]);
    assert_eq!((rows[0].prompt.as_str(), rows[0].dataset.as_str()), ("hi", "chat"));
    let fields: Vec<_> = rows[0].extra.keys().map(String::as_str).collect();
    assert_eq!(fields, ["messages", "source_score", "source_model", "incidence_vector"]);
}

#[test]
fn limits_samples_and_splits_are_stable() {
    let harness = Harness::new();
    let lines =
        |range: std::ops::Range<u32>| -> String { range.map(|i| format!("{{\"prompt\": \"{i}\"}}\n")).collect() };
    let directory = harness.file("all/a.jsonl", lines(0..300)).parent().unwrap().to_owned();
    harness.file("all/b.jsonl", lines(200..500));
    let (rows, _) = run(&harness, &[&directory], json!({})).unwrap();
    assert_eq!(rows.len(), 500);
    let (first, _) = run(&harness, &[&directory], json!({"limit": 2})).unwrap();
    assert_eq!(texts(&first), BTreeSet::from(["0", "1"]));

    let sample = |limit: u32, seed: u32| {
        run(&harness, &[&directory], json!({"limit": limit, "select": "random", "seed": seed})).unwrap().0
    };
    let (small, large) = (sample(50, 1), sample(80, 1));
    assert_eq!((small.len(), large.len()), (50, 80));
    assert!(texts(&small).is_subset(&texts(&large)));
    assert_ne!(texts(&small), texts(&sample(50, 2)));

    let (train, heldout) = run(&harness, &[&directory], json!({"held_out": 0.2})).unwrap();
    assert!(texts(&train).is_disjoint(&texts(&heldout)));
    assert_eq!(train.len() + heldout.len(), 500);
    assert!((70..130).contains(&heldout.len()), "{}", heldout.len());
}

#[test]
fn malformed_rows_stop_the_stage_unless_they_are_allowed() {
    let harness = Harness::new();
    let file =
        harness.file("rows", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"\n{\"text\": \"c\"}\n{\"prompt\": \" \"}\n");
    let message = run(&harness, &[&file], json!({})).unwrap_err().message;
    assert!(message.contains("rows:2") && message.contains("at most 0"), "{message}");
    let (rows, _) = run(&harness, &[&file], json!({"max_rejected": 3})).unwrap();
    assert_eq!(texts(&rows), BTreeSet::from(["a"]));
    assert!(run(&harness, &[&file], json!({"max_rejected": 2})).unwrap_err().message.contains("fields: text"));
}

#[test]
fn a_hub_file_must_be_pinned() {
    let with = params(json!({"hub": [{"repo": "a/b", "revision": "main", "file": "x.jsonl"}], "held_out": 1.0}));
    let issues = Stage::check(&Prompts, &with).unwrap_err();
    let pointers: Vec<_> = issues.iter().map(|issue| issue.pointer.as_str()).collect();
    assert_eq!(pointers, ["/held_out", "/hub/0/revision"]);
}
