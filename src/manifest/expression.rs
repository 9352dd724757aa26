//! `${ … }` in the text of a manifest: minijinja expressions over `params`, `matrix`, `env` and `stages`.
//!
//! A text that is exactly one expression takes the expression's value with its type; in longer text values are written out.
//! Expressions over the matrix are compiled once and evaluated for each instance; all others are evaluated at once.
//! `$${` stands for `${`.

use super::{
    pieces::{Piece, split},
    problem::{Finding, Findings},
    scope::{Coordinates, Place, Scope},
    source::{Sources, Span},
    tree::{Entry, Kind, Node},
    undefined,
    value::{to_json, write_out},
};
use minijinja::{Environment, Expression, UndefinedBehavior, Value};
use serde_json::Value as Json;
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, LazyLock},
};

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
});

/// What a command line may refer to.
const RUN_ROOTS: [&str; 5] = ["params", "matrix", "env", "inputs", "outputs"];

/// Text with at least one expression over the matrix.
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Axis(String, Span),
    Expression(Expression<'static, 'static>, Span),
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Template {
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The axes it mentions; `None` when they cannot be told.
    fn axes(&self, into: &mut BTreeSet<String>) {
        for part in &self.parts {
            match part {
                Part::Text(_) => {}
                Part::Axis(axis, _) => {
                    into.insert(axis.clone());
                }
                Part::Expression(program, _) => {
                    for name in program.undeclared_variables(true) {
                        let axis = name.strip_prefix("matrix.").map(|rest| rest.split('.').next().unwrap_or(rest));
                        into.extend(axis.map(str::to_owned));
                        if name == "matrix" {
                            into.insert("*".to_owned());
                        }
                    }
                }
            }
        }
    }

    fn evaluate(&self, span: Span, instance: &Instance<'_>) -> Result<Node, Finding> {
        if let [part] = self.parts.as_slice() {
            return Ok(Node::from_value(span, instance.value(part)?));
        }
        let mut text = String::with_capacity(self.source.len());
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Axis(_, at) | Part::Expression(_, at) => write_out(&mut text, &instance.value(part)?, *at)?,
            }
        }
        Ok(Node::new(span, Kind::Text(text)))
    }
}

/// One instance of a stage, to evaluate its templates for.
pub struct Instance<'a> {
    scope: &'a Scope,
    coordinates: &'a Coordinates,
    context: std::cell::OnceCell<Value>,
}

impl<'a> Instance<'a> {
    #[must_use]
    pub fn new(scope: &'a Scope, coordinates: &'a Coordinates) -> Self {
        Self { scope, coordinates, context: std::cell::OnceCell::new() }
    }

    fn value(&self, part: &Part) -> Result<Json, Finding> {
        match part {
            Part::Text(text) => Ok(Json::String(text.clone())),
            Part::Axis(axis, span) => self.coordinates.get(axis).cloned().ok_or_else(|| {
                // Axes were checked when the template was compiled.
                Finding::new(*span, format!("undefined variable `matrix.{axis}`"), "no such axis")
            }),
            Part::Expression(program, span) => {
                let context = self.context.get_or_init(|| self.scope.with_matrix(self.coordinates));
                let axes: Vec<String> = self.coordinates.keys().cloned().collect();
                let place = Place::Stage { stage: "", axes: &axes };
                evaluate(program, context, *span, self.scope, place)
            }
        }
    }

    /// Its coordinates along some axes, as one text.
    #[must_use]
    pub fn key(&self, axes: &[String]) -> String {
        let mut key = String::new();
        for value in axes.iter().filter_map(|axis| self.coordinates.get(axis)) {
            key.push_str(&value.to_string());
            key.push('\n');
        }
        key
    }

    /// The node's plain value with all templates evaluated.
    pub fn value_of(&self, node: &Node) -> Result<Json, Finding> {
        Ok(match &node.kind {
            Kind::Template(template) => template.evaluate(node.span, self)?.to_value(),
            Kind::List(items) => Json::Array(items.iter().map(|item| self.value_of(item)).collect::<Result<_, _>>()?),
            Kind::Map(entries) => {
                let field = |entry: &Entry| Ok((entry.key.clone(), self.value_of(&entry.value)?));
                Json::Object(entries.iter().map(field).collect::<Result<_, Finding>>()?)
            }
            _ => node.to_value(),
        })
    }

