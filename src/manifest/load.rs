//! Manifest file → expanded pipeline, in order: read, extend, profile, parameters, stages, inputs, order, outputs.

use super::{
    ManifestErrors, Overrides, Pipeline, Publish, Source, StageName, Task, TaskId, TaskIndex, Warning,
    connect::{Asked, Connector, Followed, index},
    document::{self, Manifest},
    expand::{Expanded, Expander},
    expression, matrix, merge, order, paths,
    problem::{Finding, Findings},
    reference,
    scope::{Place, Scope},
    source::{Sources, Span},
    structure::Structure,
    tree::{Entry, Kind, Node},
    value,
};
use lsn_stage::{Port, PortKind, Registry};
use miette::Severity;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Reads a manifest with everything it extends and works it out to the last task.
///
/// Nothing is run and nothing is written. The files read are the manifest, what it extends and the files of parameters;
/// whether input files exist is looked up for a warning only.
///
/// # Errors
/// Everything that is wrong with the manifest, each problem with its place.
pub fn load(
    path: &Path,
    overrides: &Overrides,
    registry: &Registry,
) -> Result<(Pipeline, Vec<Warning>), ManifestErrors> {
    let mut loader = Loader {
        overrides,
        registry,
        sources: Sources::default(),
        findings: Findings::default(),
        warnings: Findings::default(),
    };
    let pipeline = loader.pipeline(path);
    let Loader { sources, findings, warnings, .. } = loader;
    match pipeline {
        Some(pipeline) if findings.is_empty() => Ok((pipeline, warnings.resolve(&sources, Severity::Warning))),
        _ => Err(ManifestErrors {
            manifest: paths::normalise(path).display().to_string(),
            problems: findings.resolve(&sources, Severity::Error),
        }),
    }
}

struct Loader<'a> {
    overrides: &'a Overrides,
    registry: &'a Registry,
    sources: Sources,
    findings: Findings,
    warnings: Findings,
}

