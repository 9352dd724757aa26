//! A row's text depends on the row alone; decoding, teacher forcing and scoring are one arithmetic.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod support;

use lsn_lm::{
    BatchLogitsProcessor, FinishReason, Generated, GenerationOptions, GenerationRow, History, LanguageModel,
    LoadOptions, LogitsProcessor, ProcessorError, RowFailure, RowProcessor,
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, OnceLock},
};
use support::{END, Size, write_model};

/// Small enough for many cases; sizes that are no multiples of anything.
const SMALL: Size = Size { hidden: 40, layers: 2, heads: 4, kv_heads: 2, intermediate: 72, vocab: 300 };

fn model() -> &'static LanguageModel {
    static MODEL: OnceLock<LanguageModel> = OnceLock::new();
    MODEL.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        write_model(dir.path(), SMALL, 1);
        LanguageModel::load(dir.path(), &LoadOptions::default()).unwrap()
    })
}

/// Adds a constant to the logits of what was said before: needs the history and a state of its own.
struct Repeat {
    steps: f32,
}

impl LogitsProcessor for Repeat {
    fn process(&mut self, logits: &mut [f32], history: History<'_>) -> Result<(), ProcessorError> {
        for token in history.generated() {
            logits[*token as usize] += 0.1 * self.steps;
        }
        self.steps += 1.0;
        Ok(())
    }
}

/// Lowers what was said last; the same object serves all rows.
struct Fade;

