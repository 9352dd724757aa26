//! Checks a tree against a JSON Schema: every violation, with its place, in words for people.

use super::{
    problem::{Finding, list, suggestion},
    tree::Node,
    units::{ByteSize, TimeSpan},
};
use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde_json::Value;
use std::collections::BTreeSet;

/// An annotation of a schema: what it asks for, in words, where listing its alternatives would say less.
pub const EXPECTED: &str = "x-expected";

/// A JSON Schema, compiled once.
pub struct Structure {
    schema: Value,
    validator: Validator,
}

impl Structure {
    /// # Errors
    /// The schema itself is not valid; the message says why.
    pub fn new(schema: Value) -> Result<Self, String> {
        let validator = jsonschema::options()
            .with_format(ByteSize::FORMAT, |text: &str| ByteSize::parse(text).is_some())
            .with_format(TimeSpan::FORMAT, |text: &str| TimeSpan::parse(text).is_some())
            .should_validate_formats(true)
            .build(&schema)
            .map_err(|error| error.to_string())?;
        Ok(Self { schema, validator })
    }

    /// Whether the schema forbids nothing in `value`.
    #[must_use]
    pub fn accepts(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    /// Everything in `value`, the plain form of `node`, that the schema forbids. `what` names the whole (`the manifest`).
    #[must_use]
    pub fn check(&self, node: &Node, value: &Value, what: &str) -> Vec<Finding> {
        if self.accepts(value) {
            return Vec::new();
        }
        let mut findings: Vec<Finding> = Vec::new();
        for error in self.validator.iter_errors(value) {
            self.explain(&error, node, what, &mut findings);
        }
        findings
    }

    fn explain(&self, error: &ValidationError<'_>, root: &Node, what: &str, findings: &mut Vec<Finding>) {
        let pointer = error.instance_path().as_str();
        let (node, key_span) = root.locate(pointer);
        let of = called(pointer, what);
        let span = node.span;
        let found = shown(error.instance());
        let at_value = |message: String, expected: String| Finding::new(span, message, expected);
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let known = self.siblings(error.schema_path().as_str());
                let written: BTreeSet<&str> = node.entries().iter().map(|entry| entry.key.as_str()).collect();
                for key in unexpected {
                    let span = node.entry(key).map_or(span, |entry| entry.key_span);
                    let label = if known.is_empty() { "nothing is expected here" } else { "not a known key" };
                    let finding = Finding::new(span, format!("unknown key `{key}` in {of}"), label);
                    let free: Vec<&str> =
                        known.iter().map(String::as_str).filter(|key| !written.contains(key)).collect();
                    findings.push(
                        match suggestion(
                            key,
                            "keys here",
                            if free.is_empty() { known.iter().map(String::as_str).collect() } else { free },
                        ) {
                            Some(help) => finding.help(help),
                            None => finding,
                        },
                    );
                }
            }
            ValidationErrorKind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                let span = key_span.unwrap_or(span);
                let finding = Finding::new(span, format!("{of} has no `{key}`"), format!("`{key}` is required"));
                let about =
                    self.property(error.schema_path().as_str(), key).and_then(|schema| schema.get("description"));
                findings.push(match about.and_then(Value::as_str) {
                    Some(about) => finding.help(format!("`{key}`: {}", first_sentence(about))),
                    None => finding,
                });
            }
            ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
                self.alternatives(error, context, root, what, findings);
            }
            ValidationErrorKind::Format { format } => findings.push(match format.as_str() {
                ByteSize::FORMAT => {
                    at_value(format!("{of}: {found} is not a size"), format!("expected {}", ByteSize::EXAMPLES))
                }
                TimeSpan::FORMAT => at_value(
                    format!("{of}: {found} is not a length of time"),
                    format!("expected {}", TimeSpan::EXAMPLES),
                ),
                other => at_value(format!("{of}: {found} does not have the form {other}"), format!("expected {other}")),
            }),
            ValidationErrorKind::Enum { options } => {
                let options: Vec<&Value> = options.as_array().into_iter().flatten().collect();
                findings.push(choice(span, &of, error.instance(), &options));
            }
            ValidationErrorKind::Constant { expected_value } => {
                findings.push(choice(span, &of, error.instance(), &[expected_value]));
            }
            ValidationErrorKind::Type { .. } => {
                let expected =
                    self.at(error.schema_path().as_str(), 1).map_or_else(|| "another type".to_owned(), expected);
                findings
                    .push(at_value(format!("{of} is {found}, expected {expected}"), format!("expected {expected}")));
            }
            ValidationErrorKind::Minimum { limit } => {
                findings.push(at_value(
                    format!("{of} is {found}, which is too small"),
                    format!("expected at least {limit}"),
                ));
            }
            ValidationErrorKind::Maximum { limit } => {
                findings.push(at_value(
                    format!("{of} is {found}, which is too large"),
                    format!("expected at most {limit}"),
                ));
            }
            ValidationErrorKind::ExclusiveMinimum { limit } => {
                findings.push(at_value(
                    format!("{of} is {found}, which is too small"),
                    format!("expected more than {limit}"),
                ));
            }
            ValidationErrorKind::ExclusiveMaximum { limit } => {
                findings.push(at_value(
                    format!("{of} is {found}, which is too large"),
                    format!("expected less than {limit}"),
                ));
            }
            ValidationErrorKind::MinLength { .. } => {
                findings.push(at_value(format!("{of} is empty"), "expected some text".to_owned()))
            }
            ValidationErrorKind::MinItems { limit } => {
                findings.push(at_value(format!("{of} has too few entries"), format!("expected at least {limit}")));
            }
            ValidationErrorKind::MaxItems { limit } => {
                findings.push(at_value(format!("{of} has too many entries"), format!("expected at most {limit}")));
            }
            ValidationErrorKind::Pattern { pattern } => {
                findings.push(at_value(
                    format!("{of}: {found} does not have the expected form"),
                    format!("expected to match `{pattern}`"),
                ));
            }
            ValidationErrorKind::UniqueItems => {
                findings
                    .push(at_value(format!("{of} has the same entry twice"), "expected different entries".to_owned()));
            }
            _ => findings.push(at_value(format!("{of}: {error}"), "not allowed here".to_owned())),
        }
    }

    /// Of several allowed forms: explains what is wrong with the one that was meant, or lists them.
    fn alternatives(
        &self,
        error: &ValidationError<'_>,
        context: &[Vec<ValidationError<'static>>],
        root: &Node,
        what: &str,
        findings: &mut Vec<Finding>,
    ) {
        let pointer = error.instance_path().as_str();
        // A branch that already fails at the value itself, by its type or a constant, was not meant.
        let meant = |branch: &&Vec<ValidationError<'static>>| {
            !branch.iter().any(|error| {
                let kind = error.kind();
                let outside = error.instance_path().as_str() == pointer
                    && matches!(
                        kind,
                        ValidationErrorKind::Type { .. }
                            | ValidationErrorKind::Constant { .. }
                            | ValidationErrorKind::Enum { .. }
                    );
                outside || matches!(kind, ValidationErrorKind::Constant { .. })
            })
        };
        let candidates: Vec<_> = context.iter().filter(meant).collect();
        let fewest = candidates.iter().map(|branch| branch.len()).min();
        let best: Vec<_> = candidates.into_iter().filter(|branch| Some(branch.len()) == fewest).collect();
        if let [branch] = best.as_slice() {
            for error in *branch {
                self.explain(error, root, what, findings);
            }
            return;
        }
        let (node, _) = root.locate(pointer);
        let of = called(pointer, what);
        let branches = self.at(error.schema_path().as_str(), 0).and_then(Value::as_array);
        let schemas: Vec<&Value> = branches.into_iter().flatten().map(|schema| self.follow(schema)).collect();
        let options: Vec<&Value> = schemas.iter().flat_map(|schema| self.options(schema)).collect();
        if !options.is_empty()
            && (error.instance().is_string() || schemas.iter().all(|schema| !self.options(schema).is_empty()))
        {
            findings.push(choice(node.span, &of, error.instance(), &options));
            return;
        }
        let tags: Vec<(&str, &Value)> = schemas.iter().filter_map(|schema| tag(schema)).collect();
        if let (Some((key, _)), true) = (tags.first(), error.instance().is_object() && tags.len() == schemas.len()) {
            let options: Vec<&Value> = tags.iter().map(|(_, value)| *value).collect();
            match node.get(key) {
                Some(value) => findings.push(choice(value.span, &format!("`{key}`"), &value.to_value(), &options)),
                None => findings.push(Finding::new(
                    node.span,
                    format!("{of} has no `{key}`"),
                    format!(
                        "`{key}` is required: {}",
                        options.iter().map(|value| shown(value)).collect::<Vec<_>>().join(", ")
                    ),
                )),
            }
            return;
        }
        let union = self.at(error.schema_path().as_str(), 1);
        if let Some(expected) = union.and_then(|schema| schema.get(EXPECTED)).and_then(Value::as_str) {
            let message = format!("{of} is {}", shown(error.instance()));
            findings.push(Finding::new(node.span, message, format!("expected {expected}")));
            return;
        }
        let mut expected: Vec<String> = schemas
            .iter()
            .filter(|schema| schema.get("type") != Some(&Value::from("null")))
            .map(|schema| expected(schema))
            .collect();
        expected.dedup();
        let expected = expected.join(" or ");
        findings.push(Finding::new(
            node.span,
            format!("{of} is {}, expected {expected}", shown(error.instance())),
            format!("expected {expected}"),
        ));
    }

    /// The schema node that a keyword's path names, `up` levels above the keyword.
    fn at(&self, path: &str, up: usize) -> Option<&Value> {
        let mut path = path;
        for _ in 0..up {
            path = path.rsplit_once('/').map(|(parent, _)| parent)?;
        }
        self.schema.pointer(path)
    }

    fn siblings(&self, path: &str) -> Vec<String> {
        let properties = self.at(path, 1).and_then(|schema| schema.get("properties")).and_then(Value::as_object);
        properties.into_iter().flatten().map(|(key, _)| key.clone()).collect()
    }

    fn property(&self, path: &str, key: &str) -> Option<&Value> {
        self.at(path, 1)?.get("properties")?.get(key).map(|schema| self.follow(schema))
    }

    fn follow<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
        target.and_then(|pointer| self.schema.pointer(pointer)).unwrap_or(schema)
    }

    /// The fixed values that a schema allows, where it allows nothing else.
    fn options<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        if let Some(value) = schema.get("const") {
            return vec![value];
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return values.iter().collect();
        }
        let branches = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array);
        branches.into_iter().flatten().flat_map(|branch| self.options(self.follow(branch))).collect()
    }
}

