//! A drawing as a picture for browsers, with its own layout.

use super::{Drawing, State, layout::layout, text::colours};
use std::fmt::Write;

/// Pixels per character of a label's first line, which is bold, and of the others.
const BOLD: f64 = 8.2;
const PLAIN: f64 = 6.4;
const LINE: f64 = 16.0;

/// A self-contained SVG document.
pub fn svg(drawing: &Drawing) -> String {
    let labels: Vec<Vec<String>> = drawing.nodes.iter().map(super::Node::lines).collect();
    let sizes: Vec<(f64, f64)> = labels
        .iter()
        .map(|lines| {
            let width = |(at, line): (usize, &String)| line.chars().count() as f64 * if at == 0 { BOLD } else { PLAIN };
            let widest = lines.iter().enumerate().map(width).fold(72.0, f64::max);
            (widest + 28.0, lines.len() as f64 * LINE + 18.0)
        })
        .collect();
    let layout = layout(drawing, &sizes);
    let (width, height) = (layout.width.max(160.0), layout.height.max(48.0));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"system-ui, -apple-system, Helvetica, Arial, sans-serif\" role=\"img\">\n\
         <title>{}</title>\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto-start-reverse\"><path d=\"M0 0 8 4 0 8 2 4Z\" fill=\"#8a8a99\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escape(&drawing.pipeline)
    );
    for points in &layout.edges {
        let _ = writeln!(
            text,
            "<path d=\"{}\" fill=\"none\" stroke=\"#8a8a99\" stroke-width=\"1.4\" marker-end=\"url(#arrow)\"/>",
            curve(points)
        );
    }
    for ((node, lines), placed) in drawing.nodes.iter().zip(&labels).zip(&layout.nodes) {
        let (fill, stroke) = colours(node.state);
        let dashed = if node.state == State::Waiting { " stroke-dasharray=\"5 3\"" } else { "" };
        let (left, top) = (placed.x - placed.width / 2.0, placed.y - placed.height / 2.0);
        let _ = writeln!(
            text,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"9\" fill=\"{fill}\" \
             stroke=\"{stroke}\" stroke-width=\"1.5\"{dashed}/>",
            placed.width, placed.height
        );
        for (at, line) in lines.iter().enumerate() {
            let style = match at {
                0 => "font-size=\"14\" font-weight=\"600\" fill=\"#1b1b1f\"".to_owned(),
                1 => "font-size=\"12\" fill=\"#55556b\"".to_owned(),
                _ => format!("font-size=\"12\" fill=\"{stroke}\""),
            };
            let y = top + 23.0 + at as f64 * LINE;
            let _ = writeln!(
                text,
                "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" {style}>{}</text>",
                placed.x,
                escape(line)
            );
        }
    }
    text.push_str("</svg>\n");
    text
}

/// A smooth line that leaves and enters every point vertically.
fn curve(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    if let Some((x, y)) = points.first() {
        let _ = write!(path, "M{x:.1} {y:.1}");
    }
    for pair in points.windows(2) {
        let ((x1, y1), (x2, y2)) = (pair[0], pair[1]);
        let middle = f64::midpoint(y1, y2);
        let _ = write!(path, "C{x1:.1} {middle:.1} {x2:.1} {middle:.1} {x2:.1} {y2:.1}");
    }
    path
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
