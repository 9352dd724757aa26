//! What must hold for any row: dense and distinct evaluation agree, permutations commute, no NaN whatever is removed.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use lsn_samplers::{
    AdamWConfig, Architecture, Example, Grouping, INTERPOLATION_TOLERANCE, LocalProbabilityTransform, LogitSet,
    OptimizerKind, RankedTransform, Real, RowError, Sampler, SamplingNetwork, Schedule, ScheduleKind,
    SimpleDistributionAwareTransform, Statistic, Target, Trainer, TrainerConfig, Workspace,
};
use proptest::prelude::*;

fn architectures() -> Vec<Architecture> {
    vec![
        Architecture::LocalProbabilityTransform(LocalProbabilityTransform { hidden_dims: 9 }),
        Architecture::SimpleDistributionAwareTransform(SimpleDistributionAwareTransform {
            hidden_dims: 8,
            use_dynamic_truncation: true,
            statistics: vec![Statistic::MaxLogProb, Statistic::Entropy],
        }),
        Architecture::SamplingNetwork(SamplingNetwork { d_model: 12, d_ff: 20, n_blocks: 2, n_heads: 3, scale: true }),
        Architecture::RankedTransform(RankedTransform { hidden_dims: 7 }),
    ]
}

/// Logits with many ties and some −inf, and which tokens a target keeps (always at least one candidate).
fn row() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    let logit = prop_oneof![
        4 => (-20i8..20).prop_map(|step| f32::from(step) / 4.0),
        2 => -30.0f32..30.0,
        1 => Just(f32::NEG_INFINITY),
    ];
    let len = prop_oneof![4 => 1usize..60, 1 => 500usize..1200];
    len.prop_flat_map(move |len| {
        (prop::collection::vec(logit.clone(), len), prop::collection::vec(any::<bool>(), len), 0..len)
    })
    .prop_map(|(mut logits, keep, certain)| {
        if logits[certain] == f32::NEG_INFINITY {
            logits[certain] = 0.5;
        }
        let target = (0..logits.len())
            .map(|token| if keep[token] || token == certain { logits[token] / 0.7 } else { f32::NEG_INFINITY })
            .collect();
        (logits, target)
    })
}

