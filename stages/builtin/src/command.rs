//! `command`: any program with declared inputs and outputs.

use lsn_stage::{
    Determinism, FailureClass, ParamIssue, Port, Stage, StageContext, StageError, StageResult,
    command::{CommandParams, free_name},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
};

/// An executor starts the command itself; `run` is what `lsn stage run` does by hand.
pub struct Command;

impl Stage for Command {
    type Params = CommandParams;

    fn name(&self) -> &'static str {
        "command"
    }

    fn about(&self) -> &'static str {
        "runs any program with declared inputs and outputs"
    }

    fn version(&self) -> u32 {
        1
    }

    fn determinism(&self) -> Determinism {
        Determinism::Sampled
    }

    /// None of its own: a command takes whatever inputs it is given.
    fn inputs(&self, _params: &CommandParams) -> Vec<Port> {
        Vec::new()
    }

    fn outputs(&self, params: &CommandParams) -> Vec<Port> {
        params.outputs.iter().map(|(name, path)| Port::new(name, CommandParams::kind(path), path)).collect()
    }

    fn check(&self, params: &CommandParams) -> Result<(), Vec<ParamIssue>> {
        let issues = params.issues();
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: CommandParams, ctx: &StageContext) -> StageResult<()> {
        let root = tempfile::tempdir_in(ctx.scratch())
            .map_err(|error| StageError::io("cannot create the command's directory", &error))?;
        let inputs = link_inputs(ctx, root.path())?;
        for path in params.outputs.values() {
            make_parent(&root.path().join(path))?;
        }
        let line = params.render(&inputs).map_err(|issue| StageError::user(issue.message))?;
        let status = Process::new(&params.shell)
            .arg("-c")
            .arg(&line)
            .current_dir(root.path())
            .stdin(Stdio::null())
            .status()
            .map_err(|error| StageError::io(format!("cannot start `{}`", params.shell), &error))?;
        if !status.success() {
            return Err(StageError::user(format!("`{line}` ended with {status}")));
        }
        for (name, path) in &params.outputs {
            let from = root.path().join(path);
            if !from.exists() {
                let message = format!("the command did not write output `{name}` at `{path}`");
                return Err(StageError::new(FailureClass::Contract, message));
            }
            let to = ctx.output(name)?;
            move_path(&from, to).map_err(|error| StageError::io(format!("cannot move output `{name}`"), &error))?;
        }
        Ok(())
    }

    fn command(&self, params: &CommandParams) -> Option<CommandParams> {
        Some(params.clone())
    }
}

fn make_parent(path: &Path) -> StageResult<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|error| StageError::io(format!("cannot create {}", parent.display()), &error))
}

fn link_inputs(ctx: &StageContext, root: &Path) -> StageResult<BTreeMap<String, Vec<String>>> {
    let mut linked = BTreeMap::new();
    for name in ctx.input_names() {
        let mut paths = Vec::new();
        let mut taken = BTreeSet::new();
        for (index, artifact) in ctx.inputs(name).iter().enumerate() {
            let file = artifact.path.file_name().map_or_else(|| name.into(), |file| file.to_string_lossy());
            let file = free_name(&file, index, |file| taken.insert(file.to_owned()));
            let path = PathBuf::from("inputs").join(name).join(file);
            make_parent(&root.join(&path))?;
            let target = std::path::absolute(&artifact.path)
                .map_err(|error| StageError::io(format!("cannot find input `{name}`"), &error))?;
            std::os::unix::fs::symlink(target, root.join(&path))
                .map_err(|error| StageError::io(format!("cannot link input `{name}`"), &error))?;
            paths.push(path.to_string_lossy().into_owned());
        }
        linked.insert(name.to_owned(), paths);
    }
    Ok(linked)
}

/// Renames, or copies where the two are on different file systems.
fn move_path(from: &Path, to: &Path) -> std::io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => copy_tree(from, to),
        other => other,
    }
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Harness;

    fn params(run: &str) -> CommandParams {
        serde_json::from_value(serde_json::json!({"run": run, "outputs": {"all": "out/all.txt"}})).unwrap()
    }

    #[test]
    fn a_command_sees_its_inputs_and_its_output_is_taken() {
        let harness = Harness::new();
        let (a, b) = (harness.file("x/a.txt", "1\n"), harness.file("y/a.txt", "2\n"));
        let ctx = harness.context(&[("src", &[&a, &b])], &["all"]);
        Command.run(params("cat ${inputs.src} > ${outputs.all}; ls inputs/src >> ${outputs.all}"), &ctx).unwrap();
        assert_eq!(fs::read_to_string(ctx.output("all").unwrap()).unwrap(), "1\n2\n1-a.txt\na.txt\n");
    }

    #[test]
    fn inputs_whose_names_collide_are_all_there() {
        let harness = Harness::new();
        let files = [harness.file("a/x", "1\n"), harness.file("b/x", "2\n"), harness.file("c/1-x", "3\n")];
        let ctx = harness.context(&[("src", &[&files[0], &files[1], &files[2]])], &["all"]);
        Command.run(params("cat ${inputs.src} > ${outputs.all}"), &ctx).unwrap();
        assert_eq!(fs::read_to_string(ctx.output("all").unwrap()).unwrap(), "1\n2\n3\n");
    }

    #[test]
    fn failing_commands_and_missing_outputs_are_typed() {
        let harness = Harness::new();
        let ctx = harness.context(&[], &["all"]);
        let failed = Command.run(params("exit 3"), &ctx).unwrap_err();
        assert!(failed.class == FailureClass::User && failed.message.contains("exit status: 3"));
        assert_eq!(Command.run(params("true"), &ctx).unwrap_err().class, FailureClass::Contract);
    }
}
