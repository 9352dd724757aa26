//! Embedded decoding and scoring in CPU time of one thread, beside the arithmetic limit: `cargo bench -p lsn-lm --profile dev`.
//! CPU time, not wall time, so that other work on the machine does not count.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../../../benches/cpu_time/mod.rs"]
mod cpu_time;
#[path = "../tests/support/mod.rs"]
mod support;

use cpu_time::CpuTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lsn_lm::{
    GenerationOptions, GenerationRow, LanguageModel, LoadOptions, RowProcessor,
    kernel::{Isa, PackedMatrix, Store, matmul},
};
use std::{ops::ControlFlow, sync::Arc, time::Duration};
use support::{Size, write_model};

/// The quickstart's base model.
const BASE: Size = Size { hidden: 192, layers: 5, heads: 6, kv_heads: 2, intermediate: 512, vocab: 1024 };

fn load(size: Size) -> LanguageModel {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path(), size, 1);
    LanguageModel::load(dir.path(), &LoadOptions::default()).unwrap()
}

fn prompt(seed: u32) -> Arc<[u32]> {
    (0..40u32).map(|i| (i * 37 + seed * 101) % 1000).collect()
}

/// 192 rows of 60 tokens over 8 prompts, one thread.
fn generate(model: &LanguageModel) -> usize {
    let prompts: Vec<_> = (0..8).map(prompt).collect();
    let rows = (0..192u64).map(|tag| GenerationRow {
        tag,
        prompt: Arc::clone(&prompts[tag as usize / 24]),
        key: [tag as u8; 32],
        processor: RowProcessor::Raw,
    });
    let options = GenerationOptions { max_tokens: 60, ..GenerationOptions::default() };
    let mut tokens = 0;
    let count = |_, result: Result<lsn_lm::Generated, _>| {
        tokens += result.map_or(0, |row| row.token_ids.len());
        ControlFlow::Continue(())
    };
    model.generate(&options, rows, count).unwrap();
    tokens
}

fn decode(criterion: &mut Criterion<CpuTime>) {
    let model = load(BASE);
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(generate(&model) as u64)).sample_size(10);
    group.bench_function("base, 192 rows of 60 tokens, 1 thread", |bench| bench.iter(|| generate(&model)));
    group.finish();
}

fn score(criterion: &mut Criterion<CpuTime>) {
    let model = load(BASE);
    let prompt = prompt(0);
    let continuations: Vec<Vec<u32>> =
        (0..24u32).map(|row| (0..80).map(|i| (i * 13 + row * 7) % 1000).collect()).collect();
    let continuations: Vec<&[u32]> = continuations.iter().map(Vec::as_slice).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut group = criterion.benchmark_group("score");
    group.throughput(Throughput::Elements(24 * 80)).sample_size(10);
    group.bench_function("base, 24 continuations of 80 tokens, 1 thread", |bench| {
        bench.iter(|| pool.install(|| model.score_continuations(&prompt, &continuations).unwrap()));
    });
    group.finish();
}

/// The limit: multiply-adds a second of the matrix kernel on operands that stay in the first-level cache. Throughput is
/// reported in tokens of the base model, whose products it would take.
fn limit(criterion: &mut Criterion<CpuTime>) {
    let model = load(BASE);
    let (rows, k, n) = (12, 128, 32);
    let matrix = PackedMatrix::pack(&vec![0.5; n * k], n, k);
    let (x, mut y) = (vec![0.25; rows * k], vec![0.0; rows * n]);
    let passes = model.cpu().unwrap().products_per_token() / (rows * k * n) as u64 + 1;
    let mut group = criterion.benchmark_group("limit");
    group.throughput(Throughput::Elements(1)).sample_size(20).measurement_time(Duration::from_secs(2));
    group.bench_function("products of one token of base", |bench| {
        bench.iter(|| (0..passes).for_each(|_| matmul(Isa::detect(), &x, rows, &matrix, &mut y, Store::Set)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = limit, decode, score
}
criterion_main!(benches);