    /// The node with all its templates evaluated.
    pub fn fill(&self, node: &Node) -> Result<Node, Finding> {
        let kind = match &node.kind {
            Kind::Template(template) => return template.evaluate(node.span, self),
            Kind::List(items) => Kind::List(items.iter().map(|item| self.fill(item)).collect::<Result<_, _>>()?),
            Kind::Map(entries) => Kind::Map(
                entries
                    .iter()
                    .map(|entry| {
                        let value = self.fill(&entry.value)?;
                        Ok(Entry { key: entry.key.clone(), key_span: entry.key_span, value })
                    })
                    .collect::<Result<_, Finding>>()?,
            ),
            _ => return Ok(node.clone()),
        };
        Ok(Node::new(node.span, kind))
    }
}

/// The matrix axes that a node's templates mention; `*` stands for all.
#[must_use]
pub fn axes_of(node: &Node) -> BTreeSet<String> {
    fn walk(node: &Node, axes: &mut BTreeSet<String>) {
        match &node.kind {
            Kind::Template(template) => template.axes(axes),
            Kind::List(items) => items.iter().for_each(|item| walk(item, axes)),
            Kind::Map(entries) => entries.iter().for_each(|entry| walk(&entry.value, axes)),
            _ => {}
        }
    }
    let mut axes = BTreeSet::new();
    walk(node, &mut axes);
    axes
}

/// Evaluates everything that does not need the matrix, compiles the rest.
pub fn interpolate(node: &Node, scope: &Scope, place: Place<'_>, sources: &Sources, findings: &mut Findings) -> Node {
    let kind = match &node.kind {
        Kind::Text(text) if text.contains("${") => {
            return match text_node(node, text, scope, place, sources) {
                Ok(node) => node,
                Err(problems) => {
                    findings.extend(problems);
                    findings.close(node.span);
                    // In a stage what stands beside it is still checked, and there nothing would read as left out.
                    let outside = matches!(place, Place::Outside { .. });
                    Node::new(node.span, if outside { Kind::Null } else { node.kind.clone() })
                }
            };
        }
        Kind::List(items) => {
            Kind::List(items.iter().map(|item| interpolate(item, scope, place, sources, findings)).collect())
        }
        Kind::Map(entries) => Kind::Map(
            entries
                .iter()
                .map(|entry| Entry {
                    key: entry.key.clone(),
                    key_span: entry.key_span,
                    value: interpolate(&entry.value, scope, place, sources, findings),
                })
                .collect(),
        ),
        _ => return node.clone(),
    };
    Node::new(node.span, kind)
}

/// A node with its templates as they are written, of which nothing more is said.
pub fn as_written(node: &Node, findings: &mut Findings) -> Node {
    let kind = match &node.kind {
        Kind::Template(template) => {
            findings.close(node.span);
            Kind::Text(template.source.clone())
        }
        Kind::List(items) => Kind::List(items.iter().map(|item| as_written(item, findings)).collect()),
        Kind::Map(entries) => Kind::Map(
            entries
                .iter()
                .map(|entry| Entry {
                    key: entry.key.clone(),
                    key_span: entry.key_span,
                    value: as_written(&entry.value, findings),
                })
                .collect(),
        ),
        _ => return node.clone(),
    };
    Node::new(node.span, kind)
}

/// Names of the parameters that the expressions of a node mention; `None` where they mention `params` as a whole.
#[must_use]
pub fn params_of(node: &Node) -> Option<BTreeSet<String>> {
    fn walk(node: &Node, names: &mut BTreeSet<String>) -> bool {
        match &node.kind {
            Kind::Text(text) if text.contains("${") => split(text).into_iter().all(|piece| {
                let Piece::Expression { source, .. } = piece else { return true };
                let Ok(program) = ENVIRONMENT.compile_expression_owned(source) else { return true };
                program.undeclared_variables(true).iter().all(|name| {
                    let param = name.strip_prefix("params.").map(|rest| rest.split('.').next().unwrap_or(rest));
                    names.extend(param.map(str::to_owned));
                    name != "params"
                })
            }),
            Kind::List(items) => items.iter().all(|item| walk(item, names)),
            Kind::Map(entries) => entries.iter().all(|entry| walk(&entry.value, names)),
            _ => true,
        }
    }
    let mut names = BTreeSet::new();
    walk(node, &mut names).then_some(names)
}

/// The place of the `ordinal`-th `${` of a scalar, as long as `length`.
fn place_of(node: &Node, sources: &Sources, ordinal: usize, length: usize) -> Span {
    let raw = sources.slice(node.span);
    match raw.match_indices("${").nth(ordinal) {
        Some((at, _)) if raw.is_char_boundary((at + length).min(raw.len())) => {
            let start = node.span.start as usize + at;
            Span::new(node.span.source, start..start + length.min(raw.len() - at))
        }
        _ => node.span,
    }
}

