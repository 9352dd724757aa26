//! Saved states of stateful processors as JSON.

use crate::ConfigError;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A state of numbers as JSON.
pub(crate) fn save(state: &impl Serialize) -> Value {
    // Structs of finite numbers always serialise; anything else is refused when it is restored.
    serde_json::to_value(state).unwrap_or_default()
}

/// # Errors
/// `saved` is not a state of this type.
pub(crate) fn restore<T: DeserializeOwned>(processor: &'static str, saved: &Value) -> Result<T, ConfigError> {
    T::deserialize(saved).map_err(|error| ConfigError::State { processor, message: error.to_string() })
}
