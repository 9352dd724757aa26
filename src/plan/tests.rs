//! The planner against a world of the tests' own making.

use super::*;
use crate::manifest::{Pipeline, Resources, Retries, Source, StageName, Task, TaskId, TaskIndex};
use lsn_cache::{ActionRecord, Artifact, FileEntry, Lookup, MissReason, Provenance, TaskKey};
use lsn_digest::Digest;
use lsn_stage::{Port, PortKind};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// Files with contents, and records as a store would have them.
#[derive(Default)]
struct Fake {
    files: BTreeMap<String, String>,
    records: HashMap<TaskKey, ActionRecord>,
    broken: HashMap<TaskKey, MissReason>,
    latest: HashMap<String, KeyManifest>,
}

fn artifact(content: &str) -> Artifact {
    let bytes = content.as_bytes();
    Artifact::File(FileEntry {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        executable: false,
        inline: Some(bytes.into()),
    })
}

impl World for Fake {
    fn path(&mut self, path: &Path) -> Result<ProjectInput, WorldError> {
        let content = self.files.get(&path.display().to_string());
        let content = content.ok_or_else(|| WorldError::Missing { path: path.to_owned() })?;
        Ok(ProjectInput { path: Path::new("/project").join(path), digest: Digest::of(content.as_bytes()) })
    }

    fn glob(&mut self, pattern: &str) -> Result<Vec<ProjectInput>, WorldError> {
        let prefix = pattern.trim_end_matches('*');
        let names: Vec<_> = self.files.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        names.iter().map(|name| self.path(Path::new(name))).collect()
    }

    fn lookup(&mut self, key: &TaskKey) -> Result<Lookup, WorldError> {
        Ok(match (self.broken.get(key), self.records.get(key)) {
            (Some(reason), _) => Lookup::Miss(reason.clone()),
            (None, Some(record)) => Lookup::Hit(Box::new(record.clone())),
            (None, None) => Lookup::Miss(MissReason::Absent),
        })
    }

    fn earlier(&mut self, task: &TaskId) -> Vec<KeyManifest> {
        self.latest.get(&task.0).cloned().into_iter().collect()
    }

    fn duration(&mut self, _task: &TaskId) -> Option<Duration> {
        None
    }
}

fn task(name: &str, run: &str, inputs: &[(&str, Source)]) -> Task {
    let mut map: BTreeMap<String, Vec<Source>> = BTreeMap::new();
    for (input, source) in inputs {
        map.entry((*input).to_owned()).or_default().push(source.clone());
    }
    Task {
        id: TaskId(name.to_owned()),
        stage: StageName(name.to_owned()),
        matrix: BTreeMap::new(),
        uses: "command".to_owned(),
        params: Arc::new(json!({"run": run, "outputs": {"out": "out.txt"}, "shell": "sh"})),
        inputs: map,
        outputs: [Port::new("out", PortKind::File, "")].into(),
        env: Arc::default(),
        resources: Resources::default(),
        retries: Retries { max: 0, backoff: Duration::ZERO },
        secrets: Arc::default(),
        timeout: None,
        cache: true,
    }
}

fn from(task: u32) -> Source {
    Source::Output { task: TaskIndex(task), output: "out".to_owned() }
}

fn file(path: &str) -> Source {
    Source::Path { path: path.into() }
}

fn pipeline(tasks: Vec<Task>) -> Arc<Pipeline> {
    Arc::new(Pipeline {
        name: "test".to_owned(),
        manifest: PathBuf::from("test.yaml"),
        root: PathBuf::from("/project"),
        tasks,
        publish: Vec::new(),
        summary: None,
    })
}

fn planner(pipeline: &Arc<Pipeline>, selection: &Selection) -> Planner {
    Planner::new(Arc::clone(pipeline), &lsn_stages::registry(), selection)
}

