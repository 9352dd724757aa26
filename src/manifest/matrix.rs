//! A stage's matrix: axes, ranges, `include` and `exclude` → the combinations, in a fixed order.

use super::{
    problem::{Finding, Findings},
    reference::{is_name, quoted_value, value_text},
    scope::Coordinates,
    tree::{Kind, Node},
};
use serde_json::{Number, Value};
use std::{collections::HashSet, sync::Arc};

/// More instances than this are a mistake, not a plan.
pub const MOST_INSTANCES: usize = 1_000_000;

/// The combinations of a matrix.
#[derive(Debug, Clone, Default)]
pub struct Matrix {
    /// Sorted by name; the order of axes in the file does not matter.
    pub axes: Vec<String>,
    /// In the order of the axes' values, the last axis fastest; then what `include` adds.
    pub instances: Vec<Arc<Coordinates>>,
}

struct Axis {
    name: String,
    values: Vec<Value>,
}

/// Reads a matrix. `None` when it cannot be read; `findings` say why. `warnings` name entries without effect.
pub fn read(node: &Node, stage: &str, findings: &mut Findings, warnings: &mut Findings) -> Option<Matrix> {
    let before = findings.len();
    let Kind::Map(entries) = &node.kind else {
        findings.push(Finding::new(
            node.span,
            format!("the matrix of stage `{stage}` is {}", node.describe()),
            "expected a mapping such as `{seed: [0, 1, 2]}`",
        ));
        return None;
    };
    let mut axes: Vec<Axis> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.key != "include" && entry.key != "exclude") {
        if !is_name(&entry.key) {
            findings.push(Finding::new(
                entry.key_span,
                format!("`{}` cannot name an axis", entry.key),
                "expected letters, digits, `_` and `-`",
            ));
            continue;
        }
        if let Some(values) = axis(&entry.key, &entry.value, findings) {
            axes.push(Axis { name: entry.key.clone(), values });
        }
    }
    axes.sort_by(|a, b| a.name.cmp(&b.name));
    let included = combinations(node.get("include"), "include", findings);
    let excluded = combinations(node.get("exclude"), "exclude", findings);
    if findings.len() > before {
        return None;
    }
    let mut names: Vec<String> = axes.iter().map(|axis| axis.name.clone()).collect();
    if let (true, Some((first, _))) = (names.is_empty(), included.first()) {
        names = first.keys().cloned().collect();
    }
    if names.is_empty() {
        findings.push(
            Finding::new(node.span, format!("the matrix of stage `{stage}` has no axis"), "expected at least one")
                .help("for example `matrix: {seed: [0, 1, 2]}`"),
        );
        return None;
    }
    for (combination, node) in &included {
        let missing = names.iter().find(|name| !combination.contains_key(*name));
        let unknown = combination.keys().find(|key| !names.contains(key));
        if let Some(key) = unknown {
            let span = node.entry(key).map_or(node.span, |entry| entry.key_span);
            let finding = Finding::new(span, format!("`{key}` is not an axis of this matrix"), "unknown axis");
            findings.push(finding.suggest(key, "axes", names.iter().map(String::as_str)));
        } else if let Some(name) = missing {
            findings.push(Finding::new(
                node.span,
                format!("an included combination without `{name}`"),
                "expected a value for every axis",
            ));
        }
    }
    for (combination, node) in &excluded {
        for key in combination.keys().filter(|key| !names.contains(key)) {
            let span = node.entry(key).map_or(node.span, |entry| entry.key_span);
            let finding = Finding::new(span, format!("`{key}` is not an axis of this matrix"), "unknown axis");
            findings.push(finding.suggest(key, "axes", names.iter().map(String::as_str)));
        }
    }
    let count = axes.iter().try_fold(1_usize, |count, axis| count.checked_mul(axis.values.len()));
    if count.is_none_or(|count| count.saturating_add(included.len()) > MOST_INSTANCES) {
        findings.push(Finding::new(
            node.span,
            format!("the matrix of stage `{stage}` has too many combinations"),
            format!("at most {MOST_INSTANCES} instances of one stage"),
        ));
    }
    if findings.len() > before {
        return None;
    }
    Some(expand(stage, names, &axes, &included, &excluded, warnings))
}

