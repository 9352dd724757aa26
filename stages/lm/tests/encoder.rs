//! Embeddings of a BERT-class encoder beside transformers'. The tiny network's weights and reference were made by
//! `benches/peers/encoder.py tiny`; `LSN_TEST_ENCODER` names the folder of a real one, with its `reference.jsonl`.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use lsn_lm::{LmError, Pooling, TextEncoder};
use serde::Deserialize;
use std::{fs, path::Path};

#[derive(Deserialize)]
struct Reference {
    text: String,
    tokens: Vec<u32>,
    embedding: Vec<f32>,
}

fn tiny() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny_bert"))
}

fn references(folder: &Path) -> Vec<Reference> {
    let text = fs::read_to_string(folder.join("reference.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn compare(folder: &Path) {
    let encoder = TextEncoder::load(folder).unwrap();
    let references = references(folder);
    assert!(references.len() >= 6);
    let mut most = 0.0_f32;
    for Reference { text, tokens, embedding } in references {
        assert_eq!(encoder.encode(&text).unwrap(), tokens, "{text}");
        let ours = encoder.embed(&text).unwrap();
        assert_eq!(ours.len(), embedding.len());
        let difference = ours.iter().zip(&embedding).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        most = most.max(difference);
    }
    println!("largest difference of {}: {most:e}", folder.display());
    assert!(most < 2e-6, "{most}");
}

fn copy(names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        fs::copy(tiny().join(name), dir.path().join(name)).unwrap();
    }
    dir
}

const ALL: [&str; 4] = ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"];

#[test]
fn a_tiny_encoder_embeds_as_transformers_does() {
    assert!(TextEncoder::is_encoder(tiny()));
    compare(tiny());
}

#[test]
fn a_real_encoder_embeds_as_transformers_does() {
    match std::env::var_os("LSN_TEST_ENCODER") {
        Some(folder) => compare(Path::new(&folder)),
        None => eprintln!("SKIPPED: set LSN_TEST_ENCODER to a folder made as benches/peers/encoder.py says"),
    }
}

#[test]
fn the_pooling_of_the_folder_counts() {
    let dir = copy(&ALL);
    fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    let pooling = dir.path().join("1_Pooling/config.json");
    fs::write(&pooling, r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#).unwrap();
    let (mean, cls) = (TextEncoder::load(tiny()).unwrap(), TextEncoder::load(dir.path()).unwrap());
    assert_eq!([mean.pooling(), cls.pooling()], [Pooling::Mean, Pooling::Cls]);
    assert_ne!(mean.digest(), cls.digest());
    let ids = cls.encode("red fox").unwrap();
    let first = &cls.hidden(&ids).unwrap()[..cls.width()];
    let norm = first.iter().map(|x| x * x).sum::<f32>().sqrt();
    let embedded = cls.embed("red fox").unwrap();
    assert!(first.iter().zip(&embedded).all(|(a, b)| (a / norm - b).abs() < 1e-6));
    fs::write(&pooling, r#"{"pooling_mode_max_tokens": true}"#).unwrap();
    assert!(TextEncoder::load(dir.path()).err().unwrap().to_string().contains("pooling_mode_max_tokens"));
}

#[test]
fn long_texts_are_cut_and_keep_their_end() {
    let dir = copy(&ALL);
    fs::write(dir.path().join("sentence_bert_config.json"), r#"{"max_seq_length": 7}"#).unwrap();
    let encoder = TextEncoder::load(dir.path()).unwrap();
    let ids = encoder.encode("one one one one one one one one one").unwrap();
    let whole = TextEncoder::load(tiny()).unwrap().encode("one one one one one one one one one").unwrap();
    assert_eq!((ids.len(), &ids[..6], ids[6]), (7, &whole[..6], whole[10]));
}

#[test]
fn what_is_missing_is_named() {
    for gone in ["config.json", "model.safetensors", "vocab.txt"] {
        let dir = copy(&ALL);
        fs::remove_file(dir.path().join(gone)).unwrap();
        let error = TextEncoder::load(dir.path()).err().unwrap();
        assert!(matches!(error, LmError::MissingFile { .. }), "{gone}: {error}");
    }
    let language_model = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/models/tiny"));
    assert!(!TextEncoder::is_encoder(language_model));
    let error = TextEncoder::load(language_model).err().unwrap();
    assert!(matches!(error, LmError::UnknownArchitecture(_)), "{error}");
}
