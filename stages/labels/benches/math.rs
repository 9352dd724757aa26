//! Pairs of mathematical answers verified per second, over the golden pairs: each text extracted, read and compared anew.
//!
//! `benches/peers/math_verify.py` measures the reference software on the same pairs.

#![expect(clippy::unwrap_used, reason = "a bench has no interface, and fails by panicking")]

#[path = "../../../benches/cpu_time/mod.rs"]
mod cpu_time;

use cpu_time::CpuTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lsn_labels::verifiable::math::{Options, verify};
use std::hint::black_box;

fn pairs() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/math/verify.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.map(|row| (row["gold"].as_str().unwrap().to_owned(), row["pred"].as_str().unwrap().to_owned())).collect()
}

fn golden_pairs(criterion: &mut Criterion<CpuTime>) {
    let pairs = pairs();
    let mut group = criterion.benchmark_group("math");
    group.throughput(Throughput::Elements(pairs.len() as u64));
    group.bench_function("verify the golden pairs", |bencher| {
        bencher.iter(|| {
            let verdicts = pairs.iter().map(|(gold, prediction)| verify(gold, prediction, &Options::default()));
            verdicts.filter(|verdict| black_box(verdict).equal).count()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = golden_pairs
}
criterion_main!(benches);
