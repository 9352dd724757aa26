//! What the corpus promises, checked on its text alone.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use lsn_corpus::{CorpusConfig, Document, Kind, Split, documents, prompts};
use std::collections::{HashMap, HashSet};

mod constraints;

fn draw(split: Split, count: usize) -> Vec<Document> {
    documents(&CorpusConfig::default(), split).unwrap().take(count).collect()
}

fn of_kind(kind: Kind, count: usize) -> Vec<Document> {
    let mut stream = documents(&CorpusConfig::default(), Split::Train).unwrap();
    (0..count).map(|_| stream.draw(kind)).collect()
}

fn numbers(text: &str) -> Vec<i64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

/// The equations `a op b = c` of a reply.
fn equations(reply: &str) -> Vec<(i64, char, i64, i64)> {
    let words: Vec<&str> = reply.split_whitespace().collect();
    words
        .windows(5)
        .filter(|w| w[3] == "=")
        .map(|w| {
            let number = |word: &str| word.trim_end_matches('.').parse().unwrap();
            (number(w[0]), w[1].chars().next().unwrap(), number(w[2]), number(w[4]))
        })
        .collect()
}

#[test]
fn arithmetic_is_right_and_uses_the_numbers_of_the_problem() {
    for document in of_kind(Kind::Arithmetic, 4000) {
        let mut known: HashSet<i64> = numbers(&document.prompt).into_iter().collect();
        let steps = equations(&document.reply);
        assert!((1..=2).contains(&steps.len()), "{document:?}");
        for (a, op, b, c) in &steps {
            let result = match op {
                '+' => a + b,
                '-' => a - b,
                '*' => a * b,
                other => panic!("unknown operator {other} in {document:?}"),
            };
            assert_eq!(result, *c, "{document:?}");
            assert!(*c >= 0, "{document:?}");
            assert!(known.contains(a) && known.contains(b), "{document:?}");
            known.insert(*c);
        }
        let answer = document.answer.as_deref().unwrap();
        assert_eq!(steps.last().unwrap().3.to_string(), answer, "{document:?}");
        assert!(document.reply.ends_with(&format!("\n#### {answer}")), "{document:?}");
    }
}

#[test]
fn stories_tell_what_the_prompt_names() {
    const SMALL: [&str; 11] = ["a", "an", "the", "about", "of", "story", "short", "tale", "write", "tell", "me"];
    for document in of_kind(Kind::Story, 2000) {
        assert!(!document.reply.contains(['{', '}']) && !document.prompt.contains(['{', '}']), "{document:?}");
        let words: Vec<&str> = document.reply.split_whitespace().collect();
        assert!((28..=90).contains(&words.len()), "{} words in {document:?}", words.len());
        // The hero comes with article and trait: `a shy owl who wants to ...`.
        let prompt = document.prompt.to_lowercase();
        let (before, _) = prompt.split_once(" who ").unwrap();
        let hero: Vec<&str> = before.split_whitespace().rev().take(2).filter(|w| !SMALL.contains(w)).collect();
        assert_eq!(hero.len(), 2, "{document:?}");
        let reply = document.reply.to_lowercase();
        assert!(hero.iter().all(|word| reply.contains(word)), "{hero:?} in {document:?}");
        let goal = prompt.rsplit_once(" to ").unwrap().1;
        let noun = goal.trim_end_matches(['.', '?']).split(' ').next_back().unwrap();
        let tells = reply.contains(noun) || goal.split(' ').any(|w| w.len() > 3 && reply.contains(w));
        assert!(tells, "{goal} in {document:?}");
    }
}

#[test]
fn every_sentence_starts_in_upper_case_and_ends() {
    for document in of_kind(Kind::Story, 500).into_iter().chain(of_kind(Kind::Fact, 500)) {
        assert!(document.reply.chars().next().is_some_and(char::is_uppercase), "{document:?}");
        assert!(document.reply.ends_with(['.', '!', '?', '"']), "{document:?}");
        assert!(!document.reply.contains("  "), "{document:?}");
    }
}

#[test]
fn replies_satisfy_their_constraints() {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for document in of_kind(Kind::Instruction, 6000) {
        assert!(!document.constraints.is_empty(), "{document:?}");
        for constraint in &document.constraints {
            *seen.entry(constraint.id.clone()).or_default() += 1;
            let kept = constraints::satisfied(&constraint.id, &constraint.kwargs, &document.reply);
            assert!(kept, "{} in {document:?}", constraint.id);
        }
    }
    assert!(seen.len() >= 12, "{seen:?}");
    assert!(seen.values().all(|&count| count >= 100), "{seen:?}");
}

