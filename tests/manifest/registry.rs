//! Stage types for these tests: the shapes of the real ones, without their work.

use lsn_stage::{
    FailureClass, ParamIssue, Port, PortKind, Registry, Stage, StageContext, StageError, StageResult,
    command::CommandParams,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

macro_rules! stage {
    ($type:ident, $name:literal, $params:ty, inputs: [$($input:expr),*], outputs: [$($output:expr),*]) => {
        stage!($type, $name, $params, inputs: [$($input),*], outputs: [$($output),*], check: |_| Vec::new());
    };
    ($type:ident, $name:literal, $params:ty, inputs: [$($input:expr),*], outputs: [$($output:expr),*], check: $check:expr) => {
        pub struct $type;

        impl Stage for $type {
            type Params = $params;

            fn name(&self) -> &'static str {
                $name
            }

            fn about(&self) -> &'static str {
                concat!("the `", $name, "` of these tests")
            }

            fn version(&self) -> u32 {
                1
            }

            fn inputs(&self, _: &$params) -> Vec<Port> {
                vec![$($input),*]
            }

            fn outputs(&self, _: &$params) -> Vec<Port> {
                vec![$($output),*]
            }

            fn check(&self, params: &$params) -> Result<(), Vec<ParamIssue>> {
                let check: fn(&$params) -> Vec<ParamIssue> = $check;
                let issues = check(params);
                if issues.is_empty() { Ok(()) } else { Err(issues) }
            }

            fn run(&self, _: $params, _: &StageContext) -> StageResult<()> {
                Err(StageError::new(FailureClass::Submit, "stage types of these tests are never run"))
            }
        }
    };
}

fn set(record: &str) -> PortKind {
    PortKind::DataSet(record.to_owned())
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NoParams {}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromptsParams {
    /// At most this many prompts.
    pub limit: Option<u64>,
    pub shuffle: bool,
}

/// Where the text comes from.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Backend {
    /// The built-in engine.
    #[default]
    Embedded,
    /// A server.
    Server { url: String },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateParams {
    /// Seed of all random draws. Rows depend on it.
    pub seed: u64,
    #[serde(default = "hundred")]
    #[schemars(range(min = 1))]
    pub max_tokens: u32,
    #[serde(default)]
    pub backend: Backend,
    /// Stop texts.
    #[serde(default)]
    pub stop: Vec<String>,
}

fn hundred() -> u32 {
    100
}

/// What to do with incomplete prompts.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    #[default]
    Fail,
    DropRow,
    DropPrompt,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VerifyParams {
    pub seeds: Vec<u64>,
    pub policy: Policy,
    pub min_ok: Option<f64>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreParams {
    /// Metric → weight.
    pub weights: BTreeMap<String, f64>,
}

fn check_weights(params: &ScoreParams) -> Vec<ParamIssue> {
    let known = ["quality", "diversity", "correctness"];
    let unknown = params.weights.keys().filter(|name| !known.contains(&name.as_str()));
    unknown
        .map(|name| ParamIssue {
            pointer: format!("/weights/{name}"),
            message: format!("no metric `{name}` to weigh"),
            suggestion: known
                .iter()
                .find(|known| known[..3] == name[..3.min(name.len())])
                .map(|known| (*known).to_owned()),
        })
        .collect()
}

stage!(Heuristics, "heuristics", NoParams,
    inputs: [Port::new("grid", PortKind::File, "the grid file")],
    outputs: [Port::new("pipelines", PortKind::File, "the pipelines")]);
stage!(Prompts, "prompts", PromptsParams,
    inputs: [Port::new("sources", PortKind::File, "files of prompts").many()],
    outputs: [Port::new("rows", set("prompt"), "the prompts")]);
stage!(Generate, "generate", GenerateParams,
    inputs: [
        Port::new("prompts", set("prompt"), "prompts to answer"),
        Port::new("heuristics", PortKind::File, "pipelines to sample with"),
        Port::new("model", PortKind::Directory, "the model").optional()
    ],
    outputs: [Port::new("rows", set("generation"), "the generations")]);
stage!(Verify, "verify", VerifyParams,
inputs: [
    Port::new("generations", set("generation"), "generations of all seeds").many(),
    Port::new("prompts", set("prompt"), "the prompts").optional()
],
outputs: [
    Port::new("rows", set("generation"), "complete generations"),
    Port::new("report", PortKind::File, "what is missing")
]);
stage!(Score, "score", ScoreParams,
    inputs: [
        Port::new("rows", set("generation"), "rows to score"),
        Port::new("labels", PortKind::Any, "labels").many().optional()
    ],
    outputs: [Port::new("rows", set("scored"), "scored rows")],
    check: check_weights);

/// The shape of the real one; `command()` is what makes a stage type take any inputs.
pub struct Command;

impl Stage for Command {
    type Params = CommandParams;

    fn name(&self) -> &'static str {
        "command"
    }

    fn about(&self) -> &'static str {
        "any program"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, _: &CommandParams) -> Vec<Port> {
        Vec::new()
    }

    fn outputs(&self, params: &CommandParams) -> Vec<Port> {
        params.outputs.iter().map(|(name, path)| Port::new(name, CommandParams::kind(path), path)).collect()
    }

    fn check(&self, params: &CommandParams) -> Result<(), Vec<ParamIssue>> {
        let issues = params.issues();
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn command(&self, params: &CommandParams) -> Option<CommandParams> {
        Some(params.clone())
    }

    fn run(&self, _: CommandParams, _: &StageContext) -> StageResult<()> {
        Err(StageError::new(FailureClass::Submit, "stage types of these tests are never run"))
    }
}

pub fn registry() -> Registry {
    Registry::new().with(Heuristics).with(Prompts).with(Generate).with(Verify).with(Score).with(Command)
}