/// Runs everything that is to run, with outputs that `output` makes of the task and its key; returns what was run.
fn run(planner: &Planner, world: &mut Fake, output: &dyn Fn(&Task, &TaskKey) -> String) -> Vec<String> {
    let mut executed = Vec::new();
    let plan = planner.plan(world).unwrap();
    let mut known = plan.known;
    for task in planner.graph().tasks() {
        if known[task.0 as usize].is_some() {
            continue;
        }
        let spec = planner.task(task);
        let outputs = match planner.decide(task, &known, world).unwrap() {
            Decision::Cached { outputs, .. } => outputs,
            Decision::Run { key, manifest, .. } => {
                executed.push(spec.id.0.clone());
                let outputs = BTreeMap::from([("out".to_owned(), artifact(&output(spec, &key)))]);
                let record = ActionRecord {
                    key,
                    key_manifest: manifest.to_json(),
                    outputs: outputs.clone(),
                    determinism: "exact".to_owned(),
                    provenance: Provenance::default(),
                };
                world.records.insert(key, record);
                world.broken.remove(&key);
                world.latest.insert(spec.id.0.clone(), (*manifest).clone());
                Arc::new(outputs)
            }
            other => panic!("{other:?}"),
        };
        known[task.0 as usize] = Some(outputs);
    }
    executed
}

/// Outputs that name everything that made them.
fn faithful(_task: &Task, key: &TaskKey) -> String {
    key.to_string()
}

fn three() -> Vec<Task> {
    vec![
        task("a", "make a", &[("x", file("x.txt"))]),
        task("b", "make b", &[("a", from(0))]),
        task("c", "make c", &[("a", from(0)), ("b", from(1))]),
    ]
}

fn world() -> Fake {
    Fake { files: BTreeMap::from([("x.txt".to_owned(), "x".to_owned())]), ..Fake::default() }
}

