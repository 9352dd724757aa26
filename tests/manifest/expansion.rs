//! What right manifests mean.

use crate::{ids, messages, pipeline, pipeline_with, read, registry::registry, task, write};
use lsn::manifest::{Overrides, Resources, Retries, Source, TaskId, load};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

const FLOW: &str = r#"
lsn: 1
params:
  seeds: [0, 1, 2]
  limit: 60
  model: {path: configs/models/tiny, dtype: f32}
  name: "${params.model.dtype}-${params.limit}"
defaults:
  retries: {max: 1, backoff: 2s}
  env: {LC_ALL: C}
profiles:
  big:
    defaults: {resources: {cpus: 8}, timeout: 1h}
    stages: {generate: {resources: {gpus: 1}}}
stages:
  verify:
    uses: verify
    inputs: {generations: "generate[*].rows", prompts: prompts.rows}
    with: {seeds: "${params.seeds}", policy: drop_prompt}
  generate:
    uses: generate
    matrix: {seed: "${params.seeds}"}
    inputs: {prompts: prompts.rows, heuristics: ./h.yaml, model: "${params.model.path}"}
    with: {seed: "${matrix.seed}", stop: ["${params.name}-${matrix.seed}", "$${x}"]}
    resources: {cpus: 2, mem: 1.5GiB}
  prompts:
    uses: prompts
    inputs: {sources: [./a.jsonl, {glob: "more/*.jsonl"}, {path: b.c}]}
    with: {limit: "${params.limit}"}
  copy:
    uses: command
    inputs: {src: [verify.report, "generate[seed=1].rows"]}
    with: {run: "cat ${inputs.src} ${HOME} ${params.limit} ${x:-${y}} > ${outputs.all}", outputs: {all: outputs/all.txt}}
    env: {N: 3, LC_ALL: POSIX}
    cache: false
    retries: {max: 0}
outputs:
  results/report: verify.report
summary: |
  Look at results/report
"#;

fn output(pipeline: &lsn::manifest::Pipeline, id: &str, name: &str) -> Source {
    let task = pipeline.tasks.iter().position(|task| task.id.0 == id).expect("a task");
    Source::Output { task: lsn::manifest::TaskIndex(u32::try_from(task).expect("few tasks")), output: name.to_owned() }
}

#[test]
fn a_whole_flow() {
    let pipeline = pipeline(FLOW);
    assert_eq!(
        ids(&pipeline),
        ["prompts", "generate[seed=0]", "generate[seed=1]", "generate[seed=2]", "verify", "copy"]
    );
    assert_eq!(pipeline.name, "pipeline");
    assert_eq!(pipeline.summary.as_deref(), Some("Look at results/report"));
    assert_eq!(pipeline.publish.len(), 1);
    assert_eq!(pipeline.tasks[pipeline.publish[0].task.0 as usize].id, TaskId("verify".into()));

    let generate = task(&pipeline, "generate[seed=2]");
    let expected = json!({"seed": 2, "max_tokens": 100, "backend": {"kind": "embedded"}, "stop": ["f32-60-2", "${x}"]});
    assert_eq!(*generate.params, expected);
    assert_eq!(generate.matrix, BTreeMap::from([("seed".to_owned(), json!(2))]));
    assert_eq!(generate.inputs["heuristics"], [Source::Path { path: "./h.yaml".into() }]);
    assert_eq!(generate.inputs["model"], [Source::Path { path: "configs/models/tiny".into() }]);
    assert_eq!(generate.inputs["prompts"], [output(&pipeline, "prompts", "rows")]);
    assert_eq!(generate.resources, Resources { cpus: 2, mem: Some(1_610_612_736), ..Resources::default() });
    assert_eq!(generate.retries, Retries { max: 1, backoff: Duration::from_secs(2) });
    assert_eq!(generate.timeout, None);
    assert_eq!(generate.env["LC_ALL"], "C");
    assert!(generate.cache);

    let verify = task(&pipeline, "verify");
    assert_eq!(verify.params["seeds"], json!([0, 1, 2]));
    let all = [0, 1, 2].map(|seed| output(&pipeline, &format!("generate[seed={seed}]"), "rows"));
    assert_eq!(verify.inputs["generations"], all);

    let copy = task(&pipeline, "copy");
    let run = "cat ${inputs.src} ${HOME} 60 ${x:-${y}} > ${outputs.all}";
    assert_eq!(copy.params["run"], json!(run));
    let src = [output(&pipeline, "verify", "report"), output(&pipeline, "generate[seed=1]", "rows")];
    assert_eq!(copy.inputs["src"], src);
    assert_eq!(*copy.env, BTreeMap::from([("N".into(), "3".into()), ("LC_ALL".into(), "POSIX".into())]));
    assert!(!copy.cache);
    assert_eq!(copy.retries, Retries { max: 0, backoff: Duration::from_secs(2) });

    let prompts = task(&pipeline, "prompts");
    let sources = [
        Source::Path { path: "./a.jsonl".into() },
        Source::Glob { pattern: "more/*.jsonl".into() },
        Source::Path { path: "b.c".into() },
    ];
    assert_eq!(prompts.inputs["sources"], sources);
    assert_eq!(*prompts.params, json!({"limit": 60, "shuffle": false}));
}

