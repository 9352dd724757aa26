//! What loading accepts, and how it names what is wrong.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod support;

use half::{bf16, f16};
use lsn_lm::{LanguageModel, LoadOptions};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};
use support::{Size, write_model};

/// Small enough for many cases; sizes that are no multiples of anything.
const SMALL: Size = Size { hidden: 40, layers: 2, heads: 4, kv_heads: 2, intermediate: 72, vocab: 300 };

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn load(dir: &Path) -> Result<LanguageModel, String> {
    LanguageModel::load(dir, &LoadOptions::default()).map_err(|error| error.to_string())
}

fn tensors(dir: &Path) -> Tensors {
    let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, t)| (name.to_owned(), (t.dtype(), t.shape().to_vec(), t.data().to_vec()))).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path(), SMALL, 3);
    dir
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()))
}

#[test]
fn shards_are_one_model() {
    let dir = folder();
    let ids = [1, 2, 3];
    let expected = load(dir.path()).unwrap().logits(&ids).unwrap();
    let all = tensors(dir.path());
    let (mut first, mut second) = (Tensors::new(), Tensors::new());
    let mut map = BTreeMap::new();
    for (index, (name, tensor)) in all.into_iter().enumerate() {
        let (shard, file) = if index % 2 == 0 { (&mut first, "a.safetensors") } else { (&mut second, "b.safetensors") };
        map.insert(name.clone(), file);
        shard.insert(name, tensor);
    }
    write(&dir.path().join("a.safetensors"), &first);
    write(&dir.path().join("b.safetensors"), &second);
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    std::fs::write(dir.path().join("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).unwrap();
    assert_eq!(load(dir.path()).unwrap().logits(&ids).unwrap(), expected);
    std::fs::remove_file(dir.path().join("b.safetensors")).unwrap();
    assert!(load(dir.path()).err().unwrap().contains("b.safetensors"));
}

#[test]
fn half_precision_weights_load_as_their_values() {
    let dir = folder();
    for dtype in [Dtype::BF16, Dtype::F16] {
        let narrow = |x: f32| match dtype {
            Dtype::BF16 => (bf16::from_f32(x).to_le_bytes(), bf16::from_f32(x).to_f32()),
            _ => (f16::from_f32(x).to_le_bytes(), f16::from_f32(x).to_f32()),
        };
        let (half, wide) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for target in [&half, &wide] {
            std::fs::copy(dir.path().join("config.json"), target.path().join("config.json")).unwrap();
        }
        let (mut narrowed, mut widened) = (Tensors::new(), Tensors::new());
        for (name, (_, shape, data)) in tensors(dir.path()) {
            let bytes = floats(&data).flat_map(|x| narrow(x).0).collect();
            narrowed.insert(name.clone(), (dtype, shape.clone(), bytes));
            widened.insert(name, (Dtype::F32, shape, floats(&data).flat_map(|x| narrow(x).1.to_le_bytes()).collect()));
        }
        write(&half.path().join("model.safetensors"), &narrowed);
        write(&wide.path().join("model.safetensors"), &widened);
        let logits = |dir: &Path| load(dir).unwrap().logits(&[7, 8]).unwrap();
        assert_eq!(logits(half.path()), logits(wide.path()), "{dtype:?}");
    }
}

#[test]
fn errors_name_the_tensor_and_the_file() {
    let dir = folder();
    let path = dir.path().join("model.safetensors");
    let all = tensors(dir.path());
    let name = "model.layers.1.mlp.up_proj.weight";
    let mut broken = all.clone();
    broken.remove(name);
    write(&path, &broken);
    let error = load(dir.path()).err().unwrap();
    assert!(error.contains(name) && error.contains("missing"), "{error}");
    let mut broken = all.clone();
    broken.get_mut(name).unwrap().1 = vec![40, 72];
    write(&path, &broken);
    let error = load(dir.path()).err().unwrap();
    assert!(error.contains(name) && error.contains("[40, 72]") && error.contains("[72, 40]"), "{error}");
    let mut broken = all;
    broken.get_mut(name).unwrap().0 = Dtype::I32;
    write(&path, &broken);
    let error = load(dir.path()).err().unwrap();
    assert!(error.contains(name) && error.contains("I32"), "{error}");
    std::fs::write(&path, b"not safetensors").unwrap();
    assert!(load(dir.path()).err().unwrap().contains("model.safetensors"));
    std::fs::remove_file(&path).unwrap();
    assert!(load(dir.path()).err().unwrap().contains("no `model.safetensors`"));
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    assert!(load(dir.path()).err().unwrap().contains("no `config.json`"));
}

#[test]
fn the_digest_follows_what_decides_the_text() {
    let dir = folder();
    let digest = || *load(dir.path()).unwrap().digest();
    let before = digest();
    std::fs::write(dir.path().join("README.md"), "about").unwrap();
    assert_eq!(digest(), before);
    let change = |file: &str, edit: &dyn Fn(&mut Value)| {
        let path = dir.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut json = serde_json::from_str(&text).unwrap();
        edit(&mut json);
        std::fs::write(&path, json.to_string()).unwrap();
        let changed = digest();
        std::fs::write(&path, text).unwrap();
        changed
    };
    assert_ne!(change("config.json", &|json| json["rms_norm_eps"] = json!(1e-6)), before);
    assert_ne!(change("tokenizer_config.json", &|json| json["chat_template"] = json!("x")), before);
    std::fs::write(dir.path().join("generation_config.json"), r#"{"eos_token_id": [1, 2]}"#).unwrap();
    assert_ne!(digest(), before);
    assert_eq!(load(dir.path()).unwrap().eos_ids(), [1, 2]);
    std::fs::remove_file(dir.path().join("generation_config.json")).unwrap();
    write_model(dir.path(), SMALL, 4);
    assert_ne!(digest(), before);
}

#[test]
fn a_scalar_head_makes_a_reward_model() {
    let dir = folder();
    assert!(!load(dir.path()).unwrap().is_reward_model());
    let config: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.path().join("config.json")).unwrap()).unwrap();
    let mut config = config.as_object().cloned().unwrap();
    config.insert("tie_word_embeddings".to_owned(), Value::from(false));
    std::fs::write(dir.path().join("config.json"), serde_json::to_string(&config).unwrap()).unwrap();
    // The head is one token's embedding, so the reward is that token's logit under a tied head.
    let mut all = tensors(dir.path());
    let (dtype, shape, data) = all["model.embed_tokens.weight"].clone();
    let row = 4 * shape[1];
    all.insert("score.weight".to_owned(), (dtype, vec![1, shape[1]], data[7 * row..8 * row].to_vec()));
    let path = dir.path().join("model.safetensors");
    write(&path, &all);
    let model = load(dir.path()).unwrap();
    assert!(model.is_reward_model());
    let ids = model.encode_reply("2+2?", Some("Be short."), "4").unwrap();
    let logits = model.logits(&ids).unwrap();
    let expected = logits[logits.len() - SMALL.vocab + 7];
    assert!((model.reward(&ids).unwrap() - expected).abs() < 1e-4, "{expected}");

    all.insert("score.weight".to_owned(), (dtype, vec![2, shape[1]], data[..2 * row].to_vec()));
    write(&path, &all);
    assert!(load(dir.path()).err().unwrap().contains("score.weight"));
}
