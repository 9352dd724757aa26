//! Optimiser trajectories and learning-rate schedules against PyTorch and transformers.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod common;

use lsn_samplers::{
    AdamWConfig, Architecture, Example, LogitSet, OptimizerKind, Real, Sampler, Schedule, Target, Trainer,
    TrainerConfig,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};

/// Largest relative deviations of the log and, per tensor, of the final weights.
fn replay<T: Real>(case: &Value, file: &SafeTensors<'_>) -> (f64, f64) {
    let number = |key: &str| case[key].as_f64().unwrap();
    let count = |key: &str| case[key].as_u64().unwrap();
    let description = json!({"architecture": case["architecture"], "arguments": case["config"]});
    let architecture: Architecture = serde_json::from_value(description).unwrap();
    let mut sampler = Sampler::<T>::new(architecture, 0).unwrap();
    for tensor in sampler.layout().tensors().to_vec() {
        let (_, values) = common::tensor(file, &format!("init.{}", tensor.name));
        let into = &mut sampler.parameters_mut()[tensor.offset..tensor.offset + tensor.len()];
        into.iter_mut().zip(values).for_each(|(into, value)| *into = T::of(value));
    }
    let config = TrainerConfig {
        optimizer: OptimizerKind::Adamw,
        adamw: AdamWConfig {
            betas: serde_json::from_value(case["betas"].clone()).unwrap(),
            eps: number("eps"),
            weight_decay: number("weight_decay"),
        },
        schedule: Schedule {
            kind: serde_json::from_value(case["scheduler"].clone()).unwrap(),
            lr: number("lr"),
            warmup_steps: count("num_warmup_steps"),
            total_steps: count("optimizer_steps"),
        },
        gamma: number("gamma"),
        max_grad_norm: case["max_grad_norm"].as_f64(),
    };
    let mut trainer = Trainer::new(sampler, config).unwrap();
    let accumulation = count("gradient_accumulation_steps") as usize;
    let batch = common::tensor(file, "logits").0[1];
    let (logits, targets) = (common::rows(file, "logits"), common::rows(file, "target"));
    let examples: Vec<Example> = logits
        .iter()
        .zip(&targets)
        .map(|(logits, target)| {
            let set = LogitSet::distinct(logits).unwrap();
            let target = Target::new(&set, target).unwrap();
            Example { set, target }
        })
        .collect();
    let micro_batches: Vec<Vec<Example>> = examples.chunks(batch).map(<[Example]>::to_vec).collect();
    let relative = |a: f64, b: f64| (a - b).abs() / b.abs().max(1e-12);
    let mut log = 0.0_f64;
    for (expected, micro_batches) in case["log"].as_array().unwrap().iter().zip(micro_batches.chunks(accumulation)) {
        // Saving and restoring between steps must not be seen in the trajectory.
        let saved = trainer.save().unwrap();
        trainer.restore(&saved).unwrap();
        let metrics = trainer.step(micro_batches).unwrap();
        for (key, value) in [("loss", metrics.loss), ("lr", metrics.lr), ("grad_norm", metrics.grad_norm)] {
            log = log.max(relative(value, expected[key].as_f64().unwrap()));
        }
    }
    assert_eq!(trainer.steps(), count("optimizer_steps"));
    let sampler = trainer.into_sampler();
    let mut weights = 0.0_f64;
    for tensor in sampler.layout().tensors() {
        let (_, expected) = common::tensor(file, &format!("final.{}", tensor.name));
        let scale = expected.iter().fold(1e-3_f64, |scale, value| scale.max(value.abs()));
        let ours = &sampler.parameters()[tensor.offset..tensor.offset + tensor.len()];
        weights = ours.iter().zip(expected).map(|(a, b)| (a.f64() - b).abs() / scale).fold(weights, f64::max);
    }
    (log, weights)
}

#[test]
fn golden_training() {
    let folder = common::folder("training");
    let index: Value = serde_json::from_slice(&common::read(folder.join("index.json"))).unwrap();
    let trajectories = index["cases"].as_array().unwrap();
    for case in trajectories {
        let bytes = common::read(folder.join(case["file"].as_str().unwrap()));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (log, weights) = replay::<f64>(case, &file);
        println!("{} f64: log within {log:.1e}, final weights within {weights:.1e}", case["architecture"]);
        assert!(log < 1e-8 && weights < 1e-7);
        let (log, weights) = replay::<f32>(case, &file);
        println!("{} f32: log within {log:.1e}, final weights within {weights:.1e}", case["architecture"]);
        assert!(log < 2e-2 && weights < 2e-2);
    }
    let schedules: Value = serde_json::from_slice(&common::read(folder.join("lr_schedules.json"))).unwrap();
    let schedules = schedules["cases"].as_array().unwrap();
    for case in schedules {
        let schedule = Schedule {
            kind: serde_json::from_value(case["scheduler"].clone()).unwrap(),
            lr: case["lr"].as_f64().unwrap(),
            warmup_steps: case["num_warmup_steps"].as_u64().unwrap(),
            total_steps: case["num_training_steps"].as_u64().unwrap(),
        };
        for (step, expected) in case["lrs"].as_array().unwrap().iter().enumerate() {
            let (ours, expected) = (schedule.lr(step as u64), expected.as_f64().unwrap());
            assert!((ours - expected).abs() <= 1e-12 * schedule.lr, "{schedule:?} at step {step}: {ours}, {expected}");
        }
    }
    println!("cases: {}", trajectories.len() + schedules.len());
    assert!(!trajectories.is_empty() && !schedules.is_empty());
}