#[test]
fn parameters_from_outside() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), "p.yaml", "limit: 7\nmodel: {dtype: bf16}\n");
    let overrides = Overrides {
        set: ["seeds=[5]", "model.path=x/y", "name=${env.WHO}!"].map(str::to_owned).to_vec(),
        params_files: vec![directory.path().join("p.yaml")],
        env: BTreeMap::from([("WHO".to_owned(), "me".to_owned())]),
        ..Overrides::default()
    };
    // `copy` asks for seed 1, which is gone.
    let text = FLOW.replace("generate[seed=1]", "generate[seed=5]");
    let pipeline = pipeline_with(&text, &overrides);
    let generate = task(&pipeline, "generate[seed=5]");
    assert_eq!(generate.params["stop"][0], "me!-5");
    assert_eq!(generate.inputs["model"], [Source::Path { path: "x/y".into() }]);
    assert_eq!(task(&pipeline, "prompts").params["limit"], 7);
}

#[test]
fn a_profile_changes_settings_only() {
    let plain = pipeline(FLOW);
    let big = pipeline_with(FLOW, &Overrides { profile: Some("big".into()), ..Overrides::default() });
    let generate = task(&big, "generate[seed=0]");
    assert_eq!(generate.resources.cpus, 2, "what a stage says itself wins over a profile's defaults");
    assert_eq!(generate.resources.gpus.to_bits(), 1.0_f64.to_bits());
    assert_eq!(task(&big, "verify").resources.cpus, 8);
    assert_eq!(task(&big, "verify").timeout, Some(Duration::from_secs(3600)));
    for (one, other) in plain.tasks.iter().zip(&big.tasks) {
        assert_eq!(
            (&one.id, &one.params, &one.inputs, &one.env),
            (&other.id, &other.params, &other.inputs, &other.env)
        );
    }
}

#[test]
fn extending_merges_removes_and_keeps_places() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), "base/flow.yaml", &FLOW.replace("lsn: 1", "lsn: 1\nname: base\nroot: .."));
    let child = r#"
lsn: 1
extends: ../base/flow.yaml
params: {seeds: [4], name: null}
stages:
  copy: null
  prompts: {with: {limit: 3, shuffle: true}}
  generate: {with: {stop: []}}
"#;
    write(directory.path(), "runs/child.yaml", child);
    let path = directory.path().join("runs/child.yaml");
    let (pipeline, _) = load(&path, &Overrides::default(), &registry()).expect("a pipeline");
    assert_eq!(pipeline.name, "child");
    assert_eq!(pipeline.root, directory.path());
    assert_eq!(ids(&pipeline), ["prompts", "generate[seed=4]", "verify"]);
    assert_eq!(*task(&pipeline, "prompts").params, json!({"limit": 3, "shuffle": true}));
    assert_eq!(task(&pipeline, "generate[seed=4]").params["stop"], json!([]));

    let broken = child.replace("limit: 3", "limit: x");
    write(directory.path(), "runs/child.yaml", &broken);
    let errors = load(&path, &Overrides::default(), &registry()).expect_err("a broken manifest");
    let problem = &errors.problems[0];
    assert_eq!((problem.line, problem.column), (7, 27), "{problem:?}");
    assert!(problem.file.ends_with("runs/child.yaml"), "{problem:?}");
}

