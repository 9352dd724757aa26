//! End to end on `command` stages: what runs, what does not run again, and why.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use lsn::home::{Home, PastRun};
use support::Project;

const CHAIN: &str = r#"
params: {word: hello}
stages:
  shout:
    uses: command
    inputs: {text: ./text.txt}
    with:
      run: "tr a-z A-Z < ${inputs.text} > ${outputs.out}; echo shouting"
      outputs: {out: shout.txt}
  count:
    uses: command
    inputs: {text: shout.out}
    with:
      run: "wc -c < ${inputs.text} > ${outputs.out}"
      outputs: {out: count.txt}
  say:
    uses: command
    inputs: {count: count.out}
    with:
      run: "echo ${params.word} $(cat ${inputs.count}) > ${outputs.out}"
      outputs: {out: said/said.txt}
outputs:
  result.txt: say.out
summary: "look at result.txt"
"#;

fn project() -> Project {
    let project = Project::new();
    project.pipeline(CHAIN).write("text.txt", "abc\n");
    project
}

#[test]
fn a_run_makes_the_outputs_and_the_next_one_does_nothing() {
    let project = project();
    let first = project.run(&[]);
    assert_eq!(first.tasks("task_finished"), ["shout", "count", "say"]);
    assert_eq!(project.read("result.txt").split_whitespace().collect::<Vec<_>>(), ["hello", "4"]);
    assert!(project.plan(&[]).contains("0 to run, 0 waiting, 3 cached"));
    let second = project.run(&[]);
    assert_eq!((second.tally("executed"), second.tally("cached")), (0, 3));
    let said = project.lsn(&["run", "pipeline.yaml"]).ok();
    assert_eq!(said.out, "look at result.txt\n");
    assert!(said.err.contains("0 executed, 3 cached"), "{}", said.err);
}

#[test]
fn moving_touching_and_other_jobs_recompute_nothing() {
    let mut project = project();
    project.run(&[]);
    project.move_to("elsewhere");
    assert!(project.run(&["-j", "7"]).executed().is_empty());
    let text = std::fs::File::options().write(true).open(project.path("text.txt")).unwrap();
    text.set_modified(std::time::SystemTime::now()).unwrap();
    assert!(project.run(&[]).executed().is_empty());
    std::fs::remove_dir_all(project.path(".lsn/index")).unwrap();
    assert!(project.run(&[]).executed().is_empty());
}

#[test]
fn renaming_a_stage_recomputes_nothing() {
    let project = project();
    project.run(&[]);
    project.pipeline(&CHAIN.replace("count:\n    uses", "length:\n    uses").replace("count.out", "length.out"));
    let run = project.run(&[]);
    assert!(run.executed().is_empty(), "{:?}", run.executed());
}

#[test]
fn a_changed_parameter_is_named_and_runs_only_what_depends_on_it() {
    let project = project();
    project.run(&[]);
    let plan = project.plan(&["--set", "word=bye"]);
    assert!(plan.contains("echo hello") && plan.contains("echo bye") && plan.contains("params.run"), "{plan}");
    assert_eq!(project.run(&["--set", "word=bye"]).executed(), ["say"]);
    assert!(project.read("result.txt").starts_with("bye"));
    // Going back is free, and what the next change is compared with is what was last used.
    assert!(project.run(&[]).executed().is_empty());
    assert!(project.read("result.txt").starts_with("hello"));
    let plan = project.plan(&["--set", "word=ciao"]);
    assert!(plan.contains("echo hello") && !plan.contains("echo bye"), "{plan}");
}

#[test]
fn the_wave_stops_where_the_bytes_are_the_same() {
    let project = project();
    project.run(&[]);
    project.write("text.txt", "xyz\n");
    let plan = project.plan(&[]);
    assert!(plan.contains("input text changed") && plan.contains("file ./text.txt"), "{plan}");
    assert!(plan.contains("waits on shout; may be cached"), "{plan}");
    let run = project.run(&[]);
    // Another text of the same length: the count is the same, and what follows it is not run.
    assert_eq!(run.executed(), ["count", "shout"]);
    assert_eq!(run.tasks("task_cached"), ["say"]);
}

#[test]
fn two_tasks_with_one_key_are_computed_once() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  a: {uses: command, with: {run: "date +%N > ${outputs.out}", outputs: {out: a.txt}}}
  b: {uses: command, with: {run: "date +%N > ${outputs.out}", outputs: {out: a.txt}}}
"#,
    );
    let run = project.run(&["-j", "4"]);
    assert_eq!(run.executed(), ["a"]);
    assert_eq!(run.tasks("task_cached"), ["b"]);
}

