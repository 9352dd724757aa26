//! Compares every pipeline with the field's own implementations, by the rules of the vectors' README.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use lsn_heuristics::{Context, FurtherLogits, History, Pipeline, ProcessorConfig, Scratch};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf};

fn folder() -> PathBuf {
    let root = std::env::var_os("LSN_VECTORS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")), PathBuf::from);
    root.join("heuristics")
}

/// A safetensors file, held as bytes.
struct TensorFile(Vec<u8>);

impl TensorFile {
    fn read(name: &str) -> Self {
        let path = folder().join(name);
        Self(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// The rows of an f32 tensor; a vector is one row.
    fn rows(&self, key: &str) -> Vec<Vec<f32>> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(key).unwrap();
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        values.chunks(*view.shape().last().unwrap()).map(<[f32]>::to_vec).collect()
    }
}

/// How many tokens of each distinct input logit are kept.
fn kept_by_value(input: &[f32], output: &[f32]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for (z, out) in input.iter().zip(output) {
        *counts.entry((z + 0.0).to_bits()).or_insert(0) += usize::from(*out != f32::NEG_INFINITY);
    }
    counts
}

/// Relative, and absolute below 1.
fn tolerance(types: &[&str]) -> f64 {
    let amplifies = types.iter().any(|name| matches!(*name, "dynamic_temperature" | "quadratic"));
    if amplifies { 2e-4 } else { 1e-5 }
}

fn assert_values(place: &str, output: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(output.len(), expected.len(), "{place}");
    for (token, (&ours, &theirs)) in output.iter().zip(expected).enumerate() {
        let same_set = (ours == f32::NEG_INFINITY) == (theirs == f32::NEG_INFINITY);
        assert!(same_set, "{place}, token {token}: {ours} instead of {theirs}");
        if ours != f32::NEG_INFINITY {
            let error = (f64::from(ours) - f64::from(theirs)).abs();
            let close = error <= tolerance * f64::from(theirs.abs()).max(1.0);
            assert!(close, "{place}, token {token}: {ours} instead of {theirs}");
        }
    }
}

fn count_kept(output: &[f32]) -> usize {
    output.iter().filter(|logit| **logit != f32::NEG_INFINITY).count()
}

struct Case<'a> {
    name: &'a str,
    llamacpp_top_k: bool,
    top_p_only: bool,
    tolerance: f64,
    kept: &'a Value,
    margin: &'a Value,
    tie_cut: &'a Value,
}

impl Case<'_> {
    /// Whether the row was compared exactly; `false` where rounding or an undefined tie order decides.
    fn check_row(&self, row: usize, input: &[f32], output: &[f32], expected: &[f32]) -> bool {
        let place = format!("{}, row {row}", self.name);
        if self.margin[row].as_f64().is_some_and(|margin| margin < 1e-5) {
            return false;
        }
        let tie_cut = self.tie_cut[row].as_bool().unwrap();
        if tie_cut && self.llamacpp_top_k {
            return false;
        }
        assert_eq!(count_kept(output) as u64, self.kept[row].as_u64().unwrap(), "{place}: tokens kept");
        if tie_cut && !self.top_p_only {
            assert_eq!(kept_by_value(input, output), kept_by_value(input, expected), "{place}: tokens kept by logit");
            return true;
        }
        assert_values(&place, output, expected, self.tolerance);
        true
    }
}

fn step(name: &Value, params: &Value) -> ProcessorConfig {
    let mut params: lsn_heuristics::Params = serde_json::from_value(params.clone()).unwrap();
    // Of llama.cpp's own random draws, which a replay does not repeat.
    params.remove("seed");
    ProcessorConfig { name: name.as_str().unwrap().to_owned(), params }
}