#[test]
fn matching_instances_of_two_matrices() {
    let pipeline = pipeline(
        r#"
lsn: 1
stages:
  prompts: {uses: prompts, inputs: {sources: ./a.jsonl}}
  generate:
    uses: generate
    matrix: {seed: {range: [0, 3]}, size: [s, m]}
    inputs: {prompts: prompts.rows, heuristics: "./h-${matrix.size}.yaml"}
    with: {seed: "${matrix.seed + 100}"}
  score:
    uses: score
    matrix: {seed: [2, 0]}
    inputs:
      rows: "generate[size=m, seed=${matrix.seed}].rows"
      labels: "generate[seed=${matrix.seed}].rows"
"#,
    );
    let score = task(&pipeline, "score[seed=2]");
    assert_eq!(score.inputs["rows"], [output(&pipeline, "generate[seed=2,size=m]", "rows")]);
    let both = ["s", "m"].map(|size| output(&pipeline, &format!("generate[seed=2,size={size}]"), "rows"));
    assert_eq!(score.inputs["labels"], both);
    let generate = task(&pipeline, "generate[seed=1,size=m]");
    assert_eq!(generate.inputs["heuristics"], [Source::Path { path: "./h-m.yaml".into() }]);
    assert_eq!(generate.params["seed"], 101);
}

#[test]
fn a_recurrence_over_a_matrix_is_no_cycle() {
    let pipeline = pipeline(
        r#"
lsn: 1
stages:
  step:
    uses: command
    matrix: {n: [3, 2, 1]}
    inputs: {before: "${'./start' if matrix.n == 1 else 'step[n=' ~ (matrix.n - 1) ~ '].out'}"}
    with: {run: "cp ${inputs.before} ${outputs.out}", outputs: {out: out}}
"#,
    );
    assert_eq!(ids(&pipeline), ["step[n=1]", "step[n=2]", "step[n=3]"]);
}

#[test]
fn what_when_leaves_out() {
    let text = r#"
lsn: 1
params: {judge: false}
stages:
  prompts: {uses: prompts, inputs: {sources: ./a.jsonl}}
  generate:
    uses: generate
    matrix: {seed: [0, 1, 2]}
    when: "${matrix.seed != 1}"
    inputs: {prompts: prompts.rows, heuristics: ./h.yaml}
    with: {seed: "${matrix.seed}"}
  judge:
    uses: command
    when: "${params.judge}"
    with: {run: "true", outputs: {labels: labels}}
  verify: {uses: verify, inputs: {generations: "generate[*].rows"}}
  score: {uses: score, inputs: {rows: verify.rows, labels: [judge.labels, verify.report]}}
outputs: {results/labels: judge.labels}
"#;
    let without = pipeline(text);
    assert_eq!(ids(&without), ["prompts", "generate[seed=0]", "generate[seed=2]", "verify", "score"]);
    assert_eq!(task(&without, "verify").inputs["generations"].len(), 2);
    assert_eq!(task(&without, "score").inputs["labels"], [output(&without, "verify", "report")]);
    assert!(without.publish.is_empty());
    let with = pipeline_with(text, &Overrides { set: vec!["judge=true".into()], ..Overrides::default() });
    assert_eq!(task(&with, "score").inputs["labels"].len(), 2);
    assert_eq!(with.publish.len(), 1);
}

