//! `uses: command`: any program with declared inputs and outputs.

use crate::{ParamIssue, PortKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Component, Path},
};

/// Parameters of a `command` stage.
///
/// The command runs in a directory of its own, in which every input `name` appears as `inputs/name/<file name>` and every
/// output `name` is expected at the path declared for it. In `run`, `${inputs.name}` and `${outputs.name}` stand for those
/// relative paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandParams {
    /// The command line, run by `shell -c`.
    pub run: String,
    /// Output name → path relative to the task's directory (`outputs/x.txt`); a trailing `/` declares a directory.
    pub outputs: BTreeMap<String, String>,
    /// The shell that runs the command line.
    #[serde(default = "default_shell")]
    pub shell: String,
}

fn default_shell() -> String {
    "sh".to_owned()
}

impl CommandParams {
    /// What an output path declares: a trailing `/` is a directory, anything else a file.
    #[must_use]
    pub fn kind(path: &str) -> PortKind {
        if path.ends_with('/') { PortKind::Directory } else { PortKind::File }
    }

    /// What is wrong with the parameters on their own.
    #[must_use]
    pub fn issues(&self) -> Vec<ParamIssue> {
        let mut issues = Vec::new();
        let mut issue = |pointer: String, message: String| {
            issues.push(ParamIssue { pointer, message, suggestion: None });
        };
        if self.run.trim().is_empty() {
            issue("/run".into(), "the command line is empty".into());
        }
        if self.outputs.is_empty() {
            issue("/outputs".into(), "a command needs at least one output".into());
        }
        let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, path) in &self.outputs {
            let pointer = format!("/outputs/{}", name.replace('~', "~0").replace('/', "~1"));
            let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            if path.trim_end_matches('/').is_empty() || !inside {
                issue(pointer, format!("`{path}` must be a path inside the task's directory, without `..`"));
            } else if Path::new(path).starts_with("inputs") {
                issue(pointer, format!("`{path}` lies in `inputs/`, where the inputs are"));
            } else if let Some(other) = taken.insert(path.trim_end_matches('/'), name) {
                issue(pointer, format!("outputs `{other}` and `{name}` have the same path `{path}`"));
            }
        }
        for (kind, name) in references(&self.run) {
            if kind == "outputs" && !self.outputs.contains_key(name) {
                issue("/run".into(), format!("`${{outputs.{name}}}` is not declared in `outputs`"));
            }
        }
        issues
    }

    /// The command line with its inputs and outputs filled in. `inputs` holds the paths of each input, relative to the
    /// directory that the command runs in; several are separated by spaces. Paths are quoted for the shell where they need it.
    ///
    /// # Errors
    /// The command line names an input or output that does not exist.
    pub fn render(&self, inputs: &BTreeMap<String, Vec<String>>) -> Result<String, ParamIssue> {
        let mut rendered = String::with_capacity(self.run.len());
        let mut rest = self.run.as_str();
        while let Some((before, kind, name, after)) = next_reference(rest) {
            rendered.push_str(before);
            let paths: Option<Vec<Cow<'_, str>>> = match kind {
                "inputs" => inputs.get(name).map(|paths| paths.iter().map(|path| quote(path)).collect()),
                _ => self.outputs.get(name).map(|path| vec![quote(path)]),
            };
            let Some(paths) = paths else {
                let message = format!("`${{{kind}.{name}}}` names no {}", kind.trim_end_matches('s'));
                return Err(ParamIssue { pointer: "/run".into(), message, suggestion: None });
            };
            rendered.push_str(&paths.join(" "));
            rest = after;
        }
        rendered.push_str(rest);
        Ok(rendered)
    }
}

/// The name under which a command sees the artifact at `position` of an input: its own, or with its position in front, as
/// often as it takes, where the artifacts before it have that name already. `take` claims a name if it is free.
pub fn free_name(name: &str, position: usize, mut take: impl FnMut(&str) -> bool) -> String {
    let mut free = name.to_owned();
    while !take(&free) {
        free = format!("{position}-{free}");
    }
    free
}

/// The next `${inputs.name}` or `${outputs.name}`: text before, kind, name, text after.
fn next_reference(text: &str) -> Option<(&str, &'static str, &str, &str)> {
    let mut from = 0;
    while let Some(start) = text[from..].find("${").map(|at| from + at) {
        let body = &text[start + 2..];
        for kind in ["inputs", "outputs"] {
            if let Some(name) = body.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.'))
                && let Some((name, after)) = name.split_once('}')
            {
                return Some((&text[..start], kind, name, after));
            }
        }
        from = start + 2;
    }
    None
}

fn references(mut text: &str) -> Vec<(&'static str, &str)> {
    let mut found = Vec::new();
    while let Some((_, kind, name, after)) = next_reference(text) {
        found.push((kind, name));
        text = after;
    }
    found
}

fn quote(path: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,=".contains(&byte);
    if !path.is_empty() && path.bytes().all(plain) {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(format!("'{}'", path.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(run: &str, outputs: &[(&str, &str)]) -> CommandParams {
        let outputs = outputs.iter().map(|&(name, path)| (name.to_owned(), path.to_owned())).collect();
        CommandParams { run: run.into(), outputs, shell: default_shell() }
    }

    #[test]
    fn every_artifact_of_an_input_has_a_name_of_its_own() {
        let mut taken = std::collections::BTreeSet::new();
        let names = ["x", "x", "1-x", "x", "y", "1-x"];
        let free: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(position, name)| free_name(name, position, |name| taken.insert(name.to_owned())))
            .collect();
        assert_eq!(free, ["x", "1-x", "2-1-x", "3-x", "y", "5-1-x"]);
    }

    #[test]
    fn references_are_filled_in_and_the_shell_keeps_its_own() {
        let params = params("cat ${inputs.src} ${HOME} > ${outputs.all}", &[("all", "outputs/a b")]);
        let inputs =
            BTreeMap::from([("src".to_owned(), vec!["inputs/src/x".to_owned(), "inputs/src/it's".to_owned()])]);
        let expected = r"cat inputs/src/x 'inputs/src/it'\''s' ${HOME} > 'outputs/a b'";
        assert_eq!(params.render(&inputs).unwrap(), expected);
        assert!(params.render(&BTreeMap::new()).unwrap_err().message.contains("inputs.src"));
    }

    #[test]
    fn outputs_that_cannot_work_are_all_named() {
        let issues = params(
            "echo > ${outputs.c}",
            &[("a", "../x"), ("b", "/x"), ("d", "inputs/x"), ("e", "same"), ("f", "same/")],
        )
        .issues();
        let pointers: Vec<_> = issues.iter().map(|issue| issue.pointer.as_str()).collect();
        assert_eq!(pointers, ["/outputs/a", "/outputs/b", "/outputs/d", "/outputs/f", "/run"]);
        assert_eq!(params("true", &[]).issues().len(), 1);
    }
}
