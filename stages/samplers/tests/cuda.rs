//! The networks on a CUDA device against the reference implementation's recorded results, and against the processor.
//!
//! Needs the feature `cuda`. Without a device every test says that it is skipped; `LSN_TEST_CUDA=1` makes that a failure.

#![cfg(feature = "cuda")]
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod common;

use lsn_samplers::{
    AdamWConfig, Architecture, Example, GradientDevice, LocalProbabilityTransform, LogitSet, OptimizerKind, RowLoss,
    Sampler, SamplerError, SamplingNetwork, Schedule, ScheduleKind, SimpleDistributionAwareTransform, Statistic,
    Target, Trainer, TrainerConfig, Workspace,
    cuda::{CudaError, CudaSampler, Device, DeviceLogits},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use serde_json::{Value, json};

/// Largest difference allowed in f32, relative to the largest value (1 at least for outputs).
const TOLERANCE: f64 = 1e-4;

fn device() -> Option<Device> {
    match Device::new(0) {
        Ok(device) => Some(device),
        Err(error) if std::env::var_os("LSN_TEST_CUDA").is_some_and(|value| value == "1") => {
            panic!("LSN_TEST_CUDA=1, but there is no CUDA device: {error}")
        }
        Err(error) => {
            println!("SKIPPED: no CUDA device: {error}");
            None
        }
    }
}

fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |most, value| most.max(value.abs()))
}

