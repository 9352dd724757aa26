//! A program built with the feature `cuda`, on a machine with a GPU: a task that holds one generates there, and rows computed at
//! different times are the same bytes (invariant 9).
//!
//! Without a GPU the test says that it is skipped; `LSN_TEST_CUDA=1` makes that a failure.

#![cfg(feature = "cuda")]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use std::{fs, path::Path};
use support::Project;

const PIPELINE: &str = r#"
params: {limit: 8}
stages:
  prompts:
    uses: prompts
    inputs: {sources: ./prompts.jsonl}
    with: {limit: "${params.limit}"}
  generate:
    uses: generate
    inputs: {prompts: prompts.rows, model: ./model, heuristics: ./heuristics.yaml}
    with: {seed: 1, max_tokens: 48, device: cuda, context: 512, logprobs: true}
    resources: {gpus: 1}
outputs: {rows: generate.rows}
"#;

const HEURISTICS: &str = "sampling_pipelines:
  - {name: warm, weight: 1.0, processors: [{name: temperature, params: {temperature: 1.3}}]}
  - {name: nucleus, weight: 1.0, processors: [{name: top_p, params: {top_p: 0.8}}]}
";

fn project() -> Project {
    let project = Project::new();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir(project.path("model")).unwrap();
    for entry in fs::read_dir(repository.join("configs/models/tiny")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), project.path("model").join(entry.file_name())).unwrap();
    }
    let prompts: String = (0..8)
        .map(|dogs| serde_json::json!({"prompt": format!("Tell me a story about {dogs} dogs.")}))
        .map(|prompt| format!("{prompt}\n"))
        .collect();
    project.pipeline(PIPELINE).write("prompts.jsonl", &prompts).write("heuristics.yaml", HEURISTICS);
    project
}

/// Generated rows as they lie in the output, part by part.
fn rows(project: &Project) -> Vec<Vec<u8>> {
    let mut parts: Vec<_> = fs::read_dir(project.path("rows")).unwrap().map(|part| part.unwrap().path()).collect();
    parts.sort();
    parts.iter().map(|part| fs::read(part).unwrap()).collect()
}

#[test]
fn a_task_with_a_gpu_generates_on_it() {
    let gpus = fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count);
    if gpus == 0 {
        assert!(std::env::var_os("LSN_TEST_CUDA").is_none_or(|value| value != "1"), "LSN_TEST_CUDA=1, but no GPU");
        println!("SKIPPED: no GPU");
        return;
    }
    let whole = project();
    let run = whole.run(&[]);
    assert_eq!(run.executed(), ["generate", "prompts"]);
    let finished = run.events.iter().find(|event| event["event"] == "task_finished" && event["task"] == "generate");
    println!("{}", finished.unwrap());
    assert_eq!(finished.unwrap()["rows"]["computed"], 16);
    assert!(whole.run(&[]).executed().is_empty());

    // Some rows now, the rest later, beside other rows than before.
    let pieces = project();
    pieces.run(&["--set", "limit=3"]);
    let rest = pieces.run(&[]);
    let finished = rest.events.iter().find(|event| event["event"] == "task_finished" && event["task"] == "generate");
    assert_eq!(finished.unwrap()["rows"]["reused"], 6);
    assert!(rows(&whole) == rows(&pieces), "rows of two runs differ from those of one");
}
