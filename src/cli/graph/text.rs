//! Drawings that another program lays out: Mermaid and Graphviz.

use super::{Drawing, State};
use std::fmt::Write;

/// Fill and border of a state.
pub fn colours(state: State) -> (&'static str, &'static str) {
    match state {
        State::Cached => ("#d9f2e0", "#2f8f5b"),
        State::Partly => ("#fdf3d0", "#b8860b"),
        State::Run => ("#dbe9fb", "#2f6fb7"),
        State::Waiting => ("#eeeeee", "#8a8a8a"),
        State::Unknown => ("#f7f7f9", "#55556b"),
    }
}

fn class(state: State) -> &'static str {
    match state {
        State::Cached => "cached",
        State::Partly => "partly",
        State::Run => "torun",
        State::Waiting => "waiting",
        State::Unknown => "plain",
    }
}

/// A Mermaid flow chart.
pub fn mermaid(drawing: &Drawing) -> String {
    let mut text = String::from("flowchart TD\n");
    for (at, node) in drawing.nodes.iter().enumerate() {
        let lines: Vec<String> = node.lines().iter().map(|line| line.replace('"', "#quot;")).collect();
        let _ = writeln!(text, "  n{at}[\"{}\"]:::{}", lines.join("<br/>"), class(node.state));
    }
    for (from, to) in &drawing.edges {
        let _ = writeln!(text, "  n{from} --> n{to}");
    }
    for state in [State::Cached, State::Partly, State::Run, State::Waiting, State::Unknown] {
        if drawing.nodes.iter().any(|node| node.state == state) {
            let (fill, stroke) = colours(state);
            let _ = writeln!(text, "  classDef {} fill:{fill},stroke:{stroke},color:#1b1b1f", class(state));
        }
    }
    text
}

/// A Graphviz digraph.
pub fn dot(drawing: &Drawing) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut text = format!("digraph \"{}\" {{\n", quoted(&drawing.pipeline));
    text.push_str("  rankdir=TB\n  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=11]\n");
    text.push_str("  edge [color=\"#8a8a99\", arrowsize=0.7]\n");
    for (at, node) in drawing.nodes.iter().enumerate() {
        let (fill, stroke) = colours(node.state);
        let label: Vec<String> = node.lines().iter().map(|line| quoted(line)).collect();
        let _ = writeln!(text, "  n{at} [label=\"{}\", fillcolor=\"{fill}\", color=\"{stroke}\"]", label.join("\\n"));
    }
    for (from, to) in &drawing.edges {
        let _ = writeln!(text, "  n{from} -> n{to}");
    }
    text.push_str("}\n");
    text
}
