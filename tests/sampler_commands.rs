//! `lsn sampler` through the real binary.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};
use support::Project;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/samplers")
}

fn cases() -> Vec<Value> {
    let index: Value = serde_json::from_slice(&fs::read(vectors().join("index.json")).unwrap()).unwrap();
    index["cases"].as_array().unwrap().clone()
}

fn floats(view: &TensorView<'_>) -> Vec<f64> {
    match view.dtype() {
        Dtype::F32 => view.data().as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect(),
        Dtype::F64 => view.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        other => panic!("{other:?}"),
    }
}

/// Writes a golden case's parameters as the checkpoint `sampler` and its logits as `in.safetensors`; gives the expected output.
fn lay_out(project: &Project, case: &Value) -> Vec<f64> {
    let bytes = fs::read(vectors().join(case["file"].as_str().unwrap())).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let config =
        json!({"format_version": 1, "architecture": case["architecture"], "arguments": case["config"]}).to_string();
    project.write("sampler/config.json", &config);
    let params = file.tensors().into_iter().filter_map(|(name, view)| {
        let name = name.strip_prefix("param.")?.to_owned();
        Some((name, view))
    });
    safetensors::serialize_to_file(params, None, &project.path("sampler/sampler.safetensors")).unwrap();
    let logits = file.tensor("logits").unwrap();
    safetensors::serialize_to_file([("logits", logits)], None, &project.path("in.safetensors")).unwrap();
    floats(&file.tensor("output64").unwrap())
}

fn applied(project: &Project) -> Vec<f64> {
    let bytes = fs::read(project.path("out.safetensors")).unwrap();
    floats(&SafeTensors::deserialize(&bytes).unwrap().tensor("logits").unwrap())
}

const APPLY: [&str; 8] =
    ["sampler", "apply", "--checkpoint", "sampler", "--logits", "in.safetensors", "--out", "out.safetensors"];

/// The largest deviation over finite outputs, relative to the largest of them, 1 at least.
fn deviation(ours: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(ours.len(), expected.len());
    let scale = expected.iter().filter(|value| value.is_finite()).fold(1.0_f64, |most, value| most.max(value.abs()));
    let pairs = ours.iter().zip(expected);
    pairs.filter(|(_, b)| b.is_finite()).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f64::max)
}

#[test]
fn a_checkpoint_gives_the_reference_s_logits_however_it_is_evaluated() {
    let cases = cases();
    let architectures = ["LocalProbabilityTransform", "SimpleDistributionAwareTransform", "SamplingNetwork"];
    for architecture in architectures {
        let case = cases.iter().find(|case| case["architecture"] == architecture).unwrap();
        let project = Project::new();
        let expected = lay_out(&project, case);
        for (evaluation, bound) in [("automatic", 1e-5), ("distinct", 1e-5), ("dense", 1e-5), ("interpolated", 2e-4)] {
            let said = project.lsn(&[&APPLY[..], &["--evaluation", evaluation, "--json"]].concat()).ok();
            let report: Value = serde_json::from_str(&said.out).unwrap();
            assert_eq!(report["architecture"], architecture);
            assert_eq!(report["evaluation"], evaluation);
            let deviation = deviation(&applied(&project), &expected);
            assert!(deviation < bound, "{architecture}, {evaluation}: {deviation:e}");
        }
        let described = project.lsn(&["sampler", "describe", "sampler", "--json"]).ok().out;
        let described: Value = serde_json::from_str(&described).unwrap();
        let sizes = described["tensors"].as_array().unwrap().iter().map(|tensor| {
            tensor["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).product::<u64>()
        });
        assert_eq!(sizes.sum::<u64>(), described["parameters"].as_u64().unwrap());
    }
}

#[test]
fn the_reference_s_pickle_becomes_safetensors() {
    let project = Project::new();
    let pickle = Path::new(env!("CARGO_MANIFEST_DIR")).join("stages/samplers/tests/data/sampler_model.bin");
    let config = json!({
        "format_version": 1, "architecture": "SamplingNetwork",
        "arguments": {"d_model": 4, "d_ff": 3, "num_blocks": 1, "num_heads": 2, "scale": false},
    });
    project.write("reference/config.json", &config.to_string());
    fs::copy(pickle, project.path("reference/sampler_model.bin")).unwrap();
    let convert = ["sampler", "convert", "--checkpoint", "reference", "--out", "sampler"];
    project.lsn(&convert).ok();
    let said = project.lsn(&convert).code(2);
    assert!(said.err.contains("already holds a checkpoint"), "{}", said.err);
    let row: Vec<u8> = [1.0_f32, 3.0, 2.0, 3.0].iter().flat_map(|logit| logit.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![1, 4], &row).unwrap();
    safetensors::serialize_to_file([("logits", view)], None, &project.path("in.safetensors")).unwrap();
    project.lsn(&APPLY).ok();
    let converted = applied(&project);
    project.lsn(&[&APPLY[..2], &["--checkpoint", "reference"], &APPLY[4..]].concat()).ok();
    assert_eq!(applied(&project), converted);

    project.lsn(&[&convert[..4], &["--out", "half", "--precision", "bf16"]].concat()).ok();
    let bytes = fs::read(project.path("half/sampler.safetensors")).unwrap();
    let half = SafeTensors::deserialize(&bytes).unwrap();
    assert!(half.tensors().iter().all(|(_, tensor)| tensor.dtype() == Dtype::BF16));
    project.lsn(&[&APPLY[..2], &["--checkpoint", "half"], &APPLY[4..]].concat()).ok();
    let rounded = applied(&project);
    // Parameters of 8 significant bits, a few layers of them.
    assert!(
        rounded.iter().zip(&converted).all(|(a, b)| (a - b).abs() < 0.05 * b.abs().max(1.0)),
        "{rounded:?} {converted:?}"
    );
}

#[test]
fn a_bad_row_writes_nothing_unless_it_is_kept() {
    let project = Project::new();
    let case = &cases()[0];
    lay_out(&project, case);
    let rows: Vec<u8> = [0.5_f32, 1.5, f32::NAN, 1.0].iter().flat_map(|logit| logit.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![2, 2], &rows).unwrap();
    safetensors::serialize_to_file([("logits", view)], None, &project.path("in.safetensors")).unwrap();
    let said = project.lsn(&APPLY).code(1);
    assert!(said.err.contains("row 1 of `in.safetensors`"), "{}", said.err);
    assert!(said.err.contains("--bad-rows keep"), "{}", said.err);
    assert!(!project.path("out.safetensors").exists());
    project.lsn(&[&APPLY[..], &["--bad-rows", "keep"]].concat()).ok();
    let out = applied(&project);
    assert!(out[2].is_nan() && out[3] == 1.0 && out[0] != 0.5, "{out:?}");

    project.write("sampler/config.json", "{\"format_version\": 99}");
    let said = project.lsn(&APPLY).code(2);
    assert!(said.err.contains("config.json"), "{}", said.err);
}
