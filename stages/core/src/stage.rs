//! The trait that a stage type implements, and its erased form that the engine handles.

use crate::{ParamIssue, Port, StageContext, StageError, StageResult, command::CommandParams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// How far two computations of one task key must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Determinism {
    /// The same bytes everywhere.
    Exact,
    /// The same bytes on the same kind of machine: everything random comes from a seed in the parameters.
    Seeded,
    /// Outputs may differ between computations.
    Sampled,
}

/// A stage type with typed parameters. Implement this; the engine sees it as a [`StageType`].
pub trait Stage: Send + Sync + 'static {
    /// `#[serde(deny_unknown_fields, default)]` where every field has a default; field docs become the reference.
    type Params: Serialize + DeserializeOwned + JsonSchema;

    /// The word after `uses:`.
    fn name(&self) -> &'static str;

    /// One line for `lsn stage list`.
    fn about(&self) -> &'static str;

    /// Raised whenever the same parameters and inputs would give other outputs than before.
    fn version(&self) -> u32;

    fn determinism(&self) -> Determinism {
        Determinism::Exact
    }

    fn inputs(&self, params: &Self::Params) -> Vec<Port>;

    fn outputs(&self, params: &Self::Params) -> Vec<Port>;

    /// Rejects parameters that have the right types but cannot work together.
    ///
    /// # Errors
    /// Every issue found, not only the first.
    fn check(&self, _params: &Self::Params) -> Result<(), Vec<ParamIssue>> {
        Ok(())
    }

    /// Does the work: reads `ctx` inputs, writes every non-optional output.
    ///
    /// # Errors
    /// With the class that decides whether another attempt makes sense.
    fn run(&self, params: Self::Params, ctx: &StageContext) -> StageResult<()>;

    /// The bare command that an executor starts instead of calling [`Stage::run`]; only `command` has one.
    fn command(&self, _params: &Self::Params) -> Option<CommandParams> {
        None
    }
}

/// A stage type with its parameters erased to JSON.
pub trait StageType: Send + Sync {
    fn name(&self) -> &'static str;
    fn about(&self) -> &'static str;
    fn version(&self) -> u32;
    fn determinism(&self) -> Determinism;

    /// JSON Schema of the parameters.
    fn schema(&self) -> Value;

    /// Checks parameters and fills in defaults: the form that goes into a key.
    ///
    /// # Errors
    /// Every issue found.
    fn normalize(&self, params: &Value) -> Result<Value, Vec<ParamIssue>>;

    /// # Errors
    /// The parameters do not parse.
    fn inputs(&self, params: &Value) -> StageResult<Vec<Port>>;

    /// # Errors
    /// The parameters do not parse.
    fn outputs(&self, params: &Value) -> StageResult<Vec<Port>>;

    /// # Errors
    /// The parameters do not parse.
    fn command(&self, params: &Value) -> StageResult<Option<CommandParams>>;

    /// # Errors
    /// As [`Stage::run`].
    fn run(&self, params: &Value, ctx: &StageContext) -> StageResult<()>;
}

fn parse<S: Stage>(stage: &S, params: &Value) -> StageResult<S::Params> {
    // A stage without `with:` has null parameters.
    let params = if params.is_null() { Value::Object(serde_json::Map::new()) } else { params.clone() };
    serde_json::from_value(params)
        .map_err(|error| StageError::user(format!("parameters of stage type `{}`: {error}", stage.name())))
}

impl<S: Stage> StageType for S {
    fn name(&self) -> &'static str {
        Stage::name(self)
    }

    fn about(&self) -> &'static str {
        Stage::about(self)
    }

    fn version(&self) -> u32 {
        Stage::version(self)
    }

    fn determinism(&self) -> Determinism {
        Stage::determinism(self)
    }

    fn schema(&self) -> Value {
        schemars::schema_for!(S::Params).to_value()
    }

    fn normalize(&self, params: &Value) -> Result<Value, Vec<ParamIssue>> {
        let whole = |message: String| vec![ParamIssue { pointer: String::new(), message, suggestion: None }];
        let typed = parse(self, params).map_err(|error| whole(error.message))?;
        self.check(&typed)?;
        serde_json::to_value(&typed).map_err(|error| whole(error.to_string()))
    }

    fn inputs(&self, params: &Value) -> StageResult<Vec<Port>> {
        Ok(Stage::inputs(self, &parse(self, params)?))
    }

    fn outputs(&self, params: &Value) -> StageResult<Vec<Port>> {
        Ok(Stage::outputs(self, &parse(self, params)?))
    }

    fn command(&self, params: &Value) -> StageResult<Option<CommandParams>> {
        Ok(Stage::command(self, &parse(self, params)?))
    }

    fn run(&self, params: &Value, ctx: &StageContext) -> StageResult<()> {
        Stage::run(self, parse(self, params)?, ctx)
    }
}
