//! The manifest reader from the outside: text in, pipeline or report out.

#![expect(clippy::expect_used, reason = "what a test sets up must work")]

mod broken;
mod expansion;
mod registry;
mod schema;
mod speed;

use lsn::manifest::{ManifestErrors, Overrides, Pipeline, Task, Warning, load};
use registry::registry;
use std::{fs, path::Path};

/// Loads a manifest written to `pipeline.yaml` of a directory of its own.
fn read(text: &str, overrides: &Overrides) -> Result<(Pipeline, Vec<Warning>), ManifestErrors> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pipeline.yaml");
    fs::write(&path, text).expect("a file");
    load(&path, overrides, &registry())
}

/// As [`read`], for a manifest that must be right.
fn pipeline(text: &str) -> Pipeline {
    pipeline_with(text, &Overrides::default())
}

fn pipeline_with(text: &str, overrides: &Overrides) -> Pipeline {
    match read(text, overrides) {
        Ok((pipeline, _)) => pipeline,
        Err(errors) => panic!("{}", errors.render(120, false)),
    }
}

/// The messages of a manifest that must be wrong.
fn messages(text: &str, overrides: &Overrides) -> Vec<String> {
    let errors = read(text, overrides).map(|(pipeline, _)| pipeline.tasks.len()).expect_err("a broken manifest");
    errors.problems.into_iter().map(|problem| problem.message).collect()
}

fn task<'a>(pipeline: &'a Pipeline, id: &str) -> &'a Task {
    pipeline.tasks.iter().find(|task| task.id.0 == id).unwrap_or_else(|| panic!("no task {id}"))
}

fn ids(pipeline: &Pipeline) -> Vec<&str> {
    pipeline.tasks.iter().map(|task| task.id.0.as_str()).collect()
}

fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(path, text).expect("a file");
}
