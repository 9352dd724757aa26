//! The heuristics file: named pipelines in the reference's YAML format.

use crate::{ConfigError, Params, Pipeline, catalogue::build_processor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One processor as written: its name and its parameters under the names of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessorConfig {
    pub name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: Params,
}

/// One named pipeline as written. An empty `processors` list is plain sampling from the raw logits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineConfig {
    pub name: String,
    /// Relative share where pipelines are drawn at random; unused where each runs on every prompt.
    #[serde(default = "one")]
    pub weight: f64,
    #[serde(default)]
    pub processors: Vec<ProcessorConfig>,
}

fn one() -> f64 {
    1.0
}

/// A list of named pipelines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeuristicsFile {
    pub sampling_pipelines: Vec<PipelineConfig>,
}

/// The pipelines of a file, each behaviour once; see [`HeuristicsFile::distinct`].
#[derive(Debug, Default)]
pub struct Distinct {
    pub pipelines: Vec<(PipelineConfig, Pipeline)>,
    /// Names that were left out, with the name that stands for them.
    pub repeats: Vec<(String, String)>,
}

/// Builds a pipeline from its processors, such as those recorded with a generation.
///
/// # Errors
/// A processor is unknown, or its parameters are incomplete, unknown or out of range.
pub(crate) fn build(processors: &[ProcessorConfig]) -> Result<Pipeline, ConfigError> {
    let steps = processors.iter().map(|processor| build_processor(&processor.name, &processor.params));
    Ok(Pipeline::new(steps.collect::<Result<_, _>>()?))
}

impl Pipeline {
    /// Builds a pipeline from its processors, such as those recorded with a generation.
    ///
    /// # Errors
    /// A processor is unknown, or its parameters are incomplete, unknown or out of range.
    pub fn from_config(processors: &[ProcessorConfig]) -> Result<Self, ConfigError> {
        build(processors)
    }
}

impl PipelineConfig {
    /// # Errors
    /// As [`Pipeline::from_config`], with the pipeline's name.
    pub fn build(&self) -> Result<Pipeline, ConfigError> {
        build(&self.processors)
            .map_err(|source| ConfigError::Pipeline { pipeline: self.name.clone(), source: Box::new(source) })
    }
}

