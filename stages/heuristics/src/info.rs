//! What each processor is and which parameters it takes: checked when a configuration is read, shown to people.

use crate::{ConfigError, Params};
use serde::Serialize;
use serde_json::Value;
use std::{fmt, ops::Bound, ops::RangeBounds};

/// A processor in words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProcessorInfo {
    pub name: &'static str,
    /// One line: which tokens stay, or how logits change.
    pub about: &'static str,
    /// Where the definition comes from.
    pub source: &'static str,
    /// Whether it keeps a state per row.
    pub stateful: bool,
    /// Further logits that it needs, by name.
    pub needs: &'static [&'static str],
    pub params: &'static [ParamInfo],
}

/// One parameter of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ParamInfo {
    pub name: &'static str,
    pub about: &'static str,
    /// The values it takes, in words.
    pub expected: &'static str,
    #[serde(skip)]
    kind: Kind,
    /// `None`: required.
    pub default: Option<DefaultValue>,
}

/// What a parameter is where a configuration does not say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DefaultValue {
    Integer(i64),
    Number(f64),
    EmptyList([u32; 0]),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Number(Bound<f64>, Bound<f64>),
    Integer(i64),
    TokenLists,
}

impl fmt::Display for DefaultValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value:?}"),
            Self::EmptyList(_) => f.write_str("[]"),
        }
    }
}

impl From<DefaultValue> for Value {
    fn from(default: DefaultValue) -> Self {
        match default {
            DefaultValue::Integer(value) => value.into(),
            DefaultValue::Number(value) => value.into(),
            DefaultValue::EmptyList(_) => Self::Array(Vec::new()),
        }
    }
}

/// The processor's number of tokens that always stay, as in transformers.
pub(crate) const MIN_TOKENS_TO_KEEP: ParamInfo =
    ParamInfo::count("min_tokens_to_keep", "so many tokens always stay").or(1);
/// The same under llama.cpp's name.
pub(crate) const MIN_KEEP: ParamInfo = ParamInfo::count("min_keep", "so many tokens always stay").or(1);

impl ParamInfo {
    const fn number(
        name: &'static str,
        about: &'static str,
        expected: &'static str,
        range: (Bound<f64>, Bound<f64>),
    ) -> Self {
        Self { name, about, expected, kind: Kind::Number(range.0, range.1), default: None }
    }

    /// 0 ≤ x ≤ 1.
    pub(crate) const fn share(name: &'static str, about: &'static str) -> Self {
        Self::number(name, about, "a number from 0 to 1", (Bound::Included(0.0), Bound::Included(1.0)))
    }

    /// 0 < x < 1.
    pub(crate) const fn inner_share(name: &'static str, about: &'static str) -> Self {
        Self::number(name, about, "a number above 0 and below 1", (Bound::Excluded(0.0), Bound::Excluded(1.0)))
    }

    /// 0 < x ≤ 1.
    pub(crate) const fn positive_share(name: &'static str, about: &'static str) -> Self {
        Self::number(name, about, "a number above 0, at most 1", (Bound::Excluded(0.0), Bound::Included(1.0)))
    }

    /// −1 ≤ x ≤ 1.
    pub(crate) const fn signed_share(name: &'static str, about: &'static str) -> Self {
        Self::number(name, about, "a number from -1 to 1", (Bound::Included(-1.0), Bound::Included(1.0)))
    }

    /// 0 ≤ x ≤ 0.99.
    pub(crate) const fn decay(name: &'static str, about: &'static str) -> Self {
        Self::number(name, about, "a number from 0 to 0.99", (Bound::Included(0.0), Bound::Included(0.99)))
    }

    /// x > 0.
    pub(crate) const fn positive(name: &'static str, about: &'static str) -> Self {
        Self::number(name, about, "a number above 0", (Bound::Excluded(0.0), Bound::Unbounded))
    }

    /// x ≥ 0.
    pub(crate) const fn non_negative(name: &'static str, about: &'static str) -> Self {
        Self::number(name, about, "a number of at least 0", (Bound::Included(0.0), Bound::Unbounded))
    }

    /// x ≥ 1.
    pub(crate) const fn one_or_more(name: &'static str, about: &'static str) -> Self {
        Self::number(name, about, "a number of at least 1", (Bound::Included(1.0), Bound::Unbounded))
    }

    /// Any finite number.
    pub(crate) const fn any(name: &'static str, about: &'static str) -> Self {
        Self::number(name, about, "a number", (Bound::Unbounded, Bound::Unbounded))
    }

    /// An integer of at least 1.
    pub(crate) const fn count(name: &'static str, about: &'static str) -> Self {
        Self { name, about, expected: "an integer of at least 1", kind: Kind::Integer(1), default: None }
    }

    /// An integer of at least 2.
    pub(crate) const fn two_or_more(name: &'static str, about: &'static str) -> Self {
        Self { name, about, expected: "an integer of at least 2", kind: Kind::Integer(2), default: None }
    }

