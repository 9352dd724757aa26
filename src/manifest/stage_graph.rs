//! The stage graph as a manifest writes it, for `${stages}`: which stage reads which.

use super::{
    expression::{self, Instance},
    matrix::{self, Matrix},
    problem::Findings,
    scope::{Place, Scope},
    source::Sources,
    tree::{Entry, Kind, Node},
    wanted::{self, Item},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Each stage with the stages that its inputs name; those that `when` leaves out are not among them.
#[must_use]
pub fn read(stages: &[Entry], scope: &Scope, sources: &Sources) -> BTreeMap<String, BTreeSet<String>> {
    let mut graph: BTreeMap<String, BTreeSet<String>> =
        stages.iter().filter_map(|stage| Some((stage.key.clone(), reads(stage, scope, sources)?))).collect();
    let known: BTreeSet<String> = graph.keys().cloned().collect();
    graph.values_mut().for_each(|names| names.retain(|name| known.contains(name)));
    graph
}

/// Whether a stage may mention the graph; it costs a look at all inputs.
#[must_use]
pub fn is_mentioned(stage: &Entry) -> bool {
    fn walk(node: &Node) -> bool {
        match &node.kind {
            Kind::Text(text) => text.contains("${") && text.contains("stages"),
            Kind::List(items) => items.iter().any(walk),
            Kind::Map(entries) => entries.iter().any(|entry| walk(&entry.value)),
            _ => false,
        }
    }
    stage.value.get("with").is_some_and(walk)
}

/// The stages that any instance of a stage reads; `None` if it has no instance.
fn reads(stage: &Entry, scope: &Scope, sources: &Sources) -> Option<BTreeSet<String>> {
    // Whatever is wrong here is found, and reported, when the stage itself is expanded.
    let mut ignored = Findings::default();
    let matrix = match stage.value.get("matrix") {
        None => Matrix { axes: Vec::new(), instances: vec![Arc::default()] },
        Some(written) => {
            let place = Place::Outside { what: "a matrix" };
            let plain = expression::interpolate(written, scope, place, sources, &mut ignored);
            matrix::read(&plain, &stage.key, &mut ignored, &mut Findings::default()).unwrap_or_default()
        }
    };
    let place = Place::Stage { stage: &stage.key, axes: &matrix.axes };
    let mut field = |key: &str| {
        let written = stage.value.get(key).filter(|node| node.kind != Kind::Null)?;
        Some(expression::interpolate(written, scope, place, sources, &mut ignored))
    };
    let (inputs, when) = (field("inputs"), field("when"));
    // Without expressions over the matrix, all instances read the same.
    let differ = inputs.iter().chain(&when).any(Node::is_dynamic);
    let looked_at = if differ { matrix.instances.len() } else { 1 };
    let mut names = BTreeSet::new();
    let mut exists = false;
    for coordinates in matrix.instances.iter().take(looked_at) {
        let instance = Instance::new(scope, coordinates);
        if when.as_ref().is_some_and(|when| matches!(instance.value_of(when), Ok(Value::Bool(false)))) {
            continue;
        }
        exists = true;
        let Some(written) = &inputs else { continue };
        let Ok(filled) = instance.fill(written) else { continue };
        for item in wanted::read(&filled, written, &mut ignored).into_iter().flat_map(|wanted| wanted.items) {
            if let Item::Reference(reference, _) = item {
                names.insert(reference.stage);
            }
        }
    }
    exists.then_some(names)
}