#[test]
fn replies_to_one_request_vary() {
    let mut replies: HashMap<u64, HashSet<String>> = HashMap::new();
    for document in of_kind(Kind::Instruction, 20_000) {
        replies.entry(document.content).or_default().insert(document.reply);
    }
    let common: Vec<usize> = replies.values().map(HashSet::len).collect();
    let mean = common.iter().sum::<usize>() as f64 / common.len() as f64;
    assert!(mean > 3.0, "{mean} replies per request");
}

#[test]
fn facts_have_one_answer() {
    let mut answers: HashMap<String, String> = HashMap::new();
    for document in of_kind(Kind::Fact, 5000) {
        let answer = document.answer.clone().unwrap();
        assert!(document.reply.to_lowercase().contains(&answer.to_lowercase()), "{document:?}");
        let first = answers.entry(document.prompt.clone()).or_insert_with(|| answer.clone());
        assert_eq!(*first, answer, "{}", document.prompt);
    }
}

#[test]
fn splits_share_no_problem_and_no_prompt() {
    let splits = [Split::Train, Split::HeldOut, Split::PromptsTrain, Split::PromptsHeldOut];
    let mut owners: HashMap<String, Split> = HashMap::new();
    for split in splits {
        for document in draw(split, 2000) {
            assert_eq!(Split::of(document.content), split);
            let owner = *owners.entry(document.prompt.clone()).or_insert(split);
            assert_eq!(owner, split, "{}", document.prompt);
        }
    }
}

#[test]
fn all_kinds_come_in_the_proportion_of_the_mixture() {
    let documents = draw(Split::Train, 20_000);
    let share = |kind| documents.iter().filter(|d| d.kind == kind).count() as f64 / documents.len() as f64;
    let mixture = CorpusConfig::default().mixture;
    let wanted = [mixture.arithmetic, mixture.story, mixture.instruction, mixture.fact];
    for (kind, wanted) in Kind::ALL.into_iter().zip(wanted) {
        assert!((share(kind) - wanted).abs() < 0.02, "{kind:?}: {} of {wanted}", share(kind));
    }
}

#[test]
fn a_seed_decides_the_stream() {
    assert_eq!(draw(Split::Train, 200), draw(Split::Train, 200));
    let other = CorpusConfig { seed: 2, ..CorpusConfig::default() };
    assert_ne!(documents(&other, Split::Train).unwrap().take(200).collect::<Vec<_>>(), draw(Split::Train, 200));
}

#[test]
fn prompt_sets_are_distinct_and_carry_what_verifiers_need() {
    let config = CorpusConfig::default();
    let train = prompts(&config, Split::PromptsTrain, 60).unwrap();
    let heldout = prompts(&config, Split::PromptsHeldOut, 40).unwrap();
    assert_eq!((train.len(), heldout.len()), (60, 40));
    let texts: HashSet<&str> = train.iter().chain(&heldout).map(|p| p.prompt.as_str()).collect();
    assert_eq!(texts.len(), 100);
    for record in train.iter().chain(&heldout) {
        match record.dataset.as_str() {
            "gsm8k" => assert!(record.ground_truth.as_ref().unwrap().contains("\n#### ")),
            "ifeval" => {
                let ids = record.instruction_id_list.as_ref().unwrap();
                assert!(!ids.is_empty() && ids.len() == record.kwargs.as_ref().unwrap().len());
            }
            "stories" => assert!(record.ground_truth.is_none()),
            "facts" => assert!(record.ground_truth.is_some()),
            other => panic!("unknown data set {other}"),
        }
    }
    let arithmetic = train.iter().filter(|p| p.dataset == "gsm8k").count();
    assert_eq!(arithmetic, 30);
}

#[test]
fn impossible_requests_are_refused() {
    let mut config = CorpusConfig::default();
    config.mixture.story = -1.0;
    assert!(documents(&config, Split::Train).is_err());
    let config = CorpusConfig { system_share: 1.5, ..CorpusConfig::default() };
    assert!(documents(&config, Split::Train).is_err());
}
