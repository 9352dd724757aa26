//! CPU time of one row through two pipelines, for `benches/peers/heuristics.py`:
//! `time_pipelines ROW.safetensors ROWS` prints `pipeline <tab> level <tab> milliseconds` per row, the copy of the row
//! included.

use lsn_heuristics::{HeuristicsFile, History, Scratch};
use rustix::time::{ClockId, clock_gettime};
use safetensors::SafeTensors;
use std::error::Error;

const PIPELINES: &str = "
sampling_pipelines:
  - name: T+k+p+m
    processors:
      - {name: temperature, params: {temperature: 0.7}}
      - {name: top_k, params: {top_k: 50}}
      - {name: top_p, params: {top_p: 0.95}}
      - {name: min_p, params: {min_p: 0.05}}
  - name: T+p+m
    processors:
      - {name: temperature, params: {temperature: 0.7}}
      - {name: top_p, params: {top_p: 0.95}}
      - {name: min_p, params: {min_p: 0.05}}
";

/// User and system time of this process in milliseconds.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (path, rows) = (args.next().ok_or("no file")?, args.next().ok_or("no number of rows")?.parse::<u32>()?);
    let bytes = std::fs::read(path)?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let view = tensors.tensor("logits")?;
    let row: Vec<f32> = view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    for config in HeuristicsFile::from_yaml(PIPELINES)?.sampling_pipelines {
        let pipeline = config.build()?;
        for (level, mut scratch) in [("vector", Scratch::default()), ("plain", Scratch::portable())] {
            let mut state = pipeline.start(0);
            let mut logits = row.clone();
            let mut run = || {
                logits.copy_from_slice(&row);
                pipeline.process(&mut logits, History::default(), &mut state, &mut scratch)
            };
            run()?;
            let start = cpu_ms();
            for _ in 0..rows {
                run()?;
            }
            println!("{}\t{level}\t{:.6}", config.name, (cpu_ms() - start) / f64::from(rows));
        }
    }
    Ok(())
}
