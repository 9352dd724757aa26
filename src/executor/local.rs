//! The local executor: every task a child process of this one.

use super::{
    Attempt, Executor, Failure, Reporter, Running, Stop, builtin,
    cleaner::Cleaner,
    command,
    guardian::Guardian,
    process::{RUN_MARK, kill_marked},
    remove::remove_tree,
};
use crate::{
    home::{Home, RunDirectory, RunId, file_name},
    plan::COMMAND,
};
use lsn_cache::{ActionRecord, Catalog, WriteBehind};
use lsn_stage::FailureClass;
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
};
use tokio::sync::watch;

/// What a `command` sees of the environment besides what it declares.
const PASSED_ON: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "CUDA_VISIBLE_DEVICES"];

/// Where and for whom a local executor works.
pub struct LocalOptions {
    pub home: Home,
    pub run: RunId,
    pub catalog: Catalog,
    /// Whether GPUs are handed out, so that a task without one must not see any.
    pub gpus_managed: bool,
}

/// Runs tasks on this machine.
pub struct Local {
    shared: Rc<Shared>,
}

/// What all attempts share.
pub(super) struct Shared {
    pub home: Home,
    pub run: RunId,
    pub directory: RunDirectory,
    pub catalog: Catalog,
    pub guardian: Rc<RefCell<Option<Guardian>>>,
    /// This program.
    pub program: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    mark: String,
    gpus_managed: bool,
    shells: RefCell<HashMap<String, PathBuf>>,
    cleaner: RefCell<Option<Cleaner>>,
    pub write_behind: WriteBehind,
    /// Working directories made so far.
    works: Cell<u64>,
}

impl Local {
    /// Starts the guardian and makes the directories of the run.
    ///
    /// # Errors
    /// A directory or the guardian cannot be made.
    pub fn start(options: LocalOptions) -> io::Result<Self> {
        let LocalOptions { home, run, catalog, gpus_managed } = options;
        let directory = home.run(&run);
        for path in [directory.logs(), directory.jobs(), home.scratch()] {
            fs::create_dir_all(path)?;
        }
        let mark = home.mark(&run);
        let guardian = Guardian::start(&mark)?;
        let shared = Shared {
            directory,
            catalog,
            guardian: Rc::new(RefCell::new(Some(guardian))),
            program: env::current_exe()?,
            environment: PASSED_ON.iter().filter_map(|name| Some((*name, env::var_os(name)?))).collect(),
            mark,
            gpus_managed,
            shells: RefCell::default(),
            cleaner: RefCell::new(Some(Cleaner::start()?)),
            write_behind: WriteBehind::new(),
            works: Cell::new(0),
            home,
            run,
        };
        Ok(Self { shared: Rc::new(shared) })
    }
}

impl Executor for Local {
    fn execute(&self, attempt: Attempt, reporter: Reporter, mut stop: watch::Receiver<Stop>) -> Running {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            if attempt.uses == COMMAND {
                command::run(&shared, &attempt, &mut stop).await
            } else {
                builtin::run(&shared, &attempt, &reporter, &mut stop).await
            }
        })
    }

    fn finish(&self) {
        if let Some(cleaner) = self.shared.cleaner.borrow_mut().take() {
            cleaner.finish();
        }
        if let Some(guardian) = self.shared.guardian.borrow_mut().take() {
            // What left its task's group (a daemon) ends with the run (invariant 10).
            kill_marked(|mark| mark == self.shared.mark, 1000);
            guardian.dismiss();
        }
    }
}

impl Shared {
    /// A new name for a command's working directory: of this attempt only, for removals take their time.
    pub fn work_directory(&self, attempt: &Attempt) -> PathBuf {
        self.works.set(self.works.get() + 1);
        self.home.scratch().join(format!("{}-{}.{}", self.run, attempt.key.0.short(), self.works.get()))
    }

    /// Removes a working directory, some time before the run ends.
    pub fn remove(&self, work: PathBuf) {
        match &*self.cleaner.borrow() {
            Some(cleaner) => cleaner.remove(work),
            // The run is over; the next one's sweep would do it, too.
            None => drop(remove_tree(&work)),
        }
    }

    pub fn job_path(&self, attempt: &Attempt) -> PathBuf {
        self.directory.jobs().join(format!("{}.{}.json", file_name(&attempt.task.0), attempt.attempt))
    }

    pub fn open_log(&self, path: &Path) -> Result<File, Failure> {
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|error| Failure::submit(&format!("cannot open the log `{}`", path.display()), &error))
    }

    /// The program that a shell's name means; looked up once.
    pub fn shell(&self, name: &str) -> Result<PathBuf, Failure> {
        if let Some(path) = self.shells.borrow().get(name) {
            return Ok(path.clone());
        }
        let found = if name.contains('/') {
            Some(PathBuf::from(name))
        } else {
            let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
            env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
        };
        let found = found.ok_or_else(|| {
            Failure::new(FailureClass::User, format!("shell `{name}` is not on the path"))
                .hint("set `shell:` to one that is installed")
        })?;
        self.shells.borrow_mut().insert(name.to_owned(), found.clone());
        Ok(found)
    }

    /// Exactly what a command may see: a few variables of ours, and what it declares.
    ///
    /// # Errors
    /// A secret is not set.
    pub fn set_command_environment(&self, command: &mut Command, attempt: &Attempt) -> Result<(), Failure> {
        command.env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        for name in attempt.secrets.iter() {
            let value = env::var_os(name).ok_or_else(|| {
                Failure::new(FailureClass::User, format!("the secret `{name}` is not set"))
                    .hint(format!("set the environment variable {name} where lsn runs"))
            })?;
            command.env(name, value);
        }
        self.set_common_environment(command, attempt);
        Ok(())
    }

    /// A built-in stage is part of this program and sees what it sees.
    pub fn set_worker_environment(&self, command: &mut Command, attempt: &Attempt) {
        self.set_common_environment(command, attempt);
    }

    /// What is declared is in the key and so wins, but for what ties a process to its run and its devices.
    fn set_common_environment(&self, command: &mut Command, attempt: &Attempt) {
        let threads = attempt.grant.cpus.to_string();
        command.env("RAYON_NUM_THREADS", &threads).env("OMP_NUM_THREADS", &threads);
        command.envs(attempt.env.iter()).env(RUN_MARK, &self.mark);
        if self.gpus_managed {
            command.env("CUDA_VISIBLE_DEVICES", attempt.grant.gpus.join(","));
        }
    }

    /// Tells the index of a record. An index that cannot be written costs time later, never this result.
    pub fn note(&self, record: &ActionRecord) {
        if let Err(error) = self.catalog.note_published(record) {
            tracing::warn!("{error}");
        }
    }
}
