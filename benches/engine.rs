//! The engine's own costs: planning 10⁵ tasks; 1000 `command` tasks cold beside the bare shells, again with nothing to do, and
//! with one changed input; a chain of 200. Large outputs: the bench `large`.
//!
//! `cargo bench --bench engine --profile dev` measures the program that the README builds, without building all of it once more.

#![expect(clippy::unwrap_used, reason = "a bench that panics has failed, as it should")]

use criterion::{BatchSize, Criterion, SamplingMode, criterion_group, criterion_main};
use lsn::{
    manifest::{Pipeline, Resources, Retries, Source, StageName, Task, TaskId, TaskIndex},
    plan::{KeyManifest, Planner, ProjectInput, Selection, World, WorldError},
};
use lsn_cache::{Lookup, MissReason, TaskKey};
use lsn_digest::Digest;
use lsn_stage::{Port, PortKind};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// A world in which every file exists and nothing was ever computed.
struct Empty;

impl World for Empty {
    fn path(&mut self, path: &Path) -> Result<ProjectInput, WorldError> {
        Ok(ProjectInput { path: path.to_owned(), digest: Digest::of(path.as_os_str().as_encoded_bytes()) })
    }

    fn glob(&mut self, _pattern: &str) -> Result<Vec<ProjectInput>, WorldError> {
        Ok(Vec::new())
    }

    fn lookup(&mut self, _key: &TaskKey) -> Result<Lookup, WorldError> {
        Ok(Lookup::Miss(MissReason::Absent))
    }

    fn earlier(&mut self, _task: &TaskId) -> Vec<KeyManifest> {
        Vec::new()
    }

    fn duration(&mut self, _task: &TaskId) -> Option<Duration> {
        None
    }
}

/// `count` tasks, half of which read what another one writes.
fn pipeline(count: u32) -> Arc<Pipeline> {
    let tasks = (0..count).map(|at| {
        let source = if at % 2 == 0 {
            Source::Path { path: format!("in/{at}.txt").into() }
        } else {
            Source::Output { task: TaskIndex(at - 1), output: "out".into() }
        };
        Task {
            id: TaskId(format!("copy[i={at}]")),
            stage: StageName("copy".into()),
            matrix: BTreeMap::new(),
            uses: "command".into(),
            params: Arc::new(json!({"run": format!("cp ${{inputs.a}} ${{outputs.out}} # {at}"), "outputs": {"out": "o"}, "shell": "sh"})),
            inputs: BTreeMap::from([("a".to_owned(), vec![source])]),
            outputs: [Port::new("out", PortKind::File, "")].into(),
            env: Arc::default(),
            resources: Resources::default(),
            retries: Retries { max: 0, backoff: Duration::ZERO },
            secrets: Arc::default(),
            timeout: None,
            cache: true,
        }
    });
    Arc::new(Pipeline {
        name: "bench".into(),
        manifest: "bench.yaml".into(),
        root: ".".into(),
        tasks: tasks.collect(),
        publish: Vec::new(),
        summary: None,
    })
}

fn planning(criterion: &mut Criterion) {
    let pipeline = pipeline(100_000);
    let registry = lsn_stages::registry();
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.bench_function("100000_tasks", |bencher| {
        bencher
            .iter(|| Planner::new(Arc::clone(&pipeline), &registry, &Selection::default()).plan(&mut Empty).unwrap());
    });
    group.finish();
}

/// A project directory of its own.
struct Project {
    directory: tempfile::TempDir,
}

