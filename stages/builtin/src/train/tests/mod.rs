use super::*;
use crate::harness::Harness;
use lsn_digest::Digest;
use lsn_samplers::{Architecture, LocalProbabilityTransform, Precision, SamplingNetwork};
use lsn_stage::{
    Artifact, CancelToken, EventSink, FailureClass, NoEvents, NoMemo, StageContextParts, StageEvent,
    record::{FinishReason, Generation, GenerationId, ProcessorConfig, Prompt, SamplerInfo},
};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

mod interruption;

/// Words of the test tokenizer: as many as the test model has tokens.
const VOCABULARY: usize = 320;

/// The small Llama of the golden data with a tokenizer of words `w0`, `w1`, ….
pub(crate) fn model(harness: &Harness) -> PathBuf {
    let root = std::env::var_os("LSN_VECTORS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")), PathBuf::from);
    for file in ["config.json", "model.safetensors"] {
        let source = root.join("lm/llama").join(file);
        harness.file(&format!("model/{file}"), fs::read(&source).unwrap());
    }
    let words: Map<String, Value> = (0..VOCABULARY).map(|id| (format!("w{id}"), id.into())).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"},
    });
    harness.file("model/tokenizer.json", tokenizer.to_string());
    let template = "{% for message in messages %}w1 {{ message.content }} {% endfor %}w2";
    let config = harness.file("model/tokenizer_config.json", json!({"chat_template": template}).to_string());
    config.parent().unwrap().to_owned()
}

fn row(prompt: usize, seed: u64) -> ScoredRow {
    let prompt = Prompt::new("d", format!("w{} w{}", 10 + prompt, 40 + prompt), None);
    let steps: [(&str, Value); 3] = [
        ("temperature", json!({"temperature": 0.7 + seed as f64 / 10.0})),
        ("top_p", json!({"top_p": 0.8})),
        ("min_p", json!({"min_p": 0.05})),
    ];
    let config = steps
        .iter()
        .take(1 + seed as usize % 3)
        .map(|(name, params)| ProcessorConfig { name: (*name).to_owned(), params: params.as_object().unwrap().clone() })
        .collect();
    let generation = Generation {
        generation_id: GenerationId::new(prompt.prompt_id, &json!(seed), seed, &Digest::of(b"m"), &json!({})),
        prompt,
        sampler_info: SamplerInfo { name: format!("s{seed}"), config },
        seed,
        generation: "text".into(),
        token_ids: (0..5 + seed as u32).map(|at| 20 + (at * 31 + seed as u32 * 7) % 290).collect(),
        finish_reason: FinishReason::Stop,
        logprobs: None,
        model: "m".into(),
        error: None,
    };
    ScoredRow {
        generation,
        bradley_terry_rating: None,
        diversity: None,
        verifiable_reward: None,
        normalized_quality: None,
        normalized_diversity: None,
        combined_scores: BTreeMap::new(),
        score: 0.0,
        rank: Some(1),
    }
}

pub(crate) fn rows() -> Vec<ScoredRow> {
    (0..6).flat_map(|prompt| (0..4).map(move |seed| row(prompt, seed))).collect()
}

/// Many short steps over two epochs, groups that end within a step, validation.
fn params() -> TrainParams {
    TrainParams {
        network: Architecture::SamplingNetwork(SamplingNetwork {
            d_model: 8,
            d_ff: 12,
            n_blocks: 1,
            n_heads: 2,
            scale: true,
        }),
        token_batch_size: 3,
        gradient_accumulation_steps: 2,
        warmup_steps: 5,
        epochs: 2,
        positions_per_row: Some(4),
        shuffle_rows: 5,
        validation_fraction: 0.3,
        validation_positions: 7,
        eval_steps: 4,
        save_steps: 3,
        seed: 1,
        ..TrainParams::default()
    }
}

/// Inputs that all attempts share.
struct Setting {
    harness: Harness,
    model: PathBuf,
    rows: PathBuf,
}