fn gradients<T: Real>(sampler: &Sampler<T>, set: &LogitSet, target: &[f32]) -> (f64, Vec<T>) {
    let target = Target::new(set, target).unwrap();
    let mut grads = vec![T::ZERO; sampler.parameters().len()];
    let loss = sampler.loss_and_gradient(set, &target, (1.5, 1.0), &mut Workspace::default(), &mut grads);
    (loss.total(1.5), grads)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn distinct_values_with_multiplicities_are_exact((logits, target) in row()) {
        for architecture in architectures() {
            // Logarithms of small tail masses, features of the ranked network, magnify the last bits of the sums behind them.
            let (exact, exact_slope) =
                if matches!(architecture, Architecture::RankedTransform(_)) { (1e-7, 1e-6) } else { (1e-10, 1e-9) };
            let sampler = Sampler::<f64>::new(architecture, 3).unwrap();
            let (dense, distinct) = (LogitSet::dense(&logits).unwrap(), LogitSet::distinct(&logits).unwrap());
            let (loss, grads) = gradients(&sampler, &dense, &target);
            let (other_loss, other_grads) = gradients(&sampler, &distinct, &target);
            prop_assert!((loss - other_loss).abs() <= exact * loss.abs().max(1.0), "{loss} {other_loss}");
            let scale = grads.iter().fold(1.0_f64, |scale, g| scale.max(g.abs()));
            for (a, b) in grads.iter().zip(&other_grads) {
                prop_assert!(a.is_finite() && (a - b).abs() <= exact_slope * scale, "{a} {b}");
            }
        }
    }

    #[test]
    fn single_precision_agrees_however_tokens_are_grouped((logits, target) in row()) {
        for architecture in architectures() {
            let sampler = Sampler::<f32>::new(architecture.clone(), 3).unwrap();
            let mut workspace = Workspace::default();
            let mut evaluate = |grouping: Grouping| {
                let mut out = logits.clone();
                sampler.apply_grouped(&mut out, grouping, &mut workspace).unwrap();
                let set = LogitSet::new(&logits, grouping).unwrap();
                (out, gradients(&sampler, &set, &target).1)
            };
            let (dense, dense_grads) = evaluate(Grouping::Dense);
            let scale = dense.iter().filter(|z| z.is_finite()).fold(1.0_f32, |scale, z| scale.max(z.abs()));
            let slope = dense_grads.iter().fold(1.0_f32, |scale, g| scale.max(g.abs()));
            for grouping in [Grouping::Distinct, Grouping::Automatic] {
                let (other, grads) = evaluate(grouping);
                for ((a, b), raw) in dense.iter().zip(&other).zip(&logits) {
                    prop_assert_eq!(*raw == f32::NEG_INFINITY, *a == f32::NEG_INFINITY);
                    prop_assert!(a == b || (a - b).abs() <= 1e-5 * scale, "{} {}", a, b);
                }
                for (a, b) in dense_grads.iter().zip(&grads) {
                    prop_assert!(a.is_finite() && (a - b).abs() <= 1e-5 * slope, "{}: {} {} of {}", architecture.name(), a, b, slope);
                }
            }
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences((logits, target) in row(), seed in 0u64..1000) {
        const STEP: f64 = 1e-5;
        let set = LogitSet::distinct(&logits).unwrap();
        for architecture in architectures() {
            let mut sampler = Sampler::<f64>::new(architecture.clone(), seed).unwrap();
            let (loss, grads) = gradients(&sampler, &set, &target);
            // Another untrained network's parameters are a random direction.
            let direction = Sampler::<f64>::new(architecture, seed + 1).unwrap().parameters().to_vec();
            let start = sampler.parameters().to_vec();
            let mut along = |step: f64| {
                let moved = sampler.parameters_mut().iter_mut().zip(&start).zip(&direction);
                moved.for_each(|((parameter, start), direction)| *parameter = start + step * direction);
                gradients(&sampler, &set, &target).0
            };
            let mut central = |step: f64| (along(step) - along(-step)) / (2.0 * step);
            // Richardson: a sharp gate bends the loss, and one central difference errs by the square of its step.
            let slope = (4.0 * central(STEP / 2.0) - central(STEP)) / 3.0;
            let expected: f64 = grads.iter().zip(&direction).map(|(gradient, direction)| gradient * direction).sum();
            let tolerance = 1e-6 * grads.iter().fold(loss.abs().max(1.0), |scale, g| scale.max(g.abs()));
            prop_assert!((slope - expected).abs() <= tolerance, "{slope} {expected}");
        }
    }

    #[test]
    fn interpolation_keeps_to_its_tolerance(
        logits in prop::collection::vec(prop_oneof![9 => -25.0f32..10.0, 1 => Just(f32::NEG_INFINITY)], 1..3000),
        seed in 0u64..1000,
    ) {
        prop_assume!(logits.iter().any(|logit| logit.is_finite()));
        for architecture in architectures() {
            let sampler = Sampler::<f32>::new(architecture, seed).unwrap();
            let (mut exact, mut grid) = (logits.clone(), logits.clone());
            sampler.apply(&mut exact, &mut Workspace::default()).unwrap();
            sampler.apply_interpolated(&mut grid, &mut Workspace::default()).unwrap();
            let scale = exact.iter().filter(|z| z.is_finite()).fold(1.0_f64, |scale, z| scale.max(f64::from(z.abs())));
            for (a, b) in exact.iter().zip(&grid) {
                let error = f64::from((a - b).abs());
                prop_assert!(a == b || error <= INTERPOLATION_TOLERANCE * scale, "{a} {b}");
            }
        }
    }

    #[test]
    fn a_batch_of_different_rows_trains_alike_however_tokens_are_grouped(
        rows in prop::collection::vec(row(), 1..5)
    ) {
        let config = TrainerConfig {
            optimizer: OptimizerKind::Adamw,
            adamw: AdamWConfig::default(),
            schedule: Schedule { kind: ScheduleKind::Constant, lr: 1e-3, warmup_steps: 0, total_steps: 3 },
            gamma: 1.0,
            max_grad_norm: Some(1.0),
        };
        for architecture in architectures() {
            let train = |grouping: Grouping| {
                let example = |(logits, target): &(Vec<f32>, Vec<f32>)| {
                    let set = LogitSet::new(logits, grouping).unwrap();
                    let target = Target::new(&set, target).unwrap();
                    Example { set, target }
                };
                let batch: Vec<Example> = rows.iter().map(example).collect();
                let sampler = Sampler::<f64>::new(architecture.clone(), 2).unwrap();
                let mut trainer = Trainer::new(sampler, config).unwrap();
                (0..3).map(|_| trainer.step(std::slice::from_ref(&batch)).map(|metrics| metrics.loss)).collect::<Vec<_>>()
            };
            let (dense, distinct) = (train(Grouping::Dense), train(Grouping::Distinct));
            for (a, b) in dense.iter().zip(&distinct) {
                match (a, b) {
                    (Ok(a), Ok(b)) => prop_assert!((a - b).abs() <= 1e-8 * a.abs().max(1.0), "{a} {b}"),
                    // A batch that asks nothing of a network, such as rows of one candidate, gives no gradient either way.
                    (a, b) => prop_assert_eq!(a.is_ok(), b.is_ok()),
                }
            }
        }
    }

    #[test]
    fn a_permutation_of_tokens_permutes_the_output((logits, _) in row(), rotation in 0usize..1000) {
        let mut rotated = logits.clone();
        let by = rotation % logits.len();
        rotated.rotate_left(by);
        for architecture in architectures() {
            let sampler = Sampler::<f32>::new(architecture, 5).unwrap();
            let apply = |row: &[f32], grouping: Grouping| {
                let mut row = row.to_vec();
                sampler.apply_grouped(&mut row, grouping, &mut Workspace::default()).unwrap();
                row
            };
            let mut a = apply(&logits, Grouping::Distinct);
            a.rotate_left(by);
            // Distinct values come in sorted order, so not even rounding differs.
            prop_assert_eq!(&a, &apply(&rotated, Grouping::Distinct));
            let scale = a.iter().filter(|z| z.is_finite()).fold(1.0_f32, |scale, z| scale.max(z.abs()));
            for (a, b) in a.iter().zip(&apply(&rotated, Grouping::Dense)) {
                prop_assert!(a == b || (a - b).abs() <= 1e-5 * scale, "{} {}", a, b);
            }
        }
    }
}

#[test]
fn untrained_networks_are_the_same_everywhere() {
    let parameters = |seed| Sampler::<f32>::new(Architecture::default(), seed).unwrap().parameters().to_vec();
    assert_eq!(parameters(1), parameters(1));
    assert_ne!(parameters(1), parameters(2));
    assert!(parameters(1).iter().all(|parameter| parameter.abs() <= 1.0));
}

#[test]
fn what_cannot_be_worked_on_is_an_error() {
    assert_eq!(LogitSet::distinct(&[f32::NEG_INFINITY; 2]), Err(RowError::NoCandidate));
    assert!(matches!(LogitSet::distinct(&[0.0, f32::NAN]), Err(RowError::NotANumber { token: 1, .. })));
    assert!(matches!(LogitSet::dense(&[f32::INFINITY, 0.0]), Err(RowError::NotANumber { token: 0, .. })));
    let set = LogitSet::distinct(&[0.0, f32::NEG_INFINITY, 1.0]).unwrap();
    assert_eq!(Target::new(&set, &[0.0; 2]), Err(RowError::Length { raw: 3, target: 2 }));
    assert_eq!(Target::new(&set, &[0.0; 3]), Err(RowError::KeptButRemoved { token: 1 }));
    assert_eq!(Target::new(&set, &[f32::NEG_INFINITY; 3]), Err(RowError::NoCandidate));
    let heads = SamplingNetwork { d_model: 32, d_ff: 64, n_blocks: 4, n_heads: 5, scale: false };
    let message = Sampler::<f32>::new(Architecture::SamplingNetwork(heads), 0).unwrap_err().to_string();
    assert!(message.contains("32") && message.contains('5'), "{message}");
    let ranked = Architecture::RankedTransform(RankedTransform { hidden_dims: 0 });
    let message = Sampler::<f32>::new(ranked, 0).unwrap_err().to_string();
    assert!(message.contains("RankedTransform") && message.contains("`hidden_dims` is 0"), "{message}");
    let sampler = Sampler::<f32>::new(Architecture::default(), 0).unwrap();
    assert!(sampler.apply_rows(&mut [0.0; 5], 2).is_err());
}

#[test]
fn a_row_too_wide_for_the_grid_is_exact() {
    let sampler = Sampler::<f32>::new(Architecture::default(), 1).unwrap();
    let (mut exact, mut grid) = ([0.0, -300.0, -1.3, f32::NEG_INFINITY], [0.0, -300.0, -1.3, f32::NEG_INFINITY]);
    sampler.apply(&mut exact, &mut Workspace::default()).unwrap();
    sampler.apply_interpolated(&mut grid, &mut Workspace::default()).unwrap();
    assert_eq!(exact, grid);
    assert_eq!(
        sampler.apply_interpolated(&mut [0.0, f32::NAN], &mut Workspace::default()).map_err(|error| error.to_string()),
        Err("logit of token 1 is NaN, expected a finite number or -inf".to_owned())
    );
}

#[test]
fn rows_are_rewritten_alike_alone_and_in_a_batch() {
    let sampler = Sampler::<f32>::new(Architecture::default(), 0).unwrap();
    let mut batch: Vec<f32> = (0..3 * 700).map(|step| ((step * 37) % 101) as f32 / 10.0).collect();
    let rows: Vec<Vec<f32>> = batch
        .chunks(700)
        .map(|row| {
            let mut row = row.to_vec();
            sampler.apply(&mut row, &mut Workspace::default()).unwrap();
            row
        })
        .collect();
    sampler.apply_rows(&mut batch, 700).unwrap();
    assert_eq!(batch, rows.concat());
}