fn text_node(
    node: &Node,
    text: &str,
    scope: &Scope,
    place: Place<'_>,
    sources: &Sources,
) -> Result<Node, Vec<Finding>> {
    let mut parts: Vec<Part> = Vec::new();
    let mut values: Vec<Option<Json>> = Vec::new();
    let mut problems = Vec::new();
    let mut failed = false;
    let literal = |parts: &mut Vec<Part>, values: &mut Vec<Option<Json>>, text: &str| {
        if let Some(Part::Text(last)) = parts.last_mut() {
            last.push_str(text);
        } else {
            parts.push(Part::Text(text.to_owned()));
            values.push(None);
        }
    };
    for piece in split(text) {
        match piece {
            Piece::Text(text) => literal(&mut parts, &mut values, text),
            Piece::Open { .. } if matches!(place, Place::Run { .. }) => literal(&mut parts, &mut values, "${"),
            Piece::Open { ordinal } => problems.push(
                Finding::new(
                    place_of(node, sources, ordinal, 2),
                    "an expression without its end",
                    "expected `}` after this",
                )
                .help("write `$${` for a literal `${`"),
            ),
            Piece::Expression { source, whole, ordinal } => {
                let span = place_of(node, sources, ordinal, whole.len());
                match foreign(source, span, place) {
                    Ok(true) => {
                        literal(&mut parts, &mut values, whole);
                        continue;
                    }
                    Ok(false) => {}
                    Err(finding) => {
                        problems.push(finding);
                        continue;
                    }
                }
                match compile(source, span, scope, place) {
                    Ok((part, value)) => {
                        parts.push(part);
                        values.push(value);
                    }
                    Err(finding) => {
                        failed = true;
                        problems.extend(finding);
                    }
                }
            }
        }
    }
    if failed || !problems.is_empty() {
        return Err(problems);
    }
    let dynamic = parts.iter().zip(&values).any(|(part, value)| value.is_none() && !matches!(part, Part::Text(_)));
    if dynamic {
        // What is already known becomes text of the template, so that instances share the work.
        let alone = parts.len() == 1;
        let mut known: Vec<Part> = Vec::with_capacity(parts.len());
        for (part, value) in parts.into_iter().zip(values) {
            let (text, span) = match (part, value) {
                (Part::Text(text), _) => (Json::String(text), node.span),
                (Part::Axis(_, span) | Part::Expression(_, span), Some(value)) if !alone => (value, span),
                (part, _) => {
                    known.push(part);
                    continue;
                }
            };
            let mut written = String::new();
            write_out(&mut written, &text, span).map_err(|finding| vec![finding])?;
            match known.last_mut() {
                Some(Part::Text(last)) => last.push_str(&written),
                _ => known.push(Part::Text(written)),
            }
        }
        let template = Template { source: text.to_owned(), parts: known };
        return Ok(Node::new(node.span, Kind::Template(Arc::new(template))));
    }
    if let ([Part::Axis(..) | Part::Expression(..)], [Some(value)]) = (parts.as_slice(), values.as_slice()) {
        return Ok(Node::from_value(node.span, value.clone()));
    }
    let mut written = String::with_capacity(text.len());
    for (part, value) in parts.iter().zip(&values) {
        match (part, value) {
            (Part::Text(text), _) => written.push_str(text),
            (Part::Axis(_, span) | Part::Expression(_, span), Some(value)) => {
                if let Err(finding) = write_out(&mut written, value, *span) {
                    problems.push(finding);
                }
            }
            _ => {}
        }
    }
    if problems.is_empty() { Ok(Node::new(node.span, Kind::Text(written))) } else { Err(problems) }
}

