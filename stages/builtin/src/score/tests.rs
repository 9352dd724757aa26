use super::*;
use crate::harness::{Harness, read};
use lsn_digest::Digest;
use lsn_stage::record::{Check, FinishReason, GenerationId, Prompt, SamplerInfo};
use serde_json::{Value, json};
use std::path::Path;

/// Two stories and a sum, three samplers, two seeds. Ratings rise with the sampler's place, diversity falls.
struct Case {
    harness: Harness,
    generations: Vec<Generation>,
    quality: Vec<QualityLabel>,
    diversity: Vec<DiversityLabel>,
    verifiable: Vec<VerifiableLabel>,
}

impl Case {
    fn new() -> Self {
        let mut case = Self {
            harness: Harness::new(),
            generations: vec![],
            quality: vec![],
            diversity: vec![],
            verifiable: vec![],
        };
        for (text, check) in [("one", Check::Diversity), ("two", Check::Diversity), ("sum", Check::Verifiable)] {
            let mut prompt = Prompt::new("d", text, None);
            prompt.checks = vec![check];
            for (place, sampler) in ["a", "b", "c"].into_iter().enumerate() {
                for seed in 0..2 {
                    case.row(&prompt, sampler, place as f64, seed);
                }
                case.diversity.push(DiversityLabel {
                    prompt_id: prompt.prompt_id,
                    sampler: sampler.into(),
                    samples: 2,
                    self_bleu: Some(10.0 * place as f64),
                    log_self_bleu: None,
                    embedding_entropy: Some(1.0 - 0.25 * place as f64),
                    log_embedding_entropy: None,
                    vendi_score: None,
                });
            }
        }
        case
    }

    fn row(&mut self, prompt: &Prompt, sampler: &str, place: f64, seed: u64) {
        let model = Digest::of(b"m");
        let generation_id = GenerationId::new(prompt.prompt_id, &json!(sampler), seed, &model, &json!({}));
        let (prompt_id, sampler) = (prompt.prompt_id, sampler.to_owned());
        self.quality.push(QualityLabel {
            prompt_id,
            generation_id,
            sampler: sampler.clone(),
            seed,
            bradley_terry_rating: place - 1.0,
            standard_error: None,
            games: 4,
            points: place,
        });
        let reward = prompt.has(Check::Verifiable).then_some(if place < 2.0 { 1.0 } else { 0.0 });
        self.verifiable.push(VerifiableLabel {
            prompt_id,
            generation_id,
            sampler: sampler.clone(),
            seed,
            verifiable_reward: reward,
            verifier: None,
            reason: String::new(),
        });
        self.generations.push(Generation {
            generation_id,
            prompt: prompt.clone(),
            sampler_info: SamplerInfo { name: sampler, config: vec![] },
            seed,
            generation: "x".into(),
            token_ids: vec![],
            finish_reason: FinishReason::Stop,
            logprobs: None,
            model: "m".into(),
            error: None,
        });
    }

    fn run(&self, with: Value) -> StageResult<(Vec<ScoredRow>, Vec<ScoredRow>, Value, String)> {
        let generations = self.harness.rows("generations", &self.generations);
        let quality = self.harness.rows("quality", &self.quality);
        let diversity = self.harness.rows("diversity", &self.diversity);
        let verifiable = self.harness.rows("verifiable", &self.verifiable);
        let inputs: [(&str, &[&Path]); 4] = [
            ("generations", &[&generations]),
            ("quality", &[&quality]),
            ("diversity", &[&diversity]),
            ("verifiable", &[&verifiable]),
        ];
        let ctx = self.harness.context(&inputs, &["scored", "training", "report", "ranking"]);
        Score.run(serde_json::from_value(with).unwrap(), &ctx)?;
        let text = |name| fs::read_to_string(ctx.output(name).unwrap()).unwrap();
        let report = serde_json::from_str(&text("report")).unwrap();
        Ok((read(ctx.output("scored")?), read(ctx.output("training")?), report, text("ranking")))
    }
}

fn of<'a>(rows: &'a [ScoredRow], prompt: &str, sampler: &str) -> &'a ScoredRow {
    let wanted = |row: &&ScoredRow| {
        row.generation.prompt.prompt == prompt
            && row.generation.sampler_info.name == sampler
            && row.generation.seed == 0
    };
    rows.iter().find(wanted).unwrap()
}

