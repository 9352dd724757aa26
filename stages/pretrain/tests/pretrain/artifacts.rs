//! The tokenizer, the Hugging Face folder, and decoding.

use lsn_corpus::{CorpusConfig, Split, documents};
use lsn_pretrain::{
    chat::{Chat, SPECIAL_TOKENS, encode},
    data::push,
    decode::{DecodeOptions, generate},
    export, grow, initial_parameters, measure,
    model::{Model, Shard, Workspace},
    tokenizer,
};
use safetensors::{SafeTensors, tensor::Dtype};
use tokenizers::Tokenizer;

fn chats(count: usize) -> Vec<Chat> {
    documents(&CorpusConfig::default(), Split::Train)
        .unwrap()
        .take(count)
        .map(|d| Chat { system: d.system, prompt: d.prompt, reply: d.reply, answer: d.answer })
        .collect()
}

fn trained(count: usize, vocabulary: usize) -> Tokenizer {
    let texts: Vec<String> = chats(count).into_iter().flat_map(|c| [c.prompt, c.reply]).collect();
    tokenizer::train(texts.iter(), vocabulary).unwrap()
}

#[test]
fn the_tokenizer_keeps_digits_apart_and_gives_texts_back() {
    let tokenizer = trained(500, 400);
    assert_eq!(tokenizer.get_vocab_size(true), 400);
    for (id, token) in SPECIAL_TOKENS.iter().enumerate() {
        assert_eq!(tokenizer.token_to_id(token), Some(id as u32));
    }
    for text in ["Tom has 1234 apples.\n#### 57", "naïve “quotes” und Größe 😀", "  two  spaces", ""] {
        let ids = tokenizer.encode_fast(text, false).unwrap();
        assert_eq!(tokenizer.decode(ids.get_ids(), false).unwrap(), text);
    }
    let vocabulary = tokenizer.get_vocab(false);
    let long = vocabulary.keys().find(|t| t.len() > 1 && t.chars().filter(char::is_ascii_digit).count() > 0);
    assert_eq!(long, None);
}

#[test]
fn training_a_tokenizer_twice_gives_the_same_file() {
    assert_eq!(trained(300, 350).to_string(false).unwrap(), trained(300, 350).to_string(false).unwrap());
}

#[test]
fn a_chat_keeps_its_special_tokens_and_knows_its_reply() {
    let tokenizer = trained(300, 350);
    for (chat, encoded) in chats(50).iter().zip(encode(&tokenizer, &chats(50)).unwrap()) {
        let (prompt, reply) = encoded.tokens.split_at(encoded.reply_start);
        assert_eq!(prompt.iter().filter(|&&t| t == 3).count(), 1);
        assert_eq!((prompt[0], *reply.last().unwrap()), (0, 4));
        assert_eq!(tokenizer.decode(&reply[..reply.len() - 1], false).unwrap(), chat.reply);
        let alone = tokenizer.encode_fast(chat.render_prompt(), false).unwrap();
        assert_eq!(alone.get_ids(), prompt);
    }
}

#[test]
fn the_folder_holds_every_tensor_under_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let tokenizer = trained(200, 300);
    let model = Model::new(crate::common::small_model(), 300);
    let parameters = initial_parameters(&model, 1);
    export::write(&model, &parameters, &tokenizer, directory.path()).unwrap();
    let content = std::fs::read(directory.path().join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&content).unwrap();
    let count: usize = tensors.tensors().iter().map(|(_, t)| t.shape().iter().product::<usize>()).sum();
    assert_eq!(count, model.layout.len);
    let key = tensors.tensor("model.layers.1.self_attn.k_proj.weight").unwrap();
    assert_eq!((key.dtype(), key.shape()), (Dtype::BF16, &[8, 12][..]));
    // Keys come after the 16 rows of the queries.
    let first = parameters[model.layout.layers[1].qkv.start + 16 * 12];
    assert_eq!(key.data()[..2], half::bf16::from_f32(first).to_le_bytes());
    for file in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        let text = std::fs::read_to_string(directory.path().join(file)).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
    assert!(tokenizer::read(directory.path()).unwrap().token_to_id("<|end|>").is_some());
}

