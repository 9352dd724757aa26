//! Grids: many pipelines from a few lists of values.

use crate::{ConfigError, HeuristicsFile, Params, PipelineConfig, ProcessorConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a grid combines with each temperature, in the order of expansion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// The temperature alone.
    Temperature,
    /// The named settings.
    Settings,
    TopP,
    TopK,
    MinP,
    Eta,
    Epsilon,
    Typical,
}

/// Named processors that follow each temperature, such as a model's recommended ones (`official`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    pub name: String,
    pub processors: Vec<ProcessorConfig>,
}

/// Leaves out combinations: the named families keep only temperatures within the bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GridFilter {
    /// Families that the filter applies to; empty means all.
    #[serde(default)]
    pub families: Vec<Family>,
    #[serde(default)]
    pub min_temperature: Option<f64>,
    #[serde(default)]
    pub max_temperature: Option<f64>,
}

/// What happens to pipelines that differ in name only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// The first one stays.
    #[default]
    Remove,
    /// All stay under their names; only exact repetitions go.
    KeepNamed,
}

/// A grid file: every temperature alone, with each named setting, and with each value of each list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    pub temperatures: Vec<f64>,
    /// Whether each temperature also stands alone.
    #[serde(default = "yes")]
    pub plain: bool,
    #[serde(default)]
    pub settings: Vec<Setting>,
    #[serde(default)]
    pub top_p: Vec<f64>,
    #[serde(default)]
    pub top_k: Vec<u64>,
    #[serde(default)]
    pub min_p: Vec<f64>,
    /// Values of eta sampling's `epsilon`.
    #[serde(default)]
    pub eta: Vec<f64>,
    #[serde(default)]
    pub epsilon: Vec<f64>,
    /// Values of typical sampling's `mass`.
    #[serde(default)]
    pub typical: Vec<f64>,
    /// A combination stays only if every filter lets it through.
    #[serde(default)]
    pub filters: Vec<GridFilter>,
    /// Further pipelines, appended as they are.
    #[serde(default)]
    pub extra: Vec<PipelineConfig>,
    #[serde(default)]
    pub duplicates: Duplicates,
}

fn yes() -> bool {
    true
}

/// `0.5` and `1.0`: the shortest text that reads back as the number, always with a point.
fn plain(value: f64) -> String {
    format!("{value:?}")
}