#[test]
fn scores_are_weighted_means_of_what_applies() {
    let case = Case::new();
    let with = json!({"weights": {"diversity": 0.2, "quality": 0.6, "verifiable": 0.3},
        "combine": {"diversity": [0.1], "quality": [0.9], "verifiable": [0.9]}});
    let (scored, ..) = case.run(with).unwrap();
    // Ratings −1, 0, 1 and entropies 1, 0.75, 0.5 have population deviations √(2/3) and √(2/3)/4.
    let z = 1.5_f64.sqrt();
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
    let story = of(&scored, "one", "a");
    close(story.normalized_quality.unwrap(), -z);
    close(story.normalized_diversity.unwrap(), z);
    close(story.score, (0.2 * z - 0.6 * z) / 0.8);
    close(story.combined_scores["a0.1_b0.9_c0.9"], (0.1 * z - 0.9 * z) / 1.0);
    let sum = of(&scored, "sum", "b");
    assert_eq!((sum.normalized_diversity, sum.verifiable_reward), (None, Some(1.0)));
    close(sum.score, 0.3 / 0.9);
    assert_eq!(of(&scored, "sum", "c").rank, None);
    assert_eq!((of(&scored, "sum", "b").rank, of(&scored, "sum", "a").rank), (Some(1), Some(2)));
}

#[test]
fn self_bleu_counts_with_its_sign_flipped() {
    let case = Case::new();
    let (entropy, ..) = case.run(json!({})).unwrap();
    let (bleu, ..) = case.run(json!({"diversity_metric": "self_bleu"})).unwrap();
    for sampler in ["a", "b", "c"] {
        let [a, b] = [&entropy, &bleu].map(|rows| of(rows, "two", sampler).normalized_diversity.unwrap());
        assert!((a - b).abs() < 1e-12);
    }
}

#[test]
fn filters_keep_the_best_and_the_correct_and_are_counted() {
    let case = Case::new();
    let (_, training, report, ranking) = case.run(json!({"top_k": 1})).unwrap();
    let kept: Vec<_> = training.iter().map(|row| row.generation.sampler_info.name.as_str()).collect();
    assert_eq!(kept.iter().filter(|&&name| name == "c").count(), 4);
    assert_eq!(kept.iter().filter(|&&name| name == "b").count(), 2);
    let counts = ["rows", "training_rows", "incorrect", "beyond_top_k"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [18, 6, 2, 10]);
    assert_eq!(report["datasets"]["d"]["training_rows"], 6);

    let (_, training, ..) =
        case.run(json!({"top_k": 1, "keep_incorrect": true, "weights": {"verifiable": 0.0}})).unwrap();
    assert!(training.iter().all(|row| row.generation.sampler_info.name == "c"));

    let conventions = &report["conventions"];
    assert_eq!((&conventions["normalize"], &conventions["diversity_sign"]), (&json!("all"), &json!(1)));
    let lines: Vec<_> = ranking.lines().collect();
    assert_eq!(lines.len(), 4);
    let ranked = &report["ranking"][0];
    for metric in ["score", "quality", "accuracy"] {
        let bound = |name: &str| ranked[metric][name].as_f64().unwrap();
        assert!(bound("low") <= bound("mean") && bound("mean") <= bound("high"), "{ranked}");
    }
    // Each metric ranks the samplers for itself: c writes best, a most diversely.
    let places = |metric: &str| -> Vec<(u64, String)> {
        let of = |r: &Value| (r[metric]["place"].as_u64().unwrap(), r["sampler"].as_str().unwrap().to_owned());
        let mut places: Vec<_> = report["ranking"].as_array().unwrap().iter().map(of).collect();
        places.sort();
        places
    };
    assert_eq!(places("quality")[0], (1, "c".to_owned()));
    assert_eq!(places("diversity")[0], (1, "a".to_owned()));
    assert_eq!(places("quality").iter().map(|(place, _)| *place).collect::<Vec<_>>(), [1, 2, 3]);
    let accuracy = |place: usize| report["ranking"][place]["accuracy"]["mean"].as_f64().unwrap();
    assert_eq!(accuracy(0) + accuracy(1) + accuracy(2), 2.0);
}