impl BatchLogitsProcessor for Fade {
    fn process_rows(&self, logits: &mut [f32], histories: &[History<'_>]) -> Result<(), ProcessorError> {
        let vocab = logits.len() / histories.len();
        for (row, history) in logits.chunks_exact_mut(vocab).zip(histories) {
            row.iter_mut().for_each(|logit| *logit *= 0.5);
            row[history.tokens[history.tokens.len() - 1] as usize] -= 2.0;
        }
        Ok(())
    }
}

fn shared() -> Arc<dyn BatchLogitsProcessor> {
    static SHARED: OnceLock<Arc<Fade>> = OnceLock::new();
    let one: Arc<Fade> = Arc::clone(SHARED.get_or_init(|| Arc::new(Fade)));
    one
}

#[derive(Debug, Clone)]
struct Row {
    prompt: Vec<u32>,
    key: u8,
    processor: u8,
}

impl Row {
    fn start(&self, tag: u64) -> GenerationRow {
        let processor = match self.processor {
            0 => RowProcessor::Raw,
            1 => RowProcessor::Greedy,
            2 => RowProcessor::Shared(shared()),
            _ => RowProcessor::Own(Box::new(Repeat { steps: 1.0 })),
        };
        GenerationRow { tag, prompt: Arc::from(self.prompt.as_slice()), key: [self.key; 32], processor }
    }
}

fn generate(rows: &[Row], order: &[usize], threads: usize, slots: usize) -> BTreeMap<u64, Generated> {
    let options = GenerationOptions {
        max_tokens: 24,
        eos_ids: (0..40).chain([END]).collect(),
        log_probs: true,
        threads,
        slots,
        ..GenerationOptions::default()
    };
    let mut results = BTreeMap::new();
    let rows = order.iter().map(|index| rows[*index].start(*index as u64));
    model()
        .generate(&options, rows, |tag, result| {
            results.insert(tag, result.unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    results
}

fn row() -> impl Strategy<Value = Row> {
    // Few prompts, so that prefixes are shared; lengths around the cache's blocks of 16.
    let prompt = prop_oneof![
        (1usize..40).prop_map(|length| (0..length as u32).map(|i| i * 7 % 256).collect()),
        Just(vec![5u32; 16]),
        Just((40u32..73).collect::<Vec<u32>>()),
    ];
    (prompt, any::<u8>(), 0u8..4).prop_map(|(prompt, key, processor)| Row { prompt, key, processor })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_do_not_see_each_other(
        rows in prop::collection::vec(row(), 1..12),
        shuffle in any::<prop::sample::Index>(),
        threads in 1usize..4,
        slots in 1usize..9,
    ) {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let together = generate(&rows, &order, threads, slots);
        order.rotate_left(shuffle.index(rows.len()));
        order.reverse();
        prop_assert_eq!(&generate(&rows, &order, 1, 64), &together);
        for (index, result) in &together {
            let alone = generate(&rows, &[*index as usize], 1, 1);
            prop_assert_eq!(&alone[index], result);
        }
    }

    #[test]
    fn decoding_scoring_and_teacher_forcing_agree_to_the_bit(prompt in row(), key in any::<u8>()) {
        let row = Row { processor: 0, key, ..prompt };
        let generated = &generate(std::slice::from_ref(&row), &[0], 1, 1)[&0];
        let ids = &generated.token_ids;
        let scores = model().score_continuations(&row.prompt, &[&ids[..], &ids[..1], &[]]).unwrap();
        prop_assert_eq!(scores[1].as_slice(), &scores[0][..1]);
        prop_assert!(scores[2].is_empty());
        for (drawn, scored) in generated.log_probs.as_ref().unwrap().iter().zip(&scores[0]) {
            prop_assert!((drawn - scored).abs() < 1e-5);
        }
        // Whole sequence, continuation, and one token more: the same logits at the same places.
        let vocab = model().config().vocab_size;
        let whole = model().logits(&[&row.prompt[..], ids].concat()).unwrap();
        let continued = model().continuation_logits(&row.prompt, ids).unwrap();
        let first = (row.prompt.len() - 1) * vocab;
        prop_assert_eq!(&whole[first..first + continued.len()], &continued[..]);
        let longer = model().logits(&[&row.prompt[..], ids, &[3]].concat()).unwrap();
        prop_assert_eq!(&longer[..whole.len()], &whole[..]);
        let replayed = std::sync::Mutex::new(Vec::new());
        model().cpu().unwrap().replay(&row.prompt, &[ids], |_, _, logits| replayed.lock().unwrap().extend_from_slice(logits)).unwrap();
        prop_assert_eq!(replayed.into_inner().unwrap(), continued);
    }

    #[test]
    fn embeddings_are_the_means_of_the_hidden_states(
        prompt in row(), lengths in prop::collection::vec(0usize..260, 1..6), layer in 0usize..3,
    ) {
        let texts: Vec<Vec<u32>> =
            lengths.iter().map(|length| (0..*length as u32).map(|i| (i * i + 11) % 256).collect()).collect();
        let layer = layer.min(model().config().layers.len());
        let continuations: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let embedded = model().embed_continuations(&prompt.prompt, &continuations, layer).unwrap();
        prop_assert_eq!(embedded.len(), texts.len());
        for (text, mean) in texts.iter().zip(embedded) {
            if text.is_empty() {
                prop_assert!(mean.is_empty());
                continue;
            }
            let ids = [&prompt.prompt[..], text].concat();
            let states = model().forward(&ids, 0..0, &[layer]).unwrap().hidden.remove(0);
            let d = model().config().hidden_size;
            let mut expected = vec![0.0; d];
            for row in states[prompt.prompt.len() * d..].chunks_exact(d) {
                expected.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            expected.iter_mut().for_each(|x| *x /= text.len() as f64);
            prop_assert_eq!(mean, expected);
        }
    }
}

#[test]
fn a_prompt_longer_than_a_chunk_is_the_same_in_pieces() {
    let ids: Vec<u32> = (0..450u32).map(|i| i * 31 % 256).collect();
    let vocab = model().config().vocab_size;
    let whole = model().logits(&ids).unwrap();
    let scores = model().score_continuations(&ids[..20], &[&ids[20..]]).unwrap();
    assert_eq!(scores[0].len(), 430);
    let part = model().forward(&ids, 250..253, &[]).unwrap();
    assert_eq!(part.logits, whole[250 * vocab..253 * vocab]);
}

#[test]
fn rows_end_at_eos_stop_string_or_length() {
    let run = |options: GenerationOptions| {
        let row = Row { prompt: vec![72, 105], key: 4, processor: 0 }.start(0);
        let mut out = None;
        model()
            .generate(&options, std::iter::once(row), |_, result| {
                out = Some(result.unwrap());
                ControlFlow::Continue(())
            })
            .unwrap();
        out.unwrap()
    };
    let free = run(GenerationOptions { max_tokens: 30, ..GenerationOptions::default() });
    assert_eq!((free.finish_reason, free.token_ids.len()), (FinishReason::Length, 30));
    let eos =
        run(GenerationOptions { max_tokens: 30, eos_ids: vec![free.token_ids[9]], ..GenerationOptions::default() });
    let end = free.token_ids.iter().position(|id| *id == free.token_ids[9]).unwrap();
    assert_eq!((eos.finish_reason, eos.token_ids.as_slice()), (FinishReason::Eos, &free.token_ids[..=end]));
    // A stop string of an ASCII character that occurs: the text ends before it, the ids with it.
    let text = free.text.unwrap();
    let stop = text.chars().rev().find(char::is_ascii_graphic).unwrap().to_string();
    let stopped =
        run(GenerationOptions { max_tokens: 30, stop_strings: vec![stop.clone()], ..GenerationOptions::default() });
    assert_eq!(stopped.finish_reason, FinishReason::StopString);
    assert_eq!(stopped.text.unwrap(), text[..text.find(&stop).unwrap()]);
    assert!(stopped.token_ids.len() <= 30 && free.token_ids.starts_with(&stopped.token_ids));
}

#[test]
fn a_row_that_fails_leaves_the_others_alone() {
    struct Broken;
    impl LogitsProcessor for Broken {
        fn process(&mut self, logits: &mut [f32], history: History<'_>) -> Result<(), ProcessorError> {
            if history.generated().len() == 2 {
                logits.fill(f32::NEG_INFINITY);
            }
            Ok(())
        }
    }
    let good = Row { prompt: vec![1, 2, 3], key: 1, processor: 0 };
    let rows = vec![
        Row { prompt: vec![], ..good.clone() }.start(0),
        Row { prompt: vec![9999], ..good.clone() }.start(1),
        Row { prompt: vec![1; 600], ..good.clone() }.start(2),
        GenerationRow { processor: RowProcessor::Own(Box::new(Broken)), ..good.start(3) },
        good.start(4),
    ];
    let options = GenerationOptions { max_tokens: 4, ..GenerationOptions::default() };
    let mut results = BTreeMap::new();
    model()
        .generate(&options, rows.into_iter(), |tag, result| {
            results.insert(tag, result);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(results[&0], Err(RowFailure::PromptEmpty));
    assert_eq!(results[&1], Err(RowFailure::TokenOutOfRange { id: 9999, vocab: 300 }));
    assert_eq!(results[&2], Err(RowFailure::PromptTooLong { tokens: 600, limit: 512 }));
    assert!(matches!(&results[&3], Err(RowFailure::Draw { step: 2, .. })), "{:?}", results[&3]);
    assert_eq!(results[&4].as_ref().unwrap().token_ids.len(), 4);
}

#[test]
fn a_stopped_call_reports_no_further_rows() {
    let row = Row { prompt: vec![1, 2, 3], key: 1, processor: 0 };
    let rows = (0..50).map(|tag| row.start(tag));
    let options = GenerationOptions { max_tokens: 3, slots: 5, ..GenerationOptions::default() };
    let mut count = 0;
    model()
        .generate(&options, rows, |_, _| {
            count += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert!((1..=5).contains(&count), "{count}");
}

#[test]
fn chats_become_ids() {
    let ids = model().encode_prompt("Hé", Some("be")).unwrap();
    assert_eq!(ids[0], 256);
    assert_eq!(model().tokenizer().unwrap().decode(&ids).unwrap(), "system: beuser: Héassistant: ");
}