impl Setting {
    fn new() -> Self {
        let harness = Harness::new();
        let (model, rows) = (model(&harness), harness.rows("training", &rows()));
        Self { harness, model, rows }
    }

    fn scratch(&self, name: &str) -> PathBuf {
        let path = self.harness.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn run(
        &self,
        scratch: &Path,
        threads: usize,
        ears: (Arc<dyn EventSink>, CancelToken),
    ) -> StageResult<BTreeMap<String, Digest>> {
        attempt((&self.model, &self.rows, scratch), &params(), threads, ears)
    }
}

const OUTPUTS: [&str; 3] = ["sampler", "log", "tensorboard"];

/// A context that writes to `out`.
fn context(
    (model, rows, scratch): (&Path, &Path, &Path),
    out: &Path,
    threads: usize,
    (events, cancel): (Arc<dyn EventSink>, CancelToken),
) -> StageContext {
    let input = |name: &str, path: &Path| {
        (name.to_owned(), vec![Artifact { path: path.to_owned(), digest: Digest::of(name.as_bytes()) }])
    };
    StageContext::new(StageContextParts {
        inputs: [input("model", model), input("training", rows)].into(),
        outputs: OUTPUTS.map(|name| (name.to_owned(), out.join(name))).into(),
        scratch: scratch.to_owned(),
        threads,
        gpus: vec![],
        events,
        memo: Arc::new(NoMemo),
        cancel,
    })
}

/// One attempt with its own output directory; the digests of its outputs.
fn attempt(
    (model, rows, scratch): (&Path, &Path, &Path),
    params: &TrainParams,
    threads: usize,
    (events, cancel): (Arc<dyn EventSink>, CancelToken),
) -> StageResult<BTreeMap<String, Digest>> {
    let out = tempfile::tempdir().unwrap();
    let ctx = context((model, rows, scratch), out.path(), threads, (events, cancel));
    Train.run(params.clone(), &ctx)?;
    let mut digests = BTreeMap::new();
    for name in ["sampler/sampler.safetensors", "sampler/config.json", "log", "tensorboard/events.out.tfevents.0.lsn"] {
        digests.insert(name.to_owned(), Digest::of(&fs::read(out.path().join(name)).unwrap()));
    }
    Ok(digests)
}

fn quiet() -> (Arc<dyn EventSink>, CancelToken) {
    (Arc::new(NoEvents), CancelToken::default())
}

#[test]
fn training_learns_a_temperature_and_says_so_in_its_log() {
    let setting = Setting::new();
    let mut rows = rows();
    for row in &mut rows {
        let params = json!({"temperature": 0.3}).as_object().unwrap().clone();
        row.generation.sampler_info.config = vec![ProcessorConfig { name: "temperature".to_owned(), params }];
    }
    let rows = setting.harness.rows("temperature", &rows);
    let scratch = setting.scratch("learning");
    let params = TrainParams {
        network: Architecture::LocalProbabilityTransform(LocalProbabilityTransform { hidden_dims: 16 }),
        lr: 1e-2,
        epochs: 12,
        early_stopping: Some(50),
        ..params()
    };
    attempt((&setting.model, &rows, &scratch), &params, 1, quiet()).unwrap();
    let text = fs::read_to_string(scratch.join("log.jsonl")).unwrap();
    let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let validation = |line: &Line| match line {
        Line::Validation { kl, raw_kl, raw_penalty, .. } => Some((*kl, *raw_kl, *raw_penalty)),
        Line::Train { .. } => None,
    };
    let (kl, raw_kl, raw_penalty) = lines.iter().rev().find_map(validation).unwrap();
    assert!(kl < 0.2 * raw_kl, "KL {kl} after training, {raw_kl} of the raw logits");
    assert_eq!(raw_penalty, 0.0, "a temperature removes nothing");
    let train = lines.iter().filter(|line| matches!(line, Line::Train { .. })).count();
    assert!(train > 50);
}

/// Prints the scalars of an event directory as JSON lines `[tag, step, value]`, as TensorBoard itself reads them.
const READ_EVENTS: &str = "
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0, 'tensors': 0})
events.Reload()
for tag in events.Tags()['scalars']:
    for event in events.Scalars(tag):
        print(json.dumps([tag, event.step, event.value]))
