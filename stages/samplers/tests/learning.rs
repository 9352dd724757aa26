//! A ranked network learns the cut of nucleus sampling on rows that it has not seen.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use lsn_heuristics::{History, Pipeline, ProcessorConfig, Scratch};
use lsn_samplers::{
    AdamWConfig, Architecture, Example, LogitSet, RankedTransform, Sampler, Schedule, ScheduleKind, Target, Trainer,
    TrainerConfig, loss_and_gradient,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const STEPS: u64 = 150;

/// Zipf-like rows of various exponents, cut by top-p 0.9.
fn examples(seed: u64, count: usize) -> Vec<Example> {
    let params = [("top_p".to_owned(), 0.9.into())].into_iter().collect();
    let pipeline = Pipeline::from_config(&[ProcessorConfig { name: "top_p".to_owned(), params }]).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut example = || {
        let (exponent, offset) = (rng.random_range(0.8..2.2_f32), rng.random_range(0.5..10.0_f32));
        let raw: Vec<f32> =
            (0..400).map(|rank| -exponent * (rank as f32 + offset).ln() + rng.random_range(-0.5..0.5_f32)).collect();
        let mut target = raw.clone();
        pipeline.process(&mut target, History::default(), &mut pipeline.start(0), &mut Scratch::default()).unwrap();
        let set = LogitSet::distinct(&raw).unwrap();
        let target = Target::new(&set, &target).unwrap();
        Example { set, target }
    };
    (0..count).map(|_| example()).collect()
}

#[test]
fn a_ranked_transform_learns_nucleus_sampling() {
    let config = TrainerConfig {
        adamw: AdamWConfig { betas: [0.9, 0.99], weight_decay: 0.0, ..AdamWConfig::default() },
        schedule: Schedule { kind: ScheduleKind::Cosine, lr: 1e-2, warmup_steps: 20, total_steps: STEPS },
        gamma: 1.0,
        max_grad_norm: Some(1.0),
    };
    let architecture = Architecture::RankedTransform(RankedTransform { hidden_dims: 16 });
    let mut trainer = Trainer::new(Sampler::<f32>::new(architecture, 1).unwrap(), config).unwrap();
    let (train, held_out) = (examples(1, 360), examples(2, 60));
    for step in 0..STEPS as usize {
        let start = step * 12 % train.len();
        trainer.step(&[train[start..start + 12].to_vec()]).unwrap();
    }
    let raw =
        |example: &Example| loss_and_gradient(&example.set, example.set.log_probs(), &example.target, 0.0, None).kl;
    let before = held_out.iter().map(raw).sum::<f64>() / held_out.len() as f64;
    let left = trainer.evaluate(&held_out).kl;
    assert!(left < 0.2 * before, "of a KL of {before} nats {left} are left");
}

#[test]
fn parameter_groups_learn_at_their_own_rates() {
    let config = TrainerConfig {
        adamw: AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() },
        schedule: Schedule { kind: ScheduleKind::Constant, lr: 1e-3, warmup_steps: 0, total_steps: 1 },
        gamma: 1.0,
        max_grad_norm: None,
    };
    let architecture = Architecture::RankedTransform(RankedTransform { hidden_dims: 8 });
    let moved = |factors: &[(&str, f64)]| {
        let sampler = Sampler::<f64>::new(architecture.clone(), 1).unwrap();
        let (layout, before) = (sampler.layout().clone(), sampler.parameters().to_vec());
        let factors = factors.iter().map(|&(group, factor)| (group.to_owned(), factor)).collect();
        let mut trainer = Trainer::new(sampler, config).unwrap().with_lr_factors(&factors).unwrap();
        trainer.step(&[examples(1, 12)]).unwrap();
        let norm = |range: std::ops::Range<usize>| {
            range.map(|at| (trainer.sampler().parameters()[at] - before[at]).powi(2)).sum::<f64>().sqrt()
        };
        let tensors = layout.tensors().iter();
        tensors.map(|t| (t.name.clone(), norm(t.offset..t.offset + t.len()))).collect::<Vec<_>>()
    };
    let plain = moved(&[]);
    // The longest beginning of a name counts.
    for ((name, fast), (_, slow)) in moved(&[("output", 10.0), ("output.bias", 0.5)]).into_iter().zip(plain) {
        let factor = if name == "output.bias" {
            0.5
        } else if name.starts_with("output") {
            10.0
        } else {
            1.0
        };
        assert!(slow > 0.0 && (fast / slow / factor - 1.0).abs() < 1e-9, "{name}: {fast} {slow}");
    }
    let sampler = Sampler::<f64>::new(architecture.clone(), 1).unwrap();
    let unknown = [("head".to_owned(), 2.0)].into_iter().collect();
    let error = Trainer::new(sampler, config).unwrap().with_lr_factors(&unknown).unwrap_err().to_string();
    assert!(error.contains("`head`") && error.contains("RankedTransform"), "{error}");
}
