//! A stage of the manifest → its instances: matrix, `when`, parameters checked by the stage type, settings.

use super::{
    document,
    expression::{self, Instance},
    matrix::{self, Matrix},
    problem::{Finding, Findings},
    reference,
    scope::{Coordinates, Place, Scope},
    settings::{Settings, decode, environment, settings_of},
    sketch::{Sketch, Wrong},
    source::{Sources, Span},
    stage_graph,
    structure::Structure,
    tree::{Entry, Kind, Node},
    wanted::{self, Wanted},
};
use lsn_stage::{Port, Registry, StageType};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
};

/// The stage type whose `run` parameter is a command line and that takes any input.
pub const COMMAND: &str = "command";

/// Parameters of one or several instances, as their stage type understands them.
pub struct Typed {
    pub params: Arc<Value>,
    /// `None`: any input is taken.
    pub inputs: Option<Vec<Port>>,
    pub outputs: Arc<[Port]>,
}

/// One instance of a stage, its inputs not looked up yet.
pub struct Draft {
    pub coordinates: Arc<Coordinates>,
    pub typed: Rc<Typed>,
    pub inputs: Rc<Vec<Wanted>>,
    pub env: Arc<BTreeMap<String, String>>,
    pub settings: Settings,
}

/// A stage with its instances.
pub struct Expanded {
    pub name: String,
    pub name_span: Span,
    pub uses: String,
    /// `None`: no matrix.
    pub axes: Option<Vec<String>>,
    pub drafts: Vec<Draft>,
    /// Where `when` left instances out.
    pub left_out: Option<Span>,
    /// Of a stage that is wrong somewhere and therefore has no drafts.
    pub sketch: Option<Sketch>,
}

/// What expanding needs to know.
pub struct Expander<'a> {
    pub registry: &'a Registry,
    pub scope: &'a Scope,
    /// What `with` sees: the stage graph, too.
    pub with_scope: Scope,
    pub sources: &'a Sources,
    pub structure: &'a Structure,
    types: HashMap<String, Option<Structure>>,
}

impl<'a> Expander<'a> {
    #[must_use]
    pub fn new(
        registry: &'a Registry,
        scope: &'a Scope,
        sources: &'a Sources,
        structure: &'a Structure,
        stages: &[Entry],
    ) -> Self {
        let with_scope = if stages.iter().any(stage_graph::is_mentioned) {
            scope.clone().with_stages(stage_graph::read(stages, scope, sources))
        } else {
            scope.clone()
        };
        Self { registry, scope, with_scope, sources, structure, types: HashMap::new() }
    }

    /// Expands the stage that `entry` writes, with `defaults` under it.
    pub fn expand(
        &mut self,
        entry: &Entry,
        defaults: &Node,
        findings: &mut Findings,
        warnings: &mut Findings,
    ) -> Expanded {
        let before = findings.len();
        let mut stage = Expanded {
            name: entry.key.clone(),
            name_span: entry.key_span,
            uses: String::new(),
            axes: None,
            drafts: Vec::new(),
            left_out: None,
            sketch: Some(Sketch::default()),
        };
        if !reference::is_name(&entry.key) {
            findings.push(Finding::new(
                entry.key_span,
                format!("`{}` cannot name a stage", entry.key),
                "expected letters, digits, `_` and `-`, beginning with a letter",
            ));
            return stage;
        }
        let node = with_defaults(&entry.value, defaults);
        let stage_type = self.stage_type(&node, entry, findings);
        stage.uses = stage_type.as_ref().map_or_else(String::new, |known| known.name().to_owned());
        let (matrix, matrix_is_sound) = self.matrix(&node, &entry.key, findings, warnings);
        stage.axes = node.get("matrix").map(|written| match matrix_is_sound {
            true => matrix.axes.clone(),
            false => matrix::axes_as_written(written),
        });
        // Where even the names of the axes are unknown, expressions over them would only raise false complaints.
        if !matrix_is_sound && stage.axes.as_ref().is_some_and(Vec::is_empty) {
            return stage;
        }
        let node = self.interpolate(&node, &stage, &stage.axes.clone().unwrap_or_default(), findings);
        if matrix_is_sound && stage.axes.is_some() && matrix.instances.is_empty() {
            stage.sketch = (findings.len() > before).then(Sketch::default);
            return stage;
        }
        // Without the values of the axes nothing can be said about what depends on them.
        let plain = if matrix_is_sound { node.clone() } else { expression::as_written(&node, findings) };
        let first = matrix.instances.first().cloned().unwrap_or_default();
        let shape_is_right = self.check_structure(&plain, entry, &first, findings);
        if findings.len() == before
            && let Some(stage_type) = &stage_type
        {
            self.instances(&mut stage, &**stage_type, &node, &matrix, findings);
        }
        if findings.len() == before {
            stage.sketch = None;
            return stage;
        }
        stage.drafts.clear();
        let wrong =
            Wrong { stage: &stage, stage_type: stage_type.as_deref(), node: &node, plain: &plain, shape_is_right };
        let mut sketch = self.sketch(&wrong, &first, findings);
        if matrix_is_sound && node.get("when").is_none() {
            sketch.instances = Some(matrix.instances);
        }
        stage.sketch = Some(sketch);
        stage
    }

