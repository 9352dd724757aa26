//! Which variable of a failed expression is undefined, and what was probably meant.

use super::{
    problem::{Finding, suggestion},
    scope::{Place, Scope},
    source::Span,
};
use minijinja::{Environment, Value};

const ROOTS: [&str; 4] = ["params", "matrix", "env", "stages"];

/// Explains the first undefined one of the variables that an expression mentions (`params.limit`), if any is.
#[must_use]
pub fn explain(
    mut names: Vec<String>,
    span: Span,
    scope: &Scope,
    place: Place<'_>,
    environment: &Environment<'_>,
) -> Option<Finding> {
    names.sort();
    names.iter().find_map(|name| {
        let mut segments = name.split('.');
        let root = segments.next().unwrap_or_default();
        let path: Vec<&str> = segments.collect();
        let first = path.first().copied().unwrap_or_default();
        match root {
            _ if environment.globals().any(|(global, _)| global == root) => None,
            "params" => param(&path, span, scope),
            "env" if first.is_empty() || scope.env().contains_key(first) => None,
            "env" => Some(
                Finding::new(span, format!("the environment variable `{first}` is not set"), "undefined")
                    .help(format!("set it, or give a value for its absence: `${{env.{first} | default('…')}}`")),
            ),
            "matrix" => axis(first, span, place),
            "stages" => stage(first, span, scope),
            _ => Some(unknown(root, span, scope)),
        }
    })
}

fn param(path: &[&str], span: Span, scope: &Scope) -> Option<Finding> {
    let mut value = Value::UNDEFINED;
    let mut known: Vec<String> = scope.params().keys().cloned().collect();
    for (depth, segment) in path.iter().enumerate() {
        if depth == 0 {
            value = scope.params().get(*segment).cloned().unwrap_or(Value::UNDEFINED);
        } else {
            known = value.try_iter().map(|keys| keys.map(|key| key.to_string()).collect()).unwrap_or_default();
            value = value.get_attr(segment).unwrap_or(Value::UNDEFINED);
        }
        if value.is_undefined() {
            let written = format!("params.{}", path[..=depth].join("."));
            let finding = Finding::new(span, format!("undefined variable `{written}`"), "not declared under `params`");
            return Some(finding.suggest(segment, "names", known.iter().map(String::as_str)));
        }
    }
    None
}

fn stage(name: &str, span: Span, scope: &Scope) -> Option<Finding> {
    let Some(stages) = scope.stages() else {
        return Some(Finding::new(span, "`stages` is not known here", "only the `with` of a stage sees it"));
    };
    let known: Vec<String> =
        stages.try_iter().map(|keys| keys.map(|key| key.to_string()).collect()).unwrap_or_default();
    if name.is_empty() || known.iter().any(|known| known == name) {
        return None;
    }
    let finding = Finding::new(span, format!("undefined variable `stages.{name}`"), "no stage of this name");
    Some(finding.suggest(name, "stages", known.iter().map(String::as_str)))
}

fn axis(axis: &str, span: Span, place: Place<'_>) -> Option<Finding> {
    let (stage, axes) = match place {
        Place::Outside { what } => {
            let message = format!("`matrix` is not known in {what}");
            return Some(Finding::new(span, message, "only a stage with a matrix sees it"));
        }
        Place::Stage { stage, axes } | Place::Run { stage, axes, .. } => (stage, axes),
    };
    if axes.is_empty() {
        let name = if axis.is_empty() { "name" } else { axis };
        return Some(
            Finding::new(span, format!("stage `{stage}` has no matrix"), "undefined without a matrix")
                .help(format!("add `matrix: {{{name}: […]}}` to the stage")),
        );
    }
    if axes.iter().any(|known| known == axis) {
        return None;
    }
    let finding = Finding::new(span, format!("undefined variable `matrix.{axis}`"), "not an axis of this matrix");
    Some(finding.suggest(axis, "axes", axes.iter().map(String::as_str)))
}

fn unknown(root: &str, span: Span, scope: &Scope) -> Finding {
    let finding = Finding::new(span, format!("undefined variable `{root}`"), "not known here");
    match suggestion(root, "variables", ROOTS) {
        Some(help) if help.starts_with("did you mean") => finding.help(help),
        _ if scope.params().contains_key(root) => finding.help(format!("did you mean `params.{root}`?")),
        Some(help) => finding.help(help),
        None => finding,
    }
}
