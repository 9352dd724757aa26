//! `generate` on a small random model: rows depend on their keys alone, and nothing that is finished is computed twice.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

#[path = "../../lm/tests/support/mod.rs"]
mod model;

use lsn_digest::Digest;
use lsn_samplers::{Architecture, Checkpoint, LocalProbabilityTransform, Sampler};
use lsn_stage::{
    Artifact, CancelToken, EventSink, FailureClass, RowCounts, RowError, RowKey, RowMemo, RowSpace, StageContext,
    StageContextParts, StageError, StageEvent, StageType,
    dataset::{DataSetReader, DataSetWriter},
    record::{FinishReason, Generation, Prompt},
};
use model::{Size, write_model};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

const SIZE: Size = Size { hidden: 32, layers: 2, heads: 2, kv_heads: 1, intermediate: 48, vocab: 260 };

/// Keeps rows in memory; cancels after a number of new ones, if told so.
#[derive(Default)]
struct Memory {
    rows: Mutex<BTreeMap<RowKey, Vec<u8>>>,
    cancel: Mutex<Option<(usize, CancelToken)>>,
    puts: AtomicUsize,
}

struct Space(Arc<Memory>);

impl RowMemo for Space {
    fn open(&self, namespace: &str) -> Result<Arc<dyn RowSpace>, RowError> {
        assert_eq!(namespace, "generate");
        Ok(Arc::new(Self(Arc::clone(&self.0))))
    }
}

impl RowSpace for Space {
    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, RowError> {
        Ok(self.0.rows.lock().unwrap().get(key).cloned())
    }

    fn put(&self, key: &RowKey, value: &[u8]) -> Result<(), RowError> {
        self.0.rows.lock().unwrap().entry(*key).or_insert_with(|| value.to_vec());
        let puts = 1 + self.0.puts.fetch_add(1, Ordering::SeqCst);
        if let Some((limit, token)) = &*self.0.cancel.lock().unwrap()
            && puts >= *limit
        {
            token.cancel();
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), RowError> {
        Ok(())
    }
}

/// Keeps the last row counts.
#[derive(Default)]
struct Counts(Mutex<RowCounts>);

impl EventSink for Counts {
    fn emit(&self, event: &StageEvent) {
        if let StageEvent::Rows(counts) = event {
            *self.0.lock().unwrap() = *counts;
        }
    }
}

/// A model, prompts and heuristics on disk.
struct World {
    root: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { root: tempfile::tempdir().unwrap() };
        write_model(&world.path("model"), SIZE, 5);
        world.prompts("prompts", &["hello", "tell me", "2 + 2?"]);
        world.heuristics(&[
            ("warm", json!([step("temperature", 1.3)])),
            ("cut", json!([step("top_p", 0.9)])),
            ("plain", json!([])),
        ]);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn prompts(&self, dataset: &str, texts: &[&str]) {
        let path = self.path("prompts");
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        let mut writer = DataSetWriter::create(&path).unwrap();
        for text in texts {
            writer.push(&Prompt::new(dataset, *text, None)).unwrap();
        }
        writer.finish().unwrap();
    }

    fn heuristics(&self, pipelines: &[(&str, Value)]) {
        let pipelines: Vec<_> =
            pipelines.iter().map(|(name, processors)| json!({"name": name, "processors": processors})).collect();
        fs::write(self.path("heuristics"), json!({"sampling_pipelines": pipelines}).to_string()).unwrap();
    }

    fn run(&self, params: &Value, memory: &Arc<Memory>, threads: usize) -> (Result<PathBuf, StageError>, RowCounts) {
        let work = tempfile::tempdir_in(self.root.path()).unwrap().keep();
        let inputs = ["prompts", "heuristics", "model", "sampler"]
            .into_iter()
            .filter(|name| self.path(name).exists())
            .map(|name| {
                (name.to_owned(), vec![Artifact { path: self.path(name), digest: Digest::of(name.as_bytes()) }])
            })
            .collect();
        let counts = Arc::new(Counts::default());
        let cancel = CancelToken::default();
        if let Some((_, token)) = &mut *memory.cancel.lock().unwrap() {
            *token = cancel.clone();
        }
        let ctx = StageContext::new(StageContextParts {
            inputs,
            outputs: BTreeMap::from([("rows".to_owned(), work.join("rows"))]),
            scratch: work.clone(),
            threads,
            gpus: vec![],
            events: Arc::<Counts>::clone(&counts),
            memo: Arc::new(Space(Arc::clone(memory))),
            cancel,
        });
        let registry = lsn_stages::registry();
        let outcome = registry.get("generate").unwrap().run(params, &ctx).map(|()| work.join("rows"));
        let counts = *counts.0.lock().unwrap();
        (outcome, counts)
    }

