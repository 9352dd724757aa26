//! What goes wrong, and what a run makes of it.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use lsn::home::{Home, PastRun};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{fs, process::Child};
use support::{Project, marked_processes, wait_until};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

/// Waits until a task of the only run there is has said something.
fn wait_for_file(project: &Project, path: &str) {
    wait_until(path, || project.path(path).exists());
}

#[test]
fn a_failing_task_stops_the_run_and_its_log_is_shown() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  bad: {uses: command, with: {run: "echo reading the tea leaves; exit 3", outputs: {out: a.txt}}}
  after: {uses: command, inputs: {a: bad.out}, with: {run: "cp ${inputs.a} ${outputs.out}", outputs: {out: b.txt}}}
"#,
    );
    let said = project.lsn(&["run", "pipeline.yaml"]).code(1);
    for part in [
        "bad (user): it ended with exit code 3",
        "reading the tea leaves",
        "skipped after: it needs bad",
        "task `bad` failed",
    ] {
        assert!(said.err.contains(part), "no `{part}` in:\n{}", said.err);
    }
    assert_eq!(project.lsn(&["logs", "bad"]).ok().out, "reading the tea leaves\n");
    let status = project.lsn(&["status"]).code(1);
    assert!(status.out.contains("failed  bad") || status.out.contains("failed bad"), "{}", status.out);
    assert!(project.lsn(&["runs"]).ok().out.contains("failed"));
}

#[test]
fn keep_going_finishes_what_does_not_depend_on_the_failure() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  bad: {uses: command, with: {run: "exit 1", outputs: {out: a.txt}}}
  after: {uses: command, inputs: {a: bad.out}, with: {run: "cp ${inputs.a} ${outputs.out}", outputs: {out: b.txt}}}
  good: {uses: command, with: {run: "sleep 0.2; echo 1 > ${outputs.out}", outputs: {out: a.txt}}}
  better: {uses: command, inputs: {a: good.out}, with: {run: "cp ${inputs.a} ${outputs.out}", outputs: {out: b.txt}}}
"#,
    );
    let run = project.try_run(&["--keep-going", "-j", "1"]);
    assert_eq!(run.said.code, Some(1));
    assert_eq!(run.executed(), ["better", "good"]);
    assert_eq!(run.tasks("task_skipped"), ["after"]);
    assert_eq!((run.tally("failed"), run.tally("skipped"), run.tally("left")), (1, 1, 0));
}

#[test]
fn transient_failures_are_retried_and_permanent_ones_are_not() {
    let project = Project::new();
    let marks = project.path("marks");
    fs::create_dir(&marks).unwrap();
    let stage = |name: &str, code: u32| {
        format!(
            r#"
  {name}:
    uses: command
    retries: {{max: 3, backoff: 10ms}}
    with:
      run: "echo x >> {}/{name}; [ $(wc -l < {}/{name}) -ge 3 ] || exit {code}; echo ok > ${{outputs.out}}"
      outputs: {{out: a.txt}}"#,
            marks.display(),
            marks.display()
        )
    };
    project.pipeline(&format!("stages:{}{}\n", stage("later", 75), stage("never", 1)));
    let run = project.try_run(&["--keep-going"]);
    assert_eq!(run.executed(), ["later"]);
    assert_eq!(run.find("task_finished").unwrap()["attempt"], 3);
    assert_eq!(fs::read_to_string(marks.join("never")).unwrap(), "x\n");
    let retried: Vec<_> = run.events.iter().filter(|event| event["retry_in_ms"].is_u64()).collect();
    assert_eq!(retried.len(), 2);
    assert!(retried.iter().all(|event| event["class"] == "infrastructure" && event["task"] == "later"));
}

#[test]
fn a_time_limit_ends_the_task_and_everything_it_started() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  slow:
    uses: command
    timeout: 300ms
    with: {run: "sleep 1000 & sleep 1000", outputs: {out: a.txt}}