/// Largest deviations of outputs, losses and gradients from a recorded case, each relative to its largest value.
fn check_case(device: &Device, case: &Value) -> [f64; 3] {
    let bytes = common::read(common::folder("samplers").join(case["file"].as_str().unwrap()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let description = json!({"architecture": case["architecture"], "arguments": case["config"]});
    let architecture: Architecture = serde_json::from_value(description).unwrap();
    let mut sampler = Sampler::<f32>::new(architecture, 0).unwrap();
    for tensor in sampler.layout().tensors().to_vec() {
        let (_, values) = common::tensor(&file, &format!("param.{}", tensor.name));
        let into = &mut sampler.parameters_mut()[tensor.offset..tensor.offset + tensor.len()];
        into.iter_mut().zip(values).for_each(|(into, value)| *into = value as f32);
    }
    let (logits, targets) = (common::rows(&file, "logits"), common::rows(&file, "target"));
    let (rows, vocabulary) = (logits.len(), logits[0].len());
    let mut cuda = CudaSampler::new(device, &sampler).unwrap();

    let mut output = logits.concat();
    cuda.apply_rows(&mut output, vocabulary).unwrap();
    let (_, expected) = common::tensor(&file, "output64");
    let differences = output.iter().zip(&expected).map(|(a, b)| f64::from(*a) - b);
    let output = largest(differences) / largest(expected.iter().copied()).max(1.0);

    let gamma = case["gamma"].as_f64().unwrap();
    let raw = DeviceLogits::new(device, &logits.concat(), vocabulary).unwrap();
    let target = DeviceLogits::new(device, &targets.concat(), vocabulary).unwrap();
    let losses = cuda.loss_and_gradient(&raw, &target, (gamma, 1.0 / rows as f64)).unwrap();
    let mean = |part: fn(&RowLoss) -> f64| losses.iter().map(part).sum::<f64>() / rows as f64;
    let relative = |ours: f64, name: &str| {
        let expected = case[name].as_f64().unwrap();
        (ours - expected).abs() / expected.abs().max(1e-3)
    };
    let loss = relative(mean(|row| row.kl), "kl").max(relative(mean(|row| row.penalty), "penalty"));

    let gradient = cuda.gradient().unwrap();
    let (mut deviation, mut scale) = (0.0_f64, 1e-6_f64);
    for tensor in sampler.layout().tensors() {
        let (_, expected) = common::tensor(&file, &format!("grad64.{}", tensor.name));
        let ours = &gradient[tensor.offset..tensor.offset + tensor.len()];
        assert!(ours.iter().all(|value| value.is_finite()), "{}: {}", case["name"], tensor.name);
        assert!(ours.iter().any(|value| *value != 0.0), "{}: {} has no gradient", case["name"], tensor.name);
        let apart = largest(ours.iter().zip(&expected).map(|(a, b)| f64::from(*a) - b));
        if apart > TOLERANCE * largest(expected.iter().copied()).max(1e-3) {
            println!("  {} {}: {apart:.1e} of {:.1e}", case["name"], tensor.name, largest(expected.iter().copied()));
        }
        deviation = deviation.max(apart);
        scale = scale.max(largest(expected));
    }
    // The same inputs give the same bits.
    cuda.loss_and_gradient(&raw, &target, (gamma, 1.0 / rows as f64)).unwrap();
    assert_eq!(gradient, cuda.gradient().unwrap(), "{}: another run, another gradient", case["name"]);
    [output, loss, deviation / scale]
}

#[test]
fn recorded_outputs_losses_and_gradients() {
    let Some(device) = device() else { return };
    let index: Value = serde_json::from_slice(&common::read(common::folder("samplers").join("index.json"))).unwrap();
    let cases = index["cases"].as_array().unwrap();
    let (mut worst, mut failed) = ([0.0_f64; 3], Vec::new());
    for case in cases {
        let name = format!("{} {} {}", case["name"], case["architecture"], case["logits"]);
        let found = check_case(&device, case);
        let tolerance = TOLERANCE.max(4.0 * case["max_abs_err_f32_reference"].as_f64().unwrap());
        if found[0] > tolerance || found[1] > TOLERANCE || found[2] > TOLERANCE || found.iter().any(|x| x.is_nan()) {
            println!("{name}: output {:.1e}, loss {:.1e}, gradient {:.1e}", found[0], found[1], found[2]);
            failed.push(name);
        }
        (0..3).for_each(|at| worst[at] = worst[at].max(found[at]));
    }
    println!("cases: {}", cases.len());
    println!("largest deviations: output {:.1e}, loss {:.1e}, gradient {:.1e}", worst[0], worst[1], worst[2]);
    assert!(!cases.is_empty() && failed.is_empty(), "{failed:?}");
}

fn architectures() -> Vec<Architecture> {
    let network = SamplingNetwork { d_model: 32, d_ff: 64, n_blocks: 4, n_heads: 4, scale: true };
    vec![
        Architecture::LocalProbabilityTransform(LocalProbabilityTransform { hidden_dims: 9 }),
        Architecture::SimpleDistributionAwareTransform(SimpleDistributionAwareTransform {
            hidden_dims: 10,
            use_dynamic_truncation: true,
            statistics: vec![Statistic::Entropy, Statistic::MaxLogProb, Statistic::Entropy],
        }),
        Architecture::SamplingNetwork(network.clone()),
        Architecture::SamplingNetwork(SamplingNetwork { d_model: 6, d_ff: 5, n_blocks: 1, n_heads: 1, scale: false }),
        Architecture::SamplingNetwork(SamplingNetwork { n_blocks: 0, ..network.clone() }),
        Architecture::SamplingNetwork(SamplingNetwork { d_model: 64, d_ff: 128, n_blocks: 2, ..network }),
    ]
}

/// Logits of spread 3, cut to bf16 in even rows; some removed.
fn random_rows(rows: usize, vocabulary: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..rows * vocabulary)
        .map(|at| {
            let logit = 3.0 * ((0..6).map(|_| rng.random::<f32>()).sum::<f32>() - 3.0);
            let logit =
                if (at / vocabulary).is_multiple_of(2) { f32::from_bits(logit.to_bits() & 0xffff_0000) } else { logit };
            if rng.random_ratio(1, 50) { f32::NEG_INFINITY } else { logit }
        })
        .collect()
}

/// Keeps what is within 4 of the largest logit, at temperature 0.7.
fn heuristic(raw: &[f32], vocabulary: usize) -> Vec<f32> {
    let cut = |row: &[f32]| {
        let floor = row.iter().copied().fold(f32::NEG_INFINITY, f32::max) - 4.0;
        row.iter().map(|&logit| if logit < floor { f32::NEG_INFINITY } else { logit / 0.7 }).collect::<Vec<_>>()
    };
    raw.chunks(vocabulary).flat_map(cut).collect()
}

#[test]
fn device_and_processor_agree() {
    let Some(device) = device() else { return };
    for (architecture, vocabulary) in architectures().into_iter().flat_map(|a| [(a.clone(), 97), (a, 5000)]) {
        let rows = 5;
        let raw = random_rows(rows, vocabulary, 3);
        let target = heuristic(&raw, vocabulary);
        let sampler = Sampler::<f32>::new(architecture.clone(), 1).unwrap();
        let mut cuda = CudaSampler::new(&device, &sampler).unwrap();
        let (mut ours, mut expected) = (raw.clone(), raw.clone());
        cuda.apply_rows(&mut ours, vocabulary).unwrap();
        sampler.apply_rows(&mut expected, vocabulary).unwrap();
        let scale = largest(expected.iter().filter(|z| z.is_finite()).map(|z| f64::from(*z))).max(1.0);
        for (ours, expected) in ours.iter().zip(&expected) {
            let close = f64::from(ours - expected).abs() <= TOLERANCE * scale;
            assert!(ours == expected || close, "{architecture:?}: {ours} instead of {expected}");
        }

        let mut gradient = vec![0.0; sampler.parameters().len()];
        let mut workspace = Workspace::default();
        let losses: Vec<RowLoss> = raw
            .chunks(vocabulary)
            .zip(target.chunks(vocabulary))
            .map(|(raw, target)| {
                let set = LogitSet::distinct(raw).unwrap();
                let target = Target::new(&set, target).unwrap();
                sampler.loss_and_gradient(&set, &target, (1.5, 0.2), &mut workspace, &mut gradient)
            })
            .collect();
        let raw = DeviceLogits::new(&device, &raw, vocabulary).unwrap();
        let target = DeviceLogits::new(&device, &target, vocabulary).unwrap();
        let found = cuda.loss_and_gradient(&raw, &target, (1.5, 0.2)).unwrap();
        for (found, expected) in found.iter().zip(&losses) {
            let (kl, penalty) = (found.kl - expected.kl, found.penalty - expected.penalty);
            assert!(kl.abs() <= TOLERANCE * expected.kl.max(1.0) && penalty.abs() <= TOLERANCE, "{architecture:?}");
        }
        let scale = largest(gradient.iter().map(|slope| f64::from(*slope)));
        let found = cuda.gradient().unwrap();
        let apart = largest(found.iter().zip(&gradient).map(|(a, b)| f64::from(a - b)));
        assert!(apart <= TOLERANCE * scale, "{architecture:?}, {vocabulary} tokens: {apart:.1e} of {scale:.1e}");
    }
}

#[test]
fn training_follows_the_processor() {
    let Some(device) = device() else { return };
    let (rows, vocabulary) = (4, 2000);
    let config = TrainerConfig {
        optimizer: OptimizerKind::Adamw,
        adamw: AdamWConfig::default(),
        schedule: Schedule { kind: ScheduleKind::Cosine, lr: 3e-3, warmup_steps: 2, total_steps: 12 },
        gamma: 1.0,
        max_grad_norm: Some(1.0),
    };
    for architecture in architectures().into_iter().take(3) {
        let new = || Sampler::<f32>::new(architecture.clone(), 5).unwrap();
        let on_devices = |count: usize| -> Vec<Box<dyn GradientDevice<f32>>> {
            (0..count).map(|_| Box::new(CudaSampler::new(&device, &new()).unwrap()) as _).collect()
        };
        let trainer = |count| Trainer::new(new(), config).unwrap().with_devices(on_devices(count));
        // Twice on the same device is as good as on two.
        let (mut processor, mut cuda, mut both) = (trainer(0), trainer(1), trainer(2));
        let mut worst = 0.0_f64;
        for step in 0..12 {
            let batch = |batch: u64| -> Vec<Example> {
                let raw = random_rows(rows, vocabulary, 10 * step + batch);
                let target = heuristic(&raw, vocabulary);
                let rows = raw.chunks(vocabulary).zip(target.chunks(vocabulary));
                rows.map(|(raw, target)| Example::new(raw, target).unwrap()).collect()
            };
            let examples = [batch(0), batch(1)];
            let expected = processor.step(&examples).unwrap();
            let found = cuda.step(&examples).unwrap();
            let shared = both.step(&examples).unwrap();
            worst = worst.max((shared.loss - found.loss).abs() / found.loss);
            assert_eq!((found.step, found.lr), (expected.step, expected.lr));
            for (found, expected) in [(found.loss, expected.loss), (found.grad_norm, expected.grad_norm)] {
                worst = worst.max((found - expected).abs() / expected);
            }
        }
        println!("{}: losses and norms of 12 steps within {worst:.1e}", architecture.name());
        // Rounding grows along the way: as far as the processor's f32 and f64 are apart.
        assert!(worst < 2e-2, "{architecture:?}: {worst:e}");
    }
}

#[test]
fn rows_that_cannot_be_worked_on_are_named() {
    let Some(device) = device() else { return };
    let sampler = Sampler::<f32>::new(Architecture::default(), 0).unwrap();
    let mut cuda = CudaSampler::new(&device, &sampler).unwrap();
    let mut error = |logits: &mut [f32], vocabulary| cuda.apply_rows(logits, vocabulary).unwrap_err().to_string();
    let minus = f32::NEG_INFINITY;
    assert!(error(&mut [0.0, 1.0, f32::NAN, 2.0], 2).contains("row 1: logit of token 0 is NaN"));
    assert!(error(&mut [0.0, f32::INFINITY], 2).contains("row 0: logit of token 1 is inf"));
    assert!(error(&mut [minus, minus, 0.0, 0.0], 2).contains("row 0: no token"));
    assert!(error(&mut [0.0; 5], 2).contains("whole rows of 2"));
    let rows = |logits: &[f32]| DeviceLogits::new(&device, logits, logits.len()).unwrap();
    let mut both = |raw: &[f32], target: &[f32]| {
        let outcome = cuda.loss_and_gradient(&rows(raw), &rows(target), (1.0, 1.0));
        outcome.unwrap_err().to_string()
    };
    assert!(both(&[0.0, minus], &[0.0, 0.0]).contains("keeps token 1"));
    assert!(both(&[0.0, 1.0], &[minus, minus]).contains("no token"));
    assert!(both(&[0.0, 1.0], &[0.0, 1.0, 2.0]).contains("2 and 3 tokens"));
    let wide = SamplingNetwork { d_model: 512, d_ff: 8, n_blocks: 1, n_heads: 8, scale: false };
    let wide = Sampler::<f32>::new(Architecture::SamplingNetwork(wide), 0).unwrap();
    let refused = CudaSampler::new(&device, &wide).unwrap_err();
    assert!(matches!(refused, CudaError::Unsupported(_)) && refused.to_string().contains("512"), "{refused}");
    let other = cuda.set_parameters(&[0.0; 3]).unwrap_err();
    assert!(matches!(other, CudaError::Sampler(SamplerError::State(_))));
}
