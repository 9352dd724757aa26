//! `lsn index` through the real program: build, ask, and what it says when it cannot.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use serde_json::{Value, json};
use support::Project;

fn json_of(project: &Project, args: &[&str]) -> Value {
    serde_json::from_str(&project.lsn(args).ok().out).unwrap()
}

#[test]
fn an_index_is_built_and_asked() {
    let project = Project::new();
    project.write("docs/a.jsonl", "{\"text\": \"the cat sat\"}\n{\"text\": \"the cat ran\"}\n");
    project.write("docs/b.jsonl", "{\"text\": \"a dog\"}\n");
    let built = json_of(&project, &["index", "build", "docs", "--out", "index", "--json"]);
    assert_eq!((&built["documents"], &built["token_width"], &built["shards"]), (&json!(3), &json!("u8"), &json!(1)));

    assert_eq!(project.lsn(&["index", "query", "index", "count", "the cat "]).ok().out, "2\n");
    let prob = json_of(&project, &["index", "query", "index", "prob", "the cat s", "--json"]);
    assert_eq!(prob, json!({"prompt_cnt": 2, "cont_cnt": 1, "prob": 0.5}));
    let backoff = json_of(&project, &["index", "query", "index", "infgram-prob", "zzcat r", "--json"]);
    assert_eq!(backoff, json!({"prompt_cnt": 2, "cont_cnt": 1, "prob": 0.5, "suffix_len": 4}));
    let ntd = json_of(&project, &["index", "query", "index", "ntd", "at", "--json"]);
    assert_eq!((&ntd["prompt_cnt"], &ntd["document_ends"]), (&json!(3), &json!(1)));
    assert_eq!(ntd["result_by_token_id"]["32"]["cont_cnt"], 2);
    let find = project.lsn(&["index", "query", "index", "find", "dog"]).ok().out;
    assert_eq!(find, "1 occurrences\ndocument 2, token 2\n");
    let overlap = json_of(&project, &["index", "query", "index", "overlap", "the cat, a dog", "--json"]);
    assert_eq!((&overlap["tokens"], &overlap["coverage"], &overlap["breaks"]), (&json!(14), &json!(13), &json!(1)));
    assert_eq!(overlap["longest_match"], 7);

    // Many questions at once, by ids too.
    project.write("questions", "{\"what\": \"count\", \"text\": \"cat\"}\n{\"what\": \"count\", \"ids\": [255]}\n");
    let answers = project.lsn(&["index", "query", "index", "--batch", "questions"]).ok().out;
    assert_eq!(answers, "{\"count\":2}\n{\"count\":3}\n");
}

#[test]
fn a_tokenizer_is_kept_with_the_index() {
    let project = Project::new();
    project.write("text", "the quick fox\nthe quick dog\n");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/models/tiny");
    let args = ["index", "build", "text", "--format", "lines", "--tokenizer", model, "--out", "index"];
    assert!(project.lsn(&args).ok().out.starts_with("2 documents, "));
    assert_eq!(project.lsn(&["index", "query", "index", "count", "the quick"]).ok().out, "2\n");
}

#[test]
fn mistakes_are_explained() {
    let project = Project::new();
    project.write("docs.jsonl", "{\"text\": \"the cat sat\"}\n{\"body\": \"x\"}\n");
    let said = project.lsn(&["index", "build", "docs.jsonl", "--out", "index"]).code(2);
    assert!(said.err.contains("row 2") && said.err.contains("`text`"), "{}", said.err);
    // What failed is not in the way of what comes next.
    project.write("docs.jsonl", "{\"text\": \"the cat sat\"}\n");
    project.lsn(&["index", "build", "docs.jsonl", "--out", "index"]).ok();
    let said = project.lsn(&["index", "build", "docs.jsonl", "--out", "index"]).code(2);
    assert!(said.err.contains("holds an index already"), "{}", said.err);
    let said = project.lsn(&["index", "query", "index", "count", "--ids", "256"]).code(2);
    assert!(said.err.contains("token id 256"), "{}", said.err);
    let said = project.lsn(&["index", "query", "nowhere", "count", "x"]).code(1);
    assert!(said.err.contains("nowhere"), "{}", said.err);
    std::fs::remove_file(project.path("index/index.json")).unwrap();
    let said = project.lsn(&["index", "query", "index", "count", "--ids", "97"]).code(2);
    assert!(said.err.contains("--width"), "{}", said.err);
    assert_eq!(project.lsn(&["index", "query", "index", "count", "--ids", "97", "--width", "u8"]).ok().out, "2\n");
}
