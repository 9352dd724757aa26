//! `lsn stage`: the stage types, and running one by hand without a pipeline or a cache.

use super::{CliError, CliResult, ErrorKind, Global, Status, Style, pipeline, write_json};
use crate::manifest::{self, describe_kind};
use clap::Subcommand;
use lsn_cache::MemoryIndex;
use lsn_stage::{
    Artifact, CancelToken, EventSink, NoMemo, Port, Registry, StageContext, StageContextParts, StageEvent, StageType,
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    thread,
};

/// Arguments of `lsn stage`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the stage types
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the inputs, outputs and parameters of a stage type
    Describe {
        #[arg(value_name = "TYPE")]
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a stage by hand
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    #[arg(value_name = "TYPE")]
    name: String,
    /// An input: `name=PATH`; given several times, an input that takes several artifacts
    #[arg(short, long, value_name = "NAME=PATH")]
    input: Vec<String>,
    /// A parameter: `key=VALUE` or `outer.inner=VALUE`, with a YAML value
    #[arg(short, long, value_name = "KEY=VALUE")]
    with: Vec<String>,
    /// Where the outputs go, each under its name; must not hold any of them yet
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Compute threads
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    let registry = lsn_stages::registry();
    match &args.action {
        Action::List { json } => list(&registry, *json),
        Action::Describe { name, json } => describe(&**find(&registry, name)?, *json),
        Action::Run(args) => run(&**find(&registry, &args.name)?, args),
    }
}

/// The stage type of a name.
///
/// # Errors
/// There is none.
pub fn find<'a>(registry: &'a Registry, name: &str) -> CliResult<&'a Arc<dyn StageType>> {
    registry.get(name).ok_or_else(|| {
        let error = CliError::usage(format!("unknown stage type `{name}`"));
        match manifest::nearest(name, registry.names()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`lsn stage list` shows all"),
        }
    })
}

fn list(registry: &Registry, json: bool) -> CliResult<Status> {
    let mut out = io::stdout().lock();
    if json {
        let all: Vec<Value> = registry
            .iter()
            .map(|known| json!({"name": known.name(), "about": known.about(), "version": known.version()}))
            .collect();
        write_json(&mut out, &all)?;
    } else {
        let width = registry.names().map(str::len).max().unwrap_or(0);
        for known in registry.iter() {
            writeln!(out, "{}  {}", Style::strong(format!("{:width$}", known.name())), known.about())?;
        }
    }
    Ok(Status::Done)
}

/// Ports of a stage type with as few parameters as possible; `None` where they depend on the parameters.
fn ports(stage: &dyn StageType) -> Option<(Vec<Port>, Vec<Port>)> {
    let params = stage.normalize(&Value::Object(Map::new())).ok()?;
    Some((stage.inputs(&params).ok()?, stage.outputs(&params).ok()?))
}

fn describe(stage: &dyn StageType, json: bool) -> CliResult<Status> {
    let mut out = io::stdout().lock();
    let ports = ports(stage);
    if json {
        let (inputs, outputs) = ports.unzip();
        let report = json!({
            "name": stage.name(), "about": stage.about(), "version": stage.version(),
            "determinism": stage.determinism(), "inputs": inputs, "outputs": outputs, "params": stage.schema(),
        });
        write_json(&mut out, &report)?;
        return Ok(Status::Done);
    }
    writeln!(out, "{} (version {}): {}", Style::strong(stage.name()), stage.version(), stage.about())?;
    match &ports {
        Some((inputs, outputs)) => {
            write_ports(&mut out, "inputs", inputs)?;
            write_ports(&mut out, "outputs", outputs)?;
        }
        None => writeln!(out, "\ninputs and outputs depend on the parameters")?,
    }
    let schema = stage.schema();
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = schema["properties"].as_object();
    writeln!(out, "\n{}", Style::strong("parameters"))?;
    if fields.is_none_or(Map::is_empty) {
        writeln!(out, "  none")?;
    }
    for (name, field) in fields.into_iter().flatten() {
        let need = match field.get("default") {
            Some(default) => format!(", default {default}"),
            None if required.contains(&name.as_str()) => ", required".to_owned(),
            None => String::new(),
        };
        let about = about(&schema, field).unwrap_or_default().replace('\n', " ");
        writeln!(out, "  {}: {}{need}", Style::strong(name), type_name(&schema, field))?;
        if !about.is_empty() {
            writeln!(out, "      {about}")?;
        }
    }
    Ok(Status::Done)
}

