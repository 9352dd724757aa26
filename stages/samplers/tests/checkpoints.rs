//! Checkpoint directories: written, read back, and refused when something is wrong with them.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use lsn_samplers::{
    Architecture, CONFIG_FILE, Checkpoint, Precision, REFERENCE_FILE, RankedTransform, Sampler, SamplingNetwork,
    WEIGHTS_FILE,
};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn saved(directory: &Path) -> Checkpoint {
    let sampler = Sampler::new(Architecture::default(), 11).unwrap();
    let checkpoint = Checkpoint { sampler, provenance: json!({"base_model": "abc"}) };
    checkpoint.save(directory).unwrap();
    checkpoint
}

fn edit_config(directory: &Path, edit: impl Fn(&mut Value)) {
    let path = directory.join(CONFIG_FILE);
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn a_checkpoint_comes_back_bit_by_bit() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = saved(directory.path());
    let loaded = Checkpoint::load(directory.path()).unwrap();
    assert_eq!(loaded.sampler.parameters(), checkpoint.sampler.parameters());
    assert_eq!(loaded.sampler.architecture(), checkpoint.sampler.architecture());
    assert_eq!(loaded.provenance, checkpoint.provenance);
    let bytes = |name: &str| fs::read(directory.path().join(name)).unwrap();
    let before = (bytes(WEIGHTS_FILE), bytes(CONFIG_FILE));
    loaded.save(directory.path()).unwrap();
    assert_eq!((bytes(WEIGHTS_FILE), bytes(CONFIG_FILE)), before);
}

#[test]
fn a_checkpoint_in_bf16_takes_half_the_space_and_comes_back_rounded() {
    let (directory, full) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let checkpoint = saved(full.path());
    checkpoint.save_as(directory.path(), Precision::Bf16).unwrap();
    let loaded = Checkpoint::load(directory.path()).unwrap();
    for (coarse, fine) in loaded.sampler.parameters().iter().zip(checkpoint.sampler.parameters()) {
        assert_eq!(coarse.to_bits() & 0xffff, 0);
        assert!((coarse - fine).abs() <= fine.abs() / 256.0, "{coarse} {fine}");
    }
    let tensors = |directory: &Path| {
        let bytes = fs::read(directory.join(WEIGHTS_FILE)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut all: Vec<_> = file.tensors().iter().map(|(name, view)| (name.clone(), view.shape().to_vec())).collect();
        all.sort();
        (all, file.tensors().iter().map(|(_, view)| view.data().len()).sum::<usize>())
    };
    let ((names, bytes), (all_names, all_bytes)) = (tensors(directory.path()), tensors(full.path()));
    assert_eq!((names, 2 * bytes), (all_names, all_bytes));
}

#[test]
fn a_ranked_transform_comes_back_under_its_own_name() {
    let directory = tempfile::tempdir().unwrap();
    let architecture = Architecture::RankedTransform(RankedTransform { hidden_dims: 6 });
    let checkpoint = Checkpoint { sampler: Sampler::new(architecture.clone(), 4).unwrap(), provenance: Value::Null };
    checkpoint.save(directory.path()).unwrap();
    let config: Value = serde_json::from_slice(&fs::read(directory.path().join(CONFIG_FILE)).unwrap()).unwrap();
    assert_eq!(
        (&config["architecture"], &config["arguments"]),
        (&json!("RankedTransform"), &json!({"hidden_dims": 6}))
    );
    let loaded = Checkpoint::load(directory.path()).unwrap();
    assert_eq!(loaded.sampler.architecture(), &architecture);
    assert_eq!(loaded.sampler.parameters(), checkpoint.sampler.parameters());
    edit_config(directory.path(), |config| config["arguments"]["hidden_dims"] = json!(7));
    let message = Checkpoint::load(directory.path()).unwrap_err().to_string();
    assert!(
        message.contains("hidden.weight") && message.contains("[6, 19]") && message.contains("[7, 19]"),
        "{message}"
    );
    edit_config(directory.path(), |config| config["arguments"] = json!({"hidden_dims": 6, "width": 3}));
    assert!(Checkpoint::load(directory.path()).unwrap_err().to_string().contains("width"));
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let load = || Checkpoint::load(directory.path()).unwrap_err().to_string();
    assert!(load().contains(CONFIG_FILE));
    saved(directory.path());
    edit_config(directory.path(), |config| config["arguments"]["n_blocks"] = json!(5));
    assert!(load().contains("`blocks.4."), "{}", load());
    edit_config(directory.path(), |config| config["arguments"]["n_blocks"] = json!(3));
    assert!(load().contains("`blocks.3."), "{}", load());
    edit_config(directory.path(), |config| {
        config["arguments"]["n_blocks"] = json!(4);
        config["arguments"]["d_ff"] = json!(32);
    });
    assert!(load().contains("ffn") && load().contains("[42, 32]") && load().contains("[21, 32]"), "{}", load());
    edit_config(directory.path(), |config| config["format_version"] = json!(99));
    assert!(load().contains("99"), "{}", load());
    saved(directory.path());
    let weights = directory.path().join(WEIGHTS_FILE);
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    assert!(load().contains(WEIGHTS_FILE));
}

#[test]
fn the_reference_pickle_is_read_with_its_compiled_prefix() {
    let directory = tempfile::tempdir().unwrap();
    // A PyTorch archive of a SamplingNetwork(4, 3, 1 block, 2 heads); element i of the flat file is i / 1024.
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sampler_model.bin");
    fs::copy(fixture, directory.path().join(REFERENCE_FILE)).unwrap();
    let config = json!({
        "format_version": 1, "architecture": "SamplingNetwork",
        "arguments": {"d_model": 4, "d_ff": 3, "num_blocks": 1, "num_heads": 2, "scale": false},
    });
    fs::write(directory.path().join(CONFIG_FILE), config.to_string()).unwrap();
    let loaded = Checkpoint::load(directory.path()).unwrap();
    let expected = SamplingNetwork { d_model: 4, d_ff: 3, n_blocks: 1, n_heads: 2, scale: false };
    assert_eq!(loaded.sampler.architecture(), &Architecture::SamplingNetwork(expected));
    // The archive lists tensors by name, so this order gives back the sequence.
    let mut tensors = loaded.sampler.layout().tensors().to_vec();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let params = loaded.sampler.parameters();
    let sequence: Vec<f32> =
        tensors.iter().flat_map(|tensor| params[tensor.offset..tensor.offset + tensor.len()].to_vec()).collect();
    assert!(sequence.iter().enumerate().all(|(index, &value)| value == index as f32 / 1024.0));
}
