//! Batched decoding of a model on a CUDA device in bf16, wall time: `cargo bench -p lsn-lm --features cuda --bench decode_cuda`.
//! `LSN_TINY_DIR` names the model's folder where the bench runs away from the repository.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use lsn_lm::{Compute, GenerationOptions, GenerationRow, LanguageModel, LoadOptions, RowProcessor};
use std::{ops::ControlFlow, path::PathBuf, sync::Arc};

const TOKENS: usize = 128;

/// One full batch of rows of [`TOKENS`] tokens each.
fn generate(model: &LanguageModel, slots: usize) {
    let prompt: Arc<[u32]> = model.encode_prompt("Tell me a story about a small bird.", None).unwrap().into();
    let rows = (0..slots as u64).map(|tag| GenerationRow {
        tag,
        prompt: Arc::clone(&prompt),
        key: [tag as u8; 32],
        processor: RowProcessor::Raw,
    });
    let options = GenerationOptions { max_tokens: TOKENS, slots, ..GenerationOptions::default() };
    let mut tokens = 0;
    model
        .generate(&options, rows, |_, result| {
            tokens += result.unwrap().token_ids.len();
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(tokens, slots * TOKENS);
}

fn decode(criterion: &mut Criterion) {
    let dir = std::env::var_os("LSN_TINY_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/models/tiny")),
        PathBuf::from,
    );
    let options = LoadOptions { compute: Compute::Cuda(0), context: Some(256), ..LoadOptions::default() };
    let model = LanguageModel::load(&dir, &options).unwrap();
    let mut group = criterion.benchmark_group("decode on CUDA");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for slots in [1, 96, 768] {
        group.throughput(Throughput::Elements((slots * TOKENS) as u64));
        group.bench_function(format!("tiny, {slots} rows of {TOKENS} tokens"), |bench| {
            bench.iter(|| generate(&model, slots));
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
