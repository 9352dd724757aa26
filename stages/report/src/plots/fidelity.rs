//! What each architecture leaves of each heuristic.

use crate::{
    Fidelity,
    scale::{Scale, power_of_ten},
    svg::{Anchor, Svg},
};

const ROW: f64 = 22.0;
/// Shares below 10^-3 stand at the left edge, those of samplers that are worse than doing nothing at the right one.
const DOMAIN: (f64, f64) = (-3.0, 0.0);
/// The share that a good stand-in leaves at most.
const WANTED: f64 = 0.05;
/// By architecture, in the order of the table.
const DOTS: [&str; 4] = ["o-raw", "d-raw", "d-target", "d-learned"];

/// A row per heuristic, a dot per architecture, the share of the removable divergence that is left on a logarithmic axis.
pub fn fidelity(report: &Fidelity) -> String {
    let longest = report.heuristics().iter().map(|name| name.chars().count()).max().unwrap_or(8);
    let (width, left, top) = (900.0, (longest as f64 * 7.2 + 24.0).clamp(120.0, 320.0), 56.0);
    let bottom = top + ROW * report.heuristics().len() as f64;
    let x = Scale::new(DOMAIN, (left, width - 24.0));
    let mut svg = Svg::new(width, bottom + 48.0);
    let mut at = 14.0;
    for (name, dot) in report.architectures().iter().zip(DOTS.iter().cycle()) {
        svg.dot(dot, (at, 14.0), 4.5, None);
        svg.text("t-ink", (at + 10.0, 18.0), Anchor::Start, name);
        at += 34.0 + 7.0 * name.chars().count() as f64;
    }
    for exponent in DOMAIN.0 as i32..=DOMAIN.1 as i32 {
        let at = x.at(f64::from(exponent));
        svg.line("grid", (at, top - 6.0), (at, bottom + 4.0));
        svg.text("t", (at, bottom + 20.0), Anchor::Middle, &power_of_ten(exponent));
    }
    let wanted = x.at(WANTED.log10());
    svg.line("rule", (wanted, top - 8.0), (wanted, bottom + 4.0));
    svg.text("t-small", (wanted, top - 14.0), Anchor::Middle, "5 %");
    for (row, heuristic) in report.heuristics().iter().enumerate() {
        let y = top + ROW * (row as f64 + 0.5);
        svg.text("t-ink", (left - 14.0, y + 4.0), Anchor::End, heuristic);
        svg.line("join", (left, y), (width - 24.0, y));
        for (architecture, dot) in report.architectures().iter().zip(DOTS.iter().cycle()) {
            let Some(left) = report.get(heuristic, architecture).and_then(|m| m.left()) else { continue };
            let tip = format!("{heuristic}, {architecture}: {:.2} % left", 100.0 * left);
            svg.dot(dot, (x.at(left.max(1e-9).log10()), y), 4.5, Some(&tip));
        }
    }
    let caption = "share of the removable KL divergence that is left";
    svg.text("t", ((left + width - 24.0) / 2.0, bottom + 40.0), Anchor::Middle, caption);
    svg.finish("share of each heuristic's KL divergence that each architecture leaves, on held-out positions")
}
