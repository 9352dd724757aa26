//! `uses: command`: any program with declared inputs and outputs.

use crate::PortKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
}
