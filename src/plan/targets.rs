//! From the words of a person to tasks.

use crate::manifest::{Pipeline, TaskIndex};
use globset::GlobBuilder;

/// A word that names no task.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("no stage or task is called `{word}`")]
    Unknown { word: String, nearest: Option<String> },
    #[error("`{word}` is not a pattern: {message}")]
    Pattern { word: String, message: String },
}

/// The tasks that `word` names: a stage (all its tasks), a task (`generate[seed=3]`), or a pattern with `*` over either.
///
/// # Errors
/// Nothing has that name.
pub fn find(pipeline: &Pipeline, word: &str) -> Result<Vec<TaskIndex>, TargetError> {
    let tasks = || (0_u32..).map(TaskIndex).zip(&pipeline.tasks);
    let exact: Vec<_> =
        tasks().filter(|(_, task)| task.stage.0 == word || task.id.0 == word).map(|(index, _)| index).collect();
    if !exact.is_empty() {
        return Ok(exact);
    }
    if word.contains('*') {
        // Brackets are part of task names here, never a set of characters.
        let pattern = word.replace('[', "\\[").replace(']', "\\]");
        let matcher = GlobBuilder::new(&pattern)
            .backslash_escape(true)
            .build()
            .map_err(|error| TargetError::Pattern { word: word.to_owned(), message: error.kind().to_string() })?
            .compile_matcher();
        let found: Vec<_> = tasks()
            .filter(|(_, task)| matcher.is_match(&task.stage.0) || matcher.is_match(&task.id.0))
            .map(|(index, _)| index)
            .collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let names = pipeline.tasks.iter().flat_map(|task| [&task.stage.0, &task.id.0]);
    let nearest = names
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .min()
        .filter(|(distance, _)| *distance <= 3.max(word.len() / 3))
        .map(|(_, name)| name.clone());
    Err(TargetError::Unknown { word: word.to_owned(), nearest })
}
