//! The trained model as a Hugging Face folder, and back.

use crate::config::ModelConfig;
use crate::{
    PretrainError,
    chat::{BOS, END, special_id},
    model::Model,
    tokenizer,
};
use half::bf16;
use safetensors::{
    SafeTensors,
    tensor::{Dtype, TensorView},
};
use serde::Deserialize;
use serde_json::json;
use std::{collections::HashMap, fs, ops::Range, path::Path};
use tokenizers::Tokenizer;

/// One tensor of the file: its name, where it lies in the flat parameters, and its shape.
struct Entry {
    name: String,
    range: Range<usize>,
    shape: Vec<usize>,
}

/// The tensors under the names of Hugging Face's Llama. Fused matrices are cut into their row blocks.
fn entries(model: &Model) -> Vec<Entry> {
    let (c, d) = (&model.config, model.config.hidden_size);
    let mut entries = Vec::new();
    let mut add = |name: String, range: Range<usize>, shape: Vec<usize>| entries.push(Entry { name, range, shape });
    add("model.embed_tokens.weight".to_owned(), model.layout.embedding.clone(), vec![model.vocabulary, d]);
    for (index, layer) in model.layout.layers.iter().enumerate() {
        let mut blocks = |base: &Range<usize>, input: usize, parts: &[(&str, usize)]| {
            let mut start = base.start;
            for (name, out) in parts {
                add(format!("model.layers.{index}.{name}.weight"), start..start + out * input, vec![*out, input]);
                start += out * input;
            }
        };
        let (q, kv, ff) = (c.query_width(), c.key_width(), c.intermediate_size);
        blocks(&layer.qkv, d, &[("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)]);
        blocks(&layer.out, q, &[("self_attn.o_proj", d)]);
        blocks(&layer.gate_up, d, &[("mlp.gate_proj", ff), ("mlp.up_proj", ff)]);
        blocks(&layer.down, ff, &[("mlp.down_proj", d)]);
        add(format!("model.layers.{index}.input_layernorm.weight"), layer.attention_norm.clone(), vec![d]);
        add(format!("model.layers.{index}.post_attention_layernorm.weight"), layer.mlp_norm.clone(), vec![d]);
    }
    add("model.norm.weight".to_owned(), model.layout.final_norm.clone(), vec![d]);
    entries
}

/// Writes `config.json`, `generation_config.json`, `model.safetensors` (bf16) and the tokenizer's files.
///
/// # Errors
/// The file system refuses, or the tokenizer lacks the special tokens.
pub fn write(model: &Model, parameters: &[f32], tokenizer: &Tokenizer, directory: &Path) -> Result<(), PretrainError> {
    fs::create_dir_all(directory).map_err(|e| PretrainError::io("create", directory, e))?;
    let (bos, end) = (special_id(tokenizer, BOS)?, special_id(tokenizer, END)?);
    let c = &model.config;
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": false,
        "attention_dropout": 0.0,
        "bos_token_id": bos,
        "eos_token_id": end,
        "pad_token_id": end,
        "head_dim": c.head_dim,
        "hidden_act": "silu",
        "hidden_size": c.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": c.intermediate_size,
        "max_position_embeddings": c.max_position_embeddings,
        "mlp_bias": false,
        "model_type": "llama",
        "num_attention_heads": c.num_attention_heads,
        "num_hidden_layers": c.num_hidden_layers,
        "num_key_value_heads": c.num_key_value_heads,
        "rms_norm_eps": c.rms_norm_eps,
        "rope_scaling": null,
        "rope_theta": c.rope_theta,
        "tie_word_embeddings": true,
        "torch_dtype": "bfloat16",
        "use_cache": true,
        "vocab_size": model.vocabulary,
    });
    let generation = json!({ "bos_token_id": bos, "eos_token_id": end, "pad_token_id": end, "do_sample": true });
    for (name, value) in [("config.json", config), ("generation_config.json", generation)] {
        let path = directory.join(name);
        fs::write(&path, format!("{value:#}\n")).map_err(|e| PretrainError::io("write", &path, e))?;
    }
    tokenizer::write(tokenizer, directory, c.max_position_embeddings)?;

    let path = directory.join("model.safetensors");
    let failed = |message: String| PretrainError::Checkpoint { path: path.clone(), message };
    let data: Vec<u8> = parameters.iter().flat_map(|&p| bf16::from_f32(p).to_le_bytes()).collect();
    let views = entries(model)
        .into_iter()
        .map(|e| Ok((e.name, TensorView::new(Dtype::BF16, e.shape, &data[e.range.start * 2..e.range.end * 2])?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| failed(e.to_string()))?;
    let metadata = Some(HashMap::from([("format".to_owned(), "pt".to_owned())]));
    let content = safetensors::serialize(views, metadata).map_err(|e| failed(e.to_string()))?;
    fs::write(&path, content).map_err(|e| PretrainError::io("write", &path, e))
}

/// The fields of `config.json` that a model of [`write`] is known by.
#[derive(Deserialize)]
struct WrittenConfig {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    rope_theta: f64,
    rms_norm_eps: f64,
    max_position_embeddings: usize,
}

/// Reads a folder that [`write`] has written: the model and its parameters, rounded to bf16 as they are in the file.
///
/// # Errors
/// A file is missing or damaged, or a tensor is missing or of another shape.
pub fn read(directory: &Path) -> Result<(Model, Vec<f32>), PretrainError> {
    let path = directory.join("config.json");
    let text = fs::read_to_string(&path).map_err(|e| PretrainError::io("read", &path, e))?;
    let c: WrittenConfig = serde_json::from_str(&text)
        .map_err(|e| PretrainError::Checkpoint { path: path.clone(), message: e.to_string() })?;
    let config = ModelConfig {
        hidden_size: c.hidden_size,
        intermediate_size: c.intermediate_size,
        num_hidden_layers: c.num_hidden_layers,
        num_attention_heads: c.num_attention_heads,
        num_key_value_heads: c.num_key_value_heads,
        head_dim: c.head_dim,
        rope_theta: c.rope_theta,
        rms_norm_eps: c.rms_norm_eps,
        max_position_embeddings: c.max_position_embeddings,
    };
    let model = Model::new(config, c.vocab_size);
    let path = directory.join("model.safetensors");
    let content = fs::read(&path).map_err(|e| PretrainError::io("read", &path, e))?;
    let failed = |message: String| PretrainError::Checkpoint { path: path.clone(), message };
    let tensors = SafeTensors::deserialize(&content).map_err(|e| failed(e.to_string()))?;
    let mut parameters = vec![0.0; model.layout.len];
    for entry in entries(&model) {
        let tensor = tensors.tensor(&entry.name).map_err(|e| failed(format!("{}: {e}", entry.name)))?;
        if tensor.dtype() != Dtype::BF16 || tensor.shape() != entry.shape {
            let (dtype, shape) = (tensor.dtype(), tensor.shape());
            return Err(failed(format!("{} is {dtype:?} {shape:?}, expected BF16 {:?}", entry.name, entry.shape)));
        }
        let values = tensor.data().chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32());
        parameters[entry.range].iter_mut().zip(values).for_each(|(p, v)| *p = v);
    }
    Ok((model, parameters))
}
