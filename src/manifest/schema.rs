//! The JSON Schema of a manifest, for editors: generated from the types that manifests are read into, with the parameters of
//! every stage type put in.

use super::document::Manifest;
use lsn_stage::Registry;
use serde_json::{Map, Value, json};

/// Keys whose values are containers that no expression can stand for, or words that are read before any expression.
const NEVER_EXPRESSIONS: [&str; 12] = [
    "lsn", "name", "extends", "params", "defaults", "profiles", "stages", "outputs", "inputs", "with", "matrix", "env",
];

/// JSON Schema (draft 2020-12) of a manifest whose stages use the types of `registry`.
#[must_use]
pub fn json_schema(registry: &Registry) -> Value {
    let mut schema = schemars::schema_for!(Manifest).to_value();
    let mut conditions = Vec::new();
    let mut definitions = Map::new();
    for stage_type in registry.iter() {
        let name = stage_type.name();
        let mut with = stage_type.schema();
        let prefix = format!("with.{name}");
        rename(&mut with, &prefix);
        let needs_with = with.get("required").and_then(Value::as_array).is_some_and(|keys| !keys.is_empty());
        if let Some(fields) = with.as_object_mut() {
            fields.remove("$schema");
            fields.remove("title");
            if let Some(Value::Object(inner)) = fields.remove("$defs") {
                definitions.extend(inner.into_iter().map(|(key, value)| (format!("{prefix}.{key}"), value)));
            }
        }
        definitions.insert(prefix.clone(), with);
        let mut then = json!({"properties": {"with": {"$ref": format!("#/$defs/{prefix}")}}});
        if needs_with {
            then["required"] = json!(["with"]);
        }
        conditions.push(json!({"if": {"properties": {"uses": {"const": name}}}, "then": then}));
    }
    let names: Vec<Value> =
        registry.iter().map(|known| json!({"const": known.name(), "description": known.about()})).collect();
    if let Some(stage) = schema.pointer_mut("/$defs/Stage").and_then(Value::as_object_mut) {
        stage.insert("allOf".to_owned(), Value::Array(conditions));
        if let Some(uses) = stage.get_mut("properties").and_then(|properties| properties.get_mut("uses")) {
            uses["anyOf"] = Value::Array(names);
        }
    }
    if let Some(all) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        all.extend(definitions);
    }
    schema["title"] = "lsn pipeline manifest".into();
    allowing_expressions(schema)
}

/// Prefixes all references into a schema's own definitions.
fn rename(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), value.as_str().and_then(|target| target.strip_prefix("#/$defs/"))) {
                    ("$ref", Some(target)) => *value = format!("#/$defs/{prefix}.{target}").into(),
                    _ if value.as_str() == Some("#") && key == "$ref" => *value = format!("#/$defs/{prefix}").into(),
                    _ => rename(value, prefix),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, prefix)),
        _ => {}
    }
}

/// A schema that also takes text with `${…}` wherever a value may be worked out from an expression.
#[must_use]
pub fn allowing_expressions(mut schema: Value) -> Value {
    walk(&mut schema);
    schema
}

fn walk(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    for (key, value) in fields.iter_mut() {
        match key.as_str() {
            "properties" => {
                for (name, property) in value.as_object_mut().into_iter().flatten() {
                    walk(property);
                    if !NEVER_EXPRESSIONS.contains(&name.as_str()) {
                        widen(property);
                    }
                }
            }
            "additionalProperties" | "items" | "contains" => {
                walk(value);
                widen(value);
            }
            "$defs" => value.as_object_mut().into_iter().flatten().for_each(|(_, definition)| walk(definition)),
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                value.as_array_mut().into_iter().flatten().for_each(walk);
            }
            "then" | "else" => walk(value),
            _ => {}
        }
    }
}

/// `schema`, or text with an expression.
fn widen(schema: &mut Value) {
    let Some(fields) = schema.as_object() else { return };
    let limits = ["const", "enum", "pattern", "format", "minLength", "anyOf", "oneOf", "$ref"];
    let takes_any_text = match fields.get("type") {
        _ if limits.iter().any(|limit| fields.contains_key(*limit)) => false,
        None => true,
        Some(Value::String(name)) => name == "string",
        Some(Value::Array(names)) => names.iter().any(|name| name == "string"),
        Some(_) => true,
    };
    let stage_map = fields.get("$ref").and_then(Value::as_str).is_some_and(|target| {
        ["Stage", "Profile", "SiteSettings", "Input"].iter().any(|name| target == format!("#/$defs/{name}"))
    });
    if takes_any_text || stage_map {
        return;
    }
    let expression = json!({"description": "An expression.", "type": "string", "pattern": r"\$\{"});
    let mut old = std::mem::take(schema);
    let mut widened = Map::new();
    for key in ["description", "default"] {
        if let Some(value) = old.as_object_mut().and_then(|fields| fields.remove(key)) {
            widened.insert(key.to_owned(), value);
        }
    }
    widened.insert("anyOf".to_owned(), Value::Array(vec![old, expression]));
    *schema = Value::Object(widened);
}
