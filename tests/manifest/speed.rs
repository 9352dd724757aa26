//! Expanding 10⁵ tasks is a matter of a fraction of a second.

use crate::pipeline;
use std::time::Instant;

/// Seconds of this process's own work, which other work on the machine does not change.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[test]
fn a_hundred_thousand_tasks() {
    let text = r#"
lsn: 1
stages:
  make:
    uses: command
    matrix: {i: {range: [0, 50000]}}
    inputs: {src: {path: "in/${matrix.i}.txt"}}
    with: {run: "cp ${inputs.src} ${outputs.out}", outputs: {out: out.txt}}
  copy:
    uses: command
    matrix: {i: {range: [0, 50000]}}
    inputs: {src: "make[i=${matrix.i}].out"}
    with: {run: "echo ${matrix.i}; cp ${inputs.src} ${outputs.out}", outputs: {out: out.txt}}
"#;
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    let pipeline = pipeline(text);
    println!("100000 tasks: {:.3} s, {:.3} s of CPU", wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    assert_eq!(pipeline.tasks.len(), 100_000);
    assert!(cpu_seconds() - cpu < 3.0, "far from a fraction of a second");
}
