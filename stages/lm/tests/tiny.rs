//! The committed small model: real weights, tokenizer and chat template together.

use lsn_lm::{FinishReason, GenerationOptions, GenerationRow, LanguageModel, LoadOptions, RowProcessor};
use std::{ops::ControlFlow, path::Path};

#[test]
fn the_committed_model_answers_a_conversation() {
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/models/tiny"));
    let model = LanguageModel::load(dir, &LoadOptions::default()).unwrap();
    let prompt = model.encode_prompt("Tell me a story about a kind dog who tries to build a boat.", None).unwrap();
    let row = GenerationRow { tag: 0, prompt: prompt.into(), key: [0; 32], processor: RowProcessor::Greedy };
    let options =
        GenerationOptions { max_tokens: 200, eos_ids: model.eos_ids().to_vec(), ..GenerationOptions::default() };
    let mut answer = None;
    model
        .generate(&options, std::iter::once(row), |_, result| {
            answer = Some(result.unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    let answer = answer.unwrap();
    assert_eq!(answer.finish_reason, FinishReason::Eos);
    assert!(answer.text.as_ref().is_some_and(|text| !text.is_empty() && !text.contains("<|")), "{answer:?}");
}