"#,
    );
    let run = project.try_run(&[]);
    assert_eq!(run.find("task_failed").unwrap()["class"], "time_limit");
    assert!(marked_processes(&project).is_empty());
}

#[test]
fn a_memory_limit_ends_the_task() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  large:
    uses: command
    resources: {mem: 40MiB}
    with: {run: "head -c 200000000 /dev/zero | tail -c 200000000 | sleep 60", outputs: {out: a.txt}}
"#,
    );
    let run = project.try_run(&[]);
    let failed = run.find("task_failed").unwrap();
    assert_eq!(failed["class"], "out_of_memory", "{failed}");
    assert!(failed["message"].as_str().unwrap().contains("40 MiB are declared"), "{failed}");
}

#[test]
fn an_output_that_is_not_what_was_declared_is_never_published() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  missing: {uses: command, with: {run: "true", outputs: {out: a.txt}}}
  other: {uses: command, with: {run: "mkdir ${outputs.out}", outputs: {out: a.txt}}}
  file: {uses: command, with: {run: "echo > dir", outputs: {out: dir/}}}
"#,
    );
    let run = project.try_run(&["--keep-going"]);
    let failed: Vec<_> = run.events.iter().filter(|event| event["event"] == "task_failed").collect();
    assert_eq!(failed.len(), 3);
    assert!(failed.iter().all(|event| event["class"] == "contract"), "{failed:?}");
    assert!(project.outputs().is_empty());
}

/// What a task left unreadable is its own fault: no attempt more, and the message says what it is.
#[test]
fn outputs_that_cannot_be_read_break_the_contract() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  dangling: {uses: command, retries: {max: 3}, with: {run: "mkdir d; ln -s nowhere d/link", outputs: {d: d/}}}
  pipe: {uses: command, retries: {max: 3}, with: {run: "mkfifo f", outputs: {f: f}}}
"#,
    );
    let run = project.try_run(&["--keep-going"]);
    let failed: Vec<_> = run.events.iter().filter(|event| event["event"] == "task_failed").collect();
    assert_eq!(failed.len(), 2, "{failed:#?}");
    for event in failed {
        let message = event["message"].as_str().unwrap();
        assert_eq!((event["class"].as_str(), event["attempt"].as_u64()), (Some("contract"), Some(1)), "{message}");
        let expected = if event["task"] == "pipe" { "expected a file, found a named pipe" } else { "d/link" };
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn an_input_that_changes_meanwhile_is_used_once_and_not_published() {
    let project = Project::new();
    let text = project.path("text.txt").display().to_string();
    project.write("text.txt", "before\n").pipeline(&format!(
        r#"
stages:
  slow:
    uses: command
    inputs: {{text: ./text.txt}}
    with:
      run: "cat ${{inputs.text}} > ${{outputs.out}}; echo after >> {text}"
      outputs: {{out: a.txt}}
outputs: {{result.txt: slow.out}}
"#,
    ));
    let run = project.run(&[]);
    assert!(run.warnings().iter().any(|text| text.contains("changed while the task ran")), "{:?}", run.warnings());
    assert_eq!(project.read("result.txt"), "before\n");
    assert!(project.outputs().is_empty());
}

/// Files of one input may have one name, or the name that the second of them is given.
#[test]
fn inputs_whose_names_collide_are_all_there() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  a: {uses: command, inputs: {x: [./a/x, ./b/x, ./c/1-x]}, with: {run: "cat ${inputs.x} > ${outputs.o}", outputs: {o: o}}}
outputs: {all.txt: a.o}
"#,
    );
    project.write("a/x", "1\n").write("b/x", "2\n").write("c/1-x", "3\n");
    project.run(&[]);
    assert_eq!(project.read("all.txt"), "1\n2\n3\n");
}

#[test]
fn missing_inputs_are_all_named_before_anything_runs() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  a: {uses: command, inputs: {x: ./no/such/file}, with: {run: "cp ${inputs.x} ${outputs.out}", outputs: {out: a.txt}}}
  b: {uses: command, inputs: {x: {glob: "none/*.txt"}}, with: {run: "cp ${inputs.x} ${outputs.out}", outputs: {out: a.txt}}}
