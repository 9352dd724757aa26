//! What a person may write: the types of the manifest, from which its JSON Schema is generated.
//!
//! Trees are checked against that schema, so these types decide what is allowed; most fields are then read from the tree,
//! where they know their places.

use super::{
    structure::EXPECTED,
    units::{ByteSize, TimeSpan},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{borrow::Cow, collections::BTreeMap};

/// The format version that this program reads.
pub const FORMAT: u64 = 1;

/// A pipeline: stages with their parameters, inputs and needs, and what connects them.
///
/// In every value `${…}` is an expression over `params`, `env` and, in a stage with a matrix, `matrix`. In the `with` of a
/// stage, `${stages}` is the pipeline's own stage graph: each stage with the list of stages that its inputs name.
#[expect(dead_code, reason = "the fields are the schema that trees are checked against")]
#[derive(Debug, Clone, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format version of this file, `lsn: 1`.
    #[schemars(schema_with = "format_version")]
    pub lsn: u64,
    /// Name of the pipeline; by default the file's name without its extension.
    pub name: Option<String>,
    /// Another manifest, relative to this file, that this one changes: mappings are merged key by key, anything else is
    /// replaced, `null` removes a key (except under `params`).
    pub extends: Option<String>,
    /// The project directory, relative to this file; by default the file's own. All other paths are relative to it.
    pub root: Option<String>,
    /// Values for `${params.name}`, which `--set` and `--params` may change.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// What stages have unless they say otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// Settings per site, chosen with `--profile`; they never change what is computed.
    #[serde(default)]
    pub profiles: BTreeMap<String, Profile>,
    /// The stages by name.
    pub stages: BTreeMap<String, Stage>,
    /// Artifacts to leave in the project after a run: path → `stage.output`.
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
    /// What the last lines of a run tell a person.
    pub summary: Option<String>,
}

fn format_version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"const": FORMAT, "description": "Format version of this file, `lsn: 1`."})
}

/// What stages have unless they say otherwise.
#[expect(dead_code, reason = "the fields are the schema that trees are checked against")]
#[derive(Debug, Clone, Default, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    #[serde(default)]
    pub resources: Resources,
    #[serde(default)]
    pub retries: Retries,
    /// The longest that one attempt may take.
    pub timeout: Option<TimeSpan>,
    /// `false`: tasks are neither looked up nor published, they always run.
    pub cache: Option<bool>,
    /// Environment variables of the tasks; they are part of what identifies a result. For secrets there is `secrets`.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Names of environment variables (tokens, passwords) that reach the tasks as they are set where lsn runs. They are no part of
    /// what identifies a result, and their values are written nowhere.
    #[serde(default)]
    pub secrets: Vec<String>,
}

/// Settings of one site.
#[expect(dead_code, reason = "the fields are the schema that trees are checked against")]
#[derive(Debug, Clone, Default, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What this site is, for people.
    pub about: Option<String>,
    /// For all stages that do not say otherwise.
    #[serde(default)]
    pub defaults: SiteSettings,
    /// For single stages, over what they say themselves.
    #[serde(default)]
    pub stages: BTreeMap<String, SiteSettings>,
}

/// The settings that a site may change.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteSettings {
    #[serde(default)]
    pub resources: Resources,
    #[serde(default)]
    pub retries: Retries,
    /// The longest that one attempt may take.
    pub timeout: Option<TimeSpan>,
}

/// One step of the work.
#[expect(dead_code, reason = "the fields are the schema that trees are checked against")]
#[derive(Debug, Clone, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The stage type; `lsn stage list` shows all.
    pub uses: String,
    /// What the stage is for, for people.
    pub about: Option<String>,
    /// One instance of the stage for every combination of these values.
    pub matrix: Option<Matrix>,
    /// Input name → where it comes from.
    #[serde(default)]
    pub inputs: BTreeMap<String, Input>,
    /// Parameters of the stage type; `lsn stage describe TYPE` explains them.
    #[serde(default)]
    pub with: Map<String, Value>,
    #[serde(default)]
    pub resources: Resources,
    #[serde(default)]
    pub retries: Retries,
    /// The longest that one attempt may take.
    pub timeout: Option<TimeSpan>,
    /// `false` leaves the stage (or the instance of a matrix) out.
    pub when: Option<bool>,
    /// `false`: neither looked up nor published; always runs.
    pub cache: Option<bool>,
    /// Environment variables of the tasks; they are part of what identifies a result. For secrets there is `secrets`.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Names of environment variables (tokens, passwords) that reach the tasks as they are set where lsn runs. They are no part of
    /// what identifies a result, and their values are written nowhere.
    #[serde(default)]
    pub secrets: Vec<String>,
}

