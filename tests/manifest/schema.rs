//! The committed JSON Schema is the one that the types give, and it takes what the reader takes.

use crate::registry::registry;
use lsn::manifest::json_schema;
use serde_json::Value;
use std::{fs, path::Path};

const COMMITTED: &str = "configs/schema/pipeline.schema.json";

/// `LSN_UPDATE_SCHEMA=1 cargo test` writes the file anew.
#[test]
fn the_committed_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(COMMITTED);
    let schema = serde_json::to_string_pretty(&json_schema(&lsn_stages::registry())).expect("JSON") + "\n";
    if std::env::var_os("LSN_UPDATE_SCHEMA").is_some() {
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, &schema).expect("the schema");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == schema, "{COMMITTED} is out of date: run the tests once with LSN_UPDATE_SCHEMA=1");
}

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&json_schema(&registry())).expect("a valid schema")
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

#[test]
fn it_takes_expressions_where_the_reader_does() {
    let manifest = yaml(
        r#"
lsn: 1
params: {seeds: [0, 1], limit: 3}
defaults: {retries: {max: "${params.limit}", backoff: 1s}, timeout: 1h}
profiles: {big: {stages: {generate: {resources: {gpus: 0.5, mem: 4GiB}}}}}
stages:
  generate:
    uses: generate
    matrix: {seed: "${params.seeds}", size: {range: [0, 4]}, exclude: [{seed: 0}]}
    inputs: {prompts: "prompts[*].rows", heuristics: {path: x}, model: [a.b, {glob: "*"}]}
    with: {seed: "${matrix.seed}", max_tokens: "${params.limit}"}
    when: "${params.limit > 2}"
  copy:
    uses: command
    with: {run: date, outputs: {x: out.txt}}
    env: {A: 1}
"#,
    );
    let validator = validator();
    let errors: Vec<String> = validator.iter_errors(&manifest).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn it_refuses_what_the_reader_refuses() {
    let validator = validator();
    for broken in [
        "{lsn: 2, stages: {}}",
        "{lsn: 1}",
        "{lsn: 1, stages: {a: {uses: nothing}}}",
        "{lsn: 1, stages: {a: {uses: generate}}}",
        "{lsn: 1, stages: {a: {uses: generate, with: {seed: one}}}}",
        "{lsn: 1, stages: {a: {uses: generate, with: {seed: 1, sede: 1}}}}",
        "{lsn: 1, stages: {a: {uses: verify, with: {policy: maybe}}}}",
        "{lsn: 1, stages: {a: {uses: verify, resources: {cpu: 1}}}}",
        "{lsn: 1, stages: {a: {uses: verify, inputs: {x: {pth: y}}}}}",
    ] {
        assert!(!validator.is_valid(&yaml(broken)), "{broken}");
    }
}
