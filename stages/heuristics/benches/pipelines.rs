//! One row of 128,256 logits through the pipelines that `benches/peers/heuristics.py` times in other implementations,
//! with the processor's vector instructions and with those of plain x86-64, and through single steps.
//!
//! `LSN_BENCH_LOGITS=FILE` takes the row from a safetensors file instead: tensor `logits`, f32 [1, V].
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lsn_heuristics::{History, Pipeline, ProcessorConfig, Scratch};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use serde_json::{Value, json};

const VOCABULARY: usize = 128_256;

/// A bell curve of spread 2 and 2,000 likelier tokens by Zipf's law, as in the peer script.
fn logits() -> Vec<f32> {
    if let Some(path) = std::env::var_os("LSN_BENCH_LOGITS") {
        let bytes = std::fs::read(path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let view = tensors.tensor("logits").unwrap();
        return view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    }
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut row: Vec<f32> =
        (0..VOCABULARY).map(|_| 2.0 * ((0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0)).collect();
    for rank in 1..=2000_u16 {
        let token = rng.random_range(0..VOCABULARY);
        row[token] = 13.0 - f32::from(rank).ln() + rng.random::<f32>();
    }
    row
}

fn pipeline(steps: &[(&str, Value)]) -> Pipeline {
    let config: Vec<_> = steps
        .iter()
        .map(|(name, params)| ProcessorConfig {
            name: (*name).to_owned(),
            params: serde_json::from_value(params.clone()).unwrap(),
        })
        .collect();
    Pipeline::from_config(&config).unwrap()
}

fn pipelines(criterion: &mut Criterion) {
    let row = logits();
    let temperature = || ("temperature", json!({"temperature": 0.7}));
    let top_k = || ("top_k", json!({"top_k": 50}));
    let top_p = || ("top_p", json!({"top_p": 0.95}));
    let min_p = || ("min_p", json!({"min_p": 0.05}));
    let cases = [
        ("T+k+p+m", vec![temperature(), top_k(), top_p(), min_p()]),
        ("T+p+m", vec![temperature(), top_p(), min_p()]),
        ("temperature", vec![temperature()]),
        ("top_k", vec![top_k()]),
        ("top_p", vec![top_p()]),
        ("min_p", vec![min_p()]),
        ("typical", vec![("typical", json!({"mass": 0.9}))]),
        ("epsilon", vec![("epsilon", json!({"epsilon": 0.001}))]),
        ("eta", vec![("eta", json!({"epsilon": 0.001}))]),
        ("top_h", vec![("top_h", json!({"top_h": 0.4}))]),
        ("xtc", vec![("xtc", json!({"probability": 1.0, "threshold": 0.1}))]),
        ("top_n_sigma", vec![("top_n_sigma", json!({"n": 1.0}))]),
    ];
    for (level, make) in [("vector", Scratch::default as fn() -> Scratch), ("plain", Scratch::portable)] {
        let mut group = criterion.benchmark_group(level);
        let mut scratch = make();
        for (name, steps) in &cases {
            let pipeline = pipeline(steps);
            let mut state = pipeline.start(0);
            group.bench_function(*name, |bencher| {
                bencher.iter_batched_ref(
                    || row.clone(),
                    |row| pipeline.process(row, History::default(), &mut state, &mut scratch).unwrap(),
                    BatchSize::LargeInput,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, pipelines);
criterion_main!(benches);
