use super::*;
use crate::harness::Harness;
use lsn_digest::Digest;
use lsn_stage::record::{DiversityScores, FinishReason, Generation, GenerationId, Prompt, SamplerInfo};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn row(prompt: usize, sampler: &str, seed: u64, score: f64, correct: Option<bool>) -> ScoredRow {
    let prompt = Prompt::new("d", format!("p{prompt}"), None);
    let id = GenerationId::new(prompt.prompt_id, &json!(sampler), seed, &Digest::of(b"m"), &json!({}));
    ScoredRow {
        generation: Generation {
            generation_id: id,
            prompt,
            sampler_info: SamplerInfo { name: sampler.into(), config: vec![] },
            seed,
            generation: "x".into(),
            token_ids: vec![1; 3 + seed as usize],
            finish_reason: FinishReason::Stop,
            logprobs: None,
            model: "m".into(),
            error: None,
        },
        bradley_terry_rating: Some(score / 2.0),
        diversity: Some(DiversityScores {
            self_bleu: Some(30.0),
            log_self_bleu: None,
            embedding_entropy: None,
            log_embedding_entropy: None,
            vendi_score: Some(1.5),
        }),
        verifiable_reward: correct.map(|correct| f64::from(u8::from(correct))),
        normalized_quality: None,
        normalized_diversity: None,
        combined_scores: BTreeMap::new(),
        score,
        rank: None,
    }
}

/// Two seeds of 12 prompts: `learned` is 1 above `weak` everywhere, equal to `equal`, and far below `strong`.
fn rows() -> Vec<ScoredRow> {
    let mut rows = Vec::new();
    for prompt in 0..12 {
        for seed in 0..2 {
            let score = (prompt % 4) as f64 + 0.1 * seed as f64;
            // Even prompts are verifiable; the first of two answers is right, of `weak` none.
            let verdict = |right: bool| (prompt % 2 == 0).then_some(right && seed == 0);
            rows.push(row(prompt, "learned", seed, score, verdict(true)));
            rows.push(row(prompt, "weak", seed, score - 1.0, verdict(false)));
            rows.push(row(prompt, "equal", seed, score, verdict(true)));
            rows.push(row(prompt, "strong", seed, score + 2.0, verdict(true)));
        }
    }
    rows
}

fn run(rows: &[ScoredRow], with: Value) -> StageResult<(Evaluation, String, String)> {
    let harness = Harness::new();
    let scored = harness.rows("scored", rows);
    let ctx = harness.context(&[("scored", &[&scored])], &["metrics", "table", "text"]);
    Evaluate.run(serde_json::from_value(with).unwrap(), &ctx)?;
    let text = |name| fs::read_to_string(ctx.output(name).unwrap()).unwrap();
    Ok((serde_json::from_str(&text("metrics")).unwrap(), text("table"), text("text")))
}

#[test]
fn the_learned_sampler_gets_the_place_it_earns() {
    let (evaluation, csv, text) = run(&rows(), json!({"bootstrap": 200})).unwrap();
    let verdict = &evaluation.verdict;
    assert_eq!((verdict.rank, verdict.samplers), (3, 4));
    assert_eq!((verdict.better_than, verdict.undecided, verdict.worse_than), (1, 1, 1));
    assert!(!verdict.beats_every_heuristic);
    assert_eq!(verdict.best_heuristic, "strong");
    assert_eq!(csv.lines().count(), 5);
    assert!(text.contains("`learned` is number 3 of 4") && text.contains("does not beat"), "{text}");
    let named = |name: &str| evaluation.samplers.iter().find(|entry| entry.name == name).unwrap();
    let weak = named("weak").against.unwrap();
    assert!((weak.difference.mean - 1.0).abs() < 1e-12);
    // Pairs differ by the same amount everywhere, so a paired interval has no width although scores vary.
    let [low, high] = weak.difference.interval.unwrap();
    assert!((high - low).abs() < 1e-12);
    let [low, high] = named("weak").score.interval.unwrap();
    assert!(high - low > 0.2);
    assert_eq!(weak.win_rate.mean, 1.0);
    assert_eq!(named("equal").against.unwrap().win_rate.mean, 0.5);
    assert_eq!(named("strong").against.unwrap().win_rate.mean, 0.0);
}

#[test]
fn pass_at_k_is_over_verifiable_prompts_only() {
    let (evaluation, ..) = run(&rows(), json!({"bootstrap": 0})).unwrap();
    assert_eq!(evaluation.k, 2);
    let learned = evaluation.samplers.iter().find(|entry| entry.learned).unwrap();
    let (one, both) = (learned.pass_at_1.unwrap(), learned.pass_at_k.unwrap());
    assert_eq!((one.mean, both.mean, one.prompts, one.interval), (0.5, 1.0, 6, None));
    let weak = evaluation.samplers.iter().find(|entry| entry.name == "weak").unwrap();
    assert_eq!(weak.pass_at_k.unwrap().mean, 0.0);
    assert_eq!(learned.tokens.mean, 3.5);
    assert_eq!(learned.vendi.unwrap().mean, 1.5);
}

#[test]
fn a_winner_is_called_one_and_intervals_are_repeatable() {
    let rows: Vec<ScoredRow> =
        rows().into_iter().filter(|row| !["strong", "equal"].contains(&&*row.generation.sampler_info.name)).collect();
    let (evaluation, _, text) = run(&rows, json!({})).unwrap();
    assert!(evaluation.verdict.beats_every_heuristic);
    assert!(text.contains("It beats every fixed heuristic"), "{text}");
    assert_eq!(run(&rows, json!({})).unwrap().0, evaluation);
}

#[test]
fn prompts_that_not_all_answered_are_left_out_and_counted() {
    let mut rows = rows();
    let gone = Prompt::new("d", "p3", None).prompt_id;
    rows.retain(|row| row.generation.sampler_info.name != "weak" || row.generation.prompt.prompt_id != gone);
    let (evaluation, _, text) = run(&rows, json!({"bootstrap": 10})).unwrap();
    assert_eq!((evaluation.prompts, evaluation.prompts_left_out), (11, 1));
    assert!(text.contains("1 prompts without"), "{text}");
}

#[test]
fn a_missing_sampler_is_an_error_that_lists_the_others() {
    let error = run(&rows(), json!({"sampler": "lerned"})).unwrap_err();
    assert!(error.message.contains("`lerned`") && error.message.contains("`strong`"), "{error}");
    let only: Vec<ScoredRow> = rows().into_iter().filter(|row| row.generation.sampler_info.name == "learned").collect();
    assert!(run(&only, json!({})).unwrap_err().message.contains("nothing to compare"));
}