#[test]
fn scalars_follow_yaml_1_2() {
    let text = |value: &str| {
        format!(
            "lsn: 1\nparams: {{x: {value}}}\nstages: {{a: {{uses: command, env: {{X: \"${{params.x | tojson}}\"}}, with: {{run: 'true', outputs: {{o: o}}}}}}}}"
        )
    };
    for (written, value) in [
        ("no", json!("no")),
        ("true", json!(true)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("1e3", json!(1000.0)),
        ("-0.5", json!(-0.5)),
        ("1.2.3", json!("1.2.3")),
        ("2026-11-23", json!("2026-11-23")),
        ("'1'", json!("1")),
        ("18446744073709551615", json!(u64::MAX)),
        ("!!str 1", json!("1")),
        ("[]", json!([])),
    ] {
        let read: Value = serde_json::from_str(&pipeline(&text(written)).tasks[0].env["X"]).expect("JSON");
        assert_eq!(read, value, "{written}");
    }
}

#[test]
fn anchors_and_merge_keys() {
    let pipeline = pipeline(
        r#"
lsn: 1
stages:
  a: &a
    uses: command
    env: &env {A: 1, B: 2}
    with: {run: "true", outputs: {o: o}}
  b:
    <<: *a
    env: {<<: *env, B: 3}
"#,
    );
    assert_eq!(pipeline.tasks[1].env["A"], "1");
    assert_eq!(pipeline.tasks[1].env["B"], "3");
}

#[test]
fn missing_files_are_warnings() {
    let (_, warnings) = read(FLOW, &Overrides::default()).expect("a pipeline");
    let texts: Vec<&str> = warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert!(texts.contains(&"there is no `./a.jsonl` in the project"), "{texts:?}");
}

#[test]
fn environment_variables_with_a_fallback() {
    let text = r#"
lsn: 1
stages:
  a: {uses: command, env: {T: "${env.TOKEN | default('none')}"}, with: {run: "true", outputs: {o: o}}}
"#;
    assert_eq!(pipeline(text).tasks[0].env["T"], "none");
    assert_eq!(
        messages(&text.replace(" | default('none')", ""), &Overrides::default()),
        ["the environment variable `TOKEN` is not set"]
    );
}

/// `${stages}` says what the expanded pipeline itself says about its stages.
#[test]
fn the_stage_graph_is_in_step_with_the_pipeline() {
    for name in ["quickstart", "llama3.2_3b"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("pipelines/{name}.yaml"));
        let loaded = load(&path, &Overrides::default(), &lsn_stages::registry());
        let (pipeline, _) = loaded.unwrap_or_else(|errors| panic!("{}", errors.render(120, false)));
        let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for task in &pipeline.tasks {
            let reads = graph.entry(&task.stage.0).or_default();
            reads.extend(task.inputs.values().flatten().filter_map(|source| match source {
                Source::Output { task, .. } => Some(pipeline.tasks[task.0 as usize].stage.0.as_str()),
                Source::Path { .. } | Source::Glob { .. } => None,
            }));
        }
        assert!(graph.len() > 12 && graph["analyze"].contains("score_heldout"), "{graph:?}");
        assert_eq!(task(&pipeline, "analyze").params["pipeline"], json!(graph), "{name}");
    }
}

#[test]
fn the_stage_graph_knows_instances_and_what_is_left_out() {
    let text = r#"
lsn: 1
params: {on: false}
stages:
  d:
    uses: command
    matrix: {k: [a, b, c]}
    when: "${matrix.k != 'c' or params.on}"
    inputs: {i: ["${matrix.k}.o", e.o], p: ./f.txt}
    with: {run: "true", outputs: {o: "${stages.d | join('-')}/${matrix.k}"}}
  a: {uses: command, with: {run: "true", outputs: {o: o}}}
  b: {uses: command, inputs: {a: a.o}, with: {run: "true", outputs: {o: "${stages.b | join('-')}"}}}
  c: {uses: command, with: {run: "echo ${stages}", outputs: {o: "o${stages | length}"}}}
  e: {uses: command, when: "${params.on}", with: {run: "true", outputs: {o: o}}}
"#;
    let path = |pipeline: &lsn::manifest::Pipeline, id: &str| task(pipeline, id).params["outputs"]["o"].clone();
    let off = pipeline(text);
    assert_eq!((path(&off, "d[k=b]"), path(&off, "b")), (json!("a-b/b"), json!("a")));
    assert_eq!(task(&off, "c").params["run"], "echo ${stages}", "what is the shell's stays the shell's");
    let on = pipeline_with(text, &Overrides { set: vec!["on=true".into()], ..Overrides::default() });
    assert_eq!(path(&on, "d[k=c]"), "a-b-c-e/c");

    let wrong = text.replace("./f.txt", "\"${stages}\"").replace("stages.b |", "stages.bb |");
    assert_eq!(
        messages(&wrong, &Overrides::default()),
        ["`stages` is not known here", "undefined variable `stages.bb`"]
    );
}

