//! Built-in stages as tasks of a run: workers, rows, checkpoints.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use lsn::home::{Home, PastRun};
use rustix::process::{Pid, Signal, kill_process};
use std::{fs, path::Path};
use support::{Project, marked_processes, wait_until};

const PIPELINE: &str = r#"
params: {seed: 1, temperatures: [0.7, 1.0]}
stages:
  prompts:
    uses: prompts
    inputs: {sources: ./prompts.jsonl}
  generate:
    uses: generate
    inputs: {prompts: prompts.rows, model: ./model, heuristics: ./heuristics.yaml}
    with: {seed: "${params.seed}", max_tokens: 24}
  verify:
    uses: verify
    inputs: {generations: generate.rows, prompts: prompts.rows}
outputs: {rows: verify.rows}
"#;

fn prompts(count: usize, last: &str) -> String {
    (0..count)
        .map(|i| {
            let text = if i + 1 == count { last.to_owned() } else { format!("Tell me a story about {i} dogs.") };
            format!("{}\n", serde_json::json!({"prompt": text, "dataset": "stories", "checks": ["diversity"]}))
        })
        .collect()
}

fn heuristics(temperatures: &[f64]) -> String {
    let mut text = "sampling_pipelines:\n".to_owned();
    for t in temperatures {
        text += &format!(
            "  - {{name: t{t}, weight: 1.0, processors: [{{name: temperature, params: {{temperature: {t}}}}}]}}\n"
        );
    }
    text
}

fn project() -> Project {
    let project = Project::new();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/models/tiny");
    fs::create_dir(project.path("model")).unwrap();
    for entry in fs::read_dir(model).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), project.path("model").join(entry.file_name())).unwrap();
    }
    project
        .pipeline(PIPELINE)
        .write("prompts.jsonl", &prompts(6, "Say something."))
        .write("heuristics.yaml", &heuristics(&[0.7, 1.0]));
    project
}

/// Row counts of a task in a run: computed, reused.
fn rows(run: &support::Run, task: &str) -> (u64, u64) {
    let finished = run.events.iter().find(|event| event["event"] == "task_finished" && event["task"] == task).unwrap();
    (finished["rows"]["computed"].as_u64().unwrap(), finished["rows"]["reused"].as_u64().unwrap())
}

/// Invariant 9, and what rows are for: only what is new is computed, and the bytes are those of a computation from scratch.
#[test]
fn only_new_rows_are_computed() {
    let project = project();
    let run = project.run(&[]);
    assert_eq!(run.executed(), ["generate", "prompts", "verify"]);
    assert_eq!(rows(&run, "generate"), (12, 0));
    assert!(project.run(&[]).executed().is_empty());

    // One prompt's text: its rows only.
    project.write("prompts.jsonl", &prompts(6, "Say something else."));
    assert_eq!(rows(&project.run(&[]), "generate"), (2, 10));
    // One more heuristic: its rows only.
    project.write("heuristics.yaml", &heuristics(&[0.7, 1.0, 1.5]));
    assert_eq!(rows(&project.run(&[]), "generate"), (6, 12));
    // Another seed: nothing to reuse.
    assert_eq!(rows(&project.run(&["--set", "seed=2"]), "generate"), (18, 0));

    let fresh = self::project();
    fresh.write("prompts.jsonl", &prompts(6, "Say something else."));
    fresh.write("heuristics.yaml", &heuristics(&[0.7, 1.0, 1.5]));
    fresh.run(&[]);
    project.run(&[]);
    for part in fs::read_dir(fresh.path("rows")).unwrap() {
        let name = part.unwrap().file_name();
        let read = |project: &Project| fs::read(project.path("rows").join(&name)).unwrap();
        assert!(read(&fresh) == read(&project), "{} differs", name.display());
    }
}

#[test]
fn a_killed_worker_is_tried_again_and_goes_on_from_its_rows() {
    let project = project();
    project
        .write("prompts.jsonl", &prompts(40, "Say something."))
        .pipeline(&format!("defaults: {{retries: {{max: 2, backoff: 1ms}}}}{PIPELINE}"));
    let mut child = project.spawn(&["run", "pipeline.yaml", "--progress", "none"]);
    let home = Home::of(project.root());
    let generating = || {
        let runs = PastRun::all(&home);
        runs.iter().any(|run| run.task("generate").is_some_and(|task| task.started.is_some()))
    };
    wait_until("generate runs", generating);
    wait_until("rows are kept", || {
        let segments = walkdir::WalkDir::new(project.path(".lsn/store/rows")).into_iter().flatten();
        segments.filter(|entry| entry.file_type().is_file()).any(|entry| entry.metadata().is_ok_and(|m| m.len() > 4000))
            || child.try_wait().unwrap().is_some()
    });
    for pid in marked_processes(&project) {
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
    assert!(child.wait().unwrap().success());
    let run = PastRun::all(&home).remove(0);
    let task = run.task("generate").unwrap();
    // Unless it was so fast that the kill came too late, there was a second attempt which found rows of the first.
    if task.attempts > 1 {
        let rows = task.rows.unwrap();
        assert_eq!(rows.computed + rows.reused, 80);
        assert!(rows.reused > 0, "{rows:?}");
    }
    assert!(project.run(&[]).executed().is_empty());
    assert!(fs::read_dir(project.path(".lsn/scratch")).unwrap().next().is_none());
}

#[test]
fn what_a_stage_rejects_is_a_failure_with_its_words() {
    let project = project();
    project.write("prompts.jsonl", "this is not a prompt\n");
    let run = project.try_run(&[]);
    assert_eq!(run.said.code, Some(1));
    let failed = run.find("task_failed").unwrap();
    assert_eq!(failed["task"], "prompts");
    assert!(failed["message"].as_str().unwrap().len() > 20, "{failed}");
    assert_eq!(run.tasks("task_skipped").len(), 2);
}
