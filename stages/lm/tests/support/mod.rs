//! Random models with a byte-level tokenizer, written as Hugging Face folders.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use rand::Rng;
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Sizes of a random Llama.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub intermediate: usize,
    pub vocab: usize,
}

/// Number of ids that stand for bytes; then come `<|begin|>`, `<|end|>` and `<|turn|>`.
pub const BYTES: usize = 256;
pub const END: u32 = 257;

/// Writes a model folder with random weights of a given seed.
pub fn write_model(dir: &Path, size: Size, seed: u64) {
    std::fs::create_dir_all(dir).unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": size.vocab,
        "hidden_size": size.hidden, "intermediate_size": size.intermediate, "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads, "num_key_value_heads": size.kv_heads, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "max_position_embeddings": 512, "tie_word_embeddings": true,
        "bos_token_id": 256, "eos_token_id": END, "hidden_act": "silu",
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    write_weights(dir, size, seed);
    write_tokenizer(dir);
}

fn write_weights(dir: &Path, size: Size, seed: u64) {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let (d, f) = (size.hidden, size.intermediate);
    let dh = d / size.heads;
    let mut shapes =
        vec![("model.embed_tokens.weight".to_owned(), vec![size.vocab, d]), ("model.norm.weight".to_owned(), vec![d])];
    for layer in 0..size.layers {
        let mut add =
            |name: &str, shape: Vec<usize>| shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        add("input_layernorm", vec![d]);
        add("post_attention_layernorm", vec![d]);
        add("self_attn.q_proj", vec![d, d]);
        add("self_attn.k_proj", vec![size.kv_heads * dh, d]);
        add("self_attn.v_proj", vec![size.kv_heads * dh, d]);
        add("self_attn.o_proj", vec![d, d]);
        add("mlp.gate_proj", vec![f, d]);
        add("mlp.up_proj", vec![f, d]);
        add("mlp.down_proj", vec![d, f]);
    }
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let scale = if shape.len() == 1 { 0.0 } else { (3.0 / shape[1] as f32).sqrt() };
            let count: usize = shape.iter().product();
            let bytes = (0..count)
                .flat_map(|_| {
                    let value: f32 = if scale == 0.0 { 1.0 } else { rng.random_range(-scale..scale) };
                    value.to_le_bytes()
                })
                .collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &dir.join("model.safetensors")).unwrap();
}

/// The printable stand-in of each byte in byte-level vocabularies.
fn byte_pieces() -> Vec<char> {
    let plain = |b: u32| (33..=126).contains(&b) || (161..=172).contains(&b) || (174..=255).contains(&b);
    let mut next = 256;
    (0..256u32)
        .map(|b| {
            let code = if plain(b) {
                b
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap()
        })
        .collect()
}

fn write_tokenizer(dir: &Path) {
    let vocab: Map<String, Value> =
        byte_pieces().into_iter().enumerate().map(|(id, piece)| (piece.to_string(), Value::from(id))).collect();
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(BYTES, "<|begin|>"), special(BYTES + 1, "<|end|>"), special(BYTES + 2, "<|turn|>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": []},
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let template = "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content + '<|turn|>' }}{% endfor %}\
        {% if add_generation_prompt %}assistant: {% endif %}";
    let config = json!({"bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}, "chat_template": template});
    std::fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
}
