//! Reading parameters strictly: every name known, every value in its range, both named when not.

use crate::ConfigError;
use serde_json::Value;
use std::{collections::BTreeMap, ops::Bound, ops::RangeBounds};

/// Parameters of one processor by name.
pub type Params = BTreeMap<String, Value>;

/// The default of `min_tokens_to_keep`.
const MIN_TOKENS: usize = 1;

/// Reads the parameters of one processor; [`ParamReader::finish`] rejects the names that nobody asked for.
pub(crate) struct ParamReader<'a> {
    processor: &'static str,
    params: &'a Params,
    asked: Vec<&'static str>,
}

impl<'a> ParamReader<'a> {
    pub fn new(processor: &'static str, params: &'a Params) -> Self {
        Self { processor, params, asked: Vec::new() }
    }

    fn bad(&self, param: &'static str, value: &Value, expected: &'static str) -> ConfigError {
        ConfigError::BadParam { processor: self.processor, param, value: value.to_string(), expected }
    }

    /// A required number in `range`, which `expected` puts into words.
    pub fn number(
        &mut self,
        param: &'static str,
        range: (Bound<f64>, Bound<f64>),
        expected: &'static str,
    ) -> Result<f64, ConfigError> {
        self.asked.push(param);
        let value =
            self.params.get(param).ok_or(ConfigError::MissingParam { processor: self.processor, param, expected })?;
        match value.as_f64() {
            Some(number) if number.is_finite() && range.contains(&number) => Ok(number),
            _ => Err(self.bad(param, value, expected)),
        }
    }

    /// A required integer of at least 1.
    pub fn count(&mut self, param: &'static str) -> Result<usize, ConfigError> {
        const EXPECTED: &str = "an integer of at least 1";
        self.asked.push(param);
        let value = self.params.get(param).ok_or(ConfigError::MissingParam {
            processor: self.processor,
            param,
            expected: EXPECTED,
        })?;
        integer(value).filter(|&count| count >= 1).ok_or_else(|| self.bad(param, value, EXPECTED))
    }

    /// `min_tokens_to_keep`, 1 where it is not given.
    pub fn min_tokens_to_keep(&mut self) -> Result<usize, ConfigError> {
        const PARAM: &str = "min_tokens_to_keep";
        if self.params.contains_key(PARAM) {
            self.count(PARAM)
        } else {
            self.asked.push(PARAM);
            Ok(MIN_TOKENS)
        }
    }

    pub fn finish(self) -> Result<(), ConfigError> {
        let Some(unknown) = self.params.keys().find(|name| !self.asked.contains(&name.as_str())) else {
            return Ok(());
        };
        let known = if self.asked.is_empty() {
            "no parameters".to_owned()
        } else {
            self.asked.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        Err(ConfigError::UnknownParam { processor: self.processor, param: unknown.clone(), known })
    }
}

/// Integers written as floats (`50.0`) count as integers.
fn integer(value: &Value) -> Option<usize> {
    let exact = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..=9e15).contains(number))?;
    Some(exact as usize)
}

/// Canonical parameters: one required number, and `min_tokens_to_keep` where it is not the default.
pub(crate) fn canonical(param: &str, value: impl Into<Value>, min_tokens_to_keep: usize) -> Params {
    let mut params = Params::from([(param.to_owned(), value.into())]);
    if min_tokens_to_keep != MIN_TOKENS {
        params.insert("min_tokens_to_keep".to_owned(), min_tokens_to_keep.into());
    }
    params
}
