//! The loss and its gradient against PyTorch's autograd in f64.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod common;

use lsn_samplers::{LogitSet, Real, RowLoss, Target, loss_and_gradient};
use safetensors::SafeTensors;
use serde_json::Value;

fn close(ours: f64, expected: f64, relative: f64, absolute: f64) -> bool {
    (ours - expected).abs() <= relative * expected.abs() + absolute
}

fn check<T: Real>(case: &Value, file: &SafeTensors<'_>, relative: f64, absolute: f64) {
    let name = format!("{} in {:?}", case["name"], T::DTYPE);
    let text = |key: &str| case[key].as_str().unwrap();
    let gamma = case["gamma"].as_f64().unwrap();
    let (predictions, targets) = (common::rows(file, text("pred")), common::rows(file, text("target")));
    let expected = common::tensor(file, text("grad")).1;
    let mut mean = RowLoss::default();
    for (row, (prediction, target)) in predictions.iter().zip(&targets).enumerate() {
        // The loss alone: the raw logits only say which tokens there are.
        let set = LogitSet::dense(&vec![0.0; prediction.len()]).unwrap();
        let target = Target::new(&set, target).unwrap();
        let predicted: Vec<T> = prediction.iter().map(|&value| T::of(f64::from(value))).collect();
        let mut gradient = Vec::new();
        let scale = 1.0 / predictions.len() as f64;
        let loss = loss_and_gradient(&set, &predicted, &target, gamma, Some((&mut gradient, scale)));
        assert_eq!(loss, loss_and_gradient(&set, &predicted, &target, gamma, None), "{name}");
        for (part, value) in [("kl", loss.kl), ("penalty", loss.penalty)] {
            let expected = case[part][row].as_f64().unwrap();
            assert!(
                close(value, expected, relative, absolute),
                "{name}, row {row}: {part} {value} instead of {expected}"
            );
        }
        for (token, (ours, &expected)) in
            gradient.iter().zip(&expected[row * prediction.len()..(row + 1) * prediction.len()]).enumerate()
        {
            assert!(close(ours.f64(), expected, relative, absolute), "{name}, row {row}, token {token}: gradient");
        }
        if let Some(kept) = case.get("kept_mass").map(|kept| kept[row].as_f64().unwrap()) {
            assert!(close(loss.kl, -kept.ln(), relative, absolute), "{name}, row {row}: KL is not -ln(kept mass)");
            assert!(close(loss.penalty, 1.0 - kept, relative, absolute), "{name}, row {row}: penalty is not 1 - kept");
        }
        mean.kl += scale * loss.kl;
        mean.penalty += scale * loss.penalty;
    }
    for (part, value) in [("mean_kl", mean.kl), ("mean_penalty", mean.penalty), ("loss", mean.total(gamma))] {
        assert!(close(value, case[part].as_f64().unwrap(), relative, absolute), "{name}: {part}");
    }
}

#[test]
fn golden_loss() {
    let folder = common::folder("loss");
    let index: Value = serde_json::from_slice(&common::read(folder.join("index.json"))).unwrap();
    let bytes = common::read(folder.join(index["file"].as_str().unwrap()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let cases = index["cases"].as_array().unwrap();
    for case in cases {
        // 1e-14: the rounding of a difference of logarithms near 1.
        check::<f64>(case, &file, 1e-9, 1e-14);
        check::<f32>(case, &file, 2e-5, 1e-7);
    }
    println!("cases: {}", cases.len());
    assert!(!cases.is_empty());
}
