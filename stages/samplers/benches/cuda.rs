//! The reference's networks on a CUDA device, wall time up to the device's last word: one row's forward pass at V = 128,256 and
//! the training step of 12 rows that are grouped already (upload of their columns, both passes, the optimiser's step on the
//! processor), on logits of a bf16 model and on logits that are all different.
//!
//! `cargo bench -p lsn-samplers --features cuda --bench cuda`; `benches/cuda.md` says how to compare with PyTorch.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use lsn_samplers::{
    AdamWConfig, Architecture, Example, LocalProbabilityTransform, OptimizerKind, Sampler, SamplingNetwork, Schedule,
    ScheduleKind, SimpleDistributionAwareTransform, Statistic, Trainer, TrainerConfig,
    cuda::{CudaSampler, Device, DeviceLogits},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::Instant;

const VOCABULARY: usize = 128_256;
const ROWS: usize = 12;

/// Roughly normal logits of spread 3; `bf16` cuts them to 8 significant bits.
fn logits(rows: usize, bf16: bool, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..rows * VOCABULARY)
        .map(|_| {
            let logit = 3.0 * ((0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0);
            if bf16 { f32::from_bits(logit.to_bits() & 0xffff_0000) } else { logit }
        })
        .collect()
}

/// Removes what is more than 4 below the largest logit.
fn heuristic(raw: &[f32]) -> Vec<f32> {
    let cut = |row: &[f32]| {
        let floor = row.iter().copied().fold(f32::NEG_INFINITY, f32::max) - 4.0;
        row.iter().map(|&logit| if logit < floor { f32::NEG_INFINITY } else { logit }).collect::<Vec<_>>()
    };
    raw.chunks(VOCABULARY).flat_map(cut).collect()
}

/// Median and smallest of the wall times of `times` calls, each from a synchronised device to a synchronised device, in ms.
fn measure(device: &Device, times: usize, mut call: impl FnMut()) -> (f64, f64) {
    (0..10).for_each(|_| call());
    let mut all: Vec<f64> = (0..times)
        .map(|_| {
            device.synchronize().unwrap();
            let start = Instant::now();
            call();
            device.synchronize().unwrap();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    all.sort_by(f64::total_cmp);
    (all[times / 2], all[0])
}

fn main() {
    let device = match Device::new(0) {
        Ok(device) => device,
        Err(error) => {
            println!("SKIPPED: no CUDA device: {error}");
            return;
        }
    };
    println!("lsn on {}, median (smallest) in ms", device.name().unwrap());
    let architectures = [
        Architecture::LocalProbabilityTransform(LocalProbabilityTransform { hidden_dims: 32 }),
        Architecture::SimpleDistributionAwareTransform(SimpleDistributionAwareTransform {
            hidden_dims: 32,
            use_dynamic_truncation: true,
            statistics: vec![Statistic::MaxLogProb, Statistic::Entropy],
        }),
        Architecture::SamplingNetwork(SamplingNetwork { d_model: 32, d_ff: 64, n_blocks: 4, n_heads: 4, scale: true }),
    ];
    for architecture in architectures {
        for (kind, bf16) in [("bf16 logits", true), ("all distinct", false)] {
            let new = || Sampler::<f32>::new(architecture.clone(), 0).unwrap();
            let mut sampler = CudaSampler::new(&device, &new()).unwrap();
            // Several rows in turn; each call replaces its row's logits by the new ones, which are then put back untimed.
            let rows: Vec<Vec<f32>> = (0..4).map(|seed| logits(1, bf16, seed)).collect();
            let mut on_device: Vec<_> =
                (0..204).map(|at| DeviceLogits::new(&device, &rows[at % 4], VOCABULARY).unwrap()).collect();
            let mut at = 0;
            let forward = measure(&device, 190, || {
                sampler.apply(&mut on_device[at]).unwrap();
                at += 1;
            });
            println!("{:33} forward, 1 row,   {kind}: {:.3} ({:.3})", architecture.name(), forward.0, forward.1);
            let config = TrainerConfig {
                optimizer: OptimizerKind::Adamw,
                adamw: AdamWConfig::default(),
                schedule: Schedule { kind: ScheduleKind::Constant, lr: 1e-3, warmup_steps: 0, total_steps: 1000 },
                gamma: 1.0,
                max_grad_norm: Some(1.0),
            };
            let device_sampler = Box::new(CudaSampler::new(&device, &new()).unwrap());
            let mut trainer = Trainer::new(new(), config).unwrap().with_devices(vec![device_sampler]);
            let raw = logits(ROWS, bf16, 9);
            let target = heuristic(&raw);
            let rows = raw.chunks(VOCABULARY).zip(target.chunks(VOCABULARY));
            let batch = [rows.map(|(raw, target)| Example::new(raw, target).unwrap()).collect::<Vec<_>>()];
            let mut first = None;
            let times = if bf16 { 200 } else { 30 };
            let step = measure(&device, times, || {
                let metrics = trainer.step(&batch).unwrap();
                first.get_or_insert(metrics.loss);
            });
            println!(
                "{:33} step of {ROWS} rows, {kind}: {:.3} ({:.3}), loss at first {:.4}",
                architecture.name(),
                step.0,
                step.1,
                first.unwrap()
            );
        }
    }
}
