//! The arguments of a ground truth, checked where they are read.

use super::Invalid;
use serde_json::{Map, Value};

/// How a count is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    AtLeast,
    AtMost,
    Around,
}

impl Quantifier {
    pub(super) fn allows(self, count: usize, wanted: f64, tolerance: f64) -> bool {
        let count = count as f64;
        match self {
            Self::AtLeast => count >= wanted,
            Self::AtMost => count <= wanted,
            Self::Around => (count - wanted).abs() <= tolerance,
        }
    }
}

pub(super) struct Arguments<'a> {
    pub function: &'static str,
    pub map: &'a Map<String, Value>,
}

impl<'a> Arguments<'a> {
    pub fn value(&self, name: &'static str) -> Result<&'a Value, Invalid> {
        let value = self.map.get(name).filter(|value| !value.is_null());
        value.ok_or(Invalid::Missing { function: self.function, name })
    }

    pub fn wrong(value: &Value, name: &'static str, expected: &'static str) -> Invalid {
        Invalid::Argument { name, found: value.to_string().chars().take(200).collect(), expected }
    }

    pub fn text(&self, name: &'static str) -> Result<String, Invalid> {
        let value = self.value(name)?;
        value.as_str().map(str::to_owned).ok_or_else(|| Self::wrong(value, name, "a text"))
    }

    pub fn texts(&self, name: &'static str) -> Result<Vec<String>, Invalid> {
        let value = self.value(name)?;
        let texts = value.as_array().and_then(|items| items.iter().map(|i| i.as_str().map(str::to_owned)).collect());
        texts.ok_or_else(|| Self::wrong(value, name, "a list of texts"))
    }

    pub fn number(&self, name: &'static str) -> Result<f64, Invalid> {
        let value = self.value(name)?;
        value.as_f64().filter(|n| n.is_finite()).ok_or_else(|| Self::wrong(value, name, "a number"))
    }

    pub fn quantifier(&self) -> Result<Quantifier, Invalid> {
        let value = self.value("quantifier")?;
        match value.as_str() {
            Some("at least") => Ok(Quantifier::AtLeast),
            Some("at most") => Ok(Quantifier::AtMost),
            Some("around") => Ok(Quantifier::Around),
            _ => Err(Self::wrong(value, "quantifier", "`at least`, `at most` or `around`")),
        }
    }
}