/// Whether an expression of a command line belongs to the executor or the shell.
fn foreign(source: &str, span: Span, place: Place<'_>) -> Result<bool, Finding> {
    let word: String = source.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let rest = &source[word.len()..];
    let known = matches!(word.as_str(), "params" | "matrix" | "env" | "inputs" | "outputs");
    if matches!(place, Place::Run { .. }) && !known && !word.is_empty() && rest.starts_with([' ', '\t']) {
        let message = format!("`${{{source}}}` is neither an expression over known variables nor one of the shell");
        return Err(Finding::new(span, message, "no shell takes a space here")
            .help("examples: `${params.limit * 2}`, `${HOME}`; write `$${` for a literal `${`"));
    }
    let Place::Run { inputs, outputs, .. } = place else {
        return if matches!(word.as_str(), "inputs" | "outputs") && rest.starts_with('.') {
            Err(Finding::new(
                span,
                format!("`{word}` is not known here"),
                "only the `run` of a `command` stage sees it",
            ))
        } else {
            Ok(false)
        };
    };
    let names = match word.as_str() {
        "inputs" => inputs,
        "outputs" => outputs,
        "params" | "matrix" | "env" => return Ok(!rest.starts_with(['.', '['])),
        _ => {
            // A dot after the name is never valid in a shell, so this is a misspelt variable of ours.
            let ours = rest.starts_with('.') && word.starts_with(|c: char| c.is_ascii_alphabetic());
            let undefined = || {
                Finding::new(span, format!("undefined variable `{word}`"), "not known here").suggest(
                    &word,
                    "variables",
                    RUN_ROOTS,
                )
            };
            return if ours { Err(undefined()) } else { Ok(true) };
        }
    };
    let Some(name) = rest.strip_prefix('.') else { return Ok(true) };
    if names.contains(&name) {
        return Ok(true);
    }
    let kind = word.trim_end_matches('s');
    let finding =
        Finding::new(span, format!("undefined variable `{word}.{name}`"), format!("the stage has no such {kind}"));
    Err(finding.suggest(name, &word, names.iter().copied()))
}

/// Compiles an expression and evaluates it unless it needs the matrix. Fails without a finding where the cause is known already.
fn compile(source: &str, span: Span, scope: &Scope, place: Place<'_>) -> Result<(Part, Option<Json>), Option<Finding>> {
    let program = ENVIRONMENT.compile_expression_owned(source.to_owned()).map_err(|error| {
        let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        Finding::new(span, format!("not a valid expression: {detail}"), "cannot be read")
            .help("examples: `${params.limit}`, `${params.limit * 2}`, `${params.name | upper}`")
    })?;
    let names = program.undeclared_variables(true);
    let broken = |name: &String| {
        let param = name.strip_prefix("params.").map(|rest| rest.split('.').next().unwrap_or(rest));
        param.is_some_and(|param| scope.broken.contains(param))
    };
    if names.iter().any(broken) {
        return Err(None);
    }
    if scope.stages().is_none() && names.iter().any(|name| name == "stages" || name.starts_with("stages.")) {
        return Err(Some(unknown_variable(&program, span, scope, place)));
    }
    let needs_matrix = names.iter().any(|name| name == "matrix" || name.starts_with("matrix."));
    if !needs_matrix {
        let value = evaluate(&program, &scope.context, span, scope, place)?;
        return Ok((Part::Expression(program, span), Some(value)));
    }
    let axes = place.axes();
    let unknown = names.iter().filter_map(|name| name.strip_prefix("matrix.")).find(|rest| {
        let axis = rest.split('.').next().unwrap_or(rest);
        !axes.iter().any(|known| known == axis)
    });
    if axes.is_empty() || unknown.is_some() {
        return Err(Some(unknown_variable(&program, span, scope, place)));
    }
    let plain = source.trim().strip_prefix("matrix.").filter(|rest| axes.iter().any(|axis| axis == rest));
    match plain {
        Some(axis) => Ok((Part::Axis(axis.to_owned(), span), None)),
        None => Ok((Part::Expression(program, span), None)),
    }
}

fn undefined(program: &Expression<'static, 'static>, span: Span, scope: &Scope, place: Place<'_>) -> Option<Finding> {
    undefined::explain(program.undeclared_variables(true).into_iter().collect(), span, scope, place, &ENVIRONMENT)
}

fn unknown_variable(program: &Expression<'static, 'static>, span: Span, scope: &Scope, place: Place<'_>) -> Finding {
    undefined(program, span, scope, place)
        .unwrap_or_else(|| Finding::new(span, "the expression has no value", "something in it is undefined"))
}

fn evaluate(
    program: &Expression<'static, 'static>,
    context: &Value,
    span: Span,
    scope: &Scope,
    place: Place<'_>,
) -> Result<Json, Finding> {
    let value = program.eval(context.clone()).map_err(|error| {
        // Whatever failed, an undefined variable is the likely cause.
        undefined(program, span, scope, place).unwrap_or_else(|| {
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            Finding::new(span, format!("the expression fails: {detail}"), "cannot be worked out")
        })
    })?;
    if value.is_undefined() {
        return Err(unknown_variable(program, span, scope, place));
    }
    to_json(&value).map_err(|what| Finding::new(span, format!("the expression gives {what}"), "expected a plain value"))
}