fn write_ports(out: &mut impl Write, title: &str, ports: &[Port]) -> io::Result<()> {
    writeln!(out, "\n{}", Style::strong(title))?;
    if ports.is_empty() {
        writeln!(out, "  {}", if title == "inputs" { "any" } else { "as declared" })?;
    }
    for port in ports {
        let mut kind = describe_kind(&port.kind);
        if port.many {
            kind += ", one or more";
        }
        if port.optional {
            kind += ", optional";
        }
        writeln!(out, "  {}: {kind}\n      {}", Style::strong(&port.name), port.about)?;
    }
    Ok(())
}

fn follow<'a>(schema: &'a Value, field: &'a Value) -> &'a Value {
    let target = field["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| schema.pointer(pointer)).unwrap_or(field)
}

fn about<'a>(schema: &'a Value, field: &'a Value) -> Option<&'a str> {
    let branches = field["anyOf"].as_array().into_iter().flatten();
    let own = field["description"].as_str().or_else(|| follow(schema, field)["description"].as_str());
    own.or_else(|| branches.filter_map(|branch| follow(schema, branch)["description"].as_str()).next())
}

fn type_name(schema: &Value, field: &Value) -> String {
    let field = follow(schema, field);
    if let Some(value) = field.get("const") {
        return value.to_string();
    }
    if let Some(values) = field["enum"].as_array() {
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    if let Some(branches) = field["oneOf"].as_array().or_else(|| field["anyOf"].as_array()) {
        let mut names: Vec<String> = branches.iter().map(|branch| type_name(schema, branch)).collect();
        names.dedup();
        return names.join(" | ");
    }
    match &field["type"] {
        Value::String(name) if name == "array" => format!("[{}]", type_name(schema, &field["items"])),
        Value::String(name) if name == "object" => {
            let tag = field["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .find_map(|(key, value)| value.get("const").map(|value| format!("{{{key}: {value}, …}}")));
            tag.unwrap_or_else(|| match field.get("additionalProperties").filter(|value| value.is_object()) {
                Some(values) => format!("{{name: {}}}", type_name(schema, values)),
                None => "{…}".to_owned(),
            })
        }
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | "),
        _ => "any".to_owned(),
    }
}

/// Shows what a stage says on stderr.
struct Voice;

impl EventSink for Voice {
    fn emit(&self, event: &StageEvent) {
        match event {
            StageEvent::Progress { done, total: Some(total), unit } => eprintln!("{done}/{total} {unit}"),
            StageEvent::Progress { done, total: None, unit } => eprintln!("{done} {unit}"),
            StageEvent::Metric { name, value } => eprintln!("{name} = {value}"),
            StageEvent::Rows(rows) => eprintln!("rows: {} computed, {} failed", rows.computed, rows.failed),
            StageEvent::Note { text } => eprintln!("{text}"),
            StageEvent::Warning { text } => eprintln!("{} {text}", Style::warning("warning:")),
        }
    }
}

fn run(stage: &dyn StageType, args: &RunArgs) -> CliResult<Status> {
    let written = params(&args.with)?;
    let params = stage.normalize(&written).map_err(|issues| {
        let mut error = CliError::usage(format!("stage type `{}` rejects these parameters", stage.name()));
        for issue in issues {
            let place = if issue.pointer.is_empty() { String::new() } else { format!("{}: ", issue.pointer) };
            let help = issue.suggestion.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
            error = error.hint(format!("{place}{}{help}", issue.message));
        }
        error.hint(format!("`lsn stage describe {}` explains them", stage.name()))
    })?;
    let inputs = inputs(stage, &params, &args.input)?;
    let ports = stage.outputs(&params)?;
    let scratch = args.out.join(".scratch");
    let io = |error: io::Error| CliError::failed(format!("cannot use `{}`: {error}", args.out.display()));
    fs::create_dir_all(&scratch).map_err(io)?;
    let mut outputs = BTreeMap::new();
    for port in &ports {
        let path = std::path::absolute(args.out.join(&port.name)).map_err(io)?;
        if path.symlink_metadata().is_ok() {
            return Err(CliError::usage(format!("`{}` is there already", path.display())).hint("name a new `--out`"));
        }
        outputs.insert(port.name.clone(), path);
    }
    let context = StageContext::new(StageContextParts {
        inputs,
        outputs: outputs.clone(),
        scratch: std::path::absolute(&scratch).map_err(io)?,
        threads: args.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)),
        gpus: Vec::new(),
        events: Arc::new(Voice),
        memo: Arc::new(NoMemo),
        cancel: CancelToken::default(),
    });
    stage.run(&params, &context)?;
    fs::remove_dir_all(&scratch).map_err(io)?;
    for port in ports.iter().filter(|port| !port.optional) {
        if !outputs[&port.name].exists() {
            return Err(CliError::failed(format!("stage type `{}` did not write `{}`", stage.name(), port.name)));
        }
    }
    outputs.retain(|_, path| path.exists());
    let mut out = io::stdout().lock();
    if args.json {
        write_json(&mut out, &json!({"params": params, "outputs": outputs}))?;
    } else {
        for (name, path) in &outputs {
            writeln!(out, "{}: {}", Style::strong(name), path.display())?;
        }
    }
    Ok(Status::Done)
}

/// `key=value` words as one mapping.
fn params(words: &[String]) -> CliResult<Value> {
    let mut all = Value::Object(Map::new());
    for word in words {
        let (key, value) = pipeline::split_pair(word, "--with")?;
        let value = manifest::parse_value(value)
            .map_err(|message| CliError::usage(format!("`--with {word}`: the value is not YAML: {message}")))?;
        let mut at = &mut all;
        for segment in key.split('.') {
            let Some(fields) = at.as_object_mut() else {
                return Err(CliError::usage(format!("`--with {word}`: a part of `{key}` is no mapping")));
            };
            at = fields.entry(segment).or_insert_with(|| Value::Object(Map::new()));
        }
        *at = value;
    }
    Ok(all)
}

fn inputs(stage: &dyn StageType, params: &Value, words: &[String]) -> CliResult<BTreeMap<String, Vec<Artifact>>> {
    let index = MemoryIndex::default();
    let mut inputs: BTreeMap<String, Vec<Artifact>> = BTreeMap::new();
    for word in words {
        let (name, path) = pipeline::split_pair(word, "--input")?;
        let path = std::path::absolute(path)?;
        let digest = lsn_cache::digest_path(&index, &path)
            .map_err(|error| CliError::usage(format!("cannot read input `{name}`: {error}")))?
            .digest;
        inputs.entry(name.to_owned()).or_default().push(Artifact { path, digest });
    }
    if stage.command(params)?.is_some() {
        return Ok(inputs);
    }
    let ports = stage.inputs(params)?;
    for (name, artifacts) in &inputs {
        let Some(port) = ports.iter().find(|port| port.name == *name) else {
            let error = CliError::usage(format!("stage type `{}` has no input `{name}`", stage.name()));
            let near = manifest::nearest(name, ports.iter().map(|port| port.name.as_str()));
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("`lsn stage describe {}` shows its inputs", stage.name())),
            });
        };
        if artifacts.len() > 1 && !port.many {
            return Err(CliError::usage(format!("input `{name}` takes one artifact, {} are given", artifacts.len())));
        }
    }
    match ports.iter().find(|port| !port.optional && !inputs.contains_key(&port.name)) {
        None => Ok(inputs),
        Some(port) => Err(CliError::usage(format!("stage type `{}` needs input `{}`", stage.name(), port.name))
            .hint(format!("add `--input {}=PATH`: {}", port.name, port.about))),
    }
}

impl From<lsn_stage::StageError> for CliError {
    fn from(error: lsn_stage::StageError) -> Self {
        let kind =
            if error.class == lsn_stage::FailureClass::Cancelled { ErrorKind::Interrupted } else { ErrorKind::Failed };
        let new = Self::new(kind, error.message);
        match error.hint {
            Some(hint) => new.hint(hint),
            None => new,
        }
    }
}