impl Loader<'_> {
    fn pipeline(&mut self, path: &Path) -> Option<Pipeline> {
        let chain = merge::read_chain(path, &mut self.sources, &mut self.findings)?;
        let mut node = merge::merged(&chain);
        let structure = match Structure::new(schemars::schema_for!(Manifest).to_value()) {
            Ok(structure) => structure,
            Err(message) => {
                // The schema is generated from this program's own types.
                self.findings.push(Finding::new(node.span, message, "the manifest's schema is broken"));
                return None;
            }
        };
        self.check_version(&node)?;
        self.check_profiles(&node);
        if let Some(profile) = &self.overrides.profile {
            node = merge::apply_profile(node, profile, &mut self.sources, &mut self.findings);
        }
        let scope = self.scope(&node);
        let node = self.outside(&node, &scope, &structure);
        let text = |key: &str| node.get(key).and_then(Node::as_text);

        let empty = Node::empty_map(node.span);
        let defaults = node.get("defaults").unwrap_or(&empty);
        let written = node.get("stages").map(Node::entries).unwrap_or_default();
        let mut expander = Expander::new(self.registry, &scope, &self.sources, &structure, written);
        let mut stages: Vec<Expanded> = Vec::with_capacity(written.len());
        for entry in written {
            stages.push(expander.expand(entry, defaults, &mut self.findings, &mut self.warnings));
        }
        if let (true, Some(entry)) = (written.is_empty(), node.entry("stages")) {
            self.findings.push(
                Finding::new(entry.key_span, "the manifest has no stages", "expected at least one")
                    .help("for example `hello: {uses: command, with: {run: \"echo hi > ${outputs.out}\", outputs: {out: outputs/hi.txt}}}`"),
            );
        }

        let root = self.root(&node, path);
        let mut connector = Connector::new(&stages, &root);
        let mut sources: Vec<BTreeMap<String, Vec<Source>>> = Vec::new();
        for (at, stage) in stages.iter().enumerate() {
            let mut connected = connector.connect(at, &mut self.findings);
            connected.resize(stage.drafts.len(), BTreeMap::new());
            sources.extend(connected);
        }
        let publish = publish(&node, &stages, &mut connector, &mut self.findings);
        let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        let counts: Vec<usize> = stages.iter().map(|stage| stage.drafts.len()).collect();
        let inputs =
            |task: usize| -> Box<dyn Iterator<Item = &Source> + '_> { Box::new(sources[task].values().flatten()) };
        let is_sketch = |stage: usize| stages[stage].sketch.is_some();
        let order = order::order(&names, &counts, &connector.followed, inputs, is_sketch, &mut self.findings);
        self.warnings.extend(std::mem::take(&mut connector.missing).into_findings());
        if !self.findings.is_empty() {
            return None;
        }
        let order = order?;

        let mut place = vec![TaskIndex(0); order.len()];
        for (at, task) in order.iter().enumerate() {
            place[*task] = index(at);
        }
        let mut tasks = Vec::with_capacity(order.len());
        for task in order {
            let (stage, draft) = connector.draft(task);
            let mut inputs = std::mem::take(&mut sources[task]);
            for source in inputs.values_mut().flatten() {
                if let Source::Output { task, .. } = source {
                    *task = place[task.0 as usize];
                }
            }
            let stage = &stages[stage];
            let id = match &stage.axes {
                None => stage.name.clone(),
                Some(_) => format!("{}[{}]", stage.name, matrix::identity(&draft.coordinates)),
            };
            tasks.push(Task {
                id: TaskId(id),
                stage: StageName(stage.name.clone()),
                matrix: (*draft.coordinates).clone(),
                uses: stage.uses.clone(),
                params: draft.typed.params.clone(),
                inputs,
                outputs: draft.typed.outputs.clone(),
                env: draft.env.clone(),
                resources: draft.settings.resources.clone(),
                retries: draft.settings.retries.clone(),
                timeout: draft.settings.timeout,
                cache: draft.settings.cache,
                secrets: draft.settings.secrets.clone(),
            });
        }
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Some(Pipeline {
            name: text("name").map(str::to_owned).or(stem).unwrap_or_else(|| "pipeline".to_owned()),
            manifest: path.to_owned(),
            root,
            tasks,
            publish: publish
                .into_iter()
                .map(|publish| Publish { task: place[publish.task.0 as usize], ..publish })
                .collect(),
            summary: text("summary").map(|text| text.trim_end().to_owned()),
        })
    }

    /// Another format version may mean anything, so nothing further is read then.
    fn check_version(&mut self, node: &Node) -> Option<()> {
        let Some(version) = node.get("lsn") else { return Some(()) };
        if version.kind == Kind::Number(document::FORMAT.into()) {
            return Some(());
        }
        let found = super::reference::value_text(&version.to_value());
        let finding = Finding::new(version.span, format!("manifest format `{found}` is not known"), "expected `1`");
        let newer =
            matches!(&version.kind, Kind::Number(number) if number.as_u64().is_some_and(|n| n > document::FORMAT));
        self.findings.push(finding.help(if newer {
            "a newer lsn is needed to read this file"
        } else {
            "write `lsn: 1`"
        }));
        None
    }

    /// All profiles are checked, whichever is chosen.
    fn check_profiles(&mut self, node: &Node) {
        let Some(profiles) = node.entry("profiles") else { return };
        let written = Structure::new(super::schema::allowing_expressions(schemars::schema_for!(Manifest).to_value()));
        let root = Node::new(node.span, Kind::Map(vec![profiles.clone()]));
        let mut value = root.to_value();
        if let (Ok(written), Some(fields)) = (written, value.as_object_mut()) {
            fields.insert("lsn".to_owned(), document::FORMAT.into());
            fields.insert("stages".to_owned(), Value::Object(serde_json::Map::new()));
            self.findings.extend(written.check(&root, &value, "the profiles"));
        }
        let stages: Vec<&str> =
            node.get("stages").map(Node::entries).unwrap_or_default().iter().map(|e| e.key.as_str()).collect();
        for profile in profiles.value.entries() {
            for entry in profile.value.get("stages").map(Node::entries).unwrap_or_default() {
                if !stages.contains(&entry.key.as_str()) {
                    let message = format!("profile `{}` names an unknown stage `{}`", profile.key, entry.key);
                    let finding = Finding::new(entry.key_span, message, "no stage of this name");
                    self.findings.push(finding.suggest(&entry.key, "stages", stages.iter().copied()));
                }
            }
        }
    }

    /// Parameters with their overrides, worked out in the order in which they mention each other.
    fn scope(&mut self, node: &Node) -> Scope {
        let scope = Scope::new(&self.overrides.env);
        let declared = match node.get("params") {
            Some(params) if matches!(params.kind, Kind::Map(_)) => params.clone(),
            // Anything else is reported with the manifest's structure.
            _ => Node::empty_map(node.span),
        };
        let params = merge::override_params(declared, self.overrides, &mut self.sources, &mut self.findings);
        let entries: BTreeMap<&str, &Entry> =
            params.entries().iter().map(|entry| (entry.key.as_str(), entry)).collect();
        let mut known = Params { scope, values: BTreeMap::new(), broken: BTreeSet::new() };
        for entry in params.entries() {
            self.param(entry, &entries, &mut known, &mut Vec::new());
        }
        known.scope.with_params(known.values, known.broken)
    }

    fn param<'n>(
        &mut self,
        entry: &'n Entry,
        all: &BTreeMap<&str, &'n Entry>,
        known: &mut Params,
        open: &mut Vec<&'n str>,
    ) {
        if known.values.contains_key(&entry.key) || known.broken.contains(&entry.key) {
            return;
        }
        if let Some(at) = open.iter().position(|name| *name == entry.key) {
            let circle: Vec<String> =
                open[at..].iter().chain([&entry.key.as_str()]).map(|name| format!("`{name}`")).collect();
            let message = format!("parameters refer to each other in a circle: {}", circle.join(" → "));
            self.findings.push(Finding::new(entry.value.span, message, "needs its own value"));
            known.broken.extend(open[at..].iter().map(|name| (*name).to_owned()));
            return;
        }
        let before = self.findings.len();
        open.push(&entry.key);
        match expression::params_of(&entry.value) {
            Some(names) => {
                for other in names.iter().filter_map(|name| all.get(name.as_str())) {
                    self.param(other, all, known, open);
                }
            }
            None => {
                let message = format!("parameter `{}` refers to all parameters, itself among them", entry.key);
                self.findings.push(Finding::new(entry.value.span, message, "expected `params.name`"));
            }
        }
        open.pop();
        let scope = known.scope.clone().with_params(known.values.clone(), known.broken.clone());
        let place = Place::Outside { what: "params" };
        let value = expression::interpolate(&entry.value, &scope, place, &self.sources, &mut self.findings);
        if self.findings.len() > before || known.broken.contains(&entry.key) {
            known.broken.insert(entry.key.clone());
        } else {
            known.values.insert(entry.key.clone(), value::from_json(&value.to_value()));
        }
    }

    /// The manifest with everything outside stages worked out and checked.
    fn outside(&mut self, node: &Node, scope: &Scope, structure: &Structure) -> Node {
        let before = self.findings.len();
        let mut entries = Vec::new();
        for entry in node.entries() {
            let what = format!("`{}`", entry.key);
            let value = match (entry.key.as_str(), &entry.value.kind) {
                (_, Kind::Null) => continue,
                ("stages" | "params" | "profiles", _) => entry.value.clone(),
                _ => {
                    let place = Place::Outside { what: &what };
                    expression::interpolate(&entry.value, scope, place, &self.sources, &mut self.findings)
                }
            };
            entries.push(Entry { key: entry.key.clone(), key_span: entry.key_span, value });
        }
        let node = Node::new(node.span, Kind::Map(entries));
        if self.findings.len() > before {
            return node;
        }
        // Stages and profiles are checked on their own, one by one.
        let mut value = Value::Object(serde_json::Map::new());
        for entry in node.entries() {
            let checked = match (entry.key.as_str(), &entry.value.kind) {
                ("stages" | "profiles", Kind::Map(_)) => Value::Object(serde_json::Map::new()),
                _ => entry.value.to_value(),
            };
            if let Some(fields) = value.as_object_mut() {
                fields.insert(entry.key.clone(), checked);
            }
        }
        let first_line = self.sources.get(node.span.source).text().lines().next().map_or(0, str::len);
        let head = Node::new(Span::new(node.span.source, 0..first_line), node.kind.clone());
        self.findings.extend(structure.check(&head, &value, "the manifest"));
        if let Some(defaults) = node.get("defaults").filter(|defaults| defaults.is_dynamic()) {
            self.findings.push(Finding::new(
                defaults.span,
                "`defaults` cannot use the matrix",
                "the same for all stages",
            ));
        }
        node
    }

    /// The project directory: `root` is relative to the file that writes it.
    fn root(&self, node: &Node, path: &Path) -> PathBuf {
        let written = node.get("root").and_then(|root| Some((root.as_text()?, root.span.source)));
        match written {
            Some((text, source)) => paths::normalise(&self.sources.get(source).directory.join(text)),
            None => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                paths::normalise(parent.unwrap_or(Path::new(".")))
            }
        }
    }
}

