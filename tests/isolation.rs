//! What a task may do to the store, the project and the machine: nothing that outlives it, and nothing that others see.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use support::{Project, marked_processes, wait_until};

/// Invariant 5: what a task does is decided by its key, and a task that was told to stop did not do it all.
#[test]
fn a_command_that_ends_well_when_told_to_stop_has_no_result() {
    let project = Project::new();
    let started = project.path("started").display().to_string();
    project.pipeline(&format!(
        r#"
stages:
  a:
    uses: command
    with:
      run: "trap 'exit 0' TERM; echo partial > ${{outputs.o}}; [ -e {started} ] || {{ touch {started}; sleep 60 & wait; }}; echo full > ${{outputs.o}}"
      outputs: {{o: o.txt}}
outputs: {{result.txt: a.o}}
"#
    ));
    let mut child = project.spawn(&["run", "pipeline.yaml"]);
    wait_until("the command runs", || project.path("started").exists());
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(project.run(&[]).executed(), ["a"]);
    assert_eq!(project.read("result.txt"), "full\n");
}

/// Root is not held back by permissions, nobody by `chmod`.
#[test]
fn a_command_that_writes_to_its_input_fails_and_poisons_nobody() {
    let project = Project::new();
    let pipeline = |guilty: &str| {
        project.pipeline(&format!(
            r#"
stages:
  a: {{uses: command, with: {{run: "seq 5000 > ${{outputs.o}}", outputs: {{o: o.txt}}}}}}
  b:
    uses: command
    inputs: {{x: a.o}}
    with: {{run: "{guilty}; wc -c < ${{inputs.x}} > ${{outputs.o}}", outputs: {{o: o.txt}}}}
  c:
    uses: command
    inputs: {{x: a.o, after: b.o}}
    with: {{run: "head -n 1 ${{inputs.x}} > ${{outputs.o}}", outputs: {{o: o.txt}}}}
outputs: {{c.txt: c.o}}
"#
        ))
    };
    for guilty in [
        "chmod u+w ${inputs.x}; printf BAD | dd of=${inputs.x} conv=notrunc",
        "chmod u+w ${inputs.x}; echo more >> ${inputs.x}",
    ] {
        pipeline(guilty);
        let run = project.try_run(&[]);
        assert_eq!(run.said.code, Some(1));
        let failed = run.find("task_failed").unwrap();
        assert_eq!((failed["task"].as_str(), failed["class"].as_str()), (Some("b"), Some("contract")), "{failed}");
        assert!(failed["message"].as_str().unwrap().contains("changed its input `x`"), "{failed}");
    }
    pipeline("true");
    assert!(project.run(&[]).executed().contains(&"c".to_owned()));
    assert_eq!(project.read("c.txt"), "1\n");
}

/// Invariant 5: where an input comes from is not in the key, so it must not show.
#[test]
fn equal_content_looks_equal_from_the_project_and_from_a_stage() {
    let project = Project::new();
    project.write("d/one", "1\n").write("d/sub/two", "2\n");
    std::os::unix::fs::symlink("one", project.path("d/link")).unwrap();
    // `cache: false`: each looks for itself.
    project.pipeline(
        r#"
stages:
  copy:
    uses: command
    inputs: {d: ./d}
    with: {run: "mkdir -p ${outputs.d}; cp -rL ${inputs.d}/. ${outputs.d}", outputs: {d: d/}}
  from_project:
    uses: command
    cache: false
    inputs: {d: ./d}
    with: {run: "find ${inputs.d} -printf '%p %y %s %m\n' | sort > ${outputs.o}", outputs: {o: o.txt}}
  from_stage:
    uses: command
    cache: false
    inputs: {d: copy.d}
    with: {run: "find ${inputs.d} -printf '%p %y %s %m\n' | sort > ${outputs.o}", outputs: {o: o.txt}}
outputs: {a.txt: from_project.o, b.txt: from_stage.o}
"#,
    );
    project.run(&[]);
    let seen = |file: &str| {
        // Directories have what size and mode their file system gives them.
        let text = project.read(file);
        let mut lines: Vec<String> = text.lines().filter(|line| !line.contains(" d ")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(seen("a.txt"), seen("b.txt"));
    assert!(seen("a.txt").iter().all(|line| line.contains(" f ") && line.ends_with(" 444")), "{:?}", seen("a.txt"));
    assert_eq!(seen("a.txt").len(), 3);
}

#[test]
fn a_forced_task_replaces_its_result_and_a_forgotten_one_is_made_anew() {
    let project = Project::new();
    let source = project.path("source").display().to_string();
    project.pipeline(&format!(
        r#"
stages:
  a: {{uses: command, with: {{run: "cat {source} > ${{outputs.o}}", outputs: {{o: o.txt}}}}}}
outputs: {{a.txt: a.o}}
"#
    ));
    project.write("source", "wrong\n");
    project.run(&[]);
    project.write("source", "right\n");
    assert!(project.run(&[]).executed().is_empty(), "what is not declared does not count");
    assert_eq!(project.run(&["--force", "a"]).executed(), ["a"]);
    assert_eq!(project.read("a.txt"), "right\n");
    project.write("source", "better\n");
    project.lsn(&["cache", "forget", "a"]).ok();
    assert_eq!(project.run(&[]).executed(), ["a"]);
    assert_eq!(project.read("a.txt"), "better\n");
}

/// Invariant 10.
#[test]
fn a_process_that_left_its_group_ends_with_the_run() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  a: {uses: command, with: {run: "setsid sleep 600 & echo 1 > ${outputs.o}", outputs: {o: o.txt}}}
"#,
    );
    project.run(&[]);
    assert_eq!(marked_processes(&project), Vec::<i32>::new());
}