/// `8.0e-04`: one decimal and an exponent of two digits.
fn scientific(value: f64) -> String {
    let text = format!("{value:.1e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn processor(name: &str, param: &str, value: impl Into<Value>) -> ProcessorConfig {
    ProcessorConfig { name: name.to_owned(), params: Params::from([(param.to_owned(), value.into())]) }
}

impl Grid {
    /// Reads a grid file.
    ///
    /// # Errors
    /// The text does not parse.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        serde_saphyr::from_str(text)
            .map_err(|error| ConfigError::Syntax { what: "grid file", message: error.to_string() })
    }

    /// All pipelines: per temperature, the families in the order of [`Family`]; then [`Grid::extra`] and `appended`.
    ///
    /// # Errors
    /// A pipeline is not well described, two different ones share a name, or none is left.
    pub fn expand(&self, appended: &[PipelineConfig]) -> Result<HeuristicsFile, ConfigError> {
        let mut pipelines = Vec::new();
        for &temperature in &self.temperatures {
            self.expand_temperature(temperature, &mut pipelines);
        }
        pipelines.extend(self.extra.iter().chain(appended).cloned());
        let file = HeuristicsFile { sampling_pipelines: self.without_duplicates(pipelines)? };
        file.check()?;
        Ok(file)
    }

    fn lets_through(&self, family: Family, temperature: f64) -> bool {
        self.filters.iter().all(|filter| {
            let applies = filter.families.is_empty() || filter.families.contains(&family);
            let above = filter.min_temperature.is_none_or(|min| temperature >= min);
            let below = filter.max_temperature.is_none_or(|max| temperature <= max);
            !applies || (above && below)
        })
    }

    fn expand_temperature(&self, temperature: f64, pipelines: &mut Vec<PipelineConfig>) {
        let mut push = |family: Family, prefix: String, rest: Vec<ProcessorConfig>| {
            if self.lets_through(family, temperature) {
                let first = processor("temperature", "temperature", temperature);
                let processors = std::iter::once(first).chain(rest).collect();
                let name = format!("{prefix}temp_{}", plain(temperature));
                pipelines.push(PipelineConfig { name, weight: 1.0, processors });
            }
        };
        if self.plain {
            push(Family::Temperature, String::new(), Vec::new());
        }
        for setting in &self.settings {
            push(Family::Settings, format!("{}_", setting.name), setting.processors.clone());
        }
        for &p in &self.top_p {
            push(Family::TopP, format!("top_p_{}_", plain(p)), vec![processor("top_p", "top_p", p)]);
        }
        for &k in &self.top_k {
            push(Family::TopK, format!("top_k_{k}_"), vec![processor("top_k", "top_k", k)]);
        }
        for &p in &self.min_p {
            push(Family::MinP, format!("min_p_{}_", plain(p)), vec![processor("min_p", "min_p", p)]);
        }
        for &e in &self.eta {
            push(Family::Eta, format!("eta_{}_", scientific(e)), vec![processor("eta", "epsilon", e)]);
        }
        for &e in &self.epsilon {
            push(Family::Epsilon, format!("epsilon_{}_", scientific(e)), vec![processor("epsilon", "epsilon", e)]);
        }
        for &mass in &self.typical {
            push(Family::Typical, format!("typical_{}_", plain(mass)), vec![processor("typical", "mass", mass)]);
        }
    }

    fn without_duplicates(&self, pipelines: Vec<PipelineConfig>) -> Result<Vec<PipelineConfig>, ConfigError> {
        let mut seen_forms = BTreeMap::new();
        let mut names = BTreeMap::new();
        let mut kept = Vec::with_capacity(pipelines.len());
        for pipeline in pipelines {
            let form = pipeline.build()?.canonical().to_string();
            if let Some(earlier) = names.insert(pipeline.name.clone(), form.clone()) {
                if earlier != form {
                    return Err(ConfigError::DuplicateName(pipeline.name));
                }
                continue;
            }
            let repeated = seen_forms.insert(form, ()).is_some();
            if !(repeated && self.duplicates == Duplicates::Remove) {
                kept.push(pipeline);
            }
        }
        if kept.is_empty() {
            return Err(ConfigError::Grid("no pipeline is left, loosen the filters or add temperatures".to_owned()));
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(yaml: &str) -> Vec<String> {
        let file = Grid::from_yaml(yaml).unwrap().expand(&[]).unwrap();
        file.sampling_pipelines.into_iter().map(|pipeline| pipeline.name).collect()
    }

    #[test]
    fn order_and_names_are_stable() {
        let yaml = "
temperatures: [0.5, 1.0]
settings: [{name: official, processors: [{name: top_p, params: {top_p: 0.95}}, {name: top_k, params: {top_k: 64}}]}]
typical: [0.9]
epsilon: [0.004]
eta: [0.00025]
top_k: [8]
";
        let expected = [
            "temp_{}",
            "official_temp_{}",
            "top_k_8_temp_{}",
            "eta_2.5e-04_temp_{}",
            "epsilon_4.0e-03_temp_{}",
            "typical_0.9_temp_{}",
        ];
        let expected: Vec<_> = ["0.5", "1.0"].iter().flat_map(|t| expected.map(|name| name.replace("{}", t))).collect();
        assert_eq!(names(yaml), expected);
    }

    #[test]
    fn duplicates_go_unless_their_names_are_wanted() {
        let yaml = "{temperatures: [1.0, 1], top_p: [0.9], extra: [{name: nucleus, processors: [{name: temperature, \
                    params: {temperature: 1}}, {name: top_p, params: {top_p: 0.9, min_tokens_to_keep: 1}}]}]";
        assert_eq!(names(&format!("{yaml}}}")), ["temp_1.0", "top_p_0.9_temp_1.0"]);
        assert_eq!(names(&format!("{yaml}, duplicates: keep_named}}")), ["temp_1.0", "top_p_0.9_temp_1.0", "nucleus"]);
    }

    #[test]
    fn filters_bound_temperatures_by_family() {
        let yaml = "{temperatures: [0.5, 1.0, 2.0], top_p: [0.9], min_p: [0.1], filters: [{max_temperature: 1.0, \
                    families: [temperature, top_p]}, {min_temperature: 0.6}]}";
        assert_eq!(names(yaml), ["temp_1.0", "top_p_0.9_temp_1.0", "min_p_0.1_temp_1.0", "min_p_0.1_temp_2.0"]);
    }

    #[test]
    fn one_name_for_two_pipelines_is_an_error() {
        let grid = Grid::from_yaml("{temperatures: [1.0], extra: [{name: temp_1.0, processors: []}]}").unwrap();
        assert!(grid.expand(&[]).unwrap_err().to_string().contains("`temp_1.0`"));
        let grid = Grid::from_yaml("{temperatures: []}").unwrap();
        assert!(grid.expand(&[]).unwrap_err().to_string().contains("no pipeline"));
    }
}