/// Parameters worked out so far.
struct Params {
    scope: Scope,
    values: BTreeMap<String, minijinja::Value>,
    /// Those that are wrong, or that need one that is.
    broken: BTreeSet<String>,
}

/// `outputs:` of the manifest: which artifact goes to which path.
fn publish(node: &Node, stages: &[Expanded], connector: &mut Connector<'_>, findings: &mut Findings) -> Vec<Publish> {
    let mut all: Vec<Publish> = Vec::new();
    let mut written: Vec<(PathBuf, Span)> = Vec::new();
    for entry in node.get("outputs").map(Node::entries).unwrap_or_default() {
        let path = PathBuf::from(&entry.key);
        if !paths::is_inside(&path) {
            findings.push(
                Finding::new(
                    entry.key_span,
                    format!("the output path `{}` leaves the project", entry.key),
                    "expected a path inside",
                )
                .help("write a path relative to the project's root, such as `results/report`"),
            );
        }
        if let Some((other, span)) = written.iter().find(|(other, _)| paths::collide(other, &path)) {
            let message = format!("two outputs with one path: `{}` and `{}`", other.display(), entry.key);
            findings.push(
                Finding::new(entry.key_span, message, "would overwrite the other")
                    .also(*span, "the other")
                    .help("publish one of them elsewhere"),
            );
        }
        written.push((path.clone(), entry.key_span));
        let Some(text) = entry.value.as_text() else { continue };
        let span = entry.value.span;
        let reference = match reference::parse(text) {
            Some(Ok(reference)) => reference,
            Some(Err(message)) => {
                findings.push(Finding::new(span, message, "cannot be read as a selection of instances"));
                continue;
            }
            None => {
                let message = format!("`{text}` is not an output of a stage");
                findings.push(Finding::new(span, message, "expected `stage.output` or `stage[key=value].output`"));
                continue;
            }
        };
        let port = Port::new("outputs", PortKind::Any, "").many();
        let asked = Asked { at: stages.len(), reference: &reference, span, port: &port, dynamic: false };
        let several = |count: usize| {
            Finding::new(span, format!("`{text}` selects {count} artifacts for one path"), "expected exactly one")
                .help("write one line for each, with `stage[key=value].output`")
        };
        match connector.follow(&asked, findings) {
            Followed::Tasks(tasks) => match tasks.as_slice() {
                [task] => all.push(Publish { path, task: index(*task), output: reference.output }),
                many => findings.push(several(many.len())),
            },
            Followed::Sketched(Some(count)) if count > 1 => findings.push(several(count)),
            // What is left out is not published.
            Followed::Sketched(_) | Followed::LeftOut(_) | Followed::Wrong => {}
        }
    }
    all
}
