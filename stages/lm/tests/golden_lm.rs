//! Eight small models of eight families against recorded results of transformers, and its chat templates.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use lsn_lm::{
    ChatTemplate, Compute, CpuModel, GenerationOptions, GenerationRow, LanguageModel, LmError, LoadOptions, Message,
    ModelConfig, RowProcessor, Weights, kernel::Isa,
};
use safetensors::SafeTensors;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest difference allowed, relative to the spread of the recorded values.
const TOLERANCE: f32 = 2e-5;

fn folder() -> PathBuf {
    let root = std::env::var_os("LSN_VECTORS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")), PathBuf::from);
    root.join("lm")
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn floats(file: &SafeTensors<'_>, name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = file.tensor(name).unwrap();
    assert_eq!(tensor.dtype(), safetensors::Dtype::F32, "{name}");
    let values = tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    (tensor.shape().to_vec(), values)
}

fn ids(values: &Value) -> Vec<u32> {
    values.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let count = expected.len() as f32;
    let mean = expected.iter().sum::<f32>() / count;
    let spread = (expected.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / count).sqrt();
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= TOLERANCE * spread, "{what}: off by {worst}, spread {spread}");
}

/// Continues each prompt greedily, all in one batch; gives prompt and continuation.
fn greedy(model: &LanguageModel, prompts: &[Vec<u32>], tokens: usize) -> Vec<Vec<u32>> {
    let options = GenerationOptions { max_tokens: tokens, threads: 2, ..GenerationOptions::default() };
    let rows = prompts.iter().enumerate().map(|(tag, prompt)| GenerationRow {
        tag: tag as u64,
        prompt: Arc::from(prompt.as_slice()),
        key: [0; 32],
        processor: RowProcessor::Greedy,
    });
    let mut out = prompts.to_vec();
    model
        .generate(&options, rows, |tag, result| {
            out[tag as usize].extend(result.unwrap().token_ids);
            ControlFlow::Continue(())
        })
        .unwrap();
    out
}

/// One model: logits at all positions of all sequences, hidden states of the first, greedy continuations.
fn check_model(folder: &Path, case: &Value) -> usize {
    let name = case["name"].as_str().unwrap();
    let dir = folder.join(name);
    let load = |compute| {
        LanguageModel::load(&dir, &LoadOptions { compute, context: Some(128), ..LoadOptions::default() }).unwrap()
    };
    let model = load(Compute::Cpu);
    let bytes = std::fs::read(dir.join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = golden.tensor("ids").unwrap();
    let (count, length) = (tensor.shape()[0], tensor.shape()[1]);
    let width = tensor.data().len() / (count * length);
    let sequences: Vec<u32> =
        tensor.data().chunks_exact(width).map(|b| u32::from_le_bytes(b[..4].try_into().unwrap())).collect();
    let (_, logits) = floats(&golden, "logits");
    let (shape, hidden) = floats(&golden, "hidden");
    let vocab = model.config().vocab_size;
    let layers: Vec<usize> = (0..shape[0]).collect();
    for model in [&model, &load(Compute::CandleCpu)] {
        for (index, ids) in sequences.chunks_exact(length).enumerate() {
            let pass = model.forward(ids, 0..length, if index == 0 { &layers } else { &[] }).unwrap();
            let expected = &logits[index * length * vocab..(index + 1) * length * vocab];
            assert_close(&format!("{name}: logits of sequence {index}"), &pass.logits, expected);
            for (layer, state) in pass.hidden.iter().enumerate() {
                let expected = &hidden[layer * state.len()..(layer + 1) * state.len()];
                assert_close(&format!("{name}: hidden state {layer}"), state, expected);
            }
        }
    }
    // Every instruction set gives the same bits.
    let ids = &sequences[..length];
    for isa in Isa::available() {
        let config = ModelConfig::read(&dir.join("config.json")).unwrap();
        let other = CpuModel::load(config, &Weights::open(&dir).unwrap()).unwrap().with_isa(isa);
        assert_eq!(
            other.forward_all(ids, 0..length, &[]).unwrap().logits,
            model.logits(ids).unwrap(),
            "{name}: {isa:?}"
        );
    }
    let expected: Vec<Vec<u32>> = case["greedy"].as_array().unwrap().iter().map(self::ids).collect();
    let prompts: Vec<Vec<u32>> = ids_of_prompts(case, &expected);
    for compute in [Compute::Cpu, Compute::CandleCpu] {
        assert_eq!(greedy(&load(compute), &prompts, 24), expected, "{name}: greedy continuations, {compute:?}");
    }
    2 * (count + 1 + expected.len())
}

fn ids_of_prompts(case: &Value, continued: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let lengths = ids(&case["prompt_lengths"]);
    lengths.iter().zip(continued).map(|(length, ids)| ids[..*length as usize].to_vec()).collect()
}

fn check_template(templates: &Value, case: &Value) {
    let source = templates[case["template"].as_str().unwrap()].as_str().unwrap();
    let messages: Vec<Message> = case["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|turn| Message::new(turn["role"].as_str().unwrap(), turn["content"].as_str().unwrap()))
        .collect();
    let extra: BTreeMap<String, Value> =
        case["extra"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let template = ChatTemplate::new(source, BTreeMap::new(), None).unwrap();
    let found = template.render(&messages, case["add_generation_prompt"].as_bool().unwrap(), &extra);
    match case["error"].as_str() {
        Some(message) => match found {
            Err(LmError::TemplateRaised(raised)) => assert_eq!(raised, message, "{case}"),
            other => panic!("expected the refusal `{message}`, got {other:?}: {case}"),
        },
        None => assert_eq!(found.unwrap(), case["expected"].as_str().unwrap(), "{case}"),
    }
}

#[test]
fn golden_lm() {
    let folder = folder();
    let index = json(&folder.join("index.json"));
    let models = index["cases"].as_array().unwrap();
    let mut cases: usize = models.iter().map(|case| check_model(&folder, case)).sum();
    let chat = json(&folder.join("chat_templates.json"));
    for case in chat["cases"].as_array().unwrap() {
        check_template(&chat["templates"], case);
        cases += 1;
    }
    println!("cases: {cases}");
    assert!(models.len() == 8 && cases > 40, "too few cases: {cases}");
}
