//! The fidelity study in small: the committed pipeline through the real program, with few settings, rows and steps.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use std::{fs, path::Path};
use support::Project;

const SMALL: &str = "extends: pipelines/mimic.yaml
root: .
params:
  settings: [temperature_0.7, top_k_5]
  architectures: [LocalProbabilityTransform, RankedTransform]
  max_tokens: 12
  heldout_prompts: 5
  batch: {LocalProbabilityTransform: 4, RankedTransform: 4}
  steps: {LocalProbabilityTransform: 60, RankedTransform: 60}
";

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

fn lines(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split(',').collect()).collect()
}

#[test]
fn every_setting_is_mimicked_by_every_architecture_and_measured_on_other_prompts() {
    let project = Project::new();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["configs", "pipelines"] {
        copy(&repository.join(part), &project.path(part));
    }
    let path = "configs/prompts/quickstart_train.jsonl";
    let few: String = project.read(path).lines().take(5).map(|line| format!("{line}\n")).collect();
    project.write(path, &few);
    project.pipeline(SMALL);
    let run = project.run(&[]);
    let trained = run.executed().into_iter().filter(|task| task.starts_with("train[")).count();
    assert_eq!(trained, 4);

    let data = project.read("results/mimic/measurements.csv");
    let rows = lines(&data);
    let column = |name: &str| rows[0].iter().position(|head| *head == name).unwrap();
    let number = |row: usize, name: &str| rows[row][column(name)].parse::<f64>().unwrap();
    let names: Vec<_> = rows[1..].iter().map(|row| (row[0], row[1])).collect();
    let (local, ranked) = ("LocalProbabilityTransform", "RankedTransform");
    let heuristics = ["temperature_0.7", "top_k_5"];
    // Axes of a matrix go by their names.
    assert_eq!(names, [local, ranked].map(|architecture| heuristics.map(|name| (name, architecture))).concat());
    for (row, cells) in rows.iter().enumerate().skip(1) {
        assert!(number(row, "positions") > 20.0 && number(row, "raw_kl") > 0.0, "{cells:?}");
        assert!(number(row, "least_kl") < 1e-6, "no ties: {cells:?}");
    }
    // A temperature truncates nothing, and even a few steps come nearer to it than doing nothing.
    for row in [1, 3] {
        assert!(number(row, "raw_truncated_mass") == 0.0 && number(row, "learned_truncated_mass") == 0.0);
        assert!(number(row, "learned_kl") < 0.5 * number(row, "raw_kl"), "{:?}", rows[row]);
    }
    // What doing nothing costs does not depend on the architecture. All of top-k 5's divergence is mass beyond the fifth token.
    assert_eq!(number(2, "raw_kl"), number(4, "raw_kl"));
    assert!(number(2, "raw_truncated_mass") > 0.0 && number(2, "raw_truncated_mass") < number(2, "raw_kl"));

    let table = project.read("results/mimic/table.md");
    assert!(table.contains("| temperature_0.7 |") && table.contains(&format!("| {local} | {ranked} |")), "{table}");
    assert!(project.read("results/mimic/plot.svg").contains("RankedTransform"));

    // One more step for one architecture: the other's tasks stay.
    let again = project.run(&["--set", "steps.RankedTransform=61"]).executed();
    assert!(again.iter().any(|task| task.starts_with("train[")), "{again:?}");
    assert!(again.iter().all(|task| !task.contains(local)), "{again:?}");
}