/// What a task needs to run.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Whole GPUs, or a fraction below one to share a device.
    #[schemars(range(min = 0.0))]
    pub gpus: Option<f64>,
    /// Memory per GPU.
    pub gpu_mem: Option<ByteSize>,
    /// CPU cores.
    pub cpus: Option<u32>,
    /// Memory.
    pub mem: Option<ByteSize>,
    /// Expected time, for clusters.
    pub time: Option<TimeSpan>,
}

/// How transient failures are retried.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// Attempts after the first.
    pub max: Option<u32>,
    /// The wait before the second attempt; it doubles with each further one.
    pub backoff: Option<TimeSpan>,
}

/// An environment variable's value: text, a number, or true or false.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct EnvValue(pub Value);

impl EnvValue {
    #[must_use]
    pub fn text(&self) -> String {
        super::reference::value_text(&self.0)
    }
}

impl JsonSchema for EnvValue {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EnvValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean"]})
    }
}

/// The combinations of a matrix: one axis per key, and two words of its own.
///
/// An axis is a list of plain values or `{range: [from, to]}` or `{range: [from, to, step]}` (without `to`).
/// `exclude` drops combinations that agree with one of its entries, `include` adds whole ones.
#[derive(Debug, Clone)]
pub struct Matrix;

impl JsonSchema for Matrix {
    fn schema_name() -> Cow<'static, str> {
        "Matrix".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let plain = json_schema!({"type": ["string", "number", "boolean"]});
        let combinations = |about: &str| {
            json_schema!({
                "description": about,
                "type": "array",
                "items": {"type": "object", "additionalProperties": plain},
            })
        };
        json_schema!({
            "description": "One instance of the stage for every combination of these values: one axis per key.",
            "type": "object",
            "properties": {
                "include": combinations("Combinations added to the product; each gives every axis."),
                "exclude": combinations("Combinations of the product to leave out; an entry may give only some axes."),
            },
            "additionalProperties": {"anyOf": [
                {"description": "The values.", "type": "array", "minItems": 1, "items": plain},
                {
                    "description": "From the first number up to, without, the second, by the third.",
                    "type": "object",
                    "properties": {"range": {"type": "array", "minItems": 2, "maxItems": 3, "items": {"type": "number"}}},
                    "required": ["range"],
                    "additionalProperties": false,
                },
            ]},
        })
    }
}

/// Where an input comes from.
///
/// `stage.output`, `stage[*].output` and `stage[key=value].output` name outputs; any other text is a path of the project
/// (`./` or `{path: …}` force one); `{glob: …}` takes all files that match; a list takes them all in order.
#[derive(Debug, Clone)]
pub struct Input;

impl JsonSchema for Input {
    fn schema_name() -> Cow<'static, str> {
        "Input".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = [
            json_schema!({
                "description": "`stage.output`, `stage[*].output`, `stage[key=value].output`, or a path.",
                "type": "string",
                "minLength": 1,
            }),
            json_schema!({
                "description": "A file or directory of the project.",
                "type": "object",
                "properties": {"path": {"type": "string", "minLength": 1}},
                "required": ["path"],
                "additionalProperties": false,
            }),
            json_schema!({
                "description": "All files of the project that match, in sorted order.",
                "type": "object",
                "properties": {"glob": {"type": "string", "minLength": 1}},
                "required": ["glob"],
                "additionalProperties": false,
            }),
        ];
        let items: Vec<&Schema> = one.iter().collect();
        let list = json_schema!({
            "description": "Several, in order.",
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": items},
        });
        let all: Vec<&Schema> = one.iter().chain([&list]).collect();
        json_schema!({
            "description": "Where the input comes from: `stage.output`, a path, `{path: …}`, `{glob: …}`, or a list of these.",
            (EXPECTED): "`stage.output`, a path, `{path: …}`, `{glob: …}`, or a list of these",
            "anyOf": all,
        })
    }
}