#[test]
fn only_declared_environment_reaches_a_command_and_it_is_part_of_the_key() {
    let project = Project::new();
    let pipeline = |value: &str| {
        let text = r#"
stages:
  a:
    uses: command
    env: {DECLARED: "VALUE"}
    with: {run: "echo $DECLARED $SECRET > ${outputs.out}", outputs: {out: a.txt}}
outputs: {a.txt: a.out}
"#;
        project.pipeline(&text.replace("VALUE", value));
    };
    pipeline("one");
    let mut command = project.command(&["run", "pipeline.yaml"]);
    assert!(command.env("SECRET", "leaked").status().unwrap().success());
    assert_eq!(project.read("a.txt"), "one\n");
    pipeline("two");
    assert!(project.plan(&[]).contains("env.DECLARED: \"one\" → \"two\""));
    assert_eq!(project.run(&[]).executed(), ["a"]);
}

#[test]
fn a_matrix_is_joined_in_order_and_one_more_instance_is_one_more_task() {
    let project = Project::new();
    let pipeline = |seeds: &str| {
        let text = r#"
stages:
  make:
    uses: command
    matrix: {seed: SEEDS}
    with: {run: "echo ${matrix.seed} > ${outputs.out}", outputs: {out: seed.txt}}
  join:
    uses: command
    inputs: {all: "make[*].out"}
    with: {run: "cat ${inputs.all} > ${outputs.out}", outputs: {out: all.txt}}
outputs: {all.txt: join.out}
"#;
        project.pipeline(&text.replace("SEEDS", seeds));
    };
    pipeline("[3, 1, 2]");
    assert_eq!(project.run(&[]).executed().len(), 4);
    assert_eq!(project.read("all.txt"), "3\n1\n2\n");
    pipeline("[3, 1, 2, 7]");
    let run = project.run(&[]);
    assert_eq!(run.executed(), ["join", "make[seed=7]"]);
    assert_eq!(project.read("all.txt"), "3\n1\n2\n7\n");
}

#[test]
fn directories_and_globs_travel_whole() {
    let project = Project::new();
    project.write("src/a.txt", "1\n").write("src/deep/b.txt", "2\n").write("src/c.md", "3\n").pipeline(
        r#"
stages:
  tree:
    uses: command
    inputs: {files: {glob: "src/*.txt"}, dir: ./src}
    with:
      run: "mkdir -p ${outputs.tree}/empty; cp -R ${inputs.dir}/. ${outputs.tree}; ls ${inputs.files} > ${outputs.tree}list"
      outputs: {tree: "tree/"}
  list:
    uses: command
    inputs: {tree: tree.tree}
    with: {run: "cd ${inputs.tree}; find . | sort > list; cat list > $OLDPWD/${outputs.out} && rm list", outputs: {out: list.txt}}
outputs: {made: tree.tree, list.txt: list.out}
"#,
    );
    project.run(&[]);
    assert_eq!(project.read("made/deep/b.txt"), "2\n");
    assert_eq!(project.read("made/list"), "inputs/files/a.txt\n");
    assert!(project.path("made/empty").is_dir());
    project.write("src/z.txt", "9\n");
    let plan = project.plan(&[]);
    assert!(plan.contains("input files[1] added"), "{plan}");
    project.run(&[]);
    assert_eq!(project.read("made/list"), "inputs/files/a.txt\ninputs/files/z.txt\n");
}

#[test]
fn force_only_and_until_choose_what_runs() {
    let project = project();
    let early = project.lsn(&["run", "pipeline.yaml", "--only", "say"]).code(2);
    assert!(early.err.contains("`count`") && early.err.contains("--until"), "{}", early.err);
    assert_eq!(project.run(&["--until", "count"]).executed(), ["count", "shout"]);
    assert_eq!(project.run(&["--only", "say"]).executed(), ["say"]);
    assert_eq!(project.run(&["--force", "count"]).executed(), ["count"]);
    let typo = project.lsn(&["run", "pipeline.yaml", "--until", "cuont"]).code(2);
    assert!(typo.err.contains("did you mean `count`"), "{}", typo.err);
}

#[test]
fn an_uncached_task_runs_every_time_and_is_never_published() {
    let project = Project::new();
    project.pipeline(
        r#"
stages:
  now: {uses: command, cache: false, with: {run: "date +%N > ${outputs.out}", outputs: {out: a.txt}}}
  copy: {uses: command, inputs: {a: now.out}, with: {run: "cp ${inputs.a} ${outputs.out}", outputs: {out: b.txt}}}
"#,
    );
    assert_eq!(project.run(&[]).executed(), ["copy", "now"]);
    assert_eq!(project.run(&[]).executed(), ["copy", "now"]);
    assert!(project.outputs().keys().all(|name| name == "copy.out"));
}