    fn fresh(&self, params: &Value) -> PathBuf {
        self.run(params, &Arc::default(), 1).0.unwrap()
    }
}

fn step(name: &str, value: f64) -> Value {
    json!({"name": name, "params": {name: value}})
}

fn params() -> Value {
    json!({"seed": 3, "max_tokens": 20, "logprobs": true})
}

fn bytes(rows: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(rows).unwrap().map(Result::unwrap);
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

fn read(rows: &Path) -> Vec<Generation> {
    DataSetReader::open(rows).unwrap().rows().unwrap().map(Result::unwrap).collect()
}

#[test]
fn every_prompt_meets_every_sampler_once_and_the_record_is_whole() {
    let world = World::new();
    let rows = read(&world.fresh(&params()));
    let pairs: BTreeSet<_> =
        rows.iter().map(|row| (row.prompt.prompt.clone(), row.sampler_info.name.clone())).collect();
    assert_eq!((rows.len(), pairs.len()), (9, 9));
    let ids: BTreeSet<_> = rows.iter().map(|row| row.generation_id).collect();
    assert_eq!(ids.len(), 9);
    for row in &rows {
        assert_eq!(row.seed, 3);
        assert!(!row.token_ids.is_empty() && row.token_ids.len() <= 20);
        assert_eq!(row.logprobs.as_ref().unwrap().len(), row.token_ids.len());
        assert_eq!(row.finish_reason == FinishReason::Length, row.token_ids.last() != Some(&model::END));
    }
    let warm = rows.iter().find(|row| row.sampler_info.name == "warm").unwrap();
    assert_eq!(warm.sampler_info.config[0].params["temperature"], json!(1.3));
}

#[test]
fn reused_and_computed_rows_are_the_same_bytes_on_any_number_of_threads() {
    let world = World::new();
    let expected = bytes(&world.fresh(&params()));
    let memory = Arc::default();
    let (first, counts) = world.run(&params(), &memory, 3);
    assert_eq!(bytes(&first.unwrap()), expected);
    assert_eq!(counts, RowCounts { reused: 0, computed: 9, failed: 0 });
    let (second, counts) = world.run(&params(), &memory, 2);
    assert_eq!(bytes(&second.unwrap()), expected);
    assert_eq!(counts, RowCounts { reused: 9, computed: 0, failed: 0 });
}

#[test]
fn only_what_is_new_is_computed() {
    let world = World::new();
    let memory = Arc::default();
    world.run(&params(), &memory, 1).0.unwrap();
    let again = |what: &str, params: &Value, reused: u64, computed: u64| {
        let (rows, counts) = world.run(params, &memory, 1);
        assert_eq!((counts.reused, counts.computed), (reused, computed), "{what}");
        assert_eq!(bytes(&rows.unwrap()), bytes(&world.fresh(params)), "{what}");
    };
    world.heuristics(&[
        ("hot", json!([step("temperature", 1.3)])),
        ("cut", json!([step("top_p", 0.9)])),
        ("plain", json!([])),
        ("new", json!([step("min_p", 0.1)])),
    ]);
    again("one renamed heuristic, one more", &params(), 9, 3);
    world.prompts("another name", &["2 + 2?", "hello", "tell me", "more"]);
    again("another data set name and order, one more prompt", &params(), 12, 4);
    again("another seed", &json!({"seed": 4, "max_tokens": 20, "logprobs": true}), 0, 16);
    again("another limit", &json!({"seed": 3, "max_tokens": 21, "logprobs": true}), 0, 16);
    write_model(&world.path("model"), SIZE, 6);
    again("another model", &params(), 0, 16);
}

#[test]
fn a_longer_limit_continues_the_same_answers() {
    let world = World::new();
    let short = read(&world.fresh(&json!({"seed": 3, "max_tokens": 5})));
    let long = read(&world.fresh(&json!({"seed": 3, "max_tokens": 9})));
    for (short, long) in short.iter().zip(&long) {
        assert_eq!(short.sampler_info, long.sampler_info);
        assert!(long.token_ids.starts_with(&short.token_ids));
    }
}

#[test]
fn an_interrupted_task_goes_on_from_its_rows() {
    let world = World::new();
    // More rows than are decoded together.
    let texts: Vec<String> = (0..50).map(|number| format!("{number}?")).collect();
    world.prompts("prompts", &texts.iter().map(String::as_str).collect::<Vec<_>>());
    let params = || json!({"seed": 3, "max_tokens": 4});
    let expected = bytes(&world.fresh(&params()));
    let memory = Arc::new(Memory::default());
    *memory.cancel.lock().unwrap() = Some((4, CancelToken::default()));
    let (outcome, _) = world.run(&params(), &memory, 1);
    assert_eq!(outcome.unwrap_err().class, FailureClass::Cancelled);
    let kept = memory.rows.lock().unwrap().len() as u64;
    assert!((4..150).contains(&kept), "{kept}");
    *memory.cancel.lock().unwrap() = None;
    let (rows, counts) = world.run(&params(), &memory, 2);
    assert_eq!(bytes(&rows.unwrap()), expected);
    assert_eq!((counts.reused, counts.computed), (kept, 150 - kept));
}

#[test]
fn a_row_that_cannot_be_answered_is_kept_with_its_reason() {
    let world = World::new();
    let long = "x".repeat(600);
    world.prompts("prompts", &["hello", &long]);
    let memory = Arc::default();
    for (reused, computed) in [(0, 6), (6, 0)] {
        let (rows, counts) = world.run(&params(), &memory, 1);
        assert_eq!(counts, RowCounts { reused, computed, failed: 3 });
        for row in read(&rows.unwrap()) {
            let failed = row.prompt.prompt == long;
            assert_eq!(row.finish_reason == FinishReason::Error, failed);
            assert_eq!(row.error.is_some_and(|error| error.contains("512 positions")), failed);
        }
    }
}

#[test]
fn a_learned_sampler_is_one_more_way_to_draw() {
    let world = World::new();
    let architecture = || Architecture::LocalProbabilityTransform(LocalProbabilityTransform { hidden_dims: 6 });
    let save = |seed, note: &str| {
        let sampler = Sampler::new(architecture(), seed).unwrap();
        Checkpoint { sampler, provenance: json!({"note": note}) }.save(&world.path("sampler")).unwrap();
    };
    save(1, "first");
    let memory = Arc::default();
    let (rows, counts) = world.run(&params(), &memory, 1);
    assert_eq!(counts.computed, 12);
    let learned = read(&rows.unwrap()).into_iter().filter(|row| row.sampler_info.name == "learned").count();
    assert_eq!(learned, 3);
    save(1, "trained elsewhere");
    assert_eq!(world.run(&params(), &memory, 1).1.computed, 0);
    save(2, "first");
    assert_eq!(world.run(&params(), &memory, 1).1.computed, 3);
    fs::remove_file(world.path("heuristics")).unwrap();
    assert_eq!(world.run(&params(), &memory, 1).1, RowCounts { reused: 3, computed: 0, failed: 0 });
}

#[test]
fn one_behaviour_under_two_names_is_drawn_once() {
    let world = World::new();
    world.heuristics(&[("a", json!([step("top_p", 0.9)])), ("b", json!([step("top_p", 0.9)]))]);
    let (rows, counts) = world.run(&params(), &Arc::default(), 1);
    assert_eq!(counts.computed, 3);
    assert!(read(&rows.unwrap()).iter().all(|row| row.sampler_info.name == "a"));
}

#[test]
fn what_cannot_work_is_refused_with_its_name() {
    let world = World::new();
    let refused = |what: &str| {
        let error = world.run(&params(), &Arc::default(), 1).0.unwrap_err();
        assert_eq!(error.class, FailureClass::User);
        assert!(error.message.contains(what), "{}", error.message);
    };
    world.heuristics(&[("a", json!([{"name": "top_q"}]))]);
    refused("top_q");
    world.heuristics(&[("a", json!([]))]);
    fs::remove_file(world.path("model/model.safetensors")).unwrap();
    refused("model.safetensors");
    fs::remove_file(world.path("heuristics")).unwrap();
    refused("nothing to draw with");
    let registry = lsn_stages::registry();
    let stage: &Arc<dyn StageType> = registry.get("generate").unwrap();
    let issues = stage
        .normalize(
            &json!({"max_tokens": 0, "date": "tomorrow", "stop": [""], "hub": {"repo": "a/b", "revision": "main"}}),
        )
        .unwrap_err();
    let pointers: Vec<_> = issues.iter().map(|issue| issue.pointer.as_str()).collect();
    assert_eq!(pointers, ["/max_tokens", "/stop", "/date", "/hub/revision"]);
}