#[test]
fn a_declared_variable_has_its_declared_value() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  a:
    uses: command
    env: {OMP_NUM_THREADS: "7"}
    with: {run: "echo $OMP_NUM_THREADS > ${outputs.o}", outputs: {o: o.txt}}
outputs: {a.txt: a.o}
"#,
    );
    project.run(&[]);
    assert_eq!(project.read("a.txt"), "7\n");
}

#[test]
fn a_secret_reaches_its_command_and_nothing_else() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  a:
    uses: command
    secrets: [THE_TOKEN]
    with: {run: 'printf %s "$THE_TOKEN" | wc -c > ${outputs.o}', outputs: {o: o.txt}}
outputs: {a.txt: a.o}
"#,
    );
    let said = project.lsn(&["run", "pipeline.yaml"]).code(1);
    assert!(said.err.contains("the secret `THE_TOKEN` is not set"), "{}", said.err);
    let run = |token: &str| project.command(&["run", "pipeline.yaml"]).env("THE_TOKEN", token).output().unwrap();
    assert!(run("correct-horse-battery").status.success());
    assert_eq!(project.read("a.txt").trim(), "21");
    // Another token is no reason to compute anything, and none of it is on disk.
    assert!(String::from_utf8_lossy(&run("another").stderr).contains("0 executed, 1 cached"));
    for entry in walkdir::WalkDir::new(project.root()) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            let found = bytes.windows(21).any(|window| window == b"correct-horse-battery");
            assert!(!found, "{}", entry.path().display());
        }
    }
}

#[test]
fn a_working_directory_without_permissions_is_removed() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  a: {uses: command, with: {run: "mkdir -p x/y; touch x/y/z; chmod 500 x/y x; echo 1 > ${outputs.o}", outputs: {o: o.txt}}}
"#,
    );
    project.run(&[]);
    assert_eq!(fs::read_dir(project.path(".lsn/scratch")).unwrap().count(), 0);
}

#[test]
fn a_hangup_that_was_to_be_ignored_is_ignored() {
    let project = Project::new();
    let (started, go) = (project.path("started").display().to_string(), project.path("go").display().to_string());
    project.pipeline(&format!(
        r#"
stages:
  a:
    uses: command
    with: {{run: "touch {started}; while [ ! -e {go} ]; do sleep 0.02; done; echo 1 > ${{outputs.o}}", outputs: {{o: o.txt}}}}
"#
    ));
    let lsn = env!("CARGO_BIN_EXE_lsn");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("trap '' HUP; exec {lsn} run pipeline.yaml --progress none")]);
    let mut child = shell.current_dir(project.root()).spawn().unwrap();
    wait_until("the command runs", || project.path("started").exists());
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::HUP).unwrap();
    fs::write(project.path("go"), "").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_closed_or_full_standard_output_is_no_failure_of_a_run() {
    let project = Project::new();
    project.pipeline(
        "stages:\n  a: {uses: command, with: {run: \"echo 1 > ${outputs.o}\", outputs: {o: o.txt}}}\nsummary: done\n",
    );
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let status = project.command(&["run", "pipeline.yaml"]).stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(0));
}
