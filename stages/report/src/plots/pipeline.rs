//! The pipeline's stages from left to right.

use crate::{
    Graph,
    svg::{Anchor, Svg},
};

const NODE: (f64, f64) = (108.0, 44.0);
const STEP: (f64, f64) = (138.0, 66.0);

/// Stages as boxes, columns by dependency.
pub fn pipeline(graph: &Graph) -> String {
    let places = graph.places();
    let columns = places.iter().map(|p| p.column + 1).max().unwrap_or(0);
    let low = places.iter().map(|p| p.row).fold(0.0, f64::min);
    let high = places.iter().map(|p| p.row).fold(0.0, f64::max);
    let width = columns as f64 * STEP.0 - (STEP.0 - NODE.0) + 4.0;
    let mut svg = Svg::new(width, (high - low) * STEP.1 + NODE.1 + 4.0);
    let corner = |i: usize| (2.0 + places[i].column as f64 * STEP.0, 2.0 + (places[i].row - low) * STEP.1);
    for (from, to) in graph.links() {
        if places.len() <= from.max(to) {
            continue;
        }
        let ((x1, y1), (x2, y2)) = (corner(from), corner(to));
        let (x1, y1, x2, y2) = (x1 + NODE.0, y1 + NODE.1 / 2.0, x2, y2 + NODE.1 / 2.0);
        // A flow that skips columns leaves and arrives within one gap, so that it stays clear of boxes as far as it can.
        let bend = (STEP.0 - NODE.0).max((x2 - x1) * 0.45);
        svg.path(
            "flow",
            &format!("M{x1:.1} {y1:.1}C{:.1} {y1:.1} {:.1} {y2:.1} {:.1} {y2:.1}", x1 + bend, x2 - bend, x2 - 4.0),
        );
        svg.path(
            "flow",
            &format!("M{:.1} {:.1}L{:.1} {y2:.1}L{:.1} {:.1}", x2 - 6.0, y2 - 3.5, x2 - 1.0, x2 - 6.0, y2 + 3.5),
        );
    }
    for (i, node) in graph.nodes.iter().enumerate().take(places.len()) {
        let (x, y) = corner(i);
        svg.rect("node", (x, y), NODE, 7.0);
        let centre = x + NODE.0 / 2.0;
        let second = match (node.uses.as_str(), node.tasks) {
            ("", 0 | 1) => String::new(),
            (uses, 0 | 1) if uses == node.id => String::new(),
            (uses, 0 | 1) => uses.to_owned(),
            (uses, tasks) if uses == node.id || uses.is_empty() => format!("{tasks} tasks"),
            (uses, tasks) => format!("{uses} × {tasks}"),
        };
        if second.is_empty() {
            svg.text("t-head", (centre, y + 27.0), Anchor::Middle, &clipped(&node.id, 15));
        } else {
            svg.text("t-head", (centre, y + 20.0), Anchor::Middle, &clipped(&node.id, 15));
            svg.text("t-small", (centre, y + 35.0), Anchor::Middle, &clipped(&second, 18));
        }
    }
    svg.finish("the pipeline's stages and what flows between them")
}

fn clipped(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}
