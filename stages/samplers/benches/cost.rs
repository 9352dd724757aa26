//! CPU time and peak memory of forward passes and training steps, and of packing rows, at a vocabulary of 128,256, on one thread.
//!
//! `benches/peers/samplers.py` gives PyTorch's figures for the same shapes.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../../../benches/cpu_time/mod.rs"]
mod cpu_time;
mod scenarios;

use cpu_time::CpuTime;
use criterion::Criterion;
use lsn_samplers::{Example, Packer};
use scenarios::{SCENARIOS, VOCABULARY, raw_and_target};
use std::process::Command;

/// Set in a child process: the scenario to run once, to print its peak memory.
const PEAK_OF: &str = "LSN_BENCH_PEAK_OF";

/// Peak resident memory of this process in MiB, as the kernel counts it.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().unwrap();
    if let Ok(name) = std::env::var(PEAK_OF) {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap();
        let mut step = scenario.prepare();
        let before = peak_mib();
        (0..2).for_each(|_| step());
        println!("{name}: peak {} MiB, of that {before} MiB before the first step", peak_mib());
        return;
    }
    // The first argument that is no option filters scenarios, as it filters criterion's benchmarks.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.contains(&filter)) {
        Command::new(std::env::current_exe().unwrap()).env(PEAK_OF, scenario.name).status().unwrap();
    }
    let mut criterion = Criterion::default().with_measurement(CpuTime).sample_size(10).configure_from_args();
    for scenario in SCENARIOS {
        let mut step = None;
        criterion.bench_function(scenario.name, |bencher| {
            bencher.iter(step.get_or_insert_with(|| scenario.prepare()));
        });
    }
    for (kind, bf16) in [("bf16", true), ("f32 all distinct", false)] {
        let (raw, target) = raw_and_target(bf16);
        let (mut packer, mut packed) = (Packer::default(), Vec::new());
        packer.pack(&raw, &target, &mut packed).unwrap();
        let dense = 8 * VOCABULARY;
        println!(
            "packed row, {kind}: {} bytes, {:.1} times less than dense",
            packed.len(),
            dense as f64 / packed.len() as f64
        );
        criterion.bench_function(&format!("packing 1 row, {kind}"), |bencher| {
            let mut again = Vec::with_capacity(packed.len());
            bencher.iter(|| {
                again.clear();
                packer.pack(&raw, &target, &mut again).unwrap();
            });
        });
        criterion.bench_function(&format!("reading back 1 row, {kind}"), |bencher| {
            bencher.iter(|| Example::unpack(&packed).unwrap());
        });
    }
    criterion.final_summary();
}
