//! The labellers against the recorded answers of the field's reference software.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lsn_labels::{
    diversity::{BleuForm, BleuTokenizer, Order, Smoothing, Spectrum, self_bleu, self_bleu_tokens},
    quality::{BradleyTerry, Davidson, Decision, FitError, FitOptions, Outcome, Prior},
    verifiable::ifeval::{self, Instruction, Invalid, Judgement},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

fn rows<T: for<'de> Deserialize<'de>>(folder: &str, file: &str) -> Vec<T> {
    let root = std::env::var_os("LSN_VECTORS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")), PathBuf::from);
    let path = root.join(folder).join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<T> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!rows.is_empty(), "{} holds no cases", path.display());
    rows
}

fn assert_near(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}[{i}]: got {a}, expected {b}");
    }
}

#[derive(Deserialize)]
struct BtCase {
    id: String,
    n_players: usize,
    comparisons: Vec<(usize, usize, String)>,
    strongly_connected: bool,
    weak_components: usize,
    expected: Map<String, Value>,
}

#[derive(Deserialize)]
struct SoftCase {
    id: String,
    n_players: usize,
    games: Vec<(usize, usize, f64)>,
    mle_mean0: Vec<f64>,
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// Davidson's model on the cases whose ties the reference fitted; it has no answer where no finite one exists.
fn davidson_cases() -> usize {
    let mut cases = 0;
    for case in rows::<BtCase>("bt", "cases.jsonl") {
        let Some(expected) = case.expected.get("evalica_newman_ties") else { continue };
        let games = case.comparisons.iter().map(|(a, b, winner)| {
            let decision = match winner.as_str() {
                "a" => Decision::A,
                "b" => Decision::B,
                _ => Decision::Tie,
            };
            (*a, *b, decision)
        });
        let options = FitOptions { prior: Prior::None, ..FitOptions::default() };
        let fitted = Davidson::new(case.n_players, games).unwrap().fit(&options);
        cases += 1;
        if expected.is_null() {
            assert_eq!(fitted, Err(FitError::NoFiniteEstimate), "{}", case.id);
            continue;
        }
        let fitted = fitted.unwrap();
        // The reference's own iteration is within 1e-5 of the optimum.
        assert_near(&format!("{} ties", case.id), &fitted.ratings.ratings, &numbers(expected), 1e-5);
        let tie = case.expected["evalica_newman_tie_parameter"].as_f64().unwrap();
        assert!((fitted.tie - tie).abs() <= 1e-5 * tie, "{}: tie parameter {} {tie}", case.id, fitted.tie);
    }
    cases
}

#[test]
fn golden_bt() {
    let mut cases = 0;
    for case in rows::<BtCase>("bt", "cases.jsonl") {
        let outcomes = case.comparisons.iter().map(|(a, b, winner)| Outcome {
            a: *a,
            b: *b,
            a_share: match winner.as_str() {
                "a" => 1.0,
                "b" => 0.0,
                "tie" => 0.5,
                other => panic!("{}: outcome {other}", case.id),
            },
        });
        let games = BradleyTerry::new(case.n_players, outcomes).unwrap();
        let fit = |prior| games.fit(&FitOptions { prior, ..FitOptions::default() });
        for (name, prior) in [
            ("anchor_1win_1loss", Prior::Anchor { games: 1.0 }),
            ("l2_alpha_0.01", Prior::Gaussian { alpha: 0.01 }),
            ("l2_alpha_0.1", Prior::Gaussian { alpha: 0.1 }),
            ("l2_alpha_1.0", Prior::Gaussian { alpha: 1.0 }),
        ] {
            let got = fit(prior).unwrap();
            assert_eq!(got.groups.iter().collect::<BTreeSet<_>>().len(), case.weak_components, "{}", case.id);
            assert!(got.standard_errors.iter().all(|error| error.is_finite() && *error > 0.0), "{}", case.id);
            assert_near(&format!("{} {name}", case.id), &got.ratings, &numbers(&case.expected[name]), 1e-6);
            if name == "anchor_1win_1loss" {
                let anchored: Vec<f64> = got.ratings.iter().map(|rating| rating + got.centre).collect();
                assert_near(&case.id, &anchored, &numbers(&case.expected["anchor_1win_1loss_uncentred"]), 1e-6);
            }
            cases += 1;
        }
        if case.strongly_connected {
            assert_near(&case.id, &fit(Prior::None).unwrap().ratings, &numbers(&case.expected["mle"]), 1e-6);
            cases += 1;
        } else if case.weak_components == 1 {
            assert_eq!(fit(Prior::None), Err(FitError::NoFiniteEstimate), "{}", case.id);
            cases += 1;
        }
    }
    cases += davidson_cases();
    for case in rows::<SoftCase>("bt", "soft.jsonl") {
        let outcomes = case.games.iter().map(|&(a, b, a_share)| Outcome { a, b, a_share });
        let options = FitOptions { prior: Prior::None, ..FitOptions::default() };
        let got = BradleyTerry::new(case.n_players, outcomes).unwrap().fit(&options).unwrap();
        assert_near(&case.id, &got.ratings, &case.mle_mean0, 1e-6);
        cases += 1;
    }
    println!("cases: {cases}");
}

#[derive(Deserialize)]
struct BleuCase {
    id: String,
    texts: Vec<String>,
    tokens_whitespace: Vec<Vec<String>>,
    expected: BTreeMap<String, BleuExpected>,
}

#[derive(Deserialize)]
struct BleuExpected {
    mean: f64,
    per_text: Vec<f64>,
}

#[test]
fn golden_self_bleu() {
    let mut cases = 0;
    for case in rows::<BleuCase>("self_bleu", "cases.jsonl") {
        for (name, expected) in &case.expected {
            let sacre = |smoothing, effective_order| BleuForm::Sacre { smoothing, effective_order };
            let exp = sacre(Smoothing::Exp, true);
            let got = match name.as_str() {
                "sacrebleu_13a_exp_effective" => self_bleu(&case.texts, BleuTokenizer::V13a, 4, exp),
                "sacrebleu_none_exp_effective" => self_bleu(&case.texts, BleuTokenizer::Whitespace, 4, exp),
                "sacrebleu_char_exp_effective" => self_bleu(&case.texts, BleuTokenizer::Char, 4, exp),
                "sacrebleu_intl_exp_effective" => self_bleu(&case.texts, BleuTokenizer::Intl, 4, exp),
                "sacrebleu_13a_exp_full_order" => {
                    self_bleu(&case.texts, BleuTokenizer::V13a, 4, sacre(Smoothing::Exp, false))
                }
                "sacrebleu_13a_addk1_effective" => {
                    self_bleu(&case.texts, BleuTokenizer::V13a, 4, sacre(Smoothing::AddK(1.0), true))
                }
                "sacrebleu_13a_floor_effective" => {
                    self_bleu(&case.texts, BleuTokenizer::V13a, 4, sacre(Smoothing::Floor(0.1), true))
                }
                other => {
                    let order =
                        other.strip_prefix("nltk_method1_bleu").unwrap_or_else(|| panic!("unknown form {other}"));
                    self_bleu_tokens(&case.tokens_whitespace, order.parse().unwrap(), BleuForm::Nltk)
                }
            }
            .unwrap();
            let what = format!("{} {name}", case.id);
            for (i, (a, b)) in got.per_text.iter().zip(&expected.per_text).enumerate() {
                assert!((a - b).abs() <= 1e-9 * b.abs().max(1e-30), "{what}[{i}]: got {a}, expected {b}");
            }
            assert!((got.mean - expected.mean).abs() <= 1e-9 * expected.mean.abs(), "{what}");
            cases += 1;
        }
    }
    println!("cases: {cases}");
}

#[derive(Deserialize)]
struct VendiCase {
    id: String,
    embeddings: Vec<Vec<f64>>,
    expected: Map<String, Value>,
}

#[test]
fn golden_vendi() {
    let mut cases = 0;
    for case in rows::<VendiCase>("vendi", "cases.jsonl") {
        let spectrum = Spectrum::of_rows(&case.embeddings).unwrap();
        for (name, value, tolerance) in [
            ("vendi_q0.5", spectrum.vendi(Order::Finite(0.5)), 1e-5),
            ("vendi_q1", spectrum.vendi(Order::Finite(1.0)), 1e-8),
            ("vendi_q2", spectrum.vendi(Order::Finite(2.0)), 1e-8),
            ("vendi_qinf", spectrum.vendi(Order::Infinite), 1e-8),
        ] {
            let expected = case.expected[name].as_f64().unwrap();
            assert!(
                (value - expected).abs() <= tolerance * expected,
                "{} {name}: got {value}, expected {expected}",
                case.id
            );
            cases += 1;
        }
        let bits = case.expected["von_neumann_entropy_bits"].as_f64().unwrap();
        assert!((spectrum.entropy_bits() - bits).abs() < 1e-8, "{} bits", case.id);
        let eigenvalues = numbers(&case.expected["eigenvalues_of_K_over_n"]);
        for (got, expected) in spectrum.eigenvalues().iter().zip(&eigenvalues) {
            assert!((got - expected).abs() < 1e-12, "{} eigenvalue", case.id);
        }
    }
    println!("cases: {cases}");
}

#[derive(Deserialize)]
struct InstructionCase {
    id: String,
    instruction_id: String,
    kwargs: Map<String, Value>,
    response: String,
    strict: bool,
    loose: bool,
}

#[derive(Deserialize)]
struct PromptCase {
    id: String,
    instruction_id_list: Vec<String>,
    kwargs: Vec<Map<String, Value>>,
    response: String,
    strict_list: Vec<bool>,
    loose_list: Vec<bool>,
    strict_all: bool,
    loose_all: bool,
}

/// Instruction types that identify the language, where the reference draws at random and 97 % must agree.
const LANGUAGE_TYPES: [&str; 3] =
    ["language:response_language", "change_case:english_capital", "change_case:english_lowercase"];

/// The reference raises an exception at a pattern that it cannot read, unless it passed the reply over before.
fn agrees(verdict: &ifeval::Verdict, expected: bool) -> bool {
    match verdict {
        Ok(verdict) => *verdict == expected,
        Err(Invalid::Pattern(_)) => !expected,
        Err(_) => false,
    }
}

#[test]
fn golden_ifeval() {
    let (mut cases, mut language_cases) = (0, 0);
    let (mut wrong, mut wrong_language) = (Vec::new(), Vec::new());
    for case in rows::<InstructionCase>("ifeval", "instructions.jsonl") {
        cases += 1;
        let judged = match Instruction::parse(&case.instruction_id, &case.kwargs) {
            Ok(instruction) => instruction.judge(&case.response),
            Err(invalid) => Judgement { strict: Err(invalid.clone()), loose: Err(invalid) },
        };
        let language = LANGUAGE_TYPES.contains(&case.instruction_id.as_str());
        language_cases += usize::from(language);
        if !agrees(&judged.strict, case.strict) || !agrees(&judged.loose, case.loose) {
            let what = format!("{} {}: {judged:?}", case.id, case.instruction_id);
            if language { wrong_language.push(what) } else { wrong.push(what) }
        }
    }
    for case in rows::<PromptCase>("ifeval", "prompts.jsonl") {
        cases += 1;
        let language = case.instruction_id_list.iter().any(|id| LANGUAGE_TYPES.contains(&id.as_str()));
        language_cases += usize::from(language);
        let instructions: Vec<_> = case.instruction_id_list.into_iter().zip(case.kwargs).collect();
        let verdict = ifeval::verify(&case.response, &instructions);
        let plain = |verdicts: &[ifeval::Verdict]| verdicts.iter().map(|v| v == &Ok(true)).collect::<Vec<_>>();
        if plain(&verdict.strict) != case.strict_list
            || plain(&verdict.loose) != case.loose_list
            || verdict.all_strict() != Ok(case.strict_all)
            || verdict.all_loose() != Ok(case.loose_all)
        {
            let what = format!("{}: {verdict:?}", case.id);
            if language { wrong_language.push(what) } else { wrong.push(what) }
        }
    }
    println!("cases: {cases}");
    println!("with language identification: {language_cases}, of which {} differ", wrong_language.len());
    assert!(wrong.is_empty(), "{} of {cases} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(
        wrong_language.len() * 100 <= language_cases * 3,
        "{} of {language_cases} with language identification differ:\n{}",
        wrong_language.len(),
        wrong_language.join("\n")
    );
}