fn expand(
    stage: &str,
    names: Vec<String>,
    axes: &[Axis],
    included: &[(Coordinates, &Node)],
    excluded: &[(Coordinates, &Node)],
    warnings: &mut Findings,
) -> Matrix {
    let count = if axes.is_empty() { 0 } else { axes.iter().map(|axis| axis.values.len()).product() };
    let mut instances = Vec::with_capacity(count + included.len());
    let mut used = vec![false; excluded.len()];
    for index in 0..count {
        let mut rest = index;
        let mut coordinates = Coordinates::new();
        for axis in axes.iter().rev() {
            coordinates.insert(axis.name.clone(), axis.values[rest % axis.values.len()].clone());
            rest /= axis.values.len();
        }
        let dropped = excluded
            .iter()
            .enumerate()
            .filter(|(_, (pattern, _))| pattern.iter().all(|(key, value)| coordinates.get(key) == Some(value)));
        let mut keep = true;
        for (at, _) in dropped {
            used[at] = true;
            keep = false;
        }
        if keep {
            instances.push(Arc::new(coordinates));
        }
    }
    for ((_, node), _) in excluded.iter().zip(&used).filter(|(_, used)| !**used) {
        warnings.push(Finding::new(node.span, "this exclusion matches no combination", "has no effect"));
    }
    if !included.is_empty() {
        let mut known: HashSet<String> = instances.iter().map(|coordinates| identity(coordinates)).collect();
        for (coordinates, node) in included {
            if known.insert(identity(coordinates)) {
                instances.push(Arc::new(coordinates.clone()));
            } else {
                warnings.push(Finding::new(node.span, "this combination is in the matrix already", "has no effect"));
            }
        }
    }
    if let (true, Some((_, node))) = (instances.is_empty(), excluded.first()) {
        warnings.push(Finding::new(
            node.span,
            format!("stage `{stage}` has no instance left"),
            "everything is excluded",
        ));
    }
    Matrix { axes: names, instances }
}

/// The names of the axes of a matrix whose values are wrong; none if even they cannot be told.
#[must_use]
pub fn axes_as_written(node: &Node) -> Vec<String> {
    let names = node.entries().iter().map(|entry| &entry.key).filter(|key| *key != "include" && *key != "exclude");
    let mut names: Vec<String> = names.cloned().collect();
    names.sort();
    names
}

/// The name of an instance, as it stands between the brackets of its task's id.
#[must_use]
pub fn identity(coordinates: &Coordinates) -> String {
    let mut text = String::new();
    for (key, value) in coordinates {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(key);
        text.push('=');
        text.push_str(&quoted_value(value));
    }
    text
}

fn axis(name: &str, node: &Node, findings: &mut Findings) -> Option<Vec<Value>> {
    let values: Vec<(Value, &Node)> = match &node.kind {
        Kind::List(items) => items.iter().map(|item| (item.to_value(), item)).collect(),
        Kind::Map(_) => range(name, node, findings)?.into_iter().map(|value| (value, node)).collect(),
        _ => {
            findings.push(
                Finding::new(node.span, format!("axis `{name}` is {}", node.describe()), "expected a list of values")
                    .help(format!("write `{name}: [a, b]` or `{name}: {{range: [0, 8]}}`")),
            );
            return None;
        }
    };
    if values.is_empty() {
        findings.push(Finding::new(node.span, format!("axis `{name}` has no values"), "expected at least one"));
        return None;
    }
    let before = findings.len();
    let mut known = HashSet::with_capacity(values.len());
    for (value, item) in &values {
        plain(value, item, findings);
        if !known.insert(value_text(value)) {
            let message = format!("axis `{name}` has the value `{}` twice", value_text(value));
            findings.push(Finding::new(item.span, message, "written again here"));
        }
    }
    (findings.len() == before).then(|| values.into_iter().map(|(value, _)| value).collect())
}

fn plain(value: &Value, node: &Node, findings: &mut Findings) {
    let message = match value {
        Value::String(text) if text.contains('"') => "a matrix value with a double quote".to_owned(),
        Value::String(_) | Value::Number(_) | Value::Bool(_) => return,
        _ => format!("a matrix value that is {}", node.describe()),
    };
    findings.push(Finding::new(node.span, message, "expected plain text, a number, or true or false"));
}

fn combinations<'a>(node: Option<&'a Node>, word: &str, findings: &mut Findings) -> Vec<(Coordinates, &'a Node)> {
    let Some(node) = node else { return Vec::new() };
    let Kind::List(items) = &node.kind else {
        findings.push(
            Finding::new(node.span, format!("`{word}` is {}", node.describe()), "expected a list of combinations")
                .help(format!("for example `{word}: [{{seed: 1}}]`")),
        );
        return Vec::new();
    };
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        if item.entries().is_empty() {
            let label = format!("expected a mapping such as `{{seed: 1}}`, found {}", item.describe());
            findings.push(Finding::new(item.span, format!("a combination under `{word}` without axes"), label));
            continue;
        }
        for entry in item.entries() {
            plain(&entry.value.to_value(), &entry.value, findings);
        }
        let coordinates = item.entries().iter().map(|entry| (entry.key.clone(), entry.value.to_value())).collect();
        all.push((coordinates, item));
    }
    all
}

