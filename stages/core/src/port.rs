//! The declared inputs and outputs of a stage type.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of artifact a port takes or gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortKind {
    /// Any file or directory.
    Any,
    /// One file.
    File,
    /// A directory.
    Directory,
    /// A data set directory whose rows are of the named record type (`prompt`, `generation`, …).
    DataSet(String),
}

impl PortKind {
    /// Whether an artifact of kind `self` may be connected to an input of kind `wanted`.
    #[must_use]
    pub fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (_, Self::Any) | (Self::Any, _) | (Self::DataSet(_), Self::Directory) => true,
            (a, b) => a == b,
        }
    }
}

/// One named input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Port {
    pub name: String,
    pub kind: PortKind,
    /// An input that may be left out, or an output that the task may leave unwritten.
    pub optional: bool,
    /// An input that takes a list of artifacts (`generate[*].rows`).
    pub many: bool,
    pub about: String,
}

impl Port {
    #[must_use]
    pub fn new(name: impl Into<String>, kind: PortKind, about: impl Into<String>) -> Self {
        Self { name: name.into(), kind, optional: false, many: false, about: about.into() }
    }

    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    #[must_use]
    pub fn many(mut self) -> Self {
        self.many = true;
        self
    }
}
