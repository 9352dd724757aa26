//! The quickstart's own stage graph on a handful of prompts: what an edit recomputes, and that killing it changes nothing.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};
use support::{
    Project, Run,
    chaos::{assert_nothing_is_left, crash_seed, events, run_through_kills},
};

const SMALL: &str = "extends: pipelines/quickstart.yaml
root: .
params: {seeds: [0, 1], limit: 6, max_tokens: 24, train_steps: 6, bootstrap: 50}
defaults: {retries: {max: 5, backoff: 1ms}}
";

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn project() -> Project {
    let project = Project::new();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["configs", "pipelines"] {
        copy_tree(&repository.join(part), &project.path(part));
    }
    // Four heuristics instead of 24.
    project.write("configs/heuristics/quickstart.yaml", "{temperatures: [0.6, 1.2], top_p: [0.9]}\n");
    project.pipeline(SMALL);
    project
}

/// Rows of all tasks of a stage in a run: computed, reused.
fn rows(run: &Run, stage: &str) -> (u64, u64) {
    let of_stage = |event: &&Value| {
        event["event"] == "task_finished" && event["task"].as_str().unwrap().split('[').next() == Some(stage)
    };
    let count = |event: &Value, field: &str| event["rows"][field].as_u64().unwrap();
    let finished = run.events.iter().filter(of_stage);
    finished.fold((0, 0), |(computed, reused), event| {
        (computed + count(event, "computed"), reused + count(event, "reused"))
    })
}

fn stages(tasks: &[String]) -> BTreeSet<&str> {
    tasks.iter().filter_map(|task| task.split('[').next()).collect()
}

/// Digests of the files that the run left for people, by path.
fn results(project: &Project) -> BTreeMap<String, lsn_digest::Digest> {
    let root = project.path("results");
    let files =
        walkdir::WalkDir::new(&root).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
    let found: BTreeMap<_, _> =
        files.map(|entry| (name(entry.path()), lsn_digest::Digest::of(&fs::read(entry.path()).unwrap()))).collect();
    assert!(found.len() > 5, "{found:?}");
    found
}

/// Stages from labels downwards.
const BELOW_SCORES: [&str; 11] = [
    "score",
    "train",
    "generate_learned",
    "verify_heldout",
    "quality_heldout",
    "diversity_heldout",
    "verifiable_heldout",
    "score_heldout",
    "evaluate",
    "analyze",
    "verify",
];

