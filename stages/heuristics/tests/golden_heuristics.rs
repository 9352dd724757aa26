//! Compares every pipeline of implemented processors with the field's own implementations, by the rules of the vectors' README.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use lsn_heuristics::{History, Pipeline, ProcessorConfig, RowError, Scratch, processor_names};
use safetensors::SafeTensors;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

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

    /// The rows of an f32 tensor.
    fn rows(&self, key: &str) -> Vec<Vec<f32>> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(key).unwrap();
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        values.chunks(view.shape()[1]).map(<[f32]>::to_vec).collect()
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

struct Case<'a> {
    name: &'a str,
    llamacpp_top_k: bool,
    top_p_only: bool,
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
        let kept = output.iter().filter(|z| **z != f32::NEG_INFINITY).count();
        assert_eq!(kept as u64, self.kept[row].as_u64().unwrap(), "{place}: tokens kept");
        if tie_cut && !self.top_p_only {
            assert_eq!(kept_by_value(input, output), kept_by_value(input, expected), "{place}: tokens kept by logit");
            return true;
        }
        for (token, (&ours, &theirs)) in output.iter().zip(expected).enumerate() {
            let same_set = (ours == f32::NEG_INFINITY) == (theirs == f32::NEG_INFINITY);
            assert!(same_set, "{place}, token {token}: {ours} instead of {theirs}");
            if ours != f32::NEG_INFINITY {
                let error = (f64::from(ours) - f64::from(theirs)).abs();
                assert!(
                    error <= 1e-5 * f64::from(theirs.abs()).max(1.0),
                    "{place}, token {token}: {ours} instead of {theirs}"
                );
            }
        }
        true
    }
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
    let known: BTreeSet<&str> = processor_names().collect();
    let (mut cases, mut rows, mut exact, mut left) = (0, 0, 0, 0);
    let mut scratch = Scratch::default();

    for case in index["cases"].as_array().unwrap() {
        let steps = case["pipeline"].as_array().unwrap();
        let types: Vec<&str> = steps.iter().map(|step| step["type"].as_str().unwrap()).collect();
        if types.iter().any(|name| !known.contains(name)) {
            left += 1;
            continue;
        }
        cases += 1;
        let config: Vec<ProcessorConfig> = steps
            .iter()
            .map(|step| ProcessorConfig {
                name: step["type"].as_str().unwrap().to_owned(),
                params: serde_json::from_value(step["params"].clone()).unwrap(),
            })
            .collect();
        let pipeline = Pipeline::from_config(&config).unwrap();
        let source = case["source"].as_str().unwrap();
        let history: Vec<u32> =
            case.get("history").map_or_else(Vec::new, |ids| serde_json::from_value(ids.clone()).unwrap());
        let expected = outputs[source].rows(case["output"].as_str().unwrap());
        let checks = Case {
            name: case["name"].as_str().unwrap(),
            llamacpp_top_k: source == "llamacpp" && types.contains(&"top_k"),
            top_p_only: types.iter().all(|name| matches!(*name, "top_p" | "temperature")),
            kept: &case["kept"],
            margin: &case["margin"],
            tie_cut: &case["tie_cut"],
        };
        for (row, input) in inputs.rows(case["input"].as_str().unwrap()).into_iter().enumerate() {
            let mut output = input.clone();
            let history = History { tokens: &history, prompt_len: history.len() };
            let result = pipeline.process(&mut output, history, &mut pipeline.start(0), &mut scratch);
            assert_eq!(result, Ok::<(), RowError>(()), "{}, row {row}", checks.name);
            rows += 1;
            exact += usize::from(checks.check_row(row, &input, &output, &expected[row]));
        }
    }
    println!("cases: {cases}");
    println!("rows: {rows}, of which {exact} compared exactly; cases left for later processors: {left}");
    assert!(cases > 0, "no case uses implemented processors only");
    assert!(exact * 10 > rows * 9, "too few rows were compared: {exact} of {rows}");
}
