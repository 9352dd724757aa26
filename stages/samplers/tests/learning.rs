//! Networks learn nucleus sampling, on rows that they have not seen, and stay what they are under interpolation.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use lsn_heuristics::{History, Pipeline, ProcessorConfig, Scratch};
use lsn_samplers::{
    AdamWConfig, Architecture, Example, INTERPOLATION_TOLERANCE, LocalProbabilityTransform, LogitSet, OptimizerKind,
    RankedTransform, Sampler, SamplingNetwork, Schedule, ScheduleKind, SimpleDistributionAwareTransform, Statistic,
    Target, Trainer, TrainerConfig, Workspace, loss_and_gradient,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const STEPS: u64 = 150;

/// Zipf-like logits of various exponents, (nearly) all different.
fn logits(rng: &mut ChaCha8Rng) -> Vec<f32> {
    let (exponent, offset) = (rng.random_range(0.8..2.2_f32), rng.random_range(0.5..10.0_f32));
    (0..400).map(|rank| -exponent * (rank as f32 + offset).ln() + rng.random_range(-0.5..0.5_f32)).collect()
}

/// Rows of [`logits`] cut by top-p 0.9.
fn examples(seed: u64, count: usize) -> Vec<Example> {
    let params = [("top_p".to_owned(), 0.9.into())].into_iter().collect();
    let pipeline = Pipeline::from_config(&[ProcessorConfig { name: "top_p".to_owned(), params }]).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut example = || {
        let raw = logits(&mut rng);
        let mut target = raw.clone();
        pipeline.process(&mut target, History::default(), &mut pipeline.start(0), &mut Scratch::default()).unwrap();
        let set = LogitSet::distinct(&raw).unwrap();
        let target = Target::new(&set, &target).unwrap();
        Example { set, target }
    };
    (0..count).map(|_| example()).collect()
}

/// What `architecture` is after a short training on nucleus sampling.
fn trained(architecture: Architecture) -> Trainer<f32> {
    let config = TrainerConfig {
        optimizer: OptimizerKind::Adamw,
        adamw: AdamWConfig { betas: [0.9, 0.99], weight_decay: 0.0, ..AdamWConfig::default() },
        schedule: Schedule { kind: ScheduleKind::Cosine, lr: 1e-2, warmup_steps: 20, total_steps: STEPS },
        gamma: 1.0,
        max_grad_norm: Some(1.0),
    };
    let mut trainer = Trainer::new(Sampler::<f32>::new(architecture, 1).unwrap(), config).unwrap();
    let train = examples(1, 360);
    for step in 0..STEPS as usize {
        let start = step * 12 % train.len();
        trainer.step(&[train[start..start + 12].to_vec()]).unwrap();
    }
    trainer
}

#[test]
fn a_ranked_transform_learns_nucleus_sampling() {
    let trainer = trained(Architecture::RankedTransform(RankedTransform { hidden_dims: 16 }));
    let held_out = examples(2, 60);
    let raw =
        |example: &Example| loss_and_gradient(&example.set, example.set.log_probs(), &example.target, 0.0, None).kl;
    let before = held_out.iter().map(raw).sum::<f64>() / held_out.len() as f64;
    let left = trainer.evaluate(&held_out).kl;
    assert!(left < 0.2 * before, "of a KL of {before} nats {left} are left");
}

#[test]
fn trained_networks_keep_to_the_tolerance_of_interpolation() {
    let statistics = vec![Statistic::MaxLogProb, Statistic::Entropy];
    let aware = SimpleDistributionAwareTransform { hidden_dims: 16, use_dynamic_truncation: true, statistics };
    let architectures = [
        Architecture::LocalProbabilityTransform(LocalProbabilityTransform { hidden_dims: 16 }),
        Architecture::SimpleDistributionAwareTransform(aware),
        Architecture::SamplingNetwork(SamplingNetwork { d_model: 8, d_ff: 16, n_blocks: 2, n_heads: 2, scale: true }),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let rows: Vec<Vec<f32>> = (0..40).map(|_| logits(&mut rng)).collect();
    for architecture in architectures {
        let name = architecture.name();
        let sampler = trained(architecture).into_sampler();
        let mut workspace = Workspace::default();
        let mut interpolated = 0;
        for row in &rows {
            let (mut exact, mut grid) = (row.clone(), row.clone());
            sampler.apply(&mut exact, &mut workspace).unwrap();
            sampler.apply_interpolated(&mut grid, &mut workspace).unwrap();
            let scale = exact.iter().fold(1.0_f64, |scale, z| scale.max(f64::from(z.abs())));
            for (a, b) in exact.iter().zip(&grid) {
                let error = f64::from((a - b).abs()) / scale;
                assert!(error <= INTERPOLATION_TOLERANCE, "{name}: {a} {b}, {error:e}");
            }
            interpolated += usize::from(exact != grid);
        }
        // Most rows do take the short way, else nothing was tested.
        assert!(interpolated > rows.len() / 2, "{name}: {interpolated}");
    }
}

#[test]
fn parameter_groups_learn_at_their_own_rates() {
    let config = TrainerConfig {
        optimizer: OptimizerKind::Adamw,
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
    for ((name, fast), (_, slow)) in moved(&[("cuts", 10.0), ("cuts.bias", 0.5)]).into_iter().zip(plain) {
        let factor = if name == "cuts.bias" {
            0.5
        } else if name.starts_with("cuts") {
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