#[test]
fn the_agreed_example_reads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let quickstart = root.join("tests/manifest/valid/example.yaml");
    let (pipeline, _) = load(&quickstart, &Overrides::default(), &registry()).expect("a pipeline");
    assert_eq!(pipeline.name, "quickstart");
    assert_eq!(pipeline.root, root.join("tests/manifest"));
    assert_eq!(pipeline.tasks.len(), 7);
}

proptest! {
    #[test]
    fn the_order_of_stages_in_the_file_does_not_matter(order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle()) {
        // Each stage takes the outputs of some with a smaller number.
        let stages: Vec<String> = (0..6)
            .map(|n: usize| {
                let inputs: Vec<String> = (0..n).filter(|m| (n * 7 + m * 3) % 4 < 2).map(|m| format!("\"s{m}[*].o\"")).collect();
                let inputs = if inputs.is_empty() { "{path: x}".to_owned() } else { format!("[{}]", inputs.join(", ")) };
                format!("  s{n}: {{uses: command, matrix: {{k: {{range: [0, {}]}}}}, inputs: {{x: {inputs}}}, with: {{run: 'true', outputs: {{o: o}}}}}}\n", n % 3 + 1)
            })
            .collect();
        let written = |order: &[usize]| {
            let text: String = order.iter().map(|n| stages[*n].as_str()).collect();
            pipeline(&format!("lsn: 1\nstages:\n{text}"))
        };
        let named = |pipeline: &lsn::manifest::Pipeline| -> BTreeMap<String, Vec<String>> {
            let name = |source: &Source| match source {
                Source::Output { task, output } => format!("{}.{output}", pipeline.tasks[task.0 as usize].id),
                other => format!("{other:?}"),
            };
            pipeline.tasks.iter().map(|task| (task.id.0.clone(), task.inputs.values().flatten().map(name).collect())).collect()
        };
        let (sorted, shuffled) = (written(&[0, 1, 2, 3, 4, 5]), written(&order));
        prop_assert_eq!(named(&sorted), named(&shuffled));
        prop_assert_eq!(sorted.tasks.len(), 12);
        for (at, task) in shuffled.tasks.iter().enumerate() {
            for source in task.inputs.values().flatten() {
                if let Source::Output { task: from, .. } = source {
                    prop_assert!((from.0 as usize) < at, "{} comes before what it needs", task.id);
                }
            }
        }
    }

    #[test]
    fn any_text_is_a_pipeline_or_a_report(text in "[a-z0-9:{}\\[\\]\"'&*!|>$#,.\\- \n\t]{0,200}") {
        if let Err(errors) = read(&text, &Overrides::default()) {
            prop_assert!(!errors.problems.is_empty());
            prop_assert!(!errors.render(80, false).is_empty());
        }
    }

    #[test]
    fn a_broken_flow_is_a_report(at in 0..FLOW.len(), with in "[a-z:{}\\[\\]\"'$,. \n]{0,3}") {
        let text: String = FLOW.chars().enumerate().flat_map(|(n, c)| {
            let insert = if n == at { with.clone() } else { String::new() };
            insert.chars().chain(std::iter::once(c)).collect::<Vec<_>>()
        }).collect();
        if let Err(errors) = read(&text, &Overrides::default()) {
            prop_assert!(!errors.problems.is_empty());
        }
    }
}
