//! Pipeline manifests: YAML text → a tree that knows its places → checked types → the expanded [`Pipeline`].
//!
//! [`load`] is the one way in. Everything wrong with a manifest is reported at once, each problem with file, line, column,
//! the line itself and what was expected.

mod connect;
mod document;
mod expand;
mod expression;
mod load;
mod matrix;
mod merge;
mod order;
mod paths;
mod pieces;
mod pipeline;
mod problem;
mod reference;
mod schema;
mod scope;
mod settings;
mod sketch;
mod source;
mod stage_graph;
mod structure;
mod tree;
mod undefined;
mod units;
mod value;
mod wanted;

pub use connect::kind as describe_kind;
pub use load::load;
pub use pipeline::*;
pub use problem::{ManifestErrors, Problem, Warning, nearest, render};
pub use schema::json_schema;
pub use units::{ByteSize, TimeSpan};

use std::{collections::BTreeMap, path::PathBuf};

/// Reads a YAML value as a manifest would, without its expressions.
///
/// # Errors
/// It is not YAML; the message says why.
pub fn parse_value(text: &str) -> Result<serde_json::Value, String> {
    let mut sources = source::Sources::default();
    let mut findings = problem::Findings::default();
    if text.trim().is_empty() {
        return Ok(serde_json::Value::Null);
    }
    let id = sources.add("value", "", text.to_owned());
    let node = tree::parse(id, &sources, &mut findings);
    match (node, findings.into_findings().into_iter().next()) {
        (Some(node), None) => Ok(node.to_value()),
        (_, Some(finding)) => Err(finding.message),
        (None, None) => Err("there is no value".to_owned()),
    }
}

/// What the command line changes about a manifest.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `key=value` pairs for declared parameters; the key may have dots, the value is YAML.
    pub set: Vec<String>,
    /// YAML files with values for declared parameters; later ones win, `set` wins over all.
    pub params_files: Vec<PathBuf>,
    /// The site profile.
    pub profile: Option<String>,
    /// What `${env.X}` sees.
    pub env: BTreeMap<String, String>,
}

impl Overrides {
    /// No changes, and the environment of this process; variables that are not UTF-8 are left out.
    #[must_use]
    pub fn from_environment() -> Self {
        let env = std::env::vars_os();
        let env = env.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect();
        Self { env, ..Self::default() }
    }
}
