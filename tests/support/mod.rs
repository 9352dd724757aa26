//! A project in a temporary directory, and the real program to run in it.

#![expect(dead_code, reason = "each test file uses its own part of this")]

pub mod chaos;

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// A project; it goes away with the value.
pub struct Project {
    _directory: tempfile::TempDir,
    root: PathBuf,
}

/// What a command said and how it ended.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

impl Project {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("project");
        fs::create_dir(&root).unwrap();
        Self { _directory: directory, root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// Writes `pipeline.yaml` from the text of its stages and what follows them.
    pub fn pipeline(&self, body: &str) -> &Self {
        self.write("pipeline.yaml", &format!("lsn: 1\nname: test\n{body}"))
    }

    /// Moves the whole project to another directory.
    pub fn move_to(&mut self, name: &str) {
        let target = self.root.with_file_name(name);
        fs::rename(&self.root, &target).unwrap();
        self.root = target;
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lsn"));
        command.args(args).current_dir(&self.root).stdin(Stdio::null());
        command.env_remove("LSN_STORE").env_remove("LSN_PROFILE").env_remove("LSN_LOG").env_remove("LSN_RUN_ID");
        command.env_remove("LSN_LINK_OUTPUTS");
        // Started in the background of a script, the tests ignore interrupts, which the program would take over.
        // SAFETY: `signal` may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                Ok(())
            });
        }
        command
    }

    pub fn lsn(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// Runs `pipeline.yaml` and gives what happened.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Run {
        let said = self.try_run(args);
        assert_eq!(said.said.code, Some(0), "{:#?}\n{}", said.events, said.said.err);
        said
    }

    pub fn try_run(&self, args: &[&str]) -> Run {
        let all: Vec<_> = ["run", "pipeline.yaml", "--progress", "json"].iter().chain(args).copied().collect();
        let said = self.lsn(&all);
        let events = said
            .out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .map(|entry| entry["what"].clone())
            .collect();
        Run { said, events }
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub fn plan(&self, args: &[&str]) -> String {
        let all: Vec<_> = ["plan", "pipeline.yaml"].iter().chain(args).copied().collect();
        self.lsn(&all).ok().out
    }

    /// Digests of the outputs of all tasks that are in the store, by `task.output`.
    pub fn outputs(&self) -> BTreeMap<String, String> {
        let mut outputs = BTreeMap::new();
        let store = lsn_cache::Store::open(&self.path(".lsn/store"), lsn_cache::OpenMode::ReadOnly).unwrap();
        for record in store.actions().unwrap() {
            let record = record.unwrap();
            for (name, artifact) in &record.outputs {
                outputs.insert(format!("{}.{name}", record.provenance.task), artifact.digest().hex());
            }
        }
        outputs
    }
}

/// A run by its events.
pub struct Run {
    pub said: Said,
    pub events: Vec<Value>,
}

impl Run {
    /// Names of the tasks that have an event of this kind, in order.
    pub fn tasks(&self, event: &str) -> Vec<String> {
        let of_kind = self.events.iter().filter(|found| found["event"] == event);
        of_kind.map(|found| found["task"].as_str().unwrap().to_owned()).collect()
    }

    /// Names of the executed tasks, sorted.
    pub fn executed(&self) -> Vec<String> {
        let mut tasks = self.tasks("task_finished");
        tasks.sort();
        tasks
    }

    pub fn find(&self, event: &str) -> Option<&Value> {
        self.events.iter().find(|found| found["event"] == event)
    }

    pub fn tally(&self, field: &str) -> u64 {
        self.find("run_finished").unwrap()["tally"][field].as_u64().unwrap()
    }

    pub fn warnings(&self) -> Vec<String> {
        let warnings = self.events.iter().filter(|found| found["event"] == "warning");
        warnings.map(|found| found["message"].as_str().unwrap().to_owned()).collect()
    }
}

/// Waits until `condition` holds; a test that waits for longer than this is broken.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "still not: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Living processes that carry the mark of a run in this project.
pub fn marked_processes(project: &Project) -> Vec<i32> {
    // The mark begins with a digest of the home; any of its runs will do.
    let home = lsn::home::Home::of(project.root());
    let run = lsn::home::RunId::parse("00000000-000000-000").unwrap();
    let prefix = home.mark(&run).split_once(':').unwrap().0.to_owned() + ":";
    lsn::executor::process::marked(|mark| mark.starts_with(&prefix))
}
