//! The networks against the reference implementation: outputs, losses and gradients, dense and on distinct values, f32 and f64.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod common;

use lsn_samplers::{Architecture, LogitSet, Real, RowError, RowLoss, Sampler, Target, Workspace};
use safetensors::SafeTensors;
use serde_json::{Value, json};

struct Golden {
    name: String,
    logits: Vec<Vec<f32>>,
    targets: Vec<Vec<f32>>,
    output: Vec<f64>,
    gamma: f64,
    loss: RowLoss,
    reference_error: f64,
}

/// The largest deviations.
struct Deviation {
    /// Relative to the largest output, 1 at least.
    output: f64,
    loss: f64,
    /// Relative to the largest entry of the tensor's gradient.
    gradient: f64,
    /// Relative to the largest entry of any tensor's gradient: rounding in f32 is of that size.
    overall: f64,
}

fn sampler<T: Real>(case: &Value, file: &SafeTensors<'_>) -> Sampler<T> {
    let description = json!({"architecture": case["architecture"], "arguments": case["config"]});
    let architecture: Architecture = serde_json::from_value(description).unwrap();
    let mut sampler = Sampler::<T>::new(architecture, 0).unwrap();
    for tensor in sampler.layout().tensors().to_vec() {
        let (shape, values) = common::tensor(file, &format!("param.{}", tensor.name));
        assert_eq!(shape, tensor.shape, "{}", tensor.name);
        let into = &mut sampler.parameters_mut()[tensor.offset..tensor.offset + tensor.len()];
        into.iter_mut().zip(values).for_each(|(into, value)| *into = T::of(value));
    }
    let recorded = file.names().iter().filter(|name| name.starts_with("param.")).count();
    assert_eq!(recorded, sampler.layout().tensors().len(), "the network has other tensors than the reference");
    sampler
}

fn compare<T: Real>(
    sampler: &Sampler<T>,
    golden: &Golden,
    file: &SafeTensors<'_>,
    group: fn(&[f32]) -> Result<LogitSet, RowError>,
) -> Deviation {
    let mut workspace = Workspace::<T>::default();
    let mut grads = vec![T::ZERO; sampler.parameters().len()];
    let mut loss = RowLoss::default();
    let rows = golden.logits.len();
    let mut output = Vec::new();
    for (logits, target) in golden.logits.iter().zip(&golden.targets) {
        let set = group(logits).unwrap();
        let target = Target::new(&set, target).unwrap();
        let predicted = sampler.forward(&set, &mut workspace).to_vec();
        output.extend((0..logits.len()).map(|token| predicted[set.position(token).unwrap()].f64()));
        let alone = sampler.loss(&set, &target, golden.gamma, &mut workspace);
        let row =
            sampler.loss_and_gradient(&set, &target, (golden.gamma, 1.0 / rows as f64), &mut workspace, &mut grads);
        assert_eq!(alone, row, "{}: the loss depends on whether a gradient is asked for", golden.name);
        loss.kl += row.kl / rows as f64;
        loss.penalty += row.penalty / rows as f64;
    }
    let worst = |pairs: &mut dyn Iterator<Item = (f64, f64)>| pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let scale = golden.output.iter().fold(1.0_f64, |scale, value| scale.max(value.abs()));
    let (mut gradient, mut absolute, mut largest) = (0.0_f64, 0.0_f64, 1e-6_f64);
    for tensor in sampler.layout().tensors() {
        let (_, expected) = common::tensor(file, &format!("grad64.{}", tensor.name));
        let ours = &grads[tensor.offset..tensor.offset + tensor.len()];
        assert!(ours.iter().all(|value| value.f64().is_finite()), "{}: {}", golden.name, tensor.name);
        assert!(ours.iter().any(|value| value.f64() != 0.0), "{}: {} has no gradient", golden.name, tensor.name);
        let scale = expected.iter().fold(1e-6_f64, |scale, value| scale.max(value.abs()));
        let deviation = worst(&mut ours.iter().map(|value| value.f64()).zip(expected));
        gradient = gradient.max(deviation / scale);
        absolute = absolute.max(deviation);
        largest = largest.max(scale);
    }
    let expected = golden.loss;
    let relative = |a: f64, b: f64| (a - b).abs() / b.abs().max(1e-3);
    Deviation {
        output: worst(&mut output.iter().copied().zip(golden.output.iter().copied())) / scale,
        loss: relative(loss.kl, expected.kl).max(relative(loss.penalty, expected.penalty)),
        gradient,
        overall: absolute / largest,
    }
}

#[test]
fn golden_samplers() {
    let folder = common::folder("samplers");
    let index: Value = serde_json::from_slice(&common::read(folder.join("index.json"))).unwrap();
    let cases = index["cases"].as_array().unwrap();
    let mut worst32 = 0.0_f64;
    for case in cases {
        let bytes = common::read(folder.join(case["file"].as_str().unwrap()));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let number = |key: &str| case[key].as_f64().unwrap();
        let golden = Golden {
            name: format!("{} {} {}", case["name"], case["architecture"], case["logits"]),
            logits: common::rows(&file, "logits"),
            targets: common::rows(&file, "target"),
            output: common::tensor(&file, "output64").1,
            gamma: number("gamma"),
            loss: RowLoss { kl: number("kl"), penalty: number("penalty") },
            reference_error: number("max_abs_err_f32_reference"),
        };
        let (double, single) = (sampler::<f64>(case, &file), sampler::<f32>(case, &file));
        for (way, group) in [("dense", LogitSet::dense as fn(&[f32]) -> _), ("distinct", LogitSet::distinct)] {
            let Deviation { output, loss, gradient, .. } = compare(&double, &golden, &file, group);
            let place = format!("{} {way} f64: output {output:e}, loss {loss:e}, gradient {gradient:e}", golden.name);
            // The recorded gradients are rounded to f32.
            assert!(output < 1e-10 && loss < 1e-9 && gradient < 2e-7, "{place}");
            let Deviation { output, loss, overall, .. } = compare(&single, &golden, &file, group);
            let place = format!("{} {way} f32: output {output:e}, loss {loss:e}, gradient {overall:e}", golden.name);
            assert!(output < 1e-5_f64.max(4.0 * golden.reference_error), "{place}");
            assert!(loss < 1e-4 && overall < 1e-4, "{place}");
            worst32 = worst32.max(overall);
        }
    }
    println!("cases: {}", cases.len());
    println!("largest relative deviation of an f32 gradient: {worst32:.1e}");
    assert!(!cases.is_empty());
}