fn said(plan: &Plan, task: usize) -> String {
    let reasons = match &plan.decisions[task] {
        Decision::Run { reasons, .. } | Decision::Waiting { reasons } => reasons.clone(),
        _ => Vec::new(),
    };
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_fresh_pipeline_is_new_and_a_finished_one_is_cached() {
    let pipeline = pipeline(three());
    let planner = planner(&pipeline, &Selection::default());
    let mut world = world();
    let plan = planner.plan(&mut world).unwrap();
    assert_eq!(plan.counts(), Counts { cached: 0, run: 1, waiting: 2, excluded: 0 });
    assert_eq!(said(&plan, 0), "new");
    assert_eq!(said(&plan, 2), "waits on a, b; may be cached");
    assert_eq!(run(&planner, &mut world, &faithful), ["a", "b", "c"]);
    let plan = planner.plan(&mut world).unwrap();
    assert!(plan.is_settled());
    assert_eq!(plan.counts().cached, 3);
}

/// What is in no key recomputes nothing.
#[test]
fn names_resources_and_limits_decide_nothing() {
    let mut world = world();
    run(&planner(&pipeline(three()), &Selection::default()), &mut world, &faithful);
    let mut changed = three();
    for task in &mut changed {
        task.id.0 = format!("renamed-{}", task.id);
        task.stage.0 = format!("renamed-{}", task.stage);
        task.resources = Resources { gpus: 2.0, cpus: 7, ..Resources::default() };
        task.retries.max = 9;
        task.timeout = Some(Duration::from_secs(1));
    }
    assert!(planner(&pipeline(changed), &Selection::default()).plan(&mut world).unwrap().is_settled());
}

#[test]
fn reasons_name_the_field_or_the_input() {
    let mut world = world();
    run(&planner(&pipeline(three()), &Selection::default()), &mut world, &faithful);
    let mut changed = three();
    changed[1].params = Arc::new(json!({"run": "make b better", "outputs": {"out": "out.txt"}, "shell": "sh"}));
    let changed_plan = planner(&pipeline(changed), &Selection::default()).plan(&mut world).unwrap();
    assert_eq!(said(&changed_plan, 1), "params.run: \"make b\" → \"make b better\"");
    assert_eq!(said(&changed_plan, 2), "waits on b; may be cached");

    let old = world.files.insert("x.txt".to_owned(), "y".to_owned()).unwrap();
    let plan = planner(&pipeline(three()), &Selection::default()).plan(&mut world).unwrap();
    let digests = (Digest::of(old.as_bytes()).short(), Digest::of(b"y").short());
    assert_eq!(said(&plan, 0), format!("input x changed: {} → {} (file x.txt)", digests.0, digests.1));
}

#[test]
fn a_missing_blob_runs_its_producer_only() {
    let pipeline = pipeline(three());
    let planner = planner(&pipeline, &Selection::default());
    let mut world = world();
    run(&planner, &mut world, &faithful);
    let Decision::Cached { key, .. } = planner.plan(&mut world).unwrap().decisions[1].clone() else { panic!() };
    let gone = MissReason::BlobMissing { output: "out".into(), path: String::new(), digest: Digest::of(b"b") };
    world.broken.insert(key, gone);
    let plan = planner.plan(&mut world).unwrap();
    assert!(said(&plan, 1).contains("is gone"), "{}", said(&plan, 1));
    assert_eq!(run(&planner, &mut world, &faithful), ["b"]);
}

#[test]
fn forced_and_uncached_tasks_always_run() {
    let mut tasks = three();
    tasks[2].cache = false;
    let pipeline = pipeline(tasks);
    let mut world = world();
    let selection = Selection { forced: vec![TaskIndex(0)], ..Selection::default() };
    let planner = planner(&pipeline, &selection);
    run(&planner, &mut world, &faithful);
    assert_eq!(said(&planner.plan(&mut world).unwrap(), 0), "forced");
    // The forced task gives the same bytes, so the wave stops there.
    assert_eq!(run(&planner, &mut world, &faithful), ["a", "c"]);
}

#[test]
fn all_missing_files_are_reported_at_once() {
    let pipeline =
        pipeline(vec![task("a", "a", &[("x", file("none.txt"))]), task("b", "b", &[("x", file("nothing.txt"))])]);
    let problems = planner(&pipeline, &Selection::default()).plan(&mut Fake::default()).unwrap_err();
    let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["task `a`: input `none.txt` does not exist", "task `b`: input `nothing.txt` does not exist"]);
}

#[test]
fn a_command_sees_file_names_and_they_count() {
    let mut world = world();
    world.files.insert("y.txt".to_owned(), "x".to_owned());
    let key = |path: &str, world: &mut Fake| {
        let pipeline = pipeline(vec![task("a", "a", &[("x", file(path))])]);
        let plan = planner(&pipeline, &Selection::default()).plan(world).unwrap();
        let Decision::Run { key, manifest, .. } = plan.decisions[0].clone() else { panic!() };
        (key, manifest.inputs["x"][0].name.clone())
    };
    assert_ne!(key("x.txt", &mut world).0, key("y.txt", &mut world).0);
    assert_eq!(key("x.txt", &mut world).1.as_deref(), Some("x.txt"));
}

#[test]
fn words_name_tasks() {
    let mut tasks = three();
    tasks[1].id.0 = "make[seed=1]".into();
    tasks[1].stage.0 = "make".into();
    tasks[2].id.0 = "make[seed=2]".into();
    tasks[2].stage.0 = "make".into();
    let pipeline = pipeline(tasks);
    let found =
        |word: &str| find_targets(&pipeline, word).map(|tasks| tasks.iter().map(|task| task.0).collect::<Vec<_>>());
    assert_eq!(found("make").unwrap(), [1, 2]);
    assert_eq!(found("make[seed=2]").unwrap(), [2]);
    assert_eq!(found("make[*]").unwrap(), [1, 2]);
    assert_eq!(found("*").unwrap(), [0, 1, 2]);
    assert!(matches!(found("mak"), Err(TargetError::Unknown { nearest: Some(nearest), .. }) if nearest == "make"));
}

