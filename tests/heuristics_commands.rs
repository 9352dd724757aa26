//! `lsn heuristics` through the real binary.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use std::fs;
use support::Project;

/// A safetensors file of f32 and i64 tensors.
fn write(project: &Project, path: &str, floats: &[(&str, &[usize], &[f32])], history: Option<(&[usize], &[i64])>) {
    let floats: Vec<_> = floats
        .iter()
        .map(|(name, shape, values)| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (*name, shape.to_vec(), Dtype::F32, bytes)
        })
        .collect();
    let ids = history.map(|(shape, ids)| {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        ("history", shape.to_vec(), Dtype::I64, bytes)
    });
    let all: Vec<_> = floats.iter().chain(&ids).collect();
    let views =
        all.iter().map(|(name, shape, dtype, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &project.path(path)).unwrap();
}

fn logits(project: &Project, path: &str) -> Vec<f32> {
    let bytes = fs::read(project.path(path)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor("logits").unwrap();
    assert_eq!(view.dtype(), Dtype::F32);
    view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

const APPLY: [&str; 8] =
    ["heuristics", "apply", "--pipeline", "p.yaml", "--logits", "in.safetensors", "--out", "out.safetensors"];

#[test]
fn histories_and_further_logits_reach_the_processors() {
    let project = Project::new();
    project.write(
        "p.yaml",
        "sampling_pipelines:
  - name: penalised
    processors: [{name: repetition_penalty, params: {penalty: 2.0}}, {name: no_repeat_ngram, params: {ngram_size: 2}}]
  - name: guided
    processors: [{name: cfg, params: {guidance_scale: 1.0}}]
",
    );
    let rows = [2.0, -1.0, 4.0, 2.0, -1.0, 4.0];
    let history: (&[usize], &[i64]) = (&[2, 3], &[0, 1, 0, -1, -1, 2]);
    write(&project, "in.safetensors", &[("logits", &[2, 3], &rows)], Some(history));
    project.lsn(&[&APPLY[..], &["--name", "penalised"]].concat()).ok();
    assert_eq!(logits(&project, "out.safetensors"), [1.0, f32::NEG_INFINITY, 4.0, 2.0, -1.0, 2.0]);

    let said = project.lsn(&[&APPLY[..], &["--name", "guided"]].concat()).code(2);
    assert!(said.err.contains("no tensor `unconditional`"), "{}", said.err);
    let other = [0.0, 1.0, f32::NEG_INFINITY, 0.0, 1.0, 2.0];
    write(&project, "in.safetensors", &[("logits", &[2, 3], &rows), ("unconditional", &[2, 3], &other)], None);
    project.lsn(&[&APPLY[..], &["--name", "guided"]].concat()).ok();
    let out = logits(&project, "out.safetensors");
    assert_eq!(out[2], f32::NEG_INFINITY);
    assert!((out[0] - out[1] - 3.0).abs() < 1e-5 && (out[3] - out[4] - 3.0).abs() < 1e-5, "{out:?}");
    write(&project, "in.safetensors", &[("logits", &[2, 3], &rows), ("unconditional", &[3, 2], &other)], None);
    let said = project.lsn(&[&APPLY[..], &["--name", "guided"]].concat()).code(2);
    assert!(said.err.contains("expected f32 [2, 3]"), "{}", said.err);
}

#[test]
fn chance_comes_from_the_seed_of_the_row() {
    let project = Project::new();
    let step = "{name: xtc, params: {probability: 0.5, threshold: 0.1}}";
    project.write("p.yaml", &format!("sampling_pipelines: [{{name: x, processors: [{step}]}}]"));
    let rows: Vec<f32> = [1.0, 1.2, 0.9].repeat(40);
    write(&project, "in.safetensors", &[("logits", &[40, 3], &rows)], None);
    let run = |seed: &str| {
        project.lsn(&[&APPLY[..], &["--seed", seed]].concat()).ok();
        logits(&project, "out.safetensors")
    };
    let (first, again, other) = (run("7"), run("7"), run("8"));
    assert_eq!(first, again);
    // Row i uses seed + i.
    assert_eq!(first[3..], other[..other.len() - 3]);
    let acted = first.chunks(3).filter(|row| row.contains(&f32::NEG_INFINITY)).count();
    assert!((5..35).contains(&acted), "{acted} of 40");
}

#[test]
fn the_catalogue_is_listed_and_described() {
    let project = Project::new();
    let list = project.lsn(&["heuristics", "list"]).ok().out;
    let all: Value = serde_json::from_str(&project.lsn(&["heuristics", "list", "--json"]).ok().out).unwrap();
    let all = all.as_array().unwrap();
    assert_eq!(list.lines().count(), all.len());
    for info in all {
        let name = info["name"].as_str().unwrap();
        assert!(list.lines().any(|line| line.starts_with(&format!("{name} "))), "{list}");
        let described = project.lsn(&["heuristics", "describe", name]).ok().out;
        for param in info["params"].as_array().unwrap() {
            assert!(described.contains(param["name"].as_str().unwrap()), "{described}");
            assert!(described.contains(param["expected"].as_str().unwrap()), "{described}");
        }
        let json = project.lsn(&["heuristics", "describe", name, "--json"]).ok().out;
        assert_eq!(&serde_json::from_str::<Value>(&json).unwrap(), info);
    }
    let said = project.lsn(&["heuristics", "describe", "top_o"]).code(2);
    assert!(said.err.contains("did you mean"), "{}", said.err);
}

#[test]
fn an_expanded_grid_is_a_heuristics_file() {
    let project = Project::new();
    project
        .write("grid.yaml", "{temperatures: [0.5, 1.0], top_k: [2], extra: [{name: p, processors: [{name: p_less}]}]}");
    let yaml = project.lsn(&["heuristics", "expand", "grid.yaml"]).ok().out;
    project.write("p.yaml", &yaml);
    write(&project, "in.safetensors", &[("logits", &[1, 3], &[1.0, 3.0, 2.0])], None);
    project.lsn(&[&APPLY[..], &["--name", "top_k_2_temp_0.5"]].concat()).ok();
    assert_eq!(logits(&project, "out.safetensors"), [f32::NEG_INFINITY, 6.0, 4.0]);
    let json = project.lsn(&["heuristics", "expand", "grid.yaml", "--json"]).ok().out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["sampling_pipelines"].as_array().map(Vec::len), Some(5));
}
