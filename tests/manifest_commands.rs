//! The commands that need a manifest and files only, as a person types them.

#![expect(clippy::expect_used, reason = "what a test sets up must work")]

use assert_cmd::Command;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use std::{fs, path::Path};

fn lsn(directory: &Path) -> Command {
    let mut command = Command::cargo_bin("lsn").expect("the binary");
    command.current_dir(directory).env_remove("LSN_PROFILE").env_remove("LSN_STORE").env("NO_COLOR", "1");
    command
}

/// Exit code, stdout and stderr.
fn said(directory: &Path, args: &[&str]) -> (i32, String, String) {
    let output = lsn(directory).args(args).output().expect("a process");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Stdout of a command that must succeed.
fn done(directory: &Path, args: &[&str]) -> String {
    let (code, out, err) = said(directory, args);
    assert_eq!(code, 0, "lsn {}: {out}{err}", args.join(" "));
    out
}

fn json(directory: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&done(directory, args)).expect("JSON")
}

fn project() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    done(directory.path(), &["init"]);
    directory
}

#[test]
fn what_init_writes_runs_at_once() {
    let project = project();
    let root = project.path();
    assert_eq!(fs::read_to_string(root.join(".gitignore")).expect("a file"), ".lsn/\nresults/\n");
    assert!(done(root, &["validate", "--strict"]).contains("valid pipelines/words.yaml: 3 tasks in 2 stages"));
    done(root, &["run"]);
    let table = fs::read_to_string(root.join("results/words.txt")).expect("the result");
    assert_eq!(table.lines().count(), 5);
    assert!(table.lines().next().is_some_and(|line| line.trim().ends_with("the")), "{table}");
    let (code, _, err) = said(root, &["init"]);
    assert_eq!(code, 2);
    assert!(err.contains("overwrites nothing"), "{err}");
}

#[test]
fn init_makes_the_directory_that_it_is_given() {
    let directory = tempfile::tempdir().expect("a directory");
    done(directory.path(), &["init", "new/project"]);
    assert!(directory.path().join("new/project/pipelines/words.yaml").is_file());
}

#[test]
fn init_keeps_what_an_ignore_file_says() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join(".gitignore"), "target\n/results/").expect("a file");
    done(directory.path(), &["init"]);
    let text = fs::read_to_string(directory.path().join(".gitignore")).expect("a file");
    assert_eq!(text, "target\n/results/\n.lsn/\n");
}

#[test]
fn validate_reports_on_stderr_and_as_json() {
    let project = project();
    let root = project.path();
    fs::write(root.join("pipelines/broken.yaml"), "lsn: 1\nstages: {a: {use: command}}\n").expect("a file");
    let (code, out, err) = said(root, &["validate", "pipelines/broken.yaml", "pipelines/words.yaml"]);
    assert_eq!(code, 2);
    assert!(out.contains("valid pipelines/words.yaml"), "{out}");
    assert!(err.contains("did you mean `uses`?") && err.contains("2 problems in 1 manifest"), "{err}");

    let (code, out, _) = said(root, &["validate", "--json", "pipelines/broken.yaml"]);
    assert_eq!(code, 2);
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report[0]["valid"], false);
    assert_eq!(report[0]["problems"][1]["message"], "unknown key `use` in `a`");
    assert_eq!(report[0]["problems"][1]["line"], 2);

    fs::remove_file(root.join("data/fable.txt")).expect("a file");
    assert_eq!(said(root, &["validate", "pipelines/words.yaml"]).0, 0);
    let (code, _, err) = said(root, &["validate", "--strict", "pipelines/words.yaml"]);
    assert_eq!(code, 2);
    assert!(err.contains("there is no `data/fable.txt` in the project"), "{err}");
}

#[test]
fn graphs_in_every_format() {
    let project = project();
    let root = project.path();
    let mermaid = done(root, &["graph"]);
    assert!(mermaid.starts_with("flowchart TD\n") && mermaid.contains("n0 --> n1"), "{mermaid}");
    assert!(mermaid.contains("split × 2<br/>command\"]:::plain"), "{mermaid}");
    assert!(done(root, &["graph", "--format", "dot", "--tasks"]).contains("split[text=fable]"));
    done(root, &["run"]);
    let drawing = json(root, &["graph", "--format", "json"]);
    assert!(drawing["nodes"].as_array().expect("nodes").iter().all(|node| node["state"] == "cached"), "{drawing}");
    let drawing = json(root, &["graph", "--format", "json", "--set", "top=3"]);
    assert_eq!([&drawing["nodes"][0]["state"], &drawing["nodes"][1]["state"]], ["cached", "run"]);
    done(root, &["graph", "--format", "svg", "-o", "graph.svg"]);
    let svg = fs::read_to_string(root.join("graph.svg")).expect("the drawing");
    assert!(svg.contains("</svg>") && svg.contains(">count<") && svg.contains(">cached<"), "{svg}");
}