"#,
    );
    let said = project.lsn(&["run", "pipeline.yaml"]).code(2);
    assert!(said.err.contains("task `a`: input `no/such/file` does not exist"), "{}", said.err);
    assert!(said.err.contains("task `b`: no file matches `none/*.txt`"), "{}", said.err);
}

#[test]
fn more_gpus_than_there_are_is_an_answer_and_not_a_wait() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  a:
    uses: command
    matrix: {i: [1, 2, 3]}
    resources: {gpus: 1}
    with: {run: "echo $CUDA_VISIBLE_DEVICES ${matrix.i} > ${outputs.out}", outputs: {out: a.txt}}
  b:
    uses: command
    with: {run: "echo \"[$CUDA_VISIBLE_DEVICES]\" > ${outputs.out}", outputs: {out: a.txt}}
outputs: {b.txt: b.out}
"#,
    );
    // The plan says so before anything has run.
    let plan = project.lsn(&["plan", "pipeline.yaml", "--gpus", "0"]).ok();
    assert!(plan.err.contains("task `a[i=1]` and 2 more like it cannot run here: it needs 1 GPUs"), "{}", plan.err);
    assert_eq!(project.lsn(&["plan", "pipeline.yaml", "--gpus", "2"]).ok().err, "");
    let none = project.try_run(&["--gpus", "0"]);
    assert_eq!(none.said.code, Some(1));
    assert!(none.find("task_failed").unwrap()["message"].as_str().unwrap().contains("--gpus"));
    let run = project.run(&["--gpus", "5,7", "-j", "8"]);
    let mut gpus: Vec<_> = run
        .events
        .iter()
        .filter(|event| event["event"] == "task_started" && event["gpus"][0].is_string())
        .map(|event| event["gpus"][0].as_str().unwrap().to_owned())
        .collect();
    gpus.sort();
    gpus.dedup();
    assert!(gpus.iter().all(|gpu| gpu == "5" || gpu == "7"), "{gpus:?}");
    // A task without GPUs sees none.
    assert_eq!(project.read("b.txt"), "[]\n");
}

const SLOW: &str = r#"
stages:
  slow:
    uses: command
    with: {run: "touch STARTED; while [ ! -e GO ]; do sleep 0.01; done; echo ok > ${outputs.out}", outputs: {out: a.txt}}
  after: {uses: command, inputs: {a: slow.out}, with: {run: "cp ${inputs.a} ${outputs.out}", outputs: {out: b.txt}}}
"#;

fn slow() -> Project {
    let project = Project::new();
    let started = project.path("started").display().to_string();
    let go = project.path("go").display().to_string();
    project.pipeline(&SLOW.replace("STARTED", &started).replace("GO", &go));
    project
}

#[test]
fn an_interrupt_stops_the_tasks_and_the_next_run_goes_on() {
    for wish in [Signal::INT, Signal::TERM] {
        let project = slow();
        let mut child = project.spawn(&["run", "pipeline.yaml"]);
        wait_for_file(&project, "started");
        signal(&child, wish);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(marked_processes(&project).is_empty());
        let status = project.lsn(&["status"]).ok().out;
        assert!(status.contains("interrupted") && status.contains("stopped slow"), "{status}");
        assert!(!status.contains("failed"), "{status}");
        fs::write(project.path("go"), "").unwrap();
        assert_eq!(project.run(&[]).executed(), ["after", "slow"]);
    }
}

#[test]
fn a_task_that_does_not_want_to_stop_is_killed_by_the_second_interrupt() {
    let project = Project::new();
    let started = project.path("started").display().to_string();
    project.pipeline(&format!(
        r#"
stages:
  deaf:
    uses: command
    with: {{run: "trap '' TERM INT; touch {started}; while true; do sleep 0.05; done", outputs: {{out: a.txt}}}}
"#
    ));
    let mut child = project.spawn(&["run", "pipeline.yaml", "--progress", "json"]);
    wait_for_file(&project, "started");
    signal(&child, Signal::INT);
    wait_until("the first interrupt is in the journal", || {
        let home = Home::of(project.root());
        let runs = lsn::home::RunId::list(&home.runs());
        runs.iter()
            .any(|run| fs::read_to_string(home.run(run).journal()).is_ok_and(|text| text.contains("interrupted")))
    });
    assert!(child.try_wait().unwrap().is_none());
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(marked_processes(&project).is_empty());
}