#[test]
fn a_deeper_model_starts_as_the_same_function() {
    let directory = tempfile::tempdir().unwrap();
    let tokenizer = trained(200, 300);
    let model = Model::new(crate::common::small_model(), 300);
    export::write(&model, &initial_parameters(&model, 9), &tokenizer, directory.path()).unwrap();
    let (base, parameters) = export::read(directory.path()).unwrap();
    assert_eq!(base.config, model.config);
    let mut deeper = crate::common::small_model();
    deeper.num_hidden_layers = 5;
    let target = Model::new(deeper, 300);
    let grown = grow::deepen(&base, &parameters, &target).unwrap();
    let mut shard = Shard { bounds: vec![0], ..Shard::default() };
    for encoded in encode(&tokenizer, &chats(200)).unwrap().iter().filter(|e| e.tokens.len() <= 64).take(2) {
        push(&mut shard, encoded, 0.5);
    }
    let mut work = Workspace::default();
    let (before, mut gradient) = (base.loss(&parameters, &shard, &mut work, None), vec![0.0; grown.len()]);
    let after = target.loss(&grown, &shard, &mut work, Some(&mut gradient));
    assert!(before > 1.0 && (before - after).abs() < 1e-4 * before, "{before} and {after}");
    let added = &target.layout.layers[1];
    assert!(grown[added.out.clone()].iter().all(|w| *w == 0.0), "layer 1 is not a new one");
    assert!(gradient[added.out.clone()].iter().any(|g| *g != 0.0), "a new layer cannot learn");
    assert!(grow::deepen(&target, &grown, &base).is_err());
}

/// Greedy decoding with the cache must choose what the training forward pass finds likeliest: replacing any chosen token by another one
/// never lowers the loss of that position.
#[test]
fn decoding_agrees_with_the_forward_pass() {
    let model = Model::new(crate::common::small_model(), crate::common::VOCABULARY);
    let mut parameters = initial_parameters(&model, 11);
    parameters[model.layout.embedding.clone()].iter_mut().for_each(|p| *p *= 30.0);
    let prompts = vec![vec![0, 5, 3], vec![0, 9], vec![0, 1, 2, 3, 4, 5]];
    let options = DecodeOptions { temperature: 0.0, max_tokens: 8, stop: u32::MAX, seed: 1 };
    let outputs = generate(&model, &parameters, &prompts, options);
    let mut work = Workspace::default();
    for (prompt, output) in prompts.iter().zip(&outputs) {
        assert_eq!(output.len(), 8);
        let mut at = |position: usize, token: u32| {
            let mut tokens: Vec<u32> = prompt.iter().chain(&output[..position]).copied().collect();
            tokens.push(token);
            let encoded = lsn_pretrain::chat::Encoded { reply_start: tokens.len() - 1, tokens };
            let mut shard = Shard { bounds: vec![0], ..Shard::default() };
            push(&mut shard, &encoded, 0.0);
            model.loss(&parameters, &shard, &mut work, None)
        };
        for (position, &token) in output.iter().enumerate() {
            let chosen = at(position, token);
            for other in 0..crate::common::VOCABULARY as u32 {
                assert!(chosen <= at(position, other) + 1e-5, "position {position}: {token} or {other}");
            }
        }
    }
    // A row's text does not depend on what else was in the batch.
    let alone = generate(&model, &parameters, &prompts[..1], DecodeOptions { temperature: 1.0, ..options });
    let among = generate(&model, &parameters, &prompts, DecodeOptions { temperature: 1.0, ..options });
    assert_eq!(alone[0], among[0]);
}

#[test]
fn answers_are_read_after_the_last_marker() {
    assert_eq!(measure::final_answer("3 + 4 = 7.\n#### 7"), Some("7"));
    assert_eq!(measure::final_answer("#### 1\n#### 12 "), Some("12"));
    assert_eq!(measure::final_answer("no answer"), None);
}
