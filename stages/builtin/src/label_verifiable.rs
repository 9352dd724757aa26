//! `label.verifiable`: generations → whether each one is correct, as far as a program can tell.

use crate::label_memo::{LabelMemo, for_each_chunk, pool};
use lsn_digest::{Canonical, Digest};
use lsn_labels::verifiable::{
    final_answer, gsm8k, ifeval, math,
    rlvr::{self, Edition},
};
use lsn_stage::{
    Port, PortKind, Stage, StageContext, StageResult,
    dataset::{DataSetReader, DataSetWriter},
    record::{Check, Generation, Prompt, Record, VerifiableLabel},
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Which program decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verifier {
    /// The final number against the reference solution's.
    Gsm8k,
    /// The reply's answer against the reference answer: equal by the MATH authors' string rules, or by meaning.
    Math,
    /// The prompt's `instruction_id_list` with its `kwargs`.
    Ifeval,
    /// The function that the ground truth names under `func_name`, of the 25 of RLVR data sets.
    Rlvr,
}

/// How much a reply may dress up what is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strictness {
    /// GSM8K: the number after `#### `. IFEval: the reply as it is.
    Strict,
    /// GSM8K: the last number of the reply. IFEval: also without first and last line and without asterisks.
    #[default]
    Loose,
}

/// Parameters of `label.verifiable`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelVerifiableParams {
    pub gsm8k: Strictness,
    pub ifeval: Strictness,
    /// Which state of the RLVR functions decides.
    pub rlvr: Edition,
    /// Look only behind a closed thinking section, and inside the last `<answer>` element where there is one.
    pub final_answer_only: bool,
    /// The verifier of the prompts of a data set, by its name. Otherwise: `ifeval` where the prompt lists instructions;
    /// `rlvr` where the ground truth is an object with `func_name`, or its text; `gsm8k` where the reference answer is a number or ends in `#### n`; else `math`.
    pub verifiers: BTreeMap<String, Verifier>,
}

impl Default for LabelVerifiableParams {
    fn default() -> Self {
        Self {
            gsm8k: Strictness::Loose,
            ifeval: Strictness::Strict,
            rlvr: Edition::First,
            final_answer_only: true,
            verifiers: BTreeMap::new(),
        }
    }
}

/// The stage type.
pub struct LabelVerifiable;

/// What is remembered of a row.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Decision {
    reward: Option<f64>,
    verifier: Option<String>,
    reason: String,
}

impl Decision {
    fn none(reason: impl Into<String>) -> Self {
        Self { reward: None, verifier: None, reason: reason.into() }
    }
}

/// A prompt's question to a verifier.
enum Question {
    None(&'static str),
    Answer {
        verifier: Verifier,
        truth: String,
    },
    Instructions(Vec<(String, Map<String, Value>)>),
    /// A ground truth of the RLVR dialect: an object or its text.
    Constraint(Value),
    Malformed(String),
}

impl Stage for LabelVerifiable {
    type Params = LabelVerifiableParams;

    fn name(&self) -> &'static str {
        "label.verifiable"
    }

