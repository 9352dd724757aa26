//! How far raw and learned distributions are from each heuristic.

use crate::{
    analysis::PipelineMean,
    scale::{Scale, extent, short},
    svg::{Anchor, Svg},
};

/// Heuristics that fit.
const MOST_ROWS: usize = 16;
const ROW: f64 = 21.0;
/// Characters of a name that are shown.
const NAME: usize = 26;

/// One row per heuristic, most positions first.
pub fn imitation(means: &[PipelineMean]) -> String {
    let means = &means[..means.len().min(MOST_ROWS)];
    let (left, right, top) = (188.0, 420.0, 36.0);
    let bottom = top + ROW * means.len() as f64;
    let (_, high) = extent(means.iter().flat_map(|m| [m.raw_kl, m.learned_kl]));
    let x = Scale::new((0.0, high * 1.04), (left, right));
    let mut svg = Svg::new(430.0, (bottom + 44.0).max(400.0));
    for (at, class, radius, label) in [(14.0, "o-raw", 4.0, "raw logits"), (104.0, "d-learned", 4.0, "learned sampler")]
    {
        svg.dot(class, (at, 12.0), radius, None);
        svg.text("t-ink", (at + 10.0, 16.0), Anchor::Start, label);
    }
    for tick in x.ticks(4) {
        svg.line("grid", (x.at(tick), top - 4.0), (x.at(tick), bottom + 2.0));
        svg.text("t", (x.at(tick), bottom + 18.0), Anchor::Middle, &short(tick));
    }
    svg.text("t", ((left + right) / 2.0, bottom + 36.0), Anchor::Middle, "KL from the target, nats");
    for (i, mean) in means.iter().enumerate() {
        let y = top + ROW * (i as f64 + 0.5);
        let mut name: String = mean.pipeline.chars().take(NAME).collect();
        if mean.pipeline.chars().count() > NAME {
            name.push('…');
        }
        svg.text("t-ink", (left - 14.0, y + 4.0), Anchor::End, &name);
        svg.line("join", (x.at(mean.raw_kl), y), (x.at(mean.learned_kl), y));
        let tip = |kl: f64| format!("{}: {kl:.4} nats over {} positions", mean.pipeline, mean.positions);
        svg.dot("o-raw", (x.at(mean.raw_kl), y), 4.0, Some(&tip(mean.raw_kl)));
        svg.dot("d-learned", (x.at(mean.learned_kl), y), 4.0, Some(&tip(mean.learned_kl)));
    }
    svg.finish("KL divergence from each heuristic, raw and learned")
}