/// `{range: [from, to]}` or `{range: [from, to, step]}`: from, from + step, … before to.
fn range(name: &str, node: &Node, findings: &mut Findings) -> Option<Vec<Value>> {
    let usage = format!("write `{name}: {{range: [from, to]}}` or `{name}: {{range: [from, to, step]}}`");
    let mut refuse = |at: &Node, message: String, label: &str| {
        findings.push(Finding::new(at.span, message, label).help(usage.clone()));
        None
    };
    let bounds = match node.entries() {
        [entry] if entry.key == "range" => &entry.value,
        [entry, ..] if entry.key != "range" => {
            return refuse(node, format!("axis `{name}` has the key `{}`", entry.key), "expected `range`");
        }
        _ => return refuse(node, format!("axis `{name}` is a mapping that is no range"), "expected `range` alone"),
    };
    let Kind::List(items) = &bounds.kind else {
        return refuse(bounds, format!("the range of axis `{name}` is {}", bounds.describe()), "expected `[from, to]`");
    };
    let mut numbers = Vec::new();
    for item in items {
        match &item.kind {
            Kind::Number(number) => numbers.push(number),
            _ => return refuse(item, format!("a bound that is {}", item.describe()), "expected a number"),
        }
    }
    let (from, to, step) = match numbers.as_slice() {
        [from, to] => (*from, *to, Number::from(1)),
        [from, to, step] => (*from, *to, (*step).clone()),
        _ => return refuse(bounds, format!("a range of {} numbers", numbers.len()), "expected two or three"),
    };
    let values: Vec<Value> = if let (Some(from), Some(to), Some(step)) = (from.as_i64(), to.as_i64(), step.as_i64()) {
        if step == 0 || i128::from(to) - i128::from(from) > i128::from(step.unsigned_abs()) * MOST_INSTANCES as i128 {
            return refuse(bounds, "a range that does not end".to_owned(), "the step is too small");
        }
        std::iter::successors(Some(from), |at| at.checked_add(step))
            .take_while(|at| if step > 0 { *at < to } else { *at > to })
            .map(Value::from)
            .collect()
    } else {
        let of = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
        let (from, to, step) = (of(from), of(to), of(&step));
        let count = ((to - from) / step).ceil();
        if !count.is_finite() || count > MOST_INSTANCES as f64 {
            return refuse(bounds, "a range that does not end".to_owned(), "the step is too small");
        }
        // Multiplying keeps rounding from adding up; a value within rounding of the end is the end.
        let tolerance = step.abs() * 1e-9;
        (0..count.max(0.0) as usize)
            .map(|index| tidy(index as f64 * step + from))
            .filter(|at| (at - to).abs() > tolerance)
            .filter_map(|at| Number::from_f64(at).map(Value::Number))
            .collect()
    };
    if values.is_empty() {
        return refuse(bounds, format!("the range of axis `{name}` has no values"), "the end is reached at once");
    }
    Some(values)
}

/// The shortest decimal within rounding of a number, so that 0.1 · 3 is 0.3.
fn tidy(number: f64) -> f64 {
    format!("{number:.12}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{source::Sources, tree};
    use proptest::prelude::*;
    use serde_json::json;

    fn expanded(text: &str) -> Vec<Coordinates> {
        let mut sources = Sources::default();
        let mut findings = Findings::default();
        let id = sources.add("test", "", text.to_owned());
        let node = tree::parse(id, &sources, &mut findings).expect("YAML");
        let matrix = read(&node, "s", &mut findings, &mut Findings::default());
        assert!(findings.is_empty(), "{findings:?}");
        matrix.expect("a matrix").instances.iter().map(|coordinates| (**coordinates).clone()).collect()
    }

    #[test]
    fn include_and_exclude() {
        let all = expanded("{b: [x, y], a: [1, 2], exclude: [{a: 2, b: x}], include: [{a: 9, b: z}, {a: 1, b: x}]}");
        let ids: Vec<String> = all.iter().map(identity).collect();
        assert_eq!(ids, ["a=1,b=x", "a=1,b=y", "a=2,b=y", "a=9,b=z"]);
    }

    #[test]
    fn ranges() {
        let values = |text: &str| -> Vec<Value> { expanded(text).into_iter().map(|c| c["s"].clone()).collect() };
        assert_eq!(values("{s: {range: [0, 3]}}"), [json!(0), json!(1), json!(2)]);
        assert_eq!(values("{s: {range: [5, 0, -2]}}"), [json!(5), json!(3), json!(1)]);
        assert_eq!(values("{s: {range: [0.1, 0.5, 0.1]}}"), [json!(0.1), json!(0.2), json!(0.3), json!(0.4)]);
    }

    proptest! {
        #[test]
        fn the_product_is_complete_and_independent_of_the_order_of_axes(
            sizes in proptest::collection::vec(1_usize..5, 1..4),
            turn in 0_usize..4,
        ) {
            let mut axes: Vec<String> = sizes
                .iter()
                .enumerate()
                .map(|(axis, size)| format!("a{axis}: [{}]", (0..*size).map(|v| v.to_string()).collect::<Vec<_>>().join(", ")))
                .collect();
            let written = expanded(&format!("{{{}}}", axes.join(", ")));
            let distinct: HashSet<String> = written.iter().map(identity).collect();
            prop_assert_eq!(distinct.len(), sizes.iter().product::<usize>());
            prop_assert_eq!(distinct.len(), written.len());
            let turn = turn % axes.len();
            axes.rotate_left(turn);
            prop_assert_eq!(expanded(&format!("{{{}}}", axes.join(", "))), written);
        }
    }
}
