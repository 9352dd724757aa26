use super::*;
use crate::harness::{Harness, read};
use lsn_digest::Digest;
use lsn_stage::record::{FinishReason, GenerationId, SamplerInfo};
use serde_json::{Value, json};
use std::path::PathBuf;

const HEURISTICS: &str = "sampling_pipelines: [{name: a}, {name: b, processors: [{name: top_k, params: {top_k: 2}}]}]";

fn generation(prompt: &str, sampler: &str, seed: u64) -> Generation {
    let prompt = Prompt::new("d", prompt, None);
    let pipeline = json!(sampler);
    Generation {
        generation_id: GenerationId::new(prompt.prompt_id, &pipeline, seed, &Digest::of(b"m"), &json!({})),
        prompt,
        sampler_info: SamplerInfo { name: sampler.into(), config: vec![] },
        seed,
        generation: format!("{sampler} says {seed}"),
        token_ids: vec![1],
        finish_reason: FinishReason::Stop,
        logprobs: None,
        model: "m".into(),
        error: None,
    }
}

fn all(seed: u64) -> Vec<Generation> {
    ["p", "q", "r"].iter().flat_map(|p| ["a", "b"].map(|sampler| generation(p, sampler, seed))).collect()
}

struct Case {
    harness: Harness,
    seeds: [Vec<Generation>; 2],
    /// Whether one row of the first input is made unreadable.
    damaged: bool,
}

impl Case {
    fn new() -> Self {
        Self { harness: Harness::new(), seeds: [all(0), all(1)], damaged: false }
    }

    fn row(&mut self, seed: usize, prompt: &str, sampler: &str) -> &mut Generation {
        let wanted = |row: &&mut Generation| row.prompt.prompt == prompt && row.sampler_info.name == sampler;
        self.seeds[seed].iter_mut().find(wanted).unwrap()
    }

    fn run(&self, with: Value) -> StageResult<(Vec<Generation>, Value, String)> {
        let inputs: Vec<PathBuf> = self.seeds.iter().map(|rows| self.harness.rows("rows", rows)).collect();
        let prompts: Vec<_> = ["p", "q", "r"].map(|text| Prompt::new("d", text, None)).into();
        let prompts = self.harness.rows("prompts", &prompts);
        let heuristics = self.harness.file("heuristics", HEURISTICS);
        if self.damaged {
            let part = inputs[0].join("part-00000.jsonl");
            let text = fs::read_to_string(&part).unwrap();
            fs::write(&part, text.replacen("\"seed\":0", "\"seed\":?", 1)).unwrap();
        }
        let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
        let ctx = self.harness.context(
            &[("generations", &inputs), ("prompts", &[&prompts]), ("heuristics", &[&heuristics])],
            &["rows", "report", "text"],
        );
        let mut params: VerifyParams = serde_json::from_value(with).unwrap();
        params.seeds = vec![0, 1];
        Verify.run(params, &ctx)?;
        let text = |name| fs::read_to_string(ctx.output(name).unwrap()).unwrap();
        Ok((read(ctx.output("rows")?), serde_json::from_str(&text("report")).unwrap(), text("text")))
    }
}

#[test]
fn complete_generations_pass_whatever_their_order() {
    let mut case = Case::new();
    let (rows, report, text) = case.run(json!({})).unwrap();
    assert_eq!((rows.len(), &report["prompts_kept"], text.lines().count()), (12, &json!(3), 1));
    case.seeds.swap(0, 1);
    case.seeds[0].reverse();
    assert_eq!(case.run(json!({})).unwrap().0, rows);
}

#[test]
fn every_kind_of_fault_is_found_and_told_per_prompt() {
    let mut case = Case::new();
    case.seeds[1].retain(|row| row.prompt.prompt != "p" || row.sampler_info.name != "b");
    case.row(0, "p", "a").generation = "\n".into();
    case.row(0, "q", "a").generation = "x\u{fffd}y".into();
    let failed = case.row(0, "q", "b");
    (failed.finish_reason, failed.error) = (FinishReason::Error, Some("server gone".into()));
    case.row(1, "r", "a").finish_reason = FinishReason::Length;
    let mut other = generation("r", "a", 0);
    other.generation = "different".into();
    case.seeds[1].extend([other, generation("r", "b", 0), generation("r", "c", 0), generation("unknown", "a", 0)]);

    let (rows, report, text) = case.run(json!({"policy": "drop_row"})).unwrap();
    let expected = json!({"missing": 1, "failed": 1, "empty": 1, "undecodable": 1, "truncated": 1, "repeated": 1,
        "conflicting": 1, "unexpected": 1});
    assert_eq!(report["faults"], expected);
    assert_eq!(report["rows_of_unknown_prompts"], 1);
    let left: Vec<_> = rows.iter().map(|r| format!("{}{}{}", r.prompt.prompt, r.sampler_info.name, r.seed)).collect();
    let mut left: Vec<_> = left.iter().map(String::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["pa1", "pb0", "qa1", "qb1", "ra1", "rb0", "rb1"]);
    assert!(text.contains("failed: b at seed 0 (server gone)") && text.contains("missing: b at seed 1"), "{text}");

    let message = case.run(json!({})).unwrap_err().message;
    assert!(message.starts_with("0 prompts are sound, at least 1 wanted"), "{message}");
}

#[test]
fn policies_differ_in_what_they_keep() {
    let mut case = Case::new();
    case.row(0, "p", "a").generation.clear();
    assert_eq!(case.run(json!({})).unwrap().0.len(), 8);
    assert_eq!(case.run(json!({"policy": "drop_row"})).unwrap().0.len(), 11);
    let tolerant = case.run(json!({"tolerate": ["empty"]})).unwrap();
    assert_eq!((tolerant.0.len(), &tolerant.1["faults"]["empty"]), (12, &json!(1)));
    for policy in ["fail", "regenerate"] {
        let error = case.run(json!({"policy": policy})).unwrap_err();
        assert!(error.message.contains("empty: a at seed 0") && error.hint.is_some(), "{error}");
    }
}

#[test]
fn malformed_rows_are_faults_only_where_they_are_allowed() {
    let mut case = Case::new();
    case.damaged = true;
    assert!(case.run(json!({})).unwrap_err().message.contains("1 malformed rows, at most 0 allowed"));
    let (rows, report, text) = case.run(json!({"max_rejected": 1, "policy": "drop_row"})).unwrap();
    assert_eq!((rows.len(), &report["malformed_rows"], &report["faults"]["missing"]), (11, &json!(1), &json!(1)));
    assert!(text.contains("1 rows are malformed"), "{text}");
}
