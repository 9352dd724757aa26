//! CPU time and peak memory of forward passes and training steps at a vocabulary of 128,256, on one thread.
//!
//! `benches/peers/samplers.py` gives PyTorch's figures for the same shapes.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../../../benches/cpu_time/mod.rs"]
mod cpu_time;
mod scenarios;

use cpu_time::CpuTime;
use criterion::Criterion;
use scenarios::SCENARIOS;
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
    criterion.final_summary();
}