#[test]
fn a_second_run_of_a_pipeline_waits_or_says_who_runs() {
    let project = slow();
    let mut first = project.spawn(&["run", "pipeline.yaml"]);
    wait_for_file(&project, "started");
    let busy = project.lsn(&["run", "pipeline.yaml", "--no-wait"]).code(1);
    assert!(busy.err.contains(&format!("(process {})", first.id())) && busy.err.contains("run "), "{}", busy.err);
    // Commands that only look go on meanwhile.
    assert!(project.plan(&[]).contains("1 to run"));
    assert!(project.lsn(&["status"]).ok().out.contains("running"));
    // Another pipeline of the same project shares the store freely.
    project.write(
        "other.yaml",
        "lsn: 1\nstages:\n  x: {uses: command, with: {run: \"echo 1 > ${outputs.o}\", outputs: {o: o.txt}}}\n",
    );
    project.lsn(&["run", "other.yaml"]).ok();

    let second = project.command(&["run", "pipeline.yaml"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    fs::write(project.path("go"), "").unwrap();
    assert!(first.wait().unwrap().success());
    let second = support::Said::from(second.wait_with_output().unwrap()).ok();
    assert!(second.err.contains("0 executed, 2 cached"), "{}", second.err);
}

/// A run that took a task from the cache has no log of it; the run that executed it has.
#[test]
fn logs_of_a_cached_task_are_those_of_the_run_that_executed_it() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  a: {uses: command, with: {run: "echo computing; echo > ${outputs.out}", outputs: {out: a.txt}}}
"#,
    );
    project.run(&[]);
    project.run(&[]);
    let runs = PastRun::all(&Home::of(project.root()));
    let logs = project.lsn(&["logs", "a"]).ok();
    assert_eq!(logs.out, "computing\n");
    assert!(logs.err.contains(&format!("last ran in {}", runs[0].run)), "{}", logs.err);
    let json: serde_json::Value = serde_json::from_str(&project.lsn(&["logs", "a", "--json"]).ok().out).unwrap();
    assert_eq!((json["run"].as_str(), json["text"].as_str()), (Some(runs[0].run.as_str()), Some("computing\n")));
    // Who names a run means it.
    assert!(project.lsn(&["logs", "a", "--run", runs[1].run.as_str()]).code(2).err.contains("did not run"));
}

/// `why` during a run: what a task waits for that has nothing left to be decided.
#[test]
fn why_tells_why_a_task_is_not_started_yet() {
    let project = Project::new();
    let started = project.path("started").display().to_string();
    let go = project.path("go").display().to_string();
    project.pipeline(
        &r#"
stages:
  a:
    uses: command
    resources: {cpus: 64}
    with: {run: "touch STARTED; while [ ! -e GO ]; do sleep 0.01; done; echo ok > ${outputs.out}", outputs: {out: a.txt}}
  b: {uses: command, resources: {cpus: 64}, with: {run: "echo b > ${outputs.out}", outputs: {out: b.txt}}}
  c: {uses: command, inputs: {a: a.out}, with: {run: "cp ${inputs.a} ${outputs.out}", outputs: {out: c.txt}}}
"#
        .replace("STARTED", &started)
        .replace("GO", &go),
    );
    let mut child = project.spawn(&["run", "pipeline.yaml"]);
    wait_for_file(&project, "started");
    let why = |task: &str| project.lsn(&["why", task, "-f", "pipeline.yaml"]).ok().out;
    // The journal reaches the disk a moment after the task has begun.
    wait_until("the start of `a` is in the journal", || why("a").contains("runs now"));
    let b = why("b");
    assert!(b.contains("ready, but not started: it wants 64 cpus") && b.contains("hold: a ("), "{b}");
    assert!(why("c").contains("waits for a (runs)"), "{}", why("c"));
    fs::write(project.path("go"), "").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(why("b").contains("cached"));
}

