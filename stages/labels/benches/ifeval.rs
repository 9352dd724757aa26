//! IFEval verdicts, strict and loose, over the golden rows. One element is one row: reading its instruction and both
//! verdicts. `benches/peers/ifeval.py` measures the reference on the same rows.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../../../benches/cpu_time/mod.rs"]
mod cpu_time;

use cpu_time::CpuTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lsn_labels::verifiable::ifeval::Instruction;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::hint::black_box;

#[derive(Deserialize)]
struct Row {
    instruction_id: String,
    kwargs: Map<String, Value>,
    response: String,
}

const LANGUAGE_TYPES: [&str; 3] =
    ["language:response_language", "change_case:english_capital", "change_case:english_lowercase"];

fn rows(language: bool) -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/ifeval/instructions.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Row>(line).unwrap());
    rows.filter(|row| LANGUAGE_TYPES.contains(&row.instruction_id.as_str()) == language).collect()
}

fn ifeval(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("ifeval");
    for (name, language) in [("without_language", false), ("language", true)] {
        let rows = rows(language);
        group.throughput(Throughput::Elements(rows.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for row in &rows {
                    let instruction = Instruction::parse(&row.instruction_id, &row.kwargs).unwrap();
                    black_box(instruction.judge(&row.response));
                }
            });
        });
    }
    let parsed: Vec<(Instruction, String)> = rows(false)
        .into_iter()
        .map(|row| (Instruction::parse(&row.instruction_id, &row.kwargs).unwrap(), row.response))
        .collect();
    group.throughput(Throughput::Elements(parsed.len() as u64));
    group.bench_function("without_language_parsed", |bencher| {
        bencher.iter(|| {
            for (instruction, response) in &parsed {
                black_box(instruction.judge(response));
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = ifeval
}
criterion_main!(benches);
