//! What every processor promises, on random rows.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod common;

use common::{pipeline, settings};
use lsn_heuristics::{Context, FurtherLogits, History, Pipeline, PipelineState, Scratch, processor_names};
use proptest::prelude::*;
use serde_json::json;

const REMOVED: f32 = f32::NEG_INFINITY;

/// Rows of many shapes: removed tokens, ties where `step` is coarse, flat and peaked, one block or many.
fn rows() -> impl Strategy<Value = Vec<f32>> {
    let row = |len| {
        let logit = prop_oneof![8 => -1.0_f32..1.0, 1 => Just(REMOVED)];
        (prop::collection::vec(logit, len), 0.1_f32..20.0, prop_oneof![Just(0.0_f32), Just(0.5)], any::<u8>())
    };
    prop_oneof![3 => row(1..80), 1 => row(500..1500)].prop_map(|(mut row, spread, step, first)| {
        for logit in &mut row {
            *logit *= spread;
            if step > 0.0 {
                *logit = (*logit / step).round() * step;
            }
        }
        if row.iter().all(|logit| *logit == REMOVED) {
            row[0] = f32::from(first);
        }
        row
    })
}

/// Distinct finite logits in random order.
fn distinct_rows() -> impl Strategy<Value = Vec<f32>> {
    (2_usize..400, 0.001_f32..2.0)
        .prop_flat_map(|(len, step)| Just((0..len).map(|at| at as f32 * step - 3.0).collect::<Vec<_>>()).prop_shuffle())
}

/// Processes a row with a history and further logits that depend on its size only.
fn apply(pipeline: &Pipeline, state: &mut PipelineState, row: &[f32], scratch: &mut Scratch) -> Vec<f32> {
    let vocabulary = row.len() as u32;
    let history: Vec<u32> = (0..24).map(|at| (at * at + at / 5) % vocabulary).collect();
    let other: Vec<f32> = (0..2 * vocabulary).map(|at| (at % 11) as f32 * 0.3).collect();
    let further = [
        FurtherLogits { name: "unconditional", logits: &other[..row.len()] },
        FurtherLogits { name: "early", logits: &other },
    ];
    let context = Context { history: History { tokens: &history, prompt_len: 5 }, further: &further };
    let mut out = row.to_vec();
    pipeline.process(&mut out, context, state, scratch).unwrap();
    out
}

fn kept(row: &[f32]) -> usize {
    row.iter().filter(|logit| **logit > REMOVED).count()
}

fn max(row: &[f32]) -> f32 {
    row.iter().copied().fold(REMOVED, f32::max)
}