/// Invariant 7.
#[test]
fn a_file_that_lsn_did_not_write_is_left_alone() {
    let project = project();
    project.write("result.txt", "mine\n");
    let said = project.lsn(&["run", "pipeline.yaml"]).code(1);
    assert!(said.err.contains("`result.txt` exists and lsn did not write it"), "{}", said.err);
    assert_eq!(project.read("result.txt"), "mine\n");
    project.run(&["--overwrite"]);
    assert!(project.read("result.txt").starts_with("hello"));
    project.write("result.txt", "edited\n");
    let said = project.lsn(&["run", "pipeline.yaml", "--set", "word=bye"]).code(1);
    assert!(said.err.contains("was changed after lsn wrote it"), "{}", said.err);
    assert_eq!(project.read("result.txt"), "edited\n");
}

/// Invariant 7, and no more than that: with nothing new to write, an edited output is no failure.
#[test]
fn an_edited_output_is_a_warning_until_there_is_something_new_to_write() {
    let project = project();
    project.run(&[]);
    project.write("result.txt", "edited\n");
    let again = project.run(&[]);
    assert_eq!(again.tally("executed"), 0);
    let warnings = again.warnings();
    assert!(
        warnings.iter().any(|text| text.contains("`result.txt` was changed after lsn wrote it and is left")),
        "{warnings:?}"
    );
    assert_eq!(project.read("result.txt"), "edited\n");
    project.lsn(&["run", "pipeline.yaml", "--set", "word=bye"]).code(1);
    assert_eq!(project.read("result.txt"), "edited\n");
    project.run(&["--overwrite"]);
    assert!(project.read("result.txt").starts_with("hello"));
}

/// Invariant 4: a dry run is the run.
#[test]
fn a_dry_run_touches_nothing_and_tells_what_the_run_does() {
    let project = project();
    let dry = project.lsn(&["run", "pipeline.yaml", "--dry-run"]).ok();
    assert!(dry.out.contains("1 to run, 2 waiting, 0 cached"), "{}", dry.out);
    assert!(!project.path(".lsn").exists());
    project.run(&[]);
    project.write("text.txt", "longer\n");
    let plan: serde_json::Value =
        serde_json::from_str(&project.lsn(&["plan", "pipeline.yaml", "--json"]).ok().out).unwrap();
    let run = project.run(&[]);
    assert_eq!(&plan, run.find("planned").unwrap());
}

/// Invariant 5: what `why` shows is what was hashed.
#[test]
fn why_shows_the_key_manifest() {
    let project = project();
    project.run(&[]);
    let why = project.lsn(&["why", "say", "-f", "pipeline.yaml", "--key"]).ok().out;
    assert!(why.contains("cached"), "{why}");
    let json = &why[why.find('{').unwrap()..=why.rfind('}').unwrap()];
    let manifest: lsn::plan::KeyManifest = serde_json::from_str(json).unwrap();
    assert!(why.contains(&manifest.key().to_string()), "{why}");
}

/// A cached task says which run computed its result, and why that run did.
#[test]
fn why_tells_why_a_cached_task_last_ran() {
    let project = project();
    project.run(&[]);
    project.run(&["--set", "word=bye"]);
    project.run(&["--set", "word=bye"]);
    let why =
        |args: &[&str]| project.lsn(&[&["why", "say", "-f", "pipeline.yaml", "--set", "word=bye"], args].concat()).ok();
    let runs = PastRun::all(&Home::of(project.root()));
    let text = why(&[]).out;
    assert!(text.contains("cached") && text.contains(&format!("last ran in run {}", runs[1].run)), "{text}");
    assert!(text.contains("- params.run: ") && text.contains("uses command, behaviour version 1"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&why(&["--json"]).out).unwrap();
    let last = &json[0]["last"];
    assert_eq!(last["run"], runs[1].run.as_str());
    assert_eq!(
        (&last["reasons"][0]["reason"], &last["reasons"][0]["field"]),
        (&"changed".into(), &"params.run".into())
    );
    let manifest: lsn::plan::KeyManifest = serde_json::from_value(json[0]["key_manifest"].clone()).unwrap();
    assert_eq!(json[0]["key"], manifest.key().to_string());
}

#[test]
fn a_plan_of_a_project_that_never_ran_creates_nothing() {
    let project = project();
    assert!(project.plan(&[]).contains("new"));
    assert!(!project.path(".lsn").exists());
}
