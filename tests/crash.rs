//! The crash test (invariants 1 to 3, 8 to 10): killed at random moments any number of times, a run ends where an
//! uninterrupted one does; nothing finished runs twice, and nothing is left behind.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use lsn::{
    executor::sweep,
    home::{Home, PastRun, RunId, TaskState},
};
use lsn_cache::{OpenMode, Store};
use std::{fs, path::Path, process::Stdio};
use support::{
    Project,
    chaos::{assert_nothing_is_left, crash_seed, events, run_through_kills},
    wait_until,
};

/// At least this many times something is killed.
const KILLS: usize = 24;

/// Layers of tasks, some of which take longer than others, so that a kill finds something running.
const PIPELINE: &str = r#"
params: {width: 6}
defaults:
  retries: {max: 5, backoff: 1ms}
stages:
  first:
    uses: command
    matrix: {i: {range: [0, 5]}}
    inputs: {seed: ./seed.txt}
    with:
      run: "sleep 0.0${matrix.i}; for k in 1 2 3; do cat ${inputs.seed}; echo ${matrix.i} $k; done > ${outputs.out}"
      outputs: {out: out.txt}
  large:
    uses: command
    matrix: {i: {range: [0, 3]}}
    inputs: {all: "first[*].out"}
    with:
      run: "mkdir -p ${outputs.tree}; for f in ${inputs.all}; do head -c 40000 /dev/zero | tr '\\0' ${matrix.i} >> ${outputs.tree}big; cat $f >> ${outputs.tree}small; done; sleep 0.05"
      outputs: {tree: tree/}
  join:
    uses: command
    inputs: {trees: "large[*].tree"}
    with:
      run: "cat $(find ${inputs.trees} -type f | sort) | cksum > ${outputs.out}; sleep 0.02"
      outputs: {out: sum.txt}
  last:
    uses: command
    inputs: {sum: join.out}
    with: {run: "cp ${inputs.sum} ${outputs.out}", outputs: {out: last.txt}}
outputs:
  made/last.txt: last.out
  made/tree: large[i=2].tree
"#;

fn project() -> Project {
    let project = Project::new();
    project.pipeline(PIPELINE).write("seed.txt", "seed\n");
    project
}

#[test]
fn killed_at_random_moments_a_run_ends_where_an_uninterrupted_one_does() {
    let mut random = crash_seed();

    let calm = project();
    calm.run(&[]);
    let expected = calm.outputs();
    let calm_events = events(&calm);

    let mut kills = 0;
    let mut rounds = 0;
    let mut interrupted_work = 0;
    while kills < KILLS || interrupted_work < KILLS / 2 {
        rounds += 1;
        assert!(rounds <= 2 * KILLS, "{kills} kills, only {interrupted_work} while tasks ran");
        let project = project();
        let (struck, during_work) = run_through_kills(&project, calm_events, &mut random);
        (kills, interrupted_work) = (kills + struck, interrupted_work + during_work);
        let last = project.run(&[]);
        assert!(last.executed().is_empty(), "{:?}", last.executed());
        assert_eq!(project.outputs(), expected);
        assert_eq!(project.read("made/last.txt"), calm.read("made/last.txt"));
        assert_eq!(project.read("made/tree/small"), calm.read("made/tree/small"));
        assert_nothing_is_left(&project);
    }
    println!("{kills} kills, {interrupted_work} while tasks ran, in {rounds} projects");
}

/// A process that was killed may hold its lock when nothing else of it is left to see.
#[test]
fn the_sweep_outwaits_the_lock_of_a_dying_worker() {
    let project = project();
    project.run(&[]);
    let home = Home::of(project.root());
    let store = Store::open(&home.store(), OpenMode::ReadOnly).unwrap();
    let key = store.actions().unwrap().next().unwrap().unwrap().key;
    drop(store);
    let scratch = home.scratch_of(&key);
    fs::create_dir_all(&scratch).unwrap();
    fs::write(scratch.join("half"), "written").unwrap();
    let lock = fs::File::create(scratch.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let dead = RunId::parse("20260101-000000-000").unwrap();
    sweep::mark_live(&home, &dead, "test").unwrap();
    let swept = std::thread::scope(|scope| {
        let run = scope.spawn(|| project.run(&[]));
        // By then the sweep is through with processes.
        wait_until("the dead run's mark is gone", || !sweep::is_live(&home, &dead));
        drop(lock);
        run.join().unwrap()
    });
    assert!(swept.executed().is_empty(), "{:?}", swept.executed());
    assert_nothing_is_left(&project);
}

/// A run may be killed while it marks itself, for the first or the second time; a mark that says nothing would be nobody's.
#[test]
fn a_mark_is_there_whole_or_not_at_all() {
    let project = Project::new();
    let home = Home::of(project.root());
    let run = RunId::parse("20260101-000000-000").unwrap();
    let mark = home.live().join(run.as_str());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..5000).for_each(|_| sweep::mark_live(&home, &run, "test").unwrap());
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            if let Ok(said) = fs::read_to_string(&mark) {
                assert_eq!(said, "test");
            }
        }
    });
    assert_eq!(fs::read_dir(home.live()).unwrap().count(), 1);
}