#[test]
fn runs_are_listed_compared_and_shown() {
    let project = Project::new();
    project.pipeline(
        r#"
params: {n: 1}
stages:
  a: {uses: command, with: {run: "echo ${params.n} > ${outputs.out}", outputs: {out: a.txt}}}
"#,
    );
    project.run(&[]);
    project.run(&["--set", "n=2"]);
    let runs = PastRun::all(&Home::of(project.root()));
    assert_eq!(runs.len(), 2);
    let diff = project.lsn(&["diff"]).ok().out;
    assert!(diff.contains("params.run: \"echo 1") && diff.contains("→ \"echo 2"), "{diff}");
    assert_eq!(project.lsn(&["show", "a.out", "--content"]).ok().out, "2\n");
    let shown = project.lsn(&["show", "a"]).ok().out;
    assert!(shown.contains("a of pipeline test") && shown.contains("output    out"), "{shown}");
    let key = runs[0].tasks[0].key.unwrap().0.hex();
    assert!(project.lsn(&["show", &key[..12]]).ok().out.contains(&key));
    assert!(project.lsn(&["runs"]).ok().out.lines().count() == 2);
    let unknown = project.lsn(&["show", "nothing"]).code(2);
    assert!(unknown.err.contains("neither a task"), "{}", unknown.err);
}

#[test]
fn the_cache_commands_tell_the_truth() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  a: {uses: command, with: {run: "head -c 100000 /dev/zero > ${outputs.out}", outputs: {out: a.bin}}}
"#,
    );
    project.run(&[]);
    assert!(project.lsn(&["cache", "stats"]).ok().out.contains("results               1"));
    assert!(project.lsn(&["cache", "ls"]).ok().out.contains("a (test)"));
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&project.lsn(&[&["cache", "--json"], args].concat()).ok().out).unwrap()
    };
    let stats = json(&["stats"]);
    assert_eq!((&stats["actions"]["count"], &stats["pins"]), (&1.into(), &0.into()), "{stats}");
    let listed = json(&["ls", "a"]);
    assert_eq!((&listed["provenance"]["task"], &listed["provenance"]["pipeline"]), (&"a".into(), &"test".into()));
    assert_eq!(project.lsn(&["cache", "ls", "no such task", "--json"]).ok().out, "");
    let verified = json(&["verify"]);
    assert_eq!((&verified["sound"], &verified["actions"], &verified["damaged"]), (&true.into(), &1.into(), &json!([])));
    assert!(project.lsn(&["cache", "verify"]).ok().out.contains("all sound"));
    assert!(project.lsn(&["cache", "pin", "a", "--note", "for the paper"]).ok().out.contains("pinned"));
    assert!(project.lsn(&["cache", "pin"]).ok().out.contains("for the paper"));
    assert_eq!(json(&["pin"]), json!([{"key": listed["key"], "note": "for the paper"}]));
    let collected = json(&["gc", "--dry-run"]);
    assert_eq!((&collected["dry_run"], &collected["store"]["actions"]), (&true.into(), &0.into()), "{collected}");
    assert!(
        project.lsn(&["cache", "gc", "--max-age", "0s", "--keep-runs", "0"]).ok().out.contains("removed 0 results")
    );
    assert!(project.lsn(&["cache", "pin", "a", "--remove"]).code(2).err.contains("names no result"));
    let index = fs::read_dir(project.path(".lsn/index")).unwrap().count();
    assert!(index > 0);
    assert!(project.lsn(&["cache", "reindex"]).ok().out.contains("test: 1 results"));
    assert_eq!(json(&["reindex"]), json!({"test": 1}));
    assert!(project.run(&[]).executed().is_empty());
}
