//! What must hold for any row: dense and distinct evaluation agree, permutations commute, no NaN whatever is removed.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use lsn_samplers::{
    Architecture, LocalProbabilityTransform, LogitSet, RowError, Sampler, SamplingNetwork,
    SimpleDistributionAwareTransform, Statistic, Target, Workspace,
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

fn gradients(sampler: &Sampler<f64>, set: &LogitSet, target: &[f32]) -> (f64, Vec<f64>) {
    let target = Target::new(set, target).unwrap();
    let mut grads = vec![0.0; sampler.parameters().len()];
    let loss = sampler.loss_and_gradient(set, &target, (1.5, 1.0), &mut Workspace::default(), &mut grads);
    (loss.total(1.5), grads)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn distinct_values_with_multiplicities_are_exact((logits, target) in row()) {
        for architecture in architectures() {
            let sampler = Sampler::<f64>::new(architecture, 3).unwrap();
            let (dense, distinct) = (LogitSet::dense(&logits).unwrap(), LogitSet::distinct(&logits).unwrap());
            let (loss, grads) = gradients(&sampler, &dense, &target);
            let (other_loss, other_grads) = gradients(&sampler, &distinct, &target);
            prop_assert!((loss - other_loss).abs() <= 1e-10 * loss.abs().max(1.0), "{loss} {other_loss}");
            let scale = grads.iter().fold(1.0_f64, |scale, g| scale.max(g.abs()));
            for (a, b) in grads.iter().zip(&other_grads) {
                prop_assert!(a.is_finite() && (a - b).abs() <= 1e-9 * scale, "{a} {b}");
            }
        }
    }

    #[test]
    fn single_precision_agrees_between_dense_and_distinct((logits, _) in row()) {
        for architecture in architectures() {
            let sampler = Sampler::<f32>::new(architecture, 3).unwrap();
            let mut workspace = Workspace::default();
            let mut spread = |set: LogitSet| {
                let mut out = vec![0.0; logits.len()];
                set.scatter(sampler.forward(&set, &mut workspace), &mut out);
                out
            };
            let dense = spread(LogitSet::dense(&logits).unwrap());
            let distinct = spread(LogitSet::distinct(&logits).unwrap());
            let scale = dense.iter().filter(|z| z.is_finite()).fold(1.0_f32, |scale, z| scale.max(z.abs()));
            for ((a, b), raw) in dense.iter().zip(&distinct).zip(&logits) {
                prop_assert_eq!(*raw == f32::NEG_INFINITY, *a == f32::NEG_INFINITY);
                prop_assert!(a == b || (a - b).abs() <= 1e-5 * scale, "{} {}", a, b);
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
            let (mut a, mut b) = (logits.clone(), rotated.clone());
            sampler.apply(&mut a, &mut Workspace::default()).unwrap();
            sampler.apply(&mut b, &mut Workspace::default()).unwrap();
            a.rotate_left(by);
            // Distinct values come in sorted order, so not even rounding differs.
            prop_assert_eq!(a, b);
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
    let sampler = Sampler::<f32>::new(Architecture::default(), 0).unwrap();
    assert!(sampler.apply_rows(&mut [0.0; 5], 2).is_err());
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
