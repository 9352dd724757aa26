//! The mathematics verifiers against the recorded answers of the field's reference software.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lsn_labels::verifiable::{gsm8k, math};
use serde::Deserialize;
use std::path::PathBuf;

fn rows<T: for<'de> Deserialize<'de>>(file: &str) -> Vec<T> {
    let root = std::env::var_os("LSN_VECTORS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")), PathBuf::from);
    let path = root.join("math").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<T> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!rows.is_empty(), "{} holds no cases", path.display());
    rows
}

#[derive(Deserialize)]
struct GsmCase {
    id: String,
    gold_solution: String,
    response: String,
    strict_extract: String,
    flexible_extract: String,
    strict_match: bool,
    flexible_match: bool,
}

#[derive(Deserialize)]
struct BoxedCase {
    id: String,
    text: String,
    last_boxed: Option<String>,
    content: Option<String>,
}

#[derive(Deserialize)]
struct HendrycksCase {
    id: String,
    gold: String,
    pred: String,
    expected: bool,
    gold_norm: Option<String>,
    pred_norm: Option<String>,
}

#[derive(Deserialize)]
struct MinervaCase {
    id: String,
    gold: String,
    response: String,
    unnormalized: String,
    pred_norm: String,
    gold_norm: String,
    expected: bool,
}

#[derive(Deserialize)]
struct NormalizeCase {
    id: String,
    text: String,
    normalized: String,
}

#[derive(Deserialize)]
struct VerifyCase {
    id: String,
    gold: String,
    pred: String,
    expected: bool,
}

/// Cases that differ, by file.
#[derive(Default)]
struct Tally {
    cases: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn case(&mut self, same: bool, description: impl FnOnce() -> String) {
        self.cases += 1;
        if !same {
            self.wrong.push(description());
        }
    }

    /// Prints every disagreement; more than this share of the cases fails.
    fn close(self, name: &str, allowed: f64) -> usize {
        for line in &self.wrong {
            println!("{name}: {line}");
        }
        let (wrong, cases) = (self.wrong.len(), self.cases);
        assert!(wrong as f64 <= allowed * cases as f64, "{wrong} of {cases} {name} cases differ");
        cases
    }
}

#[test]
fn golden_math() {
    let mut cases = 0;

    let mut tally = Tally::default();
    for case in rows::<GsmCase>("gsm8k.jsonl") {
        let verdict = gsm8k::verify(&case.response, &case.gold_solution);
        let extracts = (
            gsm8k::strict(&case.response).unwrap_or("[invalid]"),
            gsm8k::flexible(&case.response).unwrap_or("[invalid]"),
        );
        let same = extracts == (case.strict_extract.as_str(), case.flexible_extract.as_str())
            && (verdict.strict, verdict.flexible) == (case.strict_match, case.flexible_match);
        tally.case(same, || format!("{}: {verdict:?} {extracts:?}", case.id));
    }
    cases += tally.close("gsm8k", 0.0);

    let mut tally = Tally::default();
    for case in rows::<BoxedCase>("boxed.jsonl") {
        let boxed = math::last_boxed(&case.text);
        let same =
            boxed == case.last_boxed.as_deref() && boxed.and_then(math::boxed_content) == case.content.as_deref();
        tally.case(same, || format!("{}: {boxed:?} expected {:?} {:?}", case.id, case.last_boxed, case.content));
    }
    cases += tally.close("boxed", 0.0);

    let mut tally = Tally::default();
    for case in rows::<HendrycksCase>("hendrycks.jsonl") {
        let norms = (math::hendrycks::normalize(&case.gold), math::hendrycks::normalize(&case.pred));
        let same = norms == (case.gold_norm.clone(), case.pred_norm.clone())
            && math::hendrycks::is_equivalent(&case.gold, &case.pred) == case.expected;
        tally.case(same, || format!("{}: {norms:?} expected {:?} {:?}", case.id, case.gold_norm, case.pred_norm));
    }
    cases += tally.close("hendrycks", 0.0);

    let mut tally = Tally::default();
    for case in rows::<NormalizeCase>("minerva_normalize.jsonl") {
        let got = math::minerva::normalize(&case.text);
        tally.case(got == case.normalized, || format!("{}: {got:?} expected {:?}", case.id, case.normalized));
    }
    cases += tally.close("minerva_normalize", 0.0);

    let mut tally = Tally::default();
    for case in rows::<MinervaCase>("minerva.jsonl") {
        let answer = math::minerva::answer(&case.response);
        let norms = (math::minerva::normalize(&answer), math::minerva::normalize(&case.gold));
        let equal = math::minerva::verify(&case.response, &case.gold);
        let same = answer == case.unnormalized
            && norms == (case.pred_norm.clone(), case.gold_norm.clone())
            && equal == case.expected;
        tally.case(same, || format!("{}: {equal} {norms:?}, expected {}", case.id, case.expected));
    }
    cases += tally.close("minerva", 0.0);

    let mut tally = Tally::default();
    for case in rows::<VerifyCase>("verify.jsonl") {
        let verdict = math::verify(&case.gold, &case.pred, &math::Options::default());
        tally.case(verdict.equal == case.expected, || {
            format!("{}: {:?} and {:?}: {verdict:?}, expected {}", case.id, case.gold, case.pred, case.expected)
        });
    }
    cases += tally.close("verify", 0.01);

    let letters = math::Choices::letters().unwrap();
    let mut tally = Tally::default();
    for case in rows::<VerifyCase>("choice.jsonl") {
        let verdict = math::verify_choice(&case.gold, &case.pred, &letters);
        tally.case(verdict.equal == case.expected, || {
            format!("{}: {:?} and {:?}: {verdict:?}, expected {}", case.id, case.gold, case.pred, case.expected)
        });
    }
    cases += tally.close("choice", 0.01);

    println!("cases: {cases}");
}