#[test]
fn an_edit_computes_what_it_changes_and_no_more() {
    let mut project = project();
    let first = project.run(&[]);
    let all = first.executed().len() as u64;
    assert_eq!(rows(&first, "generate"), (2 * 2 * 6 * 4, 0));

    // Nothing changed: moved, touched, other job counts, a stage renamed.
    project.move_to("elsewhere");
    let prompts =
        fs::File::options().append(true).open(project.path("configs/prompts/quickstart_train.jsonl")).unwrap();
    prompts.set_modified(std::time::SystemTime::now()).unwrap();
    let again = project.run(&["-j", "5"]);
    assert_eq!((again.tally("executed"), again.tally("cached")), (0, all));
    let manifest = project.read("pipelines/quickstart.yaml");
    project.write(
        "pipelines/quickstart.yaml",
        &manifest.replace("diversity.rows", "variety.rows").replace("  diversity:\n    uses", "  variety:\n    uses"),
    );
    let renamed = project.run(&[]);
    assert!(renamed.executed().is_empty(), "{:?}", renamed.executed());
    project.write("pipelines/quickstart.yaml", &manifest);

    // A parameter of the plots.
    let plan = project.plan(&["--set", "plot_tokens=10"]);
    assert!(plan.contains("params.top_k: 20 → 10") && plan.contains("1 to run, 0 waiting"), "{plan}");
    assert_eq!(project.run(&["--set", "plot_tokens=10"]).executed(), ["analyze"]);

    // The weight of a label.
    let plan = project.plan(&["--set", "weights.diversity=0.6"]);
    assert!(plan.contains("params.weights.diversity: 0.3 → 0.6"), "{plan}");
    let run = project.run(&["--set", "weights.diversity=0.6"]);
    let executed = run.executed();
    assert!(stages(&executed).contains("score"), "{executed:?}");
    assert!(stages(&executed).is_subset(&BELOW_SCORES.into()), "{executed:?}");
    assert!(!stages(&executed).contains("verify"), "{executed:?}");

    // One more seed: the tasks of the others stay as they are.
    let plan = project.plan(&["--set", "seeds=[0,1,2]"]);
    assert!(plan.contains("generate[seed=2,split=train]") && !plan.contains("generate[seed=1"), "{plan}");
    let run = project.run(&["--set", "seeds=[0,1,2]"]);
    let generated: Vec<_> = run.executed().into_iter().filter(|task| task.starts_with("generate[")).collect();
    assert_eq!(generated, ["generate[seed=2,split=heldout]", "generate[seed=2,split=train]"]);
    assert_eq!(rows(&run, "generate"), (2 * 6 * 4, 0));
    let (computed, reused) = rows(&run, "quality");
    assert!(computed <= 6 * 4 && reused >= computed, "the texts of two seeds were judged before: {computed}, {reused}");

    // One more heuristic: only its rows are generated, and judged where its texts are new.
    project.write("configs/heuristics/quickstart.yaml", "{temperatures: [0.6, 1.2], top_p: [0.9], min_p: [0.2]}\n");
    let plan = project.plan(&[]);
    assert!(plan.contains("input grid changed") && plan.contains("configs/heuristics/quickstart.yaml"), "{plan}");
    let run = project.run(&[]);
    assert_eq!(rows(&run, "generate"), (2 * 2 * 6 * 2, 2 * 2 * 6 * 4));
    let (computed, reused) = rows(&run, "quality");
    assert!(computed <= 2 * 6 * 2 && reused > 0, "{computed} judged, {reused} reused");
    // Samplers that gave the same texts share a row.
    let (computed, reused) = rows(&run, "diversity");
    assert!(computed <= 6 * 2 && computed + reused == 6 * 6, "{computed} sets measured, {reused} reused");
    let (computed, reused) = rows(&run, "verifiable");
    assert!(computed <= 2 * 6 * 2 && reused > 0, "{computed} verified, {reused} reused");

    // The text of one prompt: only its rows.
    let prompts = project.read("configs/prompts/quickstart_train.jsonl");
    let (line, rest) = prompts.split_once('\n').unwrap();
    let mut prompt: Value = serde_json::from_str(line).unwrap();
    prompt["prompt"] = format!("{} Think.", prompt["prompt"].as_str().unwrap()).into();
    project.write("configs/prompts/quickstart_train.jsonl", &format!("{prompt}\n{rest}"));
    let plan = project.plan(&[]);
    assert!(plan.contains("input sources changed") && plan.contains("quickstart_train.jsonl"), "{plan}");
    let run = project.run(&[]);
    assert_eq!(rows(&run, "generate"), (2 * 6, 2 * 5 * 6));
    let (computed, reused) = rows(&run, "diversity");
    assert!(computed <= 6 && computed + reused == 6 * 6, "{computed} sets measured, {reused} reused");

    // Invariant 9: what was put together from old and new rows equals a computation from scratch.
    let fresh = self::project();
    for file in ["configs/prompts/quickstart_train.jsonl", "configs/heuristics/quickstart.yaml"] {
        fresh.write(file, &project.read(file));
    }
    fresh.run(&[]);
    assert_eq!(results(&project), results(&fresh));
}

/// Kills of the crash test, at least.
const KILLS: usize = 20;

/// Acceptance of invariants 1 to 3 on built-in stages: rows, checkpoints and data sets instead of files of shells.
#[test]
fn killed_at_random_moments_it_ends_with_the_same_bytes() {
    let mut random = crash_seed();
    let calm = project();
    calm.run(&[]);
    let calm_events = events(&calm);
    let (mut kills, mut interrupted_work, mut rounds) = (0, 0, 0);
    while kills < KILLS || interrupted_work < KILLS / 2 {
        rounds += 1;
        assert!(rounds <= 2 * KILLS, "{kills} kills, only {interrupted_work} while tasks ran");
        let project = project();
        let (struck, during_work) = run_through_kills(&project, calm_events, &mut random);
        (kills, interrupted_work) = (kills + struck, interrupted_work + during_work);
        let last = project.run(&[]);
        assert!(last.executed().is_empty(), "{:?}", last.executed());
        assert_eq!(project.outputs(), calm.outputs());
        assert_eq!(results(&project), results(&calm));
        assert_nothing_is_left(&project);
    }
    println!("{kills} kills, {interrupted_work} while tasks ran, in {rounds} projects");
}
