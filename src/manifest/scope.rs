//! What expressions see, and what may be said at which place.

use super::value::from_json;
use minijinja::Value;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Coordinates of one instance of a matrix.
pub type Coordinates = BTreeMap<String, Json>;

/// The values that expressions see.
#[derive(Debug, Clone)]
pub struct Scope {
    params: BTreeMap<String, Value>,
    env: BTreeMap<String, Value>,
    /// Parameters whose own expressions failed: whoever mentions them is not blamed.
    pub(super) broken: BTreeSet<String>,
    /// Stage → the stages that it reads, where that may be mentioned.
    stages: Option<Value>,
    /// All roots but the matrix.
    pub(super) context: Value,
}

impl Scope {
    #[must_use]
    pub fn new(env: &BTreeMap<String, String>) -> Self {
        let env = env.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
        let (params, broken) = (BTreeMap::new(), BTreeSet::new());
        Self { params, env, broken, stages: None, context: Value::UNDEFINED }.refreshed()
    }

    /// With these values of `params`, and names of further ones that have none because they are wrong.
    #[must_use]
    pub fn with_params(mut self, params: BTreeMap<String, Value>, broken: BTreeSet<String>) -> Self {
        self.params = params;
        self.broken = broken;
        self.refreshed()
    }

    /// With the stage graph as `stages`: each stage with the stages that it reads.
    #[must_use]
    pub fn with_stages(mut self, graph: BTreeMap<String, BTreeSet<String>>) -> Self {
        let reads = |names: BTreeSet<String>| Value::from(names.into_iter().map(Value::from).collect::<Vec<_>>());
        self.stages = Some(Value::from_pairs(graph.into_iter().map(|(stage, names)| (stage, reads(names)))));
        self.refreshed()
    }

    #[must_use]
    pub fn stages(&self) -> Option<&Value> {
        self.stages.as_ref()
    }

    #[must_use]
    pub fn params(&self) -> &BTreeMap<String, Value> {
        &self.params
    }

    #[must_use]
    pub fn env(&self) -> &BTreeMap<String, Value> {
        &self.env
    }

    fn refreshed(mut self) -> Self {
        let params = Value::from_pairs(self.params.clone());
        let env = Value::from_pairs(self.env.clone());
        let stages = self.stages.clone().unwrap_or(Value::UNDEFINED);
        self.context = Value::from_pairs([("params", params), ("env", env), ("stages", stages)]);
        self
    }

    /// The roots for one instance of a matrix.
    pub fn with_matrix(&self, coordinates: &Coordinates) -> Value {
        let part = |name: &str| self.context.get_attr(name).unwrap_or(Value::UNDEFINED);
        let matrix = Value::from_pairs(coordinates.iter().map(|(key, value)| (key.clone(), from_json(value))));
        let roots = ["params", "env", "stages"].map(|name| (name, part(name)));
        Value::from_pairs(roots.into_iter().chain([("matrix", matrix)]))
    }
}

/// What may be said at a place of the manifest.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// Outside stages: no matrix. `what` names the place.
    Outside { what: &'a str },
    /// In a stage with these matrix axes, empty without a matrix.
    Stage { stage: &'a str, axes: &'a [String] },
    /// In the command line of a `command` stage: what the shell or the executor will replace stays as it is.
    Run { stage: &'a str, axes: &'a [String], inputs: &'a [&'a str], outputs: &'a [&'a str] },
}

impl<'a> Place<'a> {
    /// The matrix axes that may be mentioned.
    pub fn axes(&self) -> &'a [String] {
        match self {
            Self::Outside { .. } => &[],
            Self::Stage { axes, .. } | Self::Run { axes, .. } => axes,
        }
    }
}
