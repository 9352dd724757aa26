//! Training over several devices: the processor stands in for each of them.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use lsn_samplers::{
    AdamWConfig, Architecture, Example, GradientDevice, OptimizerKind, Processor, RankedTransform, RowLoss, Sampler,
    SamplerError, SamplingNetwork, Schedule, ScheduleKind, StepMetrics, Trainer, TrainerConfig,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CONFIG: TrainerConfig = TrainerConfig {
    optimizer: OptimizerKind::Adamw,
    adamw: AdamWConfig { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 },
    schedule: Schedule { kind: ScheduleKind::Constant, lr: 1e-3, warmup_steps: 0, total_steps: 10 },
    gamma: 1.0,
    max_grad_norm: Some(1.0),
};

fn batch(rows: usize, seed: u64) -> Vec<Example> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..rows)
        .map(|_| {
            let raw: Vec<f32> = (0..200).map(|_| f32::from(rng.random_range(-40_i8..40)) / 8.0).collect();
            let target: Vec<f32> = raw.iter().map(|&z| if z < 2.0 { f32::NEG_INFINITY } else { z / 0.7 }).collect();
            Example::new(&raw, &target).unwrap()
        })
        .collect()
}

/// Metrics of five steps of two micro-batches, and the parameters they lead to.
fn train(architecture: &Architecture, devices: usize) -> (Vec<StepMetrics>, Vec<f64>) {
    let devices = (0..devices).map(|_| Box::new(Processor) as Box<dyn GradientDevice<f64>>);
    let sampler = Sampler::<f64>::new(architecture.clone(), 3).unwrap();
    let mut trainer = Trainer::new(sampler, CONFIG).unwrap().with_devices(devices.collect());
    let metrics = (0..5).map(|step| trainer.step(&[batch(7, 2 * step), batch(5, 2 * step + 1)]).unwrap()).collect();
    (metrics, trainer.into_sampler().parameters().to_vec())
}

#[test]
fn the_result_does_not_depend_on_how_many_devices_share_a_batch() {
    for architecture in [
        Architecture::RankedTransform(RankedTransform { hidden_dims: 6 }),
        Architecture::SamplingNetwork(SamplingNetwork { d_model: 8, d_ff: 8, n_blocks: 1, n_heads: 2, scale: true }),
    ] {
        let (expected, parameters) = train(&architecture, 0);
        // More devices than rows: some have nothing to do.
        for devices in [1, 2, 3, 9] {
            let (metrics, found) = train(&architecture, devices);
            for (found, expected) in metrics.iter().zip(&expected) {
                assert!(
                    (found.loss - expected.loss).abs() < 1e-12 && (found.grad_norm - expected.grad_norm).abs() < 1e-9
                );
            }
            let apart = found.iter().zip(&parameters).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-8, "{} on {devices} devices: {apart:e}", architecture.name());
            assert_eq!(found, train(&architecture, devices).1, "the same devices give the same bits");
        }
    }
}

/// A device that is lost.
#[derive(Debug)]
struct Lost;

impl GradientDevice<f64> for Lost {
    fn add_gradient(
        &mut self,
        _: &Sampler<f64>,
        _: &[Example],
        _: (f64, f64),
        _: &mut [f64],
    ) -> Result<RowLoss, SamplerError> {
        Err(SamplerError::Device("the device is lost".to_owned()))
    }
}

#[test]
fn a_device_that_fails_fails_the_step_and_moves_nothing() {
    let sampler = Sampler::<f64>::new(Architecture::default(), 3).unwrap();
    let before = sampler.parameters().to_vec();
    let mut trainer = Trainer::new(sampler, CONFIG).unwrap().with_devices(vec![Box::new(Processor), Box::new(Lost)]);
    let error = trainer.step(&[batch(4, 0)]).unwrap_err();
    assert_eq!(error.to_string(), "the device is lost");
    assert_eq!((trainer.steps(), trainer.sampler().parameters()), (0, &before[..]));
}
