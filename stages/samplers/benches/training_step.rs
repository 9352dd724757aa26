//! One optimiser step of the reference's `SamplingNetwork(32, 64, 4 blocks, 4 heads)` on 12 rows, and one row's forward pass:
//! all logits distinct (dense), and logits of a bf16 model (about 2500 distinct values among 128,256).
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lsn_samplers::{
    AdamWConfig, Architecture, Example, LogitSet, Sampler, Schedule, ScheduleKind, Target, Trainer, TrainerConfig,
    Workspace,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ROWS: usize = 12;

/// Roughly normal logits of spread 3; `bf16` cuts them to 8 significant bits.
fn logits(vocabulary: usize, bf16: bool, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let normal = |rng: &mut ChaCha8Rng| (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
    (0..vocabulary)
        .map(|_| {
            let logit = 3.0 * normal(&mut rng);
            if bf16 { f32::from_bits(logit.to_bits() & 0xffff_0000) } else { logit }
        })
        .collect()
}

fn example(vocabulary: usize, bf16: bool, seed: u64) -> Example {
    let raw = logits(vocabulary, bf16, seed);
    let mut target = raw.clone();
    let floor = target.iter().copied().fold(f32::NEG_INFINITY, f32::max) - 4.0;
    target.iter_mut().filter(|logit| **logit < floor).for_each(|logit| *logit = f32::NEG_INFINITY);
    let set = LogitSet::distinct(&raw).unwrap();
    let target = Target::new(&set, &target).unwrap();
    Example { set, target }
}

fn trainer() -> Trainer<f32> {
    let config = TrainerConfig {
        adamw: AdamWConfig::default(),
        schedule: Schedule { kind: ScheduleKind::Constant, lr: 1e-3, warmup_steps: 0, total_steps: 1000 },
        gamma: 1.0,
        max_grad_norm: Some(1.0),
    };
    Trainer::new(Sampler::new(Architecture::default(), 0).unwrap(), config).unwrap()
}

fn training_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("training step of 12 rows, one thread");
    group.sample_size(10);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (name, vocabulary, bf16) in
        [("dense, 1024 tokens", 1024, false), ("distinct, 128256 bf16 logits", 128_256, true)]
    {
        let batch: Vec<Example> = (0..ROWS as u64).map(|seed| example(vocabulary, bf16, seed)).collect();
        let mut trainer = trainer();
        group.bench_function(name, |bencher| {
            let step = |batch| pool.install(|| trainer.step(&[batch]).unwrap());
            bencher.iter_batched(|| batch.clone(), step, BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward of one row");
    group.sample_size(10);
    let sampler = Sampler::<f32>::new(Architecture::default(), 0).unwrap();
    for (name, vocabulary, bf16) in
        [("dense, 1024 tokens", 1024, false), ("distinct, 128256 bf16 logits", 128_256, true)]
    {
        let row = logits(vocabulary, bf16, 1);
        let mut workspace = Workspace::default();
        group.bench_function(name, |bencher| {
            let apply = |mut row: Vec<f32>| sampler.apply(&mut row, &mut workspace).unwrap();
            bencher.iter_batched(|| row.clone(), apply, BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, training_step, forward);
criterion_main!(benches);