impl HeuristicsFile {
    /// Reads and checks a heuristics file: YAML, or JSON, which is YAML.
    ///
    /// # Errors
    /// The text does not parse, a pipeline is not well described, or two pipelines share a name.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let file: Self = serde_saphyr::from_str(text)
            .map_err(|error| ConfigError::Syntax { what: "heuristics file", message: error.to_string() })?;
        file.check()?;
        Ok(file)
    }

    /// Checks what parsing alone does not.
    ///
    /// # Errors
    /// A pipeline is not well described, or two pipelines share a name.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.sampling_pipelines.is_empty() {
            return Err(ConfigError::NoPipelines);
        }
        let mut names = std::collections::BTreeSet::new();
        for (index, pipeline) in self.sampling_pipelines.iter().enumerate() {
            if pipeline.name.trim().is_empty() {
                return Err(ConfigError::Unnamed { index });
            }
            if !(pipeline.weight.is_finite() && pipeline.weight >= 0.0) {
                return Err(ConfigError::Weight { pipeline: pipeline.name.clone(), weight: pipeline.weight });
            }
            pipeline.build()?;
            if !names.insert(pipeline.name.as_str()) {
                return Err(ConfigError::DuplicateName(pipeline.name.clone()));
            }
        }
        Ok(())
    }

    /// The pipelines with what they build, without those that do what an earlier one does; and of each that is left out, its
    /// name and the earlier one's. A published grid may name one setting twice; drawing it twice would tell nothing.
    ///
    /// # Errors
    /// A pipeline is not well described.
    pub fn distinct(self) -> Result<Distinct, ConfigError> {
        let mut first = BTreeMap::new();
        let mut distinct = Distinct::default();
        for config in self.sampling_pipelines {
            let pipeline = config.build()?;
            let earlier = first.entry(pipeline.canonical().to_string()).or_insert_with(|| config.name.clone());
            if *earlier == config.name {
                distinct.pipelines.push((config, pipeline));
            } else {
                distinct.repeats.push((config.name, earlier.clone()));
            }
        }
        Ok(distinct)
    }

    /// The file as YAML, one fixed text per value.
    ///
    /// # Errors
    /// The value cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        serde_saphyr::to_string(self)
            .map_err(|error| ConfigError::Syntax { what: "heuristics file", message: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As the reference writes it.
    const REFERENCE: &str = r#"
sampling_pipelines:
  - name: "Conservative Top-P"
    weight: 1.0
    processors:
      - name: "top_p"
        params:
          top_p: 0.92
      - name: "temperature"
        params:
          temperature: 0.9
- name: x
"#;

    fn error(yaml: &str) -> String {
        HeuristicsFile::from_yaml(yaml).unwrap_err().to_string()
    }

    fn one_step(step: &str) -> String {
        error(&format!("sampling_pipelines: [{{name: a, processors: [{step}]}}]"))
    }

    #[test]
    fn the_reference_format_loads_and_comes_back() {
        let text = REFERENCE.replace("- name: x\n", "");
        let file = HeuristicsFile::from_yaml(&text).unwrap();
        assert_eq!(file.sampling_pipelines[0].processors[1].params["temperature"], json!(0.9));
        assert_eq!(HeuristicsFile::from_yaml(&file.to_yaml().unwrap()).unwrap(), file);
    }

    #[test]
    fn equal_pipelines_have_one_canonical_form() {
        let canonical = |params: &str| {
            let yaml = format!("sampling_pipelines: [{{name: a, processors: [{{name: top_k, params: {params}}}]}}]");
            HeuristicsFile::from_yaml(&yaml).unwrap().sampling_pipelines[0].build().unwrap().canonical()
        };
        assert_eq!(canonical("{top_k: 50}"), canonical("{min_tokens_to_keep: 1, top_k: 50.0}"));
        assert_eq!(canonical("{top_k: 50}"), json!([{"name": "top_k", "params": {"top_k": 50}}]));
        assert_ne!(canonical("{top_k: 50}"), canonical("{top_k: 50, min_tokens_to_keep: 2}"));
    }

    #[test]
    fn of_pipelines_that_do_the_same_the_first_stands_for_all() {
        let yaml = "sampling_pipelines:
- {name: a, processors: [{name: top_k, params: {top_k: 50}}]}
- {name: b, processors: [{name: top_k, params: {top_k: 50.0, min_tokens_to_keep: 1}}]}
- {name: c, processors: [{name: top_k, params: {top_k: 51}}]}
";
        let distinct = HeuristicsFile::from_yaml(yaml).unwrap().distinct().unwrap();
        assert_eq!(distinct.pipelines.iter().map(|(config, _)| config.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(distinct.repeats, [("b".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn every_error_names_the_value_and_what_was_expected() {
        for (step, parts) in [
            ("{name: top_p, params: {top_p: 1.5}}", ["`a`", "`top_p`", "1.5", "from 0 to 1"]),
            ("{name: top_p, params: {top_p: high}}", ["`a`", "`top_p`", "high", "from 0 to 1"]),
            ("{name: temperature, params: {temperature: 0}}", ["`a`", "`temperature`", "is 0", "above 0"]),
            ("{name: temperature}", ["`a`", "`temperature`", "missing", "above 0"]),
            ("{name: top_k, params: {top_k: 0}}", ["`a`", "`top_k`", "is 0", "at least 1"]),
            ("{name: top_k, params: {top_k: 2.5}}", ["`a`", "`top_k`", "2.5", "integer"]),
            ("{name: typical, params: {mass: 1}}", ["`a`", "`mass`", "is 1", "below 1"]),
            ("{name: epsilon, params: {epsilon: 0.0}}", ["`a`", "`epsilon`", "is 0.0", "above 0"]),
            ("{name: eta, params: {epsilon: 1.0}}", ["`a`", "`epsilon`", "1.0", "below 1"]),
            ("{name: min_p, params: {min_p: -0.1}}", ["`a`", "`min_p`", "-0.1", "from 0 to 1"]),
            (
                "{name: min_p, params: {min_p: 0.1, min_tokens_to_keep: 0}}",
                ["`a`", "`min_tokens_to_keep`", "is 0", "1"],
            ),
            ("{name: top_k, params: {k: 5, top_k: 5}}", ["`a`", "unknown parameter", "`k`", "`top_k`"]),
            ("{name: greedy, params: {k: 5}}", ["`a`", "unknown parameter", "`k`", "no parameters"]),
            ("{name: topp, params: {}}", ["`a`", "unknown processor", "`topp`", "`top_p`"]),
        ] {
            let message = one_step(step);
            assert!(parts.iter().all(|part| message.contains(part)), "{step}: {message}");
        }
        assert!(error("sampling_pipelines: []").contains("no pipelines"));
        assert!(error("sampling_pipelines: [{name: a}, {name: a}]").contains("`a`"));
        assert!(error("sampling_pipelines: [{name: a, weight: -1}]").contains("-1"));
        assert!(error("sampling_pipelines: [{name: ' '}]").contains("no name"));
        assert!(error("pipelines: []").contains("does not parse"));
    }
}