#[test]
fn ties_keep_the_order_of_the_data_set_and_the_order_of_arrival_does_not_matter() {
    let mut case = Case::new();
    case.quality.iter_mut().for_each(|label| label.bradley_terry_rating = 0.0);
    case.diversity.iter_mut().for_each(|label| label.embedding_entropy = Some(1.0));
    let (scored, training, report, _) = case.run(json!({"top_k": 2})).unwrap();
    assert_eq!([of(&scored, "one", "a").rank, of(&scored, "one", "c").rank], [Some(1), Some(3)]);
    case.generations.reverse();
    case.quality.reverse();
    let again = case.run(json!({"top_k": 2})).unwrap();
    assert_eq!((again.0, again.1, again.2), (scored, training, report));
}

#[test]
fn missing_labels_follow_the_policy() {
    let mut case = Case::new();
    let gone = case.quality.remove(0);
    let (scored, ..) = case.run(json!({})).unwrap();
    let row = scored.iter().find(|row| row.generation.generation_id == gone.generation_id).unwrap();
    assert_eq!((row.bradley_terry_rating, row.normalized_quality), (None, Some(0.0)));
    let report = case.run(json!({})).unwrap().2;
    assert_eq!([&report["without_quality"], &report["without_diversity"]], [&json!(1), &json!(0)]);
    let (scored, ..) = case.run(json!({"missing": "worst"})).unwrap();
    let worst = scored.iter().filter_map(|row| row.normalized_quality).fold(f64::INFINITY, f64::min);
    let row = scored.iter().find(|row| row.generation.generation_id == gone.generation_id).unwrap();
    assert_eq!(row.normalized_quality, Some(worst));
    assert_eq!(case.run(json!({"missing": "drop_row"})).unwrap().2["missing_label"], 1);
    assert!(case.run(json!({"missing": "fail"})).unwrap_err().message.contains("no quality label"));
    case.quality.push(gone.clone());
    case.quality.push(QualityLabel { prompt_id: Prompt::new("d", "other", None).prompt_id, ..gone });
    assert_eq!(case.run(json!({})).unwrap().2["unmatched_labels"], 1);
}

#[test]
fn a_generation_that_failed_is_never_trained_on() {
    let mut case = Case::new();
    for row in case.generations.iter_mut().filter(|row| row.sampler_info.name == "c") {
        if row.seed == 0 {
            row.finish_reason = FinishReason::Error;
        } else {
            row.generation.clear();
        }
    }
    let (scored, training, report, _) = case.run(json!({})).unwrap();
    let rows = scored.iter().filter(|row| row.generation.sampler_info.name == "c").count() as u64;
    assert!(training.iter().all(|row| row.generation.sampler_info.name != "c"));
    assert_eq!(report["unusable"], rows);
}

#[test]
fn standardising_per_prompt_makes_prompts_equal() {
    let mut case = Case::new();
    let two = Prompt::new("d", "two", None).prompt_id;
    case.quality.iter_mut().filter(|label| label.prompt_id == two).for_each(|label| label.bradley_terry_rating *= 9.0);
    let (scored, ..) = case.run(json!({"normalize": "prompt"})).unwrap();
    let [a, b] = ["one", "two"].map(|prompt| of(&scored, prompt, "c").normalized_quality.unwrap());
    assert!((a - b).abs() < 1e-12);
    let (scored, ..) = case.run(json!({})).unwrap();
    assert!(of(&scored, "two", "c").normalized_quality > of(&scored, "one", "c").normalized_quality);
}

#[test]
fn nothing_to_train_on_and_bad_parameters_are_errors() {
    let mut case = Case::new();
    case.generations.retain(|row| row.prompt.prompt == "sum" && row.sampler_info.name == "c");
    assert!(case.run(json!({})).unwrap_err().message.contains("2 wrong"));
    let params = json!({"weights": {"diversity": -1, "quality": 0, "verifiable": 0}, "top_k": 0, "confidence": 1,
        "combine": {"quality": [1]}, "bootstrap": 1});
    let issues = Stage::check(&Score, &serde_json::from_value(params).unwrap()).unwrap_err();
    assert_eq!(issues.len(), 7, "{issues:?}");
}