    fn about(&self) -> &'static str {
        "checks final numbers, boxed answers and instructions (IFEval's and RLVR's) by program"
    }

    fn version(&self) -> u32 {
        3
    }

    fn inputs(&self, _params: &LabelVerifiableParams) -> Vec<Port> {
        vec![Port::new("generations", PortKind::DataSet(Generation::TYPE.to_owned()), "the generations to check")]
    }

    fn outputs(&self, _params: &LabelVerifiableParams) -> Vec<Port> {
        vec![Port::new("rows", PortKind::DataSet(VerifiableLabel::TYPE.to_owned()), "one verdict per generation")]
    }

    fn run(&self, params: LabelVerifiableParams, ctx: &StageContext) -> StageResult<()> {
        let reader = DataSetReader::<Generation>::open(&ctx.input("generations")?.path)?;
        let memo = LabelMemo::open(ctx, "label.verifiable")?;
        let mut writer = DataSetWriter::create(ctx.output("rows")?)?;
        let pool = pool(ctx)?;
        let (mut checked, mut right) = (0_u64, 0.0);
        for_each_chunk(ctx, &reader, &memo, |groups| {
            let labels: Vec<VerifiableLabel> = pool.install(|| {
                let rows = groups.par_iter().flat_map(|group| group.rows.par_iter());
                rows.map(|row| label(&params, &memo, row)).collect::<StageResult<_>>()
            })?;
            for label in &labels {
                if let Some(reward) = label.verifiable_reward {
                    checked += 1;
                    right += reward;
                }
                writer.push(label)?;
            }
            Ok(())
        })?;
        writer.finish()?;
        if checked > 0 {
            ctx.metric("verifiable/accuracy", right / checked as f64);
        }
        ctx.metric("verifiable/checked", checked as f64);
        Ok(())
    }
}

fn label(params: &LabelVerifiableParams, memo: &LabelMemo, row: &Generation) -> StageResult<VerifiableLabel> {
    let question = question(params, &row.prompt);
    let decision = match &question {
        Question::None(reason) => Decision::none(*reason),
        Question::Malformed(why) => Decision::none(format!("invalid: {why}")),
        asked => memo.get_or(key(params, asked, &row.generation), || Ok(decide(params, asked, &row.generation)))?,
    };
    Ok(VerifiableLabel {
        prompt_id: row.prompt.prompt_id,
        generation_id: row.generation_id,
        sampler: row.sampler_info.name.clone(),
        seed: row.seed,
        verifiable_reward: decision.reward,
        verifier: decision.verifier,
        reason: decision.reason,
    })
}

