//! One row of 128,256 logits through the chains that `benches/peers/heuristics.py` times in other implementations and
//! through each processor alone, with the processor's vector instructions and with those of plain x86-64.
//!
//! `LSN_BENCH_LOGITS=FILE` takes the row from a safetensors file instead: tensor `logits`, f32 [1, V].
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

mod cases;

use cases::{Surroundings, pipelines, read_row};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lsn_heuristics::Scratch;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const VOCABULARY: usize = 128_256;

/// A bell curve of spread 2 and 2,000 likelier tokens by Zipf's law, as in the peer script.
fn logits() -> Vec<f32> {
    if let Some(path) = std::env::var_os("LSN_BENCH_LOGITS") {
        return read_row(path.as_ref()).unwrap();
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

fn rows(criterion: &mut Criterion) {
    let row = logits();
    let surroundings = Surroundings::of(&row);
    let pipelines = pipelines().unwrap();
    for (level, make) in [("vector", Scratch::default as fn() -> Scratch), ("plain", Scratch::portable)] {
        let mut group = criterion.benchmark_group(level);
        let mut scratch = make();
        for (name, pipeline) in &pipelines {
            let mut state = pipeline.start(0);
            surroundings.with(|context| {
                group.bench_function(name, |bencher| {
                    bencher.iter_batched_ref(
                        || row.clone(),
                        |row| pipeline.process(row, context, &mut state, &mut scratch).unwrap(),
                        BatchSize::LargeInput,
                    );
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, rows);
criterion_main!(benches);