/// Every pipeline of stateless steps; XTC acts with probability 1.
fn stateless(index: &Value, inputs: &TensorFile, outputs: &BTreeMap<&str, TensorFile>) -> usize {
    let (mut cases, mut rows, mut exact) = (0, 0, 0);
    let mut scratch = Scratch::default();
    for case in index["cases"].as_array().unwrap() {
        cases += 1;
        let steps = case["pipeline"].as_array().unwrap();
        let types: Vec<&str> = steps.iter().map(|step| step["type"].as_str().unwrap()).collect();
        let config: Vec<_> = steps.iter().map(|at| step(&at["type"], &at["params"])).collect();
        let name = case["name"].as_str().unwrap();
        let pipeline = Pipeline::from_config(&config).unwrap_or_else(|error| panic!("{name}: {error}"));
        let source = case["source"].as_str().unwrap();
        let history: Vec<u32> =
            case.get("history").map_or_else(Vec::new, |ids| serde_json::from_value(ids.clone()).unwrap());
        let expected = outputs[source].rows(case["output"].as_str().unwrap());
        let checks = Case {
            name,
            llamacpp_top_k: source == "llamacpp" && types.contains(&"top_k"),
            top_p_only: types.iter().all(|name| matches!(*name, "top_p" | "temperature")),
            tolerance: tolerance(&types),
            kept: &case["kept"],
            margin: &case["margin"],
            tie_cut: &case["tie_cut"],
        };
        for (row, input) in inputs.rows(case["input"].as_str().unwrap()).into_iter().enumerate() {
            let mut output = input.clone();
            let history = History { tokens: &history, prompt_len: history.len() };
            let result = pipeline.process(&mut output, history, &mut pipeline.start(0), &mut scratch);
            result.unwrap_or_else(|error| panic!("{name}, row {row}: {error}"));
            rows += 1;
            exact += usize::from(checks.check_row(row, &input, &output, &expected[row]));
        }
    }
    println!("rows: {rows}, of which {exact} compared exactly");
    assert!(exact * 10 > rows * 9, "too few rows were compared: {exact} of {rows}");
    cases
}

/// Every run of a stateful sampler, replayed with the tokens that were drawn, straight on and restored at every
/// position.
fn stateful(index: &Value, tensors: &TensorFile) -> usize {
    let mut scratch = Scratch::default();
    let cases = index["stateful"].as_array().unwrap();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let config = step(&case["step"]["type"], &case["step"]["params"]);
        let pipeline = Pipeline::from_config(&[config]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let inputs = tensors.rows(case["input"].as_str().unwrap());
        let expected = tensors.rows(case["output"].as_str().unwrap());
        let tolerance = tolerance(&[case["step"]["type"].as_str().unwrap()]);
        let mut state = pipeline.start(0);
        for (position, input) in inputs.into_iter().enumerate() {
            let place = format!("{name}, position {position}");
            let mut output = input;
            state = pipeline.restore(&state.save()).unwrap();
            pipeline.process(&mut output, History::default(), &mut state, &mut scratch).unwrap();
            assert_eq!(count_kept(&output) as u64, case["kept"][position].as_u64().unwrap(), "{place}: tokens kept");
            assert_values(&place, &output, &expected[position], tolerance);
            let token = case["selected"][position].as_u64().unwrap() as u32;
            let max = output.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weight = |logit: f32| f64::from(logit - max).exp();
            let p = weight(output[token as usize]) / output.iter().map(|&logit| weight(logit)).sum::<f64>();
            let theirs = case["selected_p"][position].as_f64().unwrap();
            assert!((p - theirs).abs() <= 1e-5, "{place}: drawn with {p} instead of {theirs}");
            pipeline.accept(token, &output, &mut state).unwrap();
        }
    }
    cases.len()
}

/// Layer contrast.
fn dola() -> usize {
    let index: Value = serde_json::from_slice(&TensorFile::read("dola.json").0).unwrap();
    let tensors = TensorFile::read(index["file"].as_str().unwrap());
    let mut scratch = Scratch::default();
    let cases = index["cases"].as_array().unwrap();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let config = step(&json!("dola"), &json!({"relative_top": case["relative_top"]}));
        let pipeline = Pipeline::from_config(&[config]).unwrap();
        let rows = |key: &str| tensors.rows(case[key].as_str().unwrap());
        let mut output = rows("final").concat();
        let early = rows("early").concat();
        let further = [FurtherLogits { name: "early", logits: &early }];
        let context = Context { further: &further, ..Context::default() };
        pipeline.process(&mut output, context, &mut pipeline.start(0), &mut scratch).unwrap();
        assert_values(name, &output, &rows("output").concat(), 1e-5);
    }
    cases.len()
}

#[test]
fn golden_heuristics() {
    let index: Value = serde_json::from_slice(&TensorFile::read("index.json").0).unwrap();
    let inputs = TensorFile::read("inputs.safetensors");
    let outputs: BTreeMap<&str, TensorFile> = index["files"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(source, file)| (source.as_str(), TensorFile::read(file.as_str().unwrap())))
        .collect();
    let counts = [stateless(&index, &inputs, &outputs), stateful(&index, &outputs["stateful"]), dola()];
    println!("stateless: {}, stateful: {}, layer contrast: {}", counts[0], counts[1], counts[2]);
    println!("cases: {}", counts.iter().sum::<usize>());
    assert!(counts.iter().all(|&count| count > 0), "a kind of cases is missing: {counts:?}");
}