#[test]
fn every_processor_is_tested() {
    let settings = settings();
    for name in processor_names() {
        assert!(settings.iter().any(|(tested, ..)| *tested == name), "`{name}` has no setting here");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn removed_tokens_stay_removed_and_the_most_probable_stays(row in rows()) {
        let (mut fast, mut portable) = (Scratch::default(), Scratch::portable());
        for (name, params, traits) in settings() {
            let pipeline = pipeline(&[(name, params)]);
            let out = apply(&pipeline, &mut pipeline.start(1), &row, &mut fast);
            for (token, (&before, &after)) in row.iter().zip(&out).enumerate() {
                prop_assert!(before > REMOVED || after == REMOVED, "`{}` brought token {} back", name, token);
                prop_assert!(after < f32::INFINITY, "`{}` made {} of token {}", name, after, token);
            }
            if traits.keeps_max {
                let best = max(&out);
                let survives = row.iter().zip(&out).any(|(&before, &after)| before == max(&row) && after == best);
                prop_assert!(best > REMOVED && survives, "`{}` lost the most probable token", name);
            } else if name != "no_repeat_ngram" {
                prop_assert!(kept(&out) > 0, "`{}` left nothing", name);
            }
            let again = apply(&pipeline, &mut pipeline.start(1), &row, &mut portable);
            let bits = |row: &[f32]| row.iter().map(|logit| logit.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&out), bits(&again), "`{}` depends on the instruction set", name);
        }
    }

    #[test]
    fn tokens_have_no_identity(row in distinct_rows(), seed in any::<u64>()) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by_key(|&at| (at as u64 + 1).wrapping_mul(seed | 1).rotate_left(29));
        let permute = |row: &[f32]| order.iter().map(|&at| row[at]).collect::<Vec<_>>();
        let mut scratch = Scratch::default();
        for (name, params, traits) in settings() {
            if !traits.equivariant {
                continue;
            }
            let pipeline = pipeline(&[(name, params)]);
            let out = permute(&apply(&pipeline, &mut pipeline.start(seed), &row, &mut scratch));
            let of_permuted = apply(&pipeline, &mut pipeline.start(seed), &permute(&row), &mut scratch);
            // Sums in another order round differently, so a token at the very cut may go either way.
            let differ = out.iter().zip(&of_permuted).filter(|(a, b)| (**a == REMOVED) != (**b == REMOVED)).count();
            prop_assert!(differ <= 1, "`{}`: {} tokens differ", name, differ);
            for (a, b) in out.iter().zip(&of_permuted).filter(|(a, b)| **a > REMOVED && **b > REMOVED) {
                prop_assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "`{}`: {} and {}", name, a, b);
            }
        }
    }

    #[test]
    fn a_saved_row_goes_on_as_if_it_had_not_stopped(
        rows in prop::collection::vec(distinct_rows(), 6), stop in 0_usize..6, seed in any::<u64>(),
    ) {
        let steps = [
            ("xtc", json!({"probability": 0.5, "threshold": 0.02})),
            ("adaptive_p", json!({"target": 0.2})),
            ("xtc", json!({"probability": 0.5, "threshold": 0.02})),
            ("mirostat_v2", json!({"tau": 3.0})),
            ("mirostat_v1", json!({"tau": 3.0})),
        ];
        let pipeline = pipeline(&steps);
        let mut scratch = Scratch::default();
        let mut run = |stop: Option<usize>| {
            let mut state = pipeline.start(seed);
            rows.iter().enumerate().map(|(at, row)| {
                if stop == Some(at) {
                    let text = serde_json::to_string(&state.save()).unwrap();
                    state = pipeline.restore(&serde_json::from_str::<Vec<_>>(&text).unwrap()).unwrap();
                }
                let out = apply(&pipeline, &mut state, row, &mut scratch);
                let drawn = out.iter().rposition(|logit| *logit > REMOVED && *logit > max(&out) - 3.0).unwrap();
                pipeline.accept(drawn as u32, &out, &mut state).unwrap();
                out.iter().map(|logit| logit.to_bits()).collect::<Vec<_>>()
            }).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(None), run(Some(stop)));
    }

    #[test]
    fn so_many_tokens_always_stay(row in rows(), m in 1_usize..40) {
        let candidates = kept(&row);
        let mut scratch = Scratch::default();
        for (name, params, key) in [
            ("top_k", json!({"top_k": 1}), "min_tokens_to_keep"),
            ("top_p", json!({"top_p": 0.1}), "min_tokens_to_keep"),
            ("min_p", json!({"min_p": 0.9}), "min_tokens_to_keep"),
            ("typical", json!({"mass": 0.1}), "min_tokens_to_keep"),
            ("epsilon", json!({"epsilon": 0.9}), "min_tokens_to_keep"),
            ("eta", json!({"epsilon": 0.9}), "min_tokens_to_keep"),
            ("xtc", json!({"probability": 1.0, "threshold": 0.0}), "min_keep"),
            ("tfs", json!({"z": 0.1}), "min_keep"),
        ] {
            let mut params = params;
            params[key] = json!(m);
            let pipeline = pipeline(&[(name, params)]);
            let out = apply(&pipeline, &mut pipeline.start(0), &row, &mut scratch);
            prop_assert!(kept(&out) >= m.min(candidates), "`{}` kept {} of {}", name, kept(&out), candidates);
        }
    }

    #[test]
    fn of_equal_logits_the_higher_ids_stay(len in 2_usize..900, top_p in 0.05_f64..0.95) {
        let pipeline = pipeline(&[("top_p", json!({"top_p": top_p}))]);
        let out = apply(&pipeline, &mut pipeline.start(0), &vec![0.5; len], &mut Scratch::default());
        let first = out.iter().position(|logit| *logit > REMOVED).unwrap();
        prop_assert!(out[first..].iter().all(|logit| *logit == 0.5));
        prop_assert!((out.len() - first).abs_diff((top_p * len as f64).ceil() as usize) <= 1);
    }
}
