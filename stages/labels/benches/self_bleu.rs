//! Self-BLEU of 64 texts of 200 tokens, and the Vendi score of 64 embeddings. `benches/peers/nltk_self_bleu.py` scores the
//! same texts: word `i` of text `t` is `w` with the number below.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../../../benches/cpu_time/mod.rs"]
mod cpu_time;

use cpu_time::CpuTime;
use criterion::{Criterion, criterion_group, criterion_main};
use lsn_labels::diversity::{BleuForm, BleuTokenizer, Order, Spectrum, self_bleu};
use std::hint::black_box;

const TEXTS: u64 = 64;
const TOKENS: u64 = 200;

/// A word of a vocabulary of 500, small numbers more often.
fn word(text: u64, position: u64) -> String {
    let mixed = (text * TOKENS + position + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let uniform = mixed % 1000;
    format!("w{}", uniform * uniform / 2000)
}

fn diversity(criterion: &mut Criterion<CpuTime>) {
    let texts: Vec<String> =
        (0..TEXTS).map(|text| (0..TOKENS).map(|i| word(text, i)).collect::<Vec<_>>().join(" ")).collect();
    let mut group = criterion.benchmark_group("diversity");
    group.bench_function("self_bleu_nltk_64x200", |bencher| {
        bencher.iter(|| black_box(self_bleu(&texts, BleuTokenizer::Whitespace, 4, BleuForm::Nltk)));
    });
    group.bench_function("self_bleu_sacre_13a_64x200", |bencher| {
        bencher.iter(|| black_box(self_bleu(&texts, BleuTokenizer::V13a, 4, BleuForm::default())));
    });
    let embeddings: Vec<Vec<f32>> = (0..TEXTS)
        .map(|text| (0..384).map(|i| ((text * 31 + i * 17 + text * i) % 101) as f32 / 50.0 - 1.0).collect())
        .collect();
    group.bench_function("vendi_64x384", |bencher| {
        bencher.iter(|| black_box(Spectrum::of_embeddings(&embeddings).map(|s| s.vendi(Order::Finite(1.0)))));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = diversity
}
criterion_main!(benches);