fn large_blob(project: &Project) -> std::path::PathBuf {
    let blobs = walkdir::WalkDir::new(project.path(".lsn/store/blobs")).into_iter().flatten();
    blobs.map(walkdir::DirEntry::into_path).find(|path| path.is_file()).unwrap()
}

fn make_writable(path: &Path) {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(path, permissions).unwrap();
}

/// Damages something, runs, and expects the same outputs, a message with `words`, and at least one task made anew if
/// `recomputes`.
fn damaged(damage: impl Fn(&Project), words: &str, recomputes: bool) {
    let project = project();
    project.run(&[]);
    let expected = project.outputs();
    damage(&project);
    let run = project.run(&[]);
    assert_eq!(project.outputs(), expected);
    assert_eq!(!run.executed().is_empty(), recomputes, "{:?}", run.executed());
    assert!(run.executed().len() < 3, "only the producer runs again: {:?}", run.executed());
    let told = format!("{:?}{}", run.events, run.said.err);
    assert!(told.contains(words), "no `{words}` in {told}");
    assert!(project.run(&[]).executed().is_empty());
}

#[test]
fn a_torn_blob_is_made_anew() {
    damaged(
        |project| {
            let blob = large_blob(project);
            make_writable(&blob);
            fs::File::options().write(true).open(&blob).unwrap().set_len(1000).unwrap();
        },
        "1000 bytes instead of",
        true,
    );
}

#[test]
fn a_blob_with_a_flipped_bit_is_quarantined_and_made_anew() {
    damaged(
        |project| {
            let blob = large_blob(project);
            make_writable(&blob);
            let mut bytes = fs::read(&blob).unwrap();
            bytes[777] ^= 4;
            fs::write(&blob, bytes).unwrap();
        },
        "moved to",
        true,
    );
}

#[test]
fn a_deleted_blob_is_made_anew() {
    damaged(|project| fs::remove_file(large_blob(project)).unwrap(), "is gone", true);
}

#[test]
fn a_damaged_record_runs_its_task_again() {
    damaged(
        |project| {
            let records = walkdir::WalkDir::new(project.path(".lsn/store/actions")).into_iter().flatten();
            let record = records.map(walkdir::DirEntry::into_path).find(|path| path.is_file()).unwrap();
            make_writable(&record);
            let text = fs::read_to_string(&record).unwrap();
            fs::write(&record, &text[..text.len() / 2]).unwrap();
        },
        "is damaged",
        true,
    );
}

#[test]
fn a_deleted_index_costs_nothing() {
    damaged(|project| fs::remove_dir_all(project.path(".lsn/index")).unwrap(), "index rebuilt from 10 results", false);
}

#[test]
fn a_damaged_index_is_begun_anew() {
    damaged(
        |project| {
            for entry in walkdir::WalkDir::new(project.path(".lsn/index")).into_iter().flatten() {
                if entry.file_type().is_file() && entry.metadata().unwrap().len() > 0 {
                    fs::write(entry.path(), b"not a database").unwrap();
                }
            }
        },
        "index",
        false,
    );
}

#[test]
fn a_truncated_journal_still_tells_what_is_left_of_it() {
    let project = project();
    project.run(&[]);
    let home = Home::of(project.root());
    let run = PastRun::all(&home).remove(0);
    let journal = home.run(&run.run).journal();
    let bytes = fs::read(&journal).unwrap();
    fs::write(&journal, &bytes[..bytes.len() - 200]).unwrap();
    let status = project.lsn(&["status"]).code(1).out;
    assert!(status.contains("killed") && status.contains("1 damaged lines"), "{status}");
    let torn = PastRun::read(&home, &run.run).unwrap();
    assert!(torn.tasks.iter().filter(|task| task.state == TaskState::Executed).count() >= 10);
    assert!(project.run(&[]).executed().is_empty());
    project.lsn(&["runs"]).ok();
}

#[test]
fn output_of_a_dead_reader_ends_no_run() {
    let project = project();
    let mut child =
        project.command(&["run", "pipeline.yaml", "--progress", "plain"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success());
}
