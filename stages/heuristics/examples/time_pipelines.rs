//! CPU time of one row through each pipeline of the bench, for `benches/peers/heuristics.py`:
//! `time_pipelines ROW.safetensors ROWS` prints `pipeline <tab> level <tab> milliseconds` per row, the copy of the row
//! included.

#[path = "../benches/cases/mod.rs"]
mod cases;

use cases::{Surroundings, pipelines, read_row};
use lsn_heuristics::Scratch;
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;

/// User and system time of this process in milliseconds.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (path, rows) = (args.next().ok_or("no file")?, args.next().ok_or("no number of rows")?.parse::<u32>()?);
    let row = read_row(path.as_ref())?;
    let surroundings = Surroundings::of(&row);
    for (name, pipeline) in pipelines()? {
        for (level, mut scratch) in [("vector", Scratch::default()), ("plain", Scratch::portable())] {
            let mut state = pipeline.start(0);
            let mut logits = row.clone();
            let mut run = || {
                logits.copy_from_slice(&row);
                surroundings.with(|context| pipeline.process(&mut logits, context, &mut state, &mut scratch))
            };
            run()?;
            let start = cpu_ms();
            for _ in 0..rows {
                run()?;
            }
            println!("{name}\t{level}\t{:.6}", (cpu_ms() - start) / f64::from(rows));
        }
    }
    Ok(())
}
