//! Training with bf16 parameters over f32 masters: it goes on where it was saved, and learns what f32 parameters learn.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use lsn_samplers::{
    AdamWConfig, Architecture, Example, LocalProbabilityTransform, OptimizerKind, Precision, Sampler, Schedule,
    ScheduleKind, Trainer, TrainerConfig,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const STEPS: u64 = 120;

/// Random rows under temperature 0.5.
fn examples(seed: u64, count: usize) -> Vec<Example> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut row = || -> Vec<f32> { (0..200).map(|_| rng.random_range(-8.0..4.0_f32)).collect() };
    (0..count)
        .map(|_| {
            let raw = row();
            let target: Vec<f32> = raw.iter().map(|logit| logit / 0.5).collect();
            Example::new(&raw, &target).unwrap()
        })
        .collect()
}

fn trainer(precision: Precision) -> Trainer<f32> {
    trainer_with(OptimizerKind::Adamw, precision)
}

fn trainer_with(optimizer: OptimizerKind, precision: Precision) -> Trainer<f32> {
    let config = TrainerConfig {
        optimizer,
        adamw: AdamWConfig::default(),
        // Steps so small that bf16 parameters alone would not move.
        schedule: Schedule { kind: ScheduleKind::Cosine, lr: 2e-3, warmup_steps: 10, total_steps: STEPS },
        gamma: 1.0,
        max_grad_norm: Some(1.0),
    };
    let architecture = Architecture::LocalProbabilityTransform(LocalProbabilityTransform { hidden_dims: 16 });
    Trainer::new(Sampler::new(architecture, 3).unwrap(), config).unwrap().with_precision(precision)
}

fn train(trainer: &mut Trainer<f32>, batches: &[Vec<Example>]) {
    for batch in batches {
        trainer.step(std::slice::from_ref(batch)).unwrap();
    }
}

fn batches() -> Vec<Vec<Example>> {
    examples(1, 4 * STEPS as usize).chunks(4).map(<[Example]>::to_vec).collect()
}

#[test]
fn a_saved_training_goes_on_to_the_same_bits() {
    let batches = batches();
    for optimizer in [OptimizerKind::Adamw, OptimizerKind::Soap] {
        let new = || trainer_with(optimizer, Precision::Bf16);
        let mut whole = new();
        train(&mut whole, &batches[..25]);
        let (mut first, mut second) = (new(), new());
        train(&mut first, &batches[..13]);
        second.restore(&first.save().unwrap()).unwrap();
        assert_eq!(second.sampler().parameters(), first.sampler().parameters());
        train(&mut second, &batches[13..25]);
        assert_eq!(second.sampler().parameters(), whole.sampler().parameters());
        assert_eq!(second.save().unwrap(), whole.save().unwrap());
    }
    let adamw = trainer(Precision::Bf16).save().unwrap();
    let error = trainer_with(OptimizerKind::Soap, Precision::Bf16).restore(&adamw).unwrap_err().to_string();
    assert!(error.contains("left"), "{error}");
}

#[test]
fn the_network_sees_bf16_and_the_state_keeps_f32() {
    let mut trainer = trainer(Precision::Bf16);
    train(&mut trainer, &batches()[..5]);
    let coarse = |parameter: &f32| parameter.to_bits() & 0xffff == 0;
    assert!(trainer.sampler().parameters().iter().all(coarse));
    let state = trainer.save().unwrap();
    let file = safetensors::SafeTensors::deserialize(&state).unwrap();
    let masters = file.tensor("parameters").unwrap();
    assert_eq!(masters.dtype(), safetensors::Dtype::F32);
    let fine = masters.data().chunks_exact(4).filter(|bytes| bytes[..2] != [0, 0]).count();
    assert!(fine > trainer.sampler().parameters().len() / 2, "{fine} masters have more bits than bf16");
}

#[test]
fn bf16_parameters_learn_nearly_as_well() {
    let (batches, held_out) = (batches(), examples(2, 40));
    let [start, full, half] =
        [(0, Precision::F32), (1, Precision::F32), (1, Precision::Bf16)].map(|(part, precision)| {
            let mut trainer = trainer(precision);
            train(&mut trainer, &batches[..part * batches.len()]);
            trainer.evaluate(&held_out).kl
        });
    assert!(full < 0.5 * start, "{start} {full}");
    assert!((half - full).abs() < 0.05 * start, "{start} {full} {half}");
}