/// The value that a JSON pointer names, in words.
fn called(pointer: &str, what: &str) -> String {
    let mut segments = pointer.rsplit('/').filter(|segment| !segment.is_empty());
    match (segments.next(), segments.next()) {
        (None, _) => what.to_owned(),
        (Some(index), Some(list)) if index.parse::<usize>().is_ok() => format!("an entry of `{list}`"),
        (Some(index), None) if index.parse::<usize>().is_ok() => "an entry".to_owned(),
        (Some(name), _) => format!("`{}`", name.replace("~1", "/").replace("~0", "~")),
    }
}

/// The property with a fixed value that tells the variants of an enum apart.
fn tag(schema: &Value) -> Option<(&str, &Value)> {
    let properties = schema.get("properties")?.as_object()?;
    properties.iter().find_map(|(key, schema)| Some((key.as_str(), schema.get("const")?)))
}

fn choice(span: super::source::Span, of: &str, found: &Value, options: &[&Value]) -> Finding {
    let names: Vec<String> = options.iter().map(|value| super::reference::value_text(value)).collect();
    let expected = match names.as_slice() {
        [only] => format!("expected `{only}`"),
        _ => format!("expected one of {}", list(names.iter().map(String::as_str), 24)),
    };
    let finding = Finding::new(span, format!("{of} is {}", shown(found)), expected);
    let near = found.as_str().and_then(|word| super::problem::nearest(word, names.iter().map(String::as_str)));
    match near {
        Some(near) => finding.help(format!("did you mean `{near}`?")),
        None => finding,
    }
}

/// What a schema asks for, in words.
fn expected(schema: &Value) -> String {
    let one = |name: &str| {
        match name {
            "string" => "text",
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "true or false",
            "array" => "a list",
            "object" => "a mapping",
            _ => "nothing",
        }
        .to_owned()
    };
    match (schema.get("format").and_then(Value::as_str), schema.get("type")) {
        (Some(ByteSize::FORMAT), _) => format!("a size ({})", ByteSize::EXAMPLES),
        (Some(TimeSpan::FORMAT), _) => format!("a length of time ({})", TimeSpan::EXAMPLES),
        (_, Some(Value::String(name))) => one(name),
        (_, Some(Value::Array(names))) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.map(one).collect::<Vec<_>>().join(" or ")
        }
        _ => schema.get("description").and_then(Value::as_str).map_or("something else", first_sentence).to_owned(),
    }
}

fn first_sentence(text: &str) -> &str {
    let line = text.split("\n\n").next().unwrap_or(text);
    line.split(". ").next().unwrap_or(line).trim_end_matches('.')
}

/// A value as a message shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        Value::String(text) if text.chars().count() <= 40 => format!("the text `{text}`"),
        Value::String(_) => "a long text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}
