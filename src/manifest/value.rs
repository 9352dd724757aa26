//! Plain values ↔ the values of expressions.

use super::{problem::Finding, source::Span};
use minijinja::{Value, value::ValueKind};
use serde_json::Value as Json;

/// A plain value as minijinja sees it.
#[must_use]
pub fn from_json(value: &Json) -> Value {
    match value {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(from_json).collect::<Vec<_>>()),
        Json::Object(fields) => Value::from_pairs(fields.iter().map(|(key, value)| (key.clone(), from_json(value)))),
    }
}

/// # Errors
/// It is not a plain value; the message says what it is.
pub fn to_json(value: &Value) -> Result<Json, String> {
    match value.kind() {
        ValueKind::None => Ok(Json::Null),
        ValueKind::Bool => Ok(Json::Bool(value.is_true())),
        ValueKind::Number if value.is_integer() => i64::try_from(value.clone())
            .map(Json::from)
            .or_else(|_| u64::try_from(value.clone()).map(Json::from))
            .map_err(|_| format!("the number {value}, which is too large")),
        ValueKind::Number => {
            let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
            serde_json::Number::from_f64(number)
                .map(Json::Number)
                .ok_or_else(|| format!("{number}, not a finite number"))
        }
        ValueKind::String => Ok(Json::String(value.as_str().unwrap_or_default().to_owned())),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|error| error.to_string())?;
            items.map(|item| to_json(&item)).collect::<Result<_, _>>().map(Json::Array)
        }
        ValueKind::Map => {
            let keys = value.try_iter().map_err(|error| error.to_string())?;
            let field = |key: Value| {
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                Ok((name, to_json(&value.get_item(&key).map_err(|error| error.to_string())?)?))
            };
            keys.map(field).collect::<Result<serde_json::Map<_, _>, String>>().map(Json::Object)
        }
        ValueKind::Undefined => Err("something undefined".to_owned()),
        other => Err(format!("{other}")),
    }
}

/// Appends a value inside text.
///
/// # Errors
/// A list, a mapping or nothing has no obvious text.
pub fn write_out(text: &mut String, value: &Json, span: Span) -> Result<(), Finding> {
    let what = match value {
        Json::String(value) => {
            text.push_str(value);
            return Ok(());
        }
        Json::Bool(_) | Json::Number(_) => {
            text.push_str(&value.to_string());
            return Ok(());
        }
        Json::Null => "nothing (null)",
        Json::Array(_) => "a list",
        Json::Object(_) => "a mapping",
    };
    Err(Finding::new(span, format!("{what} cannot stand inside text"), format!("the value is {what}"))
        .help("a list may be joined: `${params.items | join(' ')}`"))
}
