//! Parameters as configuration files write them.

use serde_json::Value;
use std::collections::BTreeMap;

/// Parameters of one processor by name.
pub type Params = BTreeMap<String, Value>;