#[test]
fn stages_are_listed_described_and_run_by_hand() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    assert!(done(root, &["stage", "list"]).lines().any(|line| line.starts_with("command ")));
    let described = done(root, &["stage", "describe", "command"]);
    assert!(described.contains("run: string, required"), "{described}");
    assert_eq!(json(root, &["stage", "describe", "command", "--json"])["name"], "command");
    let (code, _, err) = said(root, &["stage", "describe", "comand"]);
    assert_eq!((code, err.contains("did you mean `command`?")), (2, true), "{err}");

    fs::write(root.join("a.txt"), "one\n").expect("a file");
    fs::write(root.join("b.txt"), "two\n").expect("a file");
    let by_hand = |out: &str| {
        let run = "run=cat ${inputs.text} > ${outputs.all}";
        let args = ["stage", "run", "command", "--input", "text=a.txt", "--input", "text=b.txt", "--with", run];
        said(root, &[&args[..], &["--with", "outputs.all=outputs/all.txt", "--out", out]].concat())
    };
    let (code, _, err) = by_hand("out");
    assert_eq!(code, 0, "{err}");
    assert_eq!(fs::read_to_string(root.join("out/all")).expect("the output"), "one\ntwo\n");
    let (code, _, err) = by_hand("out");
    assert_eq!((code, err.contains("is there already")), (2, true), "{err}");
    let (code, _, err) = said(root, &["stage", "run", "command", "--with", "run=date", "--out", "x"]);
    assert_eq!((code, err.contains("outputs")), (2, true), "{err}");
}

#[test]
fn heuristics_by_hand() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    assert!(done(root, &["heuristics", "list"]).lines().any(|line| line.starts_with("top_p ")));
    assert!(done(root, &["heuristics", "describe", "top_k"]).contains("top_k: an integer of at least 1, required"));
    let grid = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/heuristics/llama3.2_3b.yaml");
    let expanded = json(root, &["heuristics", "expand", grid.to_str().expect("a path"), "--json"]);
    assert_eq!(expanded["sampling_pipelines"].as_array().map(Vec::len), Some(396));

    let pipelines = "sampling_pipelines: [{name: hot, processors: [{name: temperature, params: {temperature: 2.0}}, {name: top_k, params: {top_k: 2}}]}, {name: plain}]";
    fs::write(root.join("p.yaml"), pipelines).expect("a file");
    let logits: [f32; 6] = [4.0, 2.0, 0.0, 1.0, 6.0, 8.0];
    let bytes: Vec<u8> = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![2, 3], &bytes).expect("a tensor");
    safetensors::serialize_to_file([("logits", view)], None, &root.join("in.safetensors")).expect("a file");
    let apply =
        ["heuristics", "apply", "--pipeline", "p.yaml", "--logits", "in.safetensors", "--out", "out.safetensors"];
    let (code, _, err) = said(root, &apply);
    assert_eq!((code, err.contains("choose one with `--name`")), (2, true), "{err}");
    done(root, &[&apply[..], &["--name", "hot"]].concat());
    let bytes = fs::read(root.join("out.safetensors")).expect("the output");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let out = tensors.tensor("logits").expect("logits");
    let values: Vec<f32> = out.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(values, [2.0, 1.0, f32::NEG_INFINITY, f32::NEG_INFINITY, 3.0, 4.0]);
}

#[test]
fn schema_doctor_and_completions() {
    let project = project();
    let root = project.path();
    assert_eq!(json(root, &["schema"])["title"], "lsn pipeline manifest");
    assert_eq!(json(root, &["schema", "--stage", "command"])["type"], "object");
    let doctor = done(root, &["doctor"]);
    assert!(doctor.contains("file system") && doctor.contains("pipelines/words.yaml"), "{doctor}");
    assert!(json(root, &["doctor", "--json"]).as_array().is_some_and(|checks| checks.len() > 6));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(done(root, &["completions", shell]).contains("validate"), "{shell}");
    }
}