/// A random graph of tasks whose outputs depend on everything before them, or on nothing at all.
fn graphs() -> impl Strategy<Value = (Vec<Vec<u32>>, Vec<bool>, Vec<usize>)> {
    (2_usize..12).prop_flat_map(|n| {
        let dependencies: Vec<_> =
            (0..n).map(|at| prop::collection::vec(0..u32::try_from(at.max(1)).unwrap(), 0..3.min(at + 1))).collect();
        (dependencies, prop::collection::vec(any::<bool>(), n), prop::collection::vec(0..n, 0..3))
    })
}

proptest! {
    /// Against the plainest oracle there is: a task runs exactly if its parameters, or the bytes of something it reads,
    /// were never seen together before.
    #[test]
    fn exactly_what_changed_runs((dependencies, constant, edits) in graphs()) {
        let tasks = |edited: &[usize]| -> Vec<Task> {
            dependencies.iter().enumerate().map(|(at, list)| {
                let sources: Vec<_> = list.iter().filter(|on| (**on as usize) < at).map(|on| ("in", from(*on))).collect();
                let word = if edited.contains(&at) { "edited" } else { "as before" };
                task(&format!("t{at}"), &format!("{word} {at}"), &sources)
            }).collect()
        };
        let output = |task: &Task, key: &TaskKey| -> String {
            let at: usize = task.id.0[1..].parse().unwrap();
            if constant[at] { format!("constant {at}") } else { key.to_string() }
        };
        let mut world = Fake::default();
        let before = pipeline(tasks(&[]));
        prop_assert_eq!(run(&planner(&before, &Selection::default()), &mut world, &output).len(), before.tasks.len());
        prop_assert!(run(&planner(&before, &Selection::default()), &mut world, &output).is_empty());

        let after = pipeline(tasks(&edits));
        let mut expected = Vec::new();
        let mut differs = vec![false; dependencies.len()];
        for (at, list) in dependencies.iter().enumerate() {
            let reads_new = list.iter().any(|on| (*on as usize) < at && differs[*on as usize]);
            if edits.contains(&at) || reads_new {
                expected.push(format!("t{at}"));
                differs[at] = !constant[at];
            }
        }
        let plan = planner(&after, &Selection::default()).plan(&mut world).unwrap();
        let executed = run(&planner(&after, &Selection::default()), &mut world, &output);
        prop_assert_eq!(&executed, &expected);
        // Nothing that the plan called cached was executed (invariant 4).
        for name in &executed {
            let at: usize = name[1..].parse().unwrap();
            let cached = matches!(plan.decisions[at], Decision::Cached { .. });
            prop_assert!(!cached);
        }
        // Going back is free.
        prop_assert!(run(&planner(&before, &Selection::default()), &mut world, &output).is_empty());
    }
}

/// A bound loose enough for a loaded machine; the bench has the figure.
#[test]
fn a_hundred_thousand_tasks_are_planned_quickly() {
    let shared: Arc<Value> =
        Arc::new(json!({"run": "cp ${inputs.a} ${outputs.out}", "outputs": {"out": "o"}, "shell": "sh"}));
    let tasks: Vec<_> = (0..100_000_u32)
        .map(|at| {
            let source = if at % 100 == 0 { file("x.txt") } else { from(at - 1) };
            let mut task = task(&format!("t{at}"), "", &[("a", source)]);
            task.params = Arc::clone(&shared);
            task
        })
        .collect();
    let pipeline = pipeline(tasks);
    let planner = planner(&pipeline, &Selection::default());
    let started = Instant::now();
    let plan = planner.plan(&mut world()).unwrap();
    assert_eq!(plan.counts().run + plan.counts().waiting, 100_000);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