impl Project {
    fn new(manifest: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("pipeline.yaml"), manifest).unwrap();
        fs::write(directory.path().join("in.txt"), "some text\n").unwrap();
        Self { directory }
    }

    fn thousand() -> Self {
        Self::new(
            "lsn: 1\nstages:\n  copy:\n    uses: command\n    matrix: {i: {range: [0, 1000]}}\n    inputs: {a: ./in.txt}\n    \
             with: {run: \"cp ${inputs.a} ${outputs.out}; : ${matrix.i}\", outputs: {out: out.txt}}\n",
        )
    }

    /// As `thousand`, with an input of its own for each task.
    fn thousand_inputs() -> Self {
        let project = Self::new(
            "lsn: 1\nstages:\n  copy:\n    uses: command\n    matrix: {i: {range: [0, 1000]}}\n    \
             inputs: {a: \"./in/${matrix.i}.txt\"}\n    \
             with: {run: \"cp ${inputs.a} ${outputs.out}\", outputs: {out: out.txt}}\n",
        );
        fs::create_dir(project.path().join("in")).unwrap();
        (0..1000).for_each(|i| fs::write(project.path().join(format!("in/{i}.txt")), format!("text {i}\n")).unwrap());
        project
    }

    fn chain() -> Self {
        let mut manifest = "lsn: 1\nstages:\n".to_owned();
        for i in 0..200 {
            let source = if i == 0 { "./in.txt".to_owned() } else { format!("s{}.out", i - 1) };
            manifest += &format!(
                "  s{i}:\n    uses: command\n    inputs: {{a: {source}}}\n    \
                 with: {{run: \"cp ${{inputs.a}} ${{outputs.out}}; : {i}\", outputs: {{out: out.txt}}}}\n"
            );
        }
        Self::new(&manifest)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn run(&self) {
        let status = Command::new(env!("CARGO_BIN_EXE_lsn"))
            .args(["run", "pipeline.yaml", "-j", "2", "--progress", "none"])
            .current_dir(self.path())
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }
}

/// The same shells without an engine.
fn bare_shells(directory: &Path) {
    let mut child = Command::new("xargs")
        .args(["-P2", "-I{}", "sh", "-c", "cp in.txt out{}.txt; : {}"])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let numbers: String = (0..1000).map(|i| format!("{i}\n")).collect();
    child.stdin.take().unwrap().write_all(numbers.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// CPU time of ended children so far.
fn cpu_of_children() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for writes, and zeroed is a valid value of this plain C structure.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec.cast_unsigned(), time.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn commands(criterion: &mut Criterion) {
    // CPU time, once, from one run beside the floor: what a loaded machine cannot blur.
    let measure = |work: &dyn Fn()| {
        let before = cpu_of_children();
        work();
        cpu_of_children() - before
    };
    let floor_project = Project::thousand();
    let floor = measure(&|| bare_shells(floor_project.path()));
    let project = Project::thousand();
    let cold = measure(&|| project.run());
    println!(
        "1000 commands cold: {cold:.2?} CPU, bare shells {floor:.2?}: {:.2}×",
        cold.as_secs_f64() / floor.as_secs_f64()
    );

    let mut group = criterion.benchmark_group("run");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.bench_function("1000_commands_cold", |bencher| {
        bencher.iter_batched(
            Project::thousand,
            |project| {
                project.run();
                project
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("1000_bare_shells", |bencher| {
        bencher.iter_batched(
            Project::thousand,
            |project| {
                bare_shells(project.path());
                project
            },
            BatchSize::PerIteration,
        );
    });
    project.run();
    group.bench_function("1000_commands_nothing_to_do", |bencher| bencher.iter(|| project.run()));
    let edited = Project::thousand_inputs();
    edited.run();
    let mut edits = 0;
    group.bench_function("one_input_of_1000_changed", |bencher| {
        bencher.iter_batched(
            || {
                edits += 1;
                fs::write(edited.path().join("in/500.txt"), format!("edit {edits}\n")).unwrap();
            },
            |()| edited.run(),
            BatchSize::PerIteration,
        );
    });
    let chain = Project::chain();
    chain.run();
    chain.run();
    group.bench_function("chain_of_200_nothing_to_do", |bencher| bencher.iter(|| chain.run()));
    group.finish();
}

criterion_group!(benches, planning, commands);
criterion_main!(benches);