for tag in events.Tags()['tensors']:
    for event in events.Tensors(tag):
        print(json.dumps([tag, event.step, event.tensor_proto.float_val[0]]))
";

#[test]
fn tensorboard_reads_every_scalar_of_the_log() {
    let Some(python) = std::env::var_os("LSN_TENSORBOARD_PYTHON") else {
        println!("SKIPPED: set LSN_TENSORBOARD_PYTHON to a Python that has the package `tensorboard`");
        return;
    };
    let setting = Setting::new();
    let scratch = setting.scratch("logged");
    let out = setting.scratch("events");
    let ctx = context((&setting.model, &setting.rows, &scratch), &out, 1, quiet());
    Train.run(params(), &ctx).unwrap();
    let output = Command::new(python).args(["-c", READ_EVENTS]).arg(out.join("tensorboard")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut read: Vec<(String, u64, f64)> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let log = fs::read_to_string(out.join("log")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
    let mut logged: Vec<(String, u64, f64)> = lines
        .flat_map(|line| {
            let (step, scalars) = line.scalars();
            scalars.into_iter().map(move |(tag, value)| (tag.to_owned(), step, f64::from(value as f32)))
        })
        .collect();
    let order = |a: &(String, u64, f64), b: &(String, u64, f64)| (&a.0, a.1).cmp(&(&b.0, b.1));
    read.sort_by(order);
    logged.sort_by(order);
    assert!(logged.len() > 100);
    assert_eq!(read, logged);
}

#[test]
fn every_position_of_an_epoch_is_used_once_and_any_start_gives_the_rest() {
    let setting = Setting::new();
    let ctx = setting.harness.context(&[], &[]);
    let model = LanguageModel::load(&setting.model, &LoadOptions::default()).unwrap();
    let samples = Samples::prepare(&setting.rows, &ctx.scratch().join("rows"), &model, &params(), &ctx).unwrap();
    assert!(!samples.validation.is_empty() && !samples.training.is_empty());
    let stream = Stream::new(&samples, 1, 5);
    let all = |start| -> Vec<Position> {
        stream.groups_from(start, 2).flat_map(|group| group.positions.into_iter().skip(group.done)).collect()
    };
    let (whole, epoch) = (all(0), stream.epoch_len() as usize);
    assert_eq!(whole.len(), 2 * epoch);
    let sorted = |positions: &[Position]| {
        let mut keys: Vec<_> = positions.iter().map(|position| (position.row, position.index)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    };
    assert_eq!(sorted(&whole[..epoch]).len(), epoch);
    assert_eq!(sorted(&whole[..epoch]), sorted(&whole[epoch..]));
    assert_ne!(whole[..epoch], whole[epoch..], "epochs have orders of their own");
    for start in 0..whole.len() {
        assert_eq!(all(start as u64), whole[start..], "from {start}");
    }
}

#[test]
fn logits_of_a_position_are_those_that_predicted_its_token() {
    let setting = Setting::new();
    let ctx = setting.harness.context(&[], &[]);
    let model = LanguageModel::load(&setting.model, &LoadOptions::default()).unwrap();
    let samples = Samples::prepare(&setting.rows, &ctx.scratch().join("rows"), &model, &params(), &ctx).unwrap();
    let row = samples.training[0];
    let sample = samples.get(row).unwrap();
    let mut replay = Replay::new(&model, &samples, ctx.scratch(), 0).unwrap();
    let replayed = replay.load(&[row], || Ok(())).unwrap();
    for (index, &position) in sample.positions.iter().enumerate() {
        let fed = [&sample.prompt[..], &sample.generated[..position as usize]].concat();
        let logits = model.logits(&fed).unwrap();
        let predicted = &logits[logits.len() - VOCABULARY..];
        let expected = lsn_samplers::LogitSet::distinct(predicted).unwrap();
        let example = replayed.examples(&[Position { row, index: index as u32 }]).unwrap().remove(0);
        // Every token's log-probability, ascending.
        let all = |set: &lsn_samplers::LogitSet| -> Vec<f64> {
            let groups = set.log_probs().iter().zip(set.counts());
            groups.flat_map(|(&ell, &count)| std::iter::repeat_n(ell, count as usize)).collect()
        };
        let (replayed, expected) = (all(&example.set), all(&expected));
        assert_eq!(replayed.len(), VOCABULARY);
        for (a, b) in replayed.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-4, "position {position}: {a} {b}");
        }
    }
}

#[test]
fn what_is_kept_between_epochs_changes_time_only() {
    let setting = Setting::new();
    let outputs = |cache_bytes: u64| {
        let scratch = setting.scratch(&format!("keeping {cache_bytes}"));
        let params = TrainParams { cache_bytes, ..params() };
        let mut digests = attempt((&setting.model, &setting.rows, &scratch), &params, 2, quiet()).unwrap();
        // The provenance names all parameters.
        digests.remove("sampler/config.json");
        digests
    };
    let all = outputs(u64::MAX);
    for some in [0, 20_000] {
        assert_eq!(outputs(some), all, "{some} bytes");
    }
}

#[test]
fn a_target_with_a_state_may_leave_a_drawn_token_no_probability() {
    let setting = Setting::new();
    let target = |probability: f64| -> Option<Vec<lsn_heuristics::ProcessorConfig>> {
        let xtc = json!([{"name": "xtc", "params": {"probability": probability, "threshold": 1e-6}}]);
        Some(serde_json::from_value(xtc).unwrap())
    };
    let run = |name: &str, probability| {
        let params = TrainParams { target: target(probability), ..params() };
        attempt((&setting.model, &setting.rows, &setting.scratch(name)), &params, 1, quiet()).unwrap()
    };
    // Nearly every token is above this threshold, so nearly every drawn one is removed.
    assert_ne!(run("always", 1.0)["log"], run("never", 0.0)["log"]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_that_this_program_cannot_use_is_said_before_anything_is_done() {
    let setting = Setting::new();
    let scratch = setting.scratch("gpu");
    let params = TrainParams { device: crate::device::Device::Cuda, ..params() };
    let error = attempt((&setting.model, &setting.rows, &scratch), &params, 1, quiet()).unwrap_err();
    assert!(error.to_string().contains("set `device: cpu`"), "{error}");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
}

#[test]
fn a_target_stands_in_for_every_rows_own_pipeline() {
    let setting = Setting::new();
    let ctx = setting.harness.context(&[], &[]);
    let model = LanguageModel::load(&setting.model, &LoadOptions::default()).unwrap();
    let target: Vec<lsn_heuristics::ProcessorConfig> =
        serde_json::from_value(json!([{"name": "top_k", "params": {"top_k": 3}}])).unwrap();
    let params = TrainParams { target: Some(target), ..params() };
    let samples = Samples::prepare(&setting.rows, &ctx.scratch().join("rows"), &model, &params, &ctx).unwrap();
    let mut replay = Replay::new(&model, &samples, ctx.scratch(), 0).unwrap();
    let replayed = replay.load(&samples.training, || Ok(())).unwrap();
    for &row in &samples.training {
        let example = replayed.examples(&[Position { row, index: 0 }]).unwrap().remove(0);
        // The three most probable tokens are kept as they are, the rest is removed: −ln m and 1 − m.
        let mut log_probs = example.set.log_probs().to_vec();
        log_probs.sort_by(|a, b| b.total_cmp(a));
        let mass: f64 = log_probs[..3].iter().map(|log_prob| log_prob.exp()).sum();
        let raw = loss_and_gradient(&example.set, example.set.log_probs(), &example.target, 0.0, None);
        assert!(
            (raw.kl + mass.ln()).abs() < 1e-5 && (raw.penalty - 1.0 + mass).abs() < 1e-5,
            "row {row}: {raw:?} {mass}"
        );
    }
}
