//! The network on a CUDA device: recorded logits in f32 and in bf16, and rows that cannot tell who else is in the batch.
//!
//! Needs the feature `cuda`. Without a device every test says that it is skipped; `LSN_TEST_CUDA=1` makes that a failure.

#![cfg(feature = "cuda")]
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use candle_core::{DType, Device};
use lsn_lm::{
    Compute, FinishReason, Generated, GenerationOptions, GenerationRow, LanguageModel, LoadOptions, ModelConfig,
    RowProcessor, TensorModel, Weights,
};
use safetensors::SafeTensors;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest and root-mean-square difference from the recorded f32 logits, relative to their spread. bf16 rounds every activation
/// to 8 significant bits (2⁻⁹ relative), a hundred times in a row on the way through a network.
const TOLERANCE_F32: [f32; 2] = [1e-4, 2e-5];
const TOLERANCE_BF16: [f32; 2] = [1.5e-1, 2e-2];

fn device() -> Option<Device> {
    match Device::new_cuda(0) {
        Ok(device) => Some(device),
        Err(error) if std::env::var_os("LSN_TEST_CUDA").is_some_and(|value| value == "1") => {
            panic!("LSN_TEST_CUDA=1, but there is no CUDA device: {error}")
        }
        Err(error) => {
            println!("SKIPPED: no CUDA device: {error}");
            None
        }
    }
}

fn vectors() -> PathBuf {
    let root = std::env::var_os("LSN_VECTORS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")), PathBuf::from);
    root.join("lm")
}

/// The committed small model, or the folder that `LSN_TINY_DIR` names where the tests run away from the repository.
fn tiny() -> LanguageModel {
    let dir = std::env::var_os("LSN_TINY_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/models/tiny")),
        PathBuf::from,
    );
    let options = LoadOptions { compute: Compute::Cuda(0), context: Some(512), ..LoadOptions::default() };
    LanguageModel::load(&dir, &options).unwrap()
}

/// Largest and root-mean-square difference, relative to the spread of `expected`.
fn deviation(found: &[f32], expected: &[f32]) -> [f32; 2] {
    assert_eq!(found.len(), expected.len());
    let count = expected.len() as f32;
    let mean = expected.iter().sum::<f32>() / count;
    let spread = (expected.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / count).sqrt();
    let differences = || found.iter().zip(expected).map(|(a, b)| a - b);
    assert!(differences().all(f32::is_finite));
    let worst = differences().fold(0.0, |worst: f32, difference| worst.max(difference.abs()));
    [worst / spread, (differences().map(|d| d * d).sum::<f32>() / count).sqrt() / spread]
}

fn check_model(device: &Device, dir: &Path, dtype: DType) -> ([f32; 2], usize) {
    let config = ModelConfig::read(&dir.join("config.json")).unwrap();
    let vocab = config.vocab_size;
    let model = TensorModel::load(config, &Weights::open(dir).unwrap(), device.clone(), dtype, 128).unwrap();
    let bytes = std::fs::read(dir.join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let ids = golden.tensor("ids").unwrap();
    let (count, length) = (ids.shape()[0], ids.shape()[1]);
    let width = ids.data().len() / (count * length);
    let ids: Vec<u32> =
        ids.data().chunks_exact(width).map(|bytes| u32::from_le_bytes(bytes[..4].try_into().unwrap())).collect();
    let logits = golden.tensor("logits").unwrap();
    let logits: Vec<f32> =
        logits.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let mut worst = [0.0_f32; 2];
    for (ids, expected) in ids.chunks_exact(length).zip(logits.chunks_exact(length * vocab)) {
        let found = model.forward_all(ids, 0..length, &[]).unwrap().logits;
        let found = deviation(&found, expected);
        worst = [worst[0].max(found[0]), worst[1].max(found[1])];
    }
    (worst, count)
}

#[test]
fn recorded_logits_in_f32_and_bf16() {
    let Some(device) = device() else { return };
    let folder = vectors();
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let mut cases = 0;
    for case in index["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        for (dtype, tolerance) in [(DType::F32, TOLERANCE_F32), (DType::BF16, TOLERANCE_BF16)] {
            let (found, count) = check_model(&device, &folder.join(name), dtype);
            println!("{name} {dtype:?}: largest {:.1e}, root mean square {:.1e} of the spread", found[0], found[1]);
            assert!(found[0] <= tolerance[0] && found[1] <= tolerance[1], "{name} {dtype:?}: {found:?}");
            cases += count;
        }
    }
    println!("cases: {cases}");
    assert!(cases > 0);
}

const PROMPTS: [&str; 5] = [
    "Tell me a story about a kind dog who tries to build a boat.",
    "What is 12 + 7?",
    "Tell me a story about a small bird.",
    "Write one sentence about rain.",
    "Hello",
];

fn generate(model: &LanguageModel, rows: impl Iterator<Item = usize> + Send, slots: usize) -> BTreeMap<u64, Generated> {
    let prompts: Vec<Arc<[u32]>> =
        PROMPTS.iter().map(|prompt| model.encode_prompt(prompt, None).unwrap().into()).collect();
    let options = GenerationOptions {
        max_tokens: 96,
        eos_ids: model.eos_ids().to_vec(),
        log_probs: true,
        slots,
        ..GenerationOptions::default()
    };
    let rows = rows.map(|row| GenerationRow {
        tag: row as u64,
        prompt: Arc::clone(&prompts[row % prompts.len()]),
        key: [row as u8; 32],
        processor: if row % 7 == 3 { RowProcessor::Greedy } else { RowProcessor::Raw },
    });
    let mut results = BTreeMap::new();
    model
        .generate(&options, rows, |tag, result| {
            results.insert(tag, result.unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    results
}

#[test]
fn a_rows_text_does_not_depend_on_its_company() {
    if device().is_none() {
        return;
    }
    let model = tiny();
    let together = generate(&model, 0..150, 48);
    assert_eq!(together.len(), 150);
    let backwards = generate(&model, (0..150).rev().filter(|row| row % 3 != 1), 48);
    for (row, result) in &backwards {
        assert_eq!(result, &together[row], "row {row} in other company");
    }
    for row in [0, 3, 77, 149] {
        assert_eq!(
            generate(&model, std::iter::once(row), 48)[&(row as u64)],
            together[&(row as u64)],
            "row {row} alone"
        );
    }
    let distinct: std::collections::BTreeSet<_> = together.values().map(|row| row.text.clone()).collect();
    assert!(distinct.len() > 75, "rows of different keys say different things, {} of 150 do", distinct.len());
}

#[test]
fn the_committed_model_answers_on_cuda() {
    if device().is_none() {
        return;
    }
    let answer = &generate(&tiny(), std::iter::once(3), 4)[&3];
    println!("{:?}", answer.text);
    assert_eq!(answer.finish_reason, FinishReason::Eos);
    assert!(answer.text.as_ref().is_some_and(|text| !text.is_empty() && !text.contains("<|")), "{answer:?}");
}