fn question(params: &LabelVerifiableParams, prompt: &Prompt) -> Question {
    if !prompt.checks.is_empty() && !prompt.has(Check::Verifiable) {
        return Question::None("not a verifiable prompt");
    }
    let truth = match &prompt.ground_truth {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let ids = prompt.extra.get("instruction_id_list").filter(|ids| !ids.is_null());
    let verifier = params.verifiers.get(&prompt.dataset).copied().or_else(|| match (&truth, ids) {
        (_, Some(_)) => Some(Verifier::Ifeval),
        _ if prompt.ground_truth.as_ref().is_some_and(names_a_function) => Some(Verifier::Rlvr),
        (Some(truth), None) if truth.contains("####") || is_number(truth) => Some(Verifier::Gsm8k),
        (Some(_), None) => Some(Verifier::Math),
        (None, None) => None,
    });
    match (verifier, truth) {
        (None, _) => Question::None("no ground truth"),
        (Some(Verifier::Ifeval), _) => instructions(ids, prompt.extra.get("kwargs")),
        (Some(Verifier::Rlvr), _) => match &prompt.ground_truth {
            None => Question::None("no ground truth"),
            Some(truth) => Question::Constraint(truth.clone()),
        },
        (Some(_), None) => Question::None("no ground truth"),
        (Some(verifier), Some(truth)) => Question::Answer { verifier, truth },
    }
}

/// Whether a ground truth is of the RLVR dialect, well-formed or not.
fn names_a_function(truth: &Value) -> bool {
    match truth {
        Value::Object(arguments) => arguments.contains_key("func_name"),
        Value::String(text) => text.trim_start().starts_with('{') && text.contains("\"func_name\""),
        _ => false,
    }
}

fn is_number(text: &str) -> bool {
    text.trim().replace([',', '$'], "").parse::<f64>().is_ok_and(f64::is_finite)
}

fn instructions(ids: Option<&Value>, kwargs: Option<&Value>) -> Question {
    let Some(ids) = ids.and_then(Value::as_array) else {
        return Question::Malformed("`instruction_id_list` is missing or not a list".to_owned());
    };
    let mut list = Vec::with_capacity(ids.len());
    for (i, id) in ids.iter().enumerate() {
        let Some(id) = id.as_str() else {
            return Question::Malformed(format!("`instruction_id_list[{i}]` is not a text"));
        };
        let arguments = match kwargs.and_then(|kwargs| kwargs.get(i)) {
            Some(Value::Object(arguments)) => arguments.clone(),
            None | Some(Value::Null) => Map::new(),
            Some(_) => return Question::Malformed(format!("`kwargs[{i}]` is not an object")),
        };
        list.push((id.to_owned(), arguments));
    }
    if list.is_empty() {
        Question::Malformed("`instruction_id_list` is empty".to_owned())
    } else {
        Question::Instructions(list)
    }
}

fn key(params: &LabelVerifiableParams, question: &Question, reply: &str) -> Digest {
    let mut key = Canonical::new("lsn/row/label.verifiable/2");
    key.bool(params.final_answer_only).str(reply);
    match question {
        Question::Answer { verifier: Verifier::Gsm8k, truth } => {
            key.str("gsm8k").bool(params.gsm8k == Strictness::Strict).str(truth)
        }
        Question::Answer { truth, .. } => key.str("math").str(truth),
        Question::Instructions(list) => {
            key.str("ifeval").bool(params.ifeval == Strictness::Strict).seq(list.len());
            for (id, arguments) in list {
                key.str(id).json(&Value::Object(arguments.clone()));
            }
            &mut key
        }
        Question::Constraint(truth) => key.str("rlvr").bool(params.rlvr == Edition::Revised).json(truth),
        Question::None(_) | Question::Malformed(_) => &mut key,
    };
    key.finish()
}

fn decide(params: &LabelVerifiableParams, question: &Question, reply: &str) -> Decision {
    let reply = if params.final_answer_only { final_answer(reply) } else { reply };
    let decided = |verifier: &str, right: bool, reason: String| Decision {
        reward: Some(f64::from(u8::from(right))),
        verifier: Some(verifier.to_owned()),
        reason,
    };
    match question {
        Question::Answer { verifier: Verifier::Gsm8k, truth } => {
            let answer = if params.gsm8k == Strictness::Strict { gsm8k::strict(reply) } else { gsm8k::flexible(reply) };
            let wanted = truth.rsplit("####").next().unwrap_or(truth).trim();
            // A bare number is a reference too; the comparison cuts everything up to the mark.
            let truth = format!("#### {wanted}");
            match answer {
                None => decided("gsm8k", false, format!("no number, expected {wanted}")),
                Some(answer) if gsm8k::equal(answer, &truth) => decided("gsm8k", true, format!("{answer} is right")),
                Some(answer) => decided("gsm8k", false, format!("{answer} instead of {wanted}")),
            }
        }
        Question::Answer { truth, .. } => {
            let wanted = math::last_boxed(truth).and_then(math::boxed_content).unwrap_or(truth);
            let boxed = math::last_boxed(reply).and_then(math::boxed_content);
            if let Some(answer) = boxed.filter(|answer| math::hendrycks::is_equivalent(wanted, answer)) {
                return decided("math", true, format!("{answer} is right"));
            }
            let answer = math::Answer::read(reply);
            let reference = math::Answer::read(&format!("\\boxed{{{wanted}}}"));
            let verdict = reference.verify(&answer, math::Mode::Compat);
            match boxed.or(answer.text()) {
                None => decided("math", false, format!("no answer, expected {wanted}")),
                Some(answer) if verdict.equal => {
                    decided("math", true, format!("{answer} is right: {}", verdict.reason))
                }
                Some(answer) => decided("math", false, format!("{answer} instead of {wanted}: {}", verdict.reason)),
            }
        }
        Question::Instructions(list) => {
            let verdict = ifeval::verify(reply, list);
            let (all, each) = match params.ifeval {
                Strictness::Strict => (verdict.all_strict(), &verdict.strict),
                Strictness::Loose => (verdict.all_loose(), &verdict.loose),
            };
            match all {
                Ok(true) => decided("ifeval", true, format!("all {} instructions followed", list.len())),
                Ok(false) => {
                    let broken =
                        list.iter().zip(each).filter(|(_, v)| **v == Ok(false)).map(|((id, _), _)| id.as_str());
                    decided("ifeval", false, format!("broken: {}", broken.collect::<Vec<_>>().join(", ")))
                }
                Err(invalid) => {
                    Decision { verifier: Some("ifeval".to_owned()), ..Decision::none(format!("invalid: {invalid}")) }
                }
            }
        }
        Question::Constraint(truth) => match rlvr::verify(reply, truth, params.rlvr) {
            Ok(true) => decided("rlvr", true, format!("{} holds", function(truth))),
            Ok(false) => decided("rlvr", false, format!("{} does not hold", function(truth))),
            Err(invalid) => {
                Decision { verifier: Some("rlvr".to_owned()), ..Decision::none(format!("invalid: {invalid}")) }
            }
        },
        Question::None(_) | Question::Malformed(_) => Decision::none("nothing to check"),
    }
}

/// The function that a ground truth names.
fn function(truth: &Value) -> String {
    let parsed = truth.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    parsed.as_ref().unwrap_or(truth).get("func_name").and_then(Value::as_str).unwrap_or("the function").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Harness, read};
    use crate::label_tests::{MemoryMemo, generation};
    use lsn_stage::NoEvents;
    use serde_json::json;
    use std::sync::Arc;

    fn prompt(dataset: &str, truth: Option<Value>, extra: Value) -> Prompt {
        let mut prompt = Prompt::new(dataset, format!("{dataset} {truth:?} {extra}"), None);
        prompt.ground_truth = truth;
        prompt.extra = extra.as_object().cloned().unwrap_or_default();
        prompt
    }

    #[test]
    fn each_prompt_finds_its_verifier() {
        let commas = json!({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]});
        let cases = [
            (prompt("gsm8k", Some(json!("6+6\n#### 12")), json!({})), "so 12.", Some(1.0)),
            (prompt("gsm8k", Some(json!(12)), json!({})), "so 13", Some(0.0)),
            (prompt("math", Some(json!("\\frac12")), json!({})), "\\boxed{\\frac{1}{2}}", Some(1.0)),
            (prompt("math", Some(json!("\\sqrt{75}")), json!({})), "so it is $5\\sqrt3$.", Some(1.0)),
            (prompt("ifeval", None, commas.clone()), "no such thing", Some(1.0)),
            (prompt("ifeval", None, commas), "well, there is", Some(0.0)),
            (prompt("ifeval", None, json!({"instruction_id_list": ["no:such"]})), "x", None),
            (prompt("ifeval", None, json!({"instruction_id_list": [3]})), "x", None),
            (prompt("story", None, json!({})), "once upon a time", None),
        ];
        let labels = label_all(&cases);
        let invalid = labels.iter().filter(|label| label.reason.starts_with("invalid: ")).count();
        assert_eq!(invalid, 2);
    }

    #[test]
    fn the_functions_of_rlvr_data_sets_decide_and_malformed_ones_say_why() {
        // Expectations from the published description of the dialect.
        let words = json!({"func_name": "validate_word_constraint", "N": 3, "quantifier": "around", "options": null});
        let choice = json!({"func_name": "validate_choice", "options": ["yes or no"]});
        let cases = [
            (prompt("if", Some(words.clone()), json!({})), "two words", Some(1.0)),
            (prompt("if", Some(json!(words.to_string())), json!({})), "one", Some(0.0)),
            (prompt("if", Some(choice.clone()), json!({})), "<think>no</think>yes", Some(1.0)),
            (prompt("if", Some(choice), json!({})), "<answer>maybe</answer>", Some(0.0)),
            (prompt("if", Some(json!({"func_name": "validate_no_commas"})), json!({"messages": []})), "a b", Some(1.0)),
            (prompt("if", Some(json!({"func_name": "os.system"})), json!({})), "x", None),
            (prompt("if", Some(json!("{\"func_name\": \"validate_title\"")), json!({})), "<<a>>", None),
            (prompt("if", Some(json!({"func_name": "verify_keywords"})), json!({})), "x", None),
        ];
        let labels = label_all(&cases);
        assert!(labels.iter().all(|label| label.verifier.as_deref() == Some("rlvr")));
        let why: Vec<&str> = labels
            .iter()
            .filter_map(|label| label.reason.strip_prefix("invalid: "))
            .filter(|why| !why.is_empty())
            .collect();
        assert_eq!(why.len(), 3, "{labels:?}");

        let with = |rlvr| LabelVerifiableParams { rlvr, ..LabelVerifiableParams::default() };
        let sentences =
            Question::Constraint(json!({"func_name": "verify_sentence_constraint", "N": 2, "quantifier": "at least"}));
        let reward = |rlvr| decide(&with(rlvr), &sentences, "Hi! There").reward;
        assert_eq!([Edition::First, Edition::Revised].map(reward), [Some(0.0), Some(1.0)]);
        let key = |rlvr| key(&with(rlvr), &sentences, "x");
        assert_ne!(key(Edition::First), key(Edition::Revised));
    }

    #[test]
    fn thinking_aloud_and_answer_tags_are_looked_through() {
        let cases = [
            (prompt("gsm8k", Some(json!("#### 12")), json!({})), "<think>13 or 14</think> So 12. ", Some(1.0)),
            (prompt("gsm8k", Some(json!("#### 12")), json!({})), "<think>it is 12", Some(0.0)),
            (prompt("gsm8k", Some(json!("#### 1,200")), json!({})), "<answer>1200</answer> (of 7)", Some(1.0)),
            (prompt("math", Some(json!("so \\boxed{\\frac{3}{4}}")), json!({})), "<answer>$0.75$</answer>", Some(1.0)),
            (prompt("math", Some(json!("x = y")), json!({})), "<think>\\boxed{x=y}</think>\\boxed{z}", Some(0.0)),
        ];
        label_all(&cases);
    }

    /// Labels all cases twice, the second time from memory, and checks each reward.
    fn label_all(cases: &[(Prompt, &str, Option<f64>)]) -> Vec<VerifiableLabel> {
        let rows: Vec<Generation> =
            cases.iter().enumerate().map(|(i, (p, text, _))| generation(p, "h", i as u64, text)).collect();
        let harness = Harness::new();
        let input = harness.rows("generations", &rows);
        let memo = Arc::new(MemoryMemo::default());
        let mut outputs = Vec::new();
        for _ in 0..2 {
            let inputs: &[(&str, &[&std::path::Path])] = &[("generations", &[&input])];
            let ctx = harness.context_with(inputs, &["rows"], memo.clone(), Arc::new(NoEvents));
            LabelVerifiable.run(LabelVerifiableParams::default(), &ctx).unwrap();
            outputs.push(read::<VerifiableLabel>(ctx.output("rows").unwrap()));
        }
        assert_eq!(outputs[0], outputs[1]);
        assert_eq!(memo.computed(), cases.iter().filter(|(prompt, ..)| asks(prompt)).count());
        for (row, (_, text, reward)) in rows.iter().zip(cases) {
            let label = outputs[0].iter().find(|label| label.generation_id == row.generation_id).unwrap();
            assert_eq!(label.verifiable_reward, *reward, "{text}: {}", label.reason);
        }
        outputs.swap_remove(0)
    }

    fn asks(prompt: &Prompt) -> bool {
        !matches!(question(&LabelVerifiableParams::default(), prompt), Question::None(_) | Question::Malformed(_))
    }
}
