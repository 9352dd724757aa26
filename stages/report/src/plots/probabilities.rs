//! The most probable tokens of one position under the three distributions.

use crate::{
    analysis::Example,
    html::visible,
    scale::{Scale, extent, power_of_ten},
    svg::{Anchor, Svg},
};
use std::f64::consts::LN_10;

const ROW: f64 = 21.0;
/// Probabilities below this are drawn at the edge.
const FLOOR: f64 = -9.0;
/// Characters of a token that are shown.
const TOKEN: usize = 14;

/// One row per token, probability on a log axis; a cross in the margin where the target removes the token.
pub fn probabilities(example: &Example) -> String {
    let ten = |ln: f64| ln / LN_10;
    let values = example.candidates.iter().flat_map(|c| [Some(c.raw), c.target, c.learned]).flatten().map(ten);
    let low = extent(values).0.max(FLOOR).floor().min(-1.0);
    let (left, right, top) = (150.0, 424.0, 40.0);
    let bottom = top + ROW * example.candidates.len() as f64;
    let x = Scale::new((low, 0.0), (left, right));
    let mut svg = Svg::new(440.0, bottom + 44.0);
    for (at, class, radius, label) in
        [(14.0, "o-raw", 4.0, "raw"), (66.0, "d-target", 4.5, "target"), (134.0, "d-learned", 3.6, "learned")]
    {
        svg.dot(class, (at, 12.0), radius, None);
        svg.text("t-ink", (at + 10.0, 16.0), Anchor::Start, label);
    }
    svg.line("cross", (210.0, 8.5), (217.0, 15.5));
    svg.line("cross", (210.0, 15.5), (217.0, 8.5));
    svg.text("t-ink", (224.0, 16.0), Anchor::Start, "removed by target");
    let every = if low < -5.0 { 2 } else { 1 };
    for exponent in (low as i32..=0).filter(|e| e % every == 0) {
        let at = x.at(f64::from(exponent));
        svg.line("grid", (at, top - 4.0), (at, bottom + 2.0));
        svg.text("t", (at, bottom + 18.0), Anchor::Middle, &power_of_ten(exponent));
    }
    svg.text("t", ((left + right) / 2.0, bottom + 36.0), Anchor::Middle, "probability");
    for (i, candidate) in example.candidates.iter().enumerate() {
        let y = top + ROW * (i as f64 + 0.5);
        if candidate.chosen {
            svg.rect("wash", (0.0, y - ROW / 2.0), (440.0, ROW), 4.0);
        }
        let mut text: String = visible(&candidate.text).chars().take(TOKEN).collect();
        if visible(&candidate.text).chars().count() > TOKEN {
            text.push('…');
        }
        svg.text(if candidate.chosen { "t-chosen" } else { "t-mono" }, (left - 26.0, y + 4.0), Anchor::End, &text);
        let raw = x.at(ten(candidate.raw));
        if let Some(learned) = candidate.learned {
            svg.line("join", (raw, y), (x.at(ten(learned)), y));
        }
        svg.dot("o-raw", (raw, y), 4.0, Some(&tip("raw", candidate.raw)));
        match candidate.target {
            Some(target) => svg.dot("d-target", (x.at(ten(target)), y), 4.5, Some(&tip("target", target))),
            None => {
                let cross = left - 13.0;
                svg.line("cross", (cross - 3.5, y - 3.5), (cross + 3.5, y + 3.5));
                svg.line("cross", (cross - 3.5, y + 3.5), (cross + 3.5, y - 3.5));
            }
        }
        if let Some(learned) = candidate.learned {
            svg.dot("d-learned", (x.at(ten(learned)), y), 3.2, Some(&tip("learned", learned)));
        }
    }
    svg.finish("probabilities of the most likely tokens: raw, target and learned")
}

fn tip(name: &str, log: f64) -> String {
    format!("{name}: {:.3e}", log.exp())
}