    fn stage_type(&self, node: &Node, entry: &Entry, findings: &mut Findings) -> Option<Arc<dyn StageType>> {
        // A stage that is no mapping, or that has no `uses`, is reported with the rest of its structure.
        let uses = node.get("uses")?;
        let name = uses.as_text()?;
        let known = self.registry.get(name);
        if known.is_none() {
            let finding = Finding::new(
                uses.span,
                format!("unknown stage type `{name}`"),
                format!("used by stage `{}`", entry.key),
            );
            findings.push(finding.suggest(name, "stage types", self.registry.names()));
        }
        known.cloned()
    }

    fn matrix(&self, node: &Node, stage: &str, findings: &mut Findings, warnings: &mut Findings) -> (Matrix, bool) {
        let Some(written) = node.get("matrix") else {
            return (Matrix { axes: Vec::new(), instances: vec![Arc::default()] }, true);
        };
        let before = findings.len();
        let plain =
            expression::interpolate(written, self.scope, Place::Outside { what: "a matrix" }, self.sources, findings);
        if findings.len() > before {
            return (Matrix::default(), false);
        }
        match matrix::read(&plain, stage, findings, warnings) {
            Some(matrix) => (matrix, true),
            None => (Matrix::default(), false),
        }
    }

    fn interpolate(&self, node: &Node, stage: &Expanded, axes: &[String], findings: &mut Findings) -> Node {
        let Kind::Map(entries) = &node.kind else { return node.clone() };
        let names = |node: Option<&'_ Node>| -> Vec<String> {
            node.map(Node::entries).unwrap_or_default().iter().map(|entry| entry.key.clone()).collect()
        };
        let inputs = names(node.get("inputs"));
        let outputs = names(node.get("with").and_then(|with| with.get("outputs")));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let place = Place::Stage { stage: &stage.name, axes };
        let run = Place::Run { stage: &stage.name, axes, inputs: &inputs, outputs: &outputs };
        let mut plain = |entry: &Entry, place, scope: &Scope| {
            let value = expression::interpolate(&entry.value, scope, place, self.sources, findings);
            Entry { key: entry.key.clone(), key_span: entry.key_span, value }
        };
        let mut interpolated = Vec::with_capacity(entries.len());
        for entry in entries {
            match (entry.key.as_str(), &entry.value.kind) {
                ("matrix", _) => interpolated.push(entry.clone()),
                // A key left empty is a key not written.
                (_, Kind::Null) => {}
                ("with", Kind::Map(with)) if stage.uses == COMMAND => {
                    let place = |entry: &Entry| if entry.key == "run" { run } else { place };
                    let with = with.iter().map(|entry| plain(entry, place(entry), &self.with_scope)).collect();
                    let value = Node::new(entry.value.span, Kind::Map(with));
                    interpolated.push(Entry { key: entry.key.clone(), key_span: entry.key_span, value });
                }
                ("with", _) => interpolated.push(plain(entry, place, &self.with_scope)),
                _ => interpolated.push(plain(entry, place, self.scope)),
            }
        }
        Node::new(node.span, Kind::Map(interpolated))
    }

    /// Checks the first instance's shape against the manifest's own schema, as the only stage of a manifest; whether it is
    /// right.
    fn check_structure(&self, node: &Node, entry: &Entry, first: &Coordinates, findings: &mut Findings) -> bool {
        let instance = Instance::new(&self.with_scope, first);
        let mut value = match instance.value_of(node) {
            Ok(value) => value,
            Err(finding) => {
                findings.push(finding);
                return false;
            }
        };
        if let Some(fields) = value.as_object_mut() {
            // The matrix was read already, with better messages.
            fields.remove("matrix");
        }
        let stages: Map<String, Value> = [(entry.key.clone(), value)].into_iter().collect();
        let document = serde_json::json!({"lsn": document::FORMAT, "stages": stages});
        if self.structure.accepts(&document) {
            return true;
        }
        let span = node.span;
        let stage = Entry { key: entry.key.clone(), key_span: entry.key_span, value: node.clone() };
        let stages = Node::new(span, Kind::Map(vec![stage]));
        let root = Node::new(span, Kind::Map(vec![Entry { key: "stages".to_owned(), key_span: span, value: stages }]));
        findings.extend(self.structure.check(&root, &document, "the stage"));
        false
    }

    fn instances(
        &mut self,
        stage: &mut Expanded,
        stage_type: &dyn StageType,
        node: &Node,
        matrix: &Matrix,
        findings: &mut Findings,
    ) {
        let mut with = Field::new(node.get("with"), &matrix.axes);
        let mut inputs = Field::new(node.get("inputs"), &matrix.axes);
        let mut env = Field::new(node.get("env"), &matrix.axes);
        let mut when = Field::new(node.get("when"), &matrix.axes);
        let settings = Node::new(node.span, Kind::Map(settings_of(node)));
        let mut settings = Field::new(Some(&settings), &matrix.axes);
        let mut last_outputs: Option<Arc<[Port]>> = None;
        let mut unread = Findings::default();
        stage.drafts.reserve(matrix.instances.len());
        let scope = self.with_scope.clone();
        for coordinates in &matrix.instances {
            let instance = Instance::new(&scope, coordinates);
            let runs = when.get(&instance, |node| match node {
                Some(node) => decode::<bool>(node, &instance, "when"),
                None => Ok(true),
            });
            let draft = runs.and_then(|runs| {
                if !runs {
                    stage.left_out = node.entry("when").map(|entry| entry.key_span);
                    return Ok(None);
                }
                let typed = with.get(&instance, |node| {
                    let mut problems = Findings::default();
                    let typed = self.typed(stage_type, node, &instance, stage, &mut problems);
                    typed.map(Rc::new).ok_or(problems)
                })?;
                let inputs = inputs.get(&instance, |node| match node {
                    Some(node) => Ok(Rc::new(wanted::read(&instance.fill(node).map_err(one)?, node, &mut unread))),
                    None => Ok(Rc::default()),
                })?;
                let env = env.get(&instance, |node| match node {
                    Some(node) => Ok(Arc::new(environment(node, &instance)?)),
                    None => Ok(Arc::default()),
                })?;
                let settings = settings.get(&instance, |node| match node {
                    Some(node) => Settings::read(node, &instance),
                    None => Ok(Settings::none()),
                })?;
                Ok(Some(Draft { coordinates: Arc::clone(coordinates), typed, inputs, env, settings }))
            });
            match draft {
                Ok(Some(mut draft)) => {
                    share_outputs(&mut draft.typed, &mut last_outputs);
                    stage.drafts.push(draft);
                }
                Ok(None) => {}
                Err(problems) => {
                    // Other instances would fail in the same way.
                    findings.extend(problems.into_findings());
                    break;
                }
            }
        }
        findings.extend(unread.into_findings());
    }

    /// Parameters checked by the stage type, with its ports.
    pub fn typed(
        &mut self,
        stage_type: &dyn StageType,
        node: Option<&Node>,
        instance: &Instance<'_>,
        stage: &Expanded,
        findings: &mut Findings,
    ) -> Option<Typed> {
        let empty = Node::empty_map(stage.name_span);
        let node = node.unwrap_or(&empty);
        let written = match instance.value_of(node) {
            Ok(value) => value,
            Err(finding) => {
                findings.push(finding);
                return None;
            }
        };
        let name = stage_type.name();
        let structure = self.types.entry(name.to_owned()).or_insert_with(|| Structure::new(stage_type.schema()).ok());
        if let Some(structure) = structure {
            let problems = structure.check(node, &written, &format!("`with` of stage `{}`", stage.name));
            if !problems.is_empty() {
                findings.extend(problems);
                return None;
            }
        }
        let normal = match stage_type.normalize(&written) {
            Ok(normal) => normal,
            Err(issues) => {
                for issue in issues {
                    let (place, _) = node.locate(&issue.pointer);
                    let label = format!("rejected by stage type `{name}`");
                    let finding = Finding::new(place.span, issue.message, label);
                    findings.push(match issue.suggestion {
                        Some(suggestion) => finding.help(format!("did you mean `{suggestion}`?")),
                        None => finding,
                    });
                }
                return None;
            }
        };
        let ports = || {
            // Only the command takes any input; asking it each time would read its parameters once more.
            let inputs = if name == COMMAND { None } else { Some(stage_type.inputs(&normal)?) };
            Ok((inputs, stage_type.outputs(&normal)?))
        };
        match ports() {
            Ok((inputs, outputs)) => Some(Typed { params: Arc::new(normal), inputs, outputs: outputs.into() }),
            Err(lsn_stage::StageError { message, .. }) => {
                findings.push(Finding::new(node.span, message, format!("rejected by stage type `{name}`")));
                None
            }
        }
    }
}

