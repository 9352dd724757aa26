//! Trainings that are cancelled, killed or find their checkpoints damaged end with the bytes of an undisturbed one.

use super::{emphasis::Emphasis, *};
use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

/// Tells a re-executed test binary where its training lives.
const VICTIM: &str = "LSN_TEST_TRAIN_VICTIM";

/// Interrupts the run when a step is reported.
struct CancelAt {
    step: u64,
    cancel: CancelToken,
}

impl EventSink for CancelAt {
    fn emit(&self, event: &StageEvent) {
        if matches!(event, StageEvent::Progress { done, .. } if *done == self.step) {
            self.cancel.cancel();
        }
    }
}

fn cancel_at(step: u64) -> (Arc<dyn EventSink>, CancelToken) {
    let cancel = CancelToken::default();
    (Arc::new(CancelAt { step, cancel: cancel.clone() }), cancel)
}

#[test]
fn an_interrupted_training_ends_with_the_same_bytes() {
    let setting = Setting::new();
    let whole = setting.run(&setting.scratch("whole"), 1, quiet()).unwrap();
    let scratch = setting.scratch("interrupted");
    for step in [1, 4, 5, 9, 12] {
        let error = setting.run(&scratch, 2, cancel_at(step)).unwrap_err();
        assert_eq!(error.class, FailureClass::Cancelled, "{error}");
    }
    assert_eq!(setting.run(&scratch, 2, quiet()).unwrap(), whole);
    // A finished training that lost its outputs takes them from its last checkpoint.
    assert_eq!(setting.run(&scratch, 1, quiet()).unwrap(), whole);
}

/// A training by `params` that is interrupted at `steps` ends as one that is not, and otherwise than one by the usual parameters.
fn interrupted_ends_as_whole(params: &TrainParams, steps: &[u64]) {
    let setting = Setting::new();
    let run = |scratch: &Path, ears| attempt((&setting.model, &setting.rows, scratch), params, 2, ears);
    let whole = run(&setting.scratch("whole"), quiet()).unwrap();
    let scratch = setting.scratch("interrupted");
    for &step in steps {
        run(&scratch, cancel_at(step)).unwrap_err();
    }
    assert_eq!(run(&scratch, quiet()).unwrap(), whole);
    assert_ne!(setting.run(&setting.scratch("usual"), 2, quiet()).unwrap()["log"], whole["log"]);
}

#[test]
fn an_interrupted_training_of_bf16_parameters_ends_with_the_same_bytes() {
    interrupted_ends_as_whole(&TrainParams { precision: Precision::Bf16, ..params() }, &[2, 7]);
}

#[test]
fn an_interrupted_training_on_emphasised_positions_ends_with_the_same_bytes() {
    let emphasis = Emphasis { effect: 0.5, entropy: 0.2, loss: 0.0 };
    interrupted_ends_as_whole(&TrainParams { emphasis, ..params() }, &[1, 5, 8]);
}

#[test]
fn an_interrupted_training_on_what_was_wrong_before_ends_with_the_same_bytes() {
    // A network that changes much from step to step, so that the same positions drawn later would be other ones.
    let emphasis = Emphasis { effect: 0.2, entropy: 0.1, loss: 0.6 };
    let params = TrainParams { emphasis, lr: 0.1, warmup_steps: 0, ..params() };
    interrupted_ends_as_whole(&params, &[1, 3, 4, 8]);
    // Groups that are shorter than a step.
    interrupted_ends_as_whole(&TrainParams { shuffle_rows: 1, ..params }, &[1, 2, 5]);
}

#[test]
fn an_interrupted_training_by_soap_ends_with_the_same_bytes() {
    interrupted_ends_as_whole(&TrainParams { optimizer: lsn_samplers::OptimizerKind::Soap, ..params() }, &[3, 6]);
}

#[test]
fn damaged_checkpoints_cost_time_only() {
    let setting = Setting::new();
    let whole = setting.run(&setting.scratch("whole"), 1, quiet()).unwrap();
    let checkpoints = |scratch: &Path| {
        let mut paths: Vec<PathBuf> = fs::read_dir(scratch).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-"));
        paths.sort();
        paths
    };
    type Damage = fn(&Path, &[PathBuf]);
    let damages: [(&str, Damage); 5] = [
        ("torn", |_, found| {
            let newest = found.last().unwrap();
            let bytes = fs::read(newest).unwrap();
            fs::write(newest, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("flipped", |_, found| {
            let newest = found.last().unwrap();
            let mut bytes = fs::read(newest).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(newest, bytes).unwrap();
        }),
        ("empty", |_, found| found.iter().for_each(|path| fs::write(path, "").unwrap())),
        ("log lost", |scratch, _| fs::remove_file(scratch.join("log.jsonl")).unwrap()),
        ("unfinished", |scratch, _| fs::write(scratch.join("checkpoint.unfinished"), "half").unwrap()),
    ];
    for (name, damage) in damages {
        let scratch = setting.scratch(name);
        setting.run(&scratch, 1, cancel_at(8)).unwrap_err();
        let found = checkpoints(&scratch);
        assert_eq!(found.len(), 2, "{name}: the newest checkpoint and a spare");
        damage(&scratch, &found);
        assert_eq!(setting.run(&scratch, 1, quiet()).unwrap(), whole, "{name}");
    }
}

/// Prints every step, for the parent to choose when to kill.
struct Announce;

impl EventSink for Announce {
    fn emit(&self, event: &StageEvent) {
        if let StageEvent::Progress { done, .. } = event {
            println!("step {done}");
        }
    }
}

#[test]
#[ignore = "is started and killed by `a_killed_training_ends_with_the_same_bytes`"]
fn victim() {
    let root = PathBuf::from(std::env::var_os(VICTIM).expect("the directory of the training"));
    let paths = (&*root.join("model"), &*root.join("training"), &*root.join("scratch"));
    attempt(paths, &params(), 2, (Arc::new(Announce), CancelToken::default())).unwrap();
}

#[test]
fn a_killed_training_ends_with_the_same_bytes() {
    let setting = Setting::new();
    let whole = setting.run(&setting.scratch("whole"), 1, quiet()).unwrap();
    let root = setting.scratch("victim");
    std::os::unix::fs::symlink(&setting.model, root.join("model")).unwrap();
    std::os::unix::fs::symlink(&setting.rows, root.join("training")).unwrap();
    fs::create_dir(root.join("scratch")).unwrap();
    for lines in [1, 3, 4, 2, 7] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["train::tests::interruption::victim", "--exact", "--ignored", "--nocapture"])
            .env(VICTIM, &root)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let steps = output.lines().map(Result::unwrap).filter(|line| line.starts_with("step ")).take(lines).count();
        // SIGKILL, a few instructions after a step was reported: before, in or after its checkpoint.
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(steps > 0, "the training made no step before it was killed");
    }
    assert_eq!(setting.run(&root.join("scratch"), 2, quiet()).unwrap(), whole);
}