    /// An integer of at least 0.
    pub(crate) const fn index(name: &'static str, about: &'static str) -> Self {
        Self { name, about, expected: "an integer of at least 0", kind: Kind::Integer(0), default: None }
    }

    /// How many ids of the history count: an integer, −1 for all.
    pub(crate) const fn last_n(name: &'static str, about: &'static str) -> Self {
        Self { name, about, expected: "an integer of at least -1", kind: Kind::Integer(-1), default: None }
    }

    /// Lists of token ids.
    pub(crate) const fn token_lists(name: &'static str, about: &'static str) -> Self {
        let expected = "a list of non-empty lists of token ids";
        Self { name, about, expected, kind: Kind::TokenLists, default: Some(DefaultValue::EmptyList([])) }
    }

    /// An integer that may be left out.
    pub(crate) const fn or(self, default: i64) -> Self {
        Self { default: Some(DefaultValue::Integer(default)), ..self }
    }

    /// A number that may be left out.
    pub(crate) const fn or_number(self, default: f64) -> Self {
        Self { default: Some(DefaultValue::Number(default)), ..self }
    }

    fn takes(&self, value: &Value) -> bool {
        match self.kind {
            Kind::Number(low, high) => {
                value.as_f64().is_some_and(|number| number.is_finite() && (low, high).contains(&number))
            }
            Kind::Integer(least) => integer(value).is_some_and(|number| number >= least),
            Kind::TokenLists => token_lists(value).is_some_and(|lists| lists.iter().all(|list| !list.is_empty())),
        }
    }
}

/// Integers written as floats (`50.0`) count as integers.
fn integer(value: &Value) -> Option<i64> {
    let exact = value.as_f64().filter(|number| number.fract() == 0.0 && (-9e15..=9e15).contains(number))?;
    Some(exact as i64)
}

fn token_lists(value: &Value) -> Option<Vec<Vec<u32>>> {
    let id = |value: &Value| integer(value).and_then(|id| u32::try_from(id).ok());
    let list = |value: &Value| value.as_array()?.iter().map(id).collect();
    value.as_array()?.iter().map(list).collect()
}

impl ProcessorInfo {
    /// Checks parameters strictly: every name known, every value in its range, both named when not.
    ///
    /// # Errors
    /// They are incomplete, unknown or out of range.
    pub(crate) fn read<'a>(&'static self, params: &'a Params) -> Result<ParamValues<'a>, ConfigError> {
        let processor = self.name;
        for info in self.params {
            let (param, expected) = (info.name, info.expected);
            match params.get(param) {
                None if info.default.is_none() => {
                    return Err(ConfigError::MissingParam { processor, param, expected });
                }
                Some(value) if !info.takes(value) => {
                    return Err(ConfigError::BadParam { processor, param, value: value.to_string(), expected });
                }
                _ => {}
            }
        }
        if let Some(unknown) = params.keys().find(|name| self.params.iter().all(|info| info.name != name.as_str())) {
            let known = self.params.iter().map(|info| format!("`{}`", info.name)).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "no parameters".to_owned() } else { known };
            return Err(ConfigError::UnknownParam { processor, param: unknown.clone(), known });
        }
        Ok(ParamValues { info: self, params })
    }

    /// Parameters in canonical form: those equal to their default are left out.
    pub(crate) fn canonical<const N: usize>(&self, values: [(&'static str, Value); N]) -> Params {
        let default = |name: &str| self.params.iter().find(|info| info.name == name).and_then(|info| info.default);
        let told = values.into_iter().filter(|(name, value)| default(name).map(Value::from).as_ref() != Some(value));
        told.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Parameters that have been checked against a processor's description.
pub(crate) struct ParamValues<'a> {
    info: &'static ProcessorInfo,
    params: &'a Params,
}

impl ParamValues<'_> {
    fn value(&self, name: &str) -> Value {
        let default = || self.info.params.iter().find(|info| info.name == name).and_then(|info| info.default);
        self.params.get(name).cloned().or_else(|| default().map(Value::from)).unwrap_or_default()
    }

    pub fn number(&self, name: &str) -> f64 {
        self.value(name).as_f64().unwrap_or(f64::NAN)
    }

    pub fn count(&self, name: &str) -> usize {
        integer(&self.value(name)).map_or(0, |value| value.max(0) as usize)
    }

    /// `None` for −1: all.
    pub fn last_n(&self, name: &str) -> Option<usize> {
        integer(&self.value(name)).and_then(|value| usize::try_from(value).ok())
    }

    pub fn token_lists(&self, name: &str) -> Vec<Vec<u32>> {
        token_lists(&self.value(name)).unwrap_or_default()
    }
}

/// A window as written: −1 for all.
pub(crate) fn last_n_value(last_n: Option<usize>) -> Value {
    last_n.map_or_else(|| Value::from(-1), Value::from)
}