/// A key of a stage, worked out once for all instances that agree on the axes it mentions.
struct Field<'a, T> {
    node: Option<&'a Node>,
    axes: Vec<String>,
    known: HashMap<String, T>,
    shared: Option<T>,
    /// Every instance differs, so there is nothing to remember.
    distinct: bool,
}

impl<'a, T: Clone> Field<'a, T> {
    fn new(node: Option<&'a Node>, all: &[String]) -> Self {
        let mentioned = node.map(expression::axes_of).unwrap_or_default();
        let whole = mentioned.contains("*");
        let axes: Vec<String> = all.iter().filter(|axis| whole || mentioned.contains(*axis)).cloned().collect();
        let distinct = !axes.is_empty() && axes.len() == all.len();
        Self { node, axes, known: HashMap::new(), shared: None, distinct }
    }

    fn get(
        &mut self,
        instance: &Instance<'_>,
        work_out: impl FnOnce(Option<&Node>) -> Result<T, Findings>,
    ) -> Result<T, Findings> {
        if self.distinct {
            return work_out(self.node);
        }
        if self.axes.is_empty() {
            if self.shared.is_none() {
                self.shared = Some(work_out(self.node)?);
            }
            return self.shared.clone().ok_or_else(Findings::default);
        }
        let key = instance.key(&self.axes);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let value = work_out(self.node)?;
        self.known.insert(key, value.clone());
        Ok(value)
    }
}

/// Keeps one list of ports for instances whose ports are equal.
fn share_outputs(typed: &mut Rc<Typed>, last: &mut Option<Arc<[Port]>>) {
    match last {
        Some(known) if Arc::ptr_eq(known, &typed.outputs) => {}
        Some(known) if **known == *typed.outputs => {
            if let Some(typed) = Rc::get_mut(typed) {
                typed.outputs = Arc::clone(known);
            }
        }
        _ => *last = Some(Arc::clone(&typed.outputs)),
    }
}

/// A stage with what `defaults` says about the keys that it shares with them.
fn with_defaults(stage: &Node, defaults: &Node) -> Node {
    let (Kind::Map(entries), Kind::Map(defaults)) = (&stage.kind, &defaults.kind) else { return stage.clone() };
    let mut entries = entries.clone();
    for default in defaults {
        match entries.iter_mut().find(|entry| entry.key == default.key) {
            Some(entry) if matches!(entry.value.kind, Kind::Map(_)) => {
                let span = entry.value.span;
                entry.value = super::merge::over(default.value.clone(), entry.value.clone(), true);
                entry.value.span = span;
            }
            Some(_) => {}
            None => entries.push(default.clone()),
        }
    }
    Node::new(stage.span, Kind::Map(entries))
}
