//! Samplers ranked by the metric that decides, and the learned one against the best fixed one.

use crate::{
    Evaluation,
    evaluation::Estimate,
    scale::{Scale, decimals, extent, fixed, padded, short},
    svg::{Anchor, Svg},
};

/// More rows than this would not fit on a screen: the best ones are shown, and the learned one.
const MOST_ROWS: usize = 32;
const ROW: f64 = 22.0;

/// Dots with intervals, best first.
pub fn ranking(evaluation: &Evaluation) -> String {
    let mut rows: Vec<(usize, _)> = evaluation.ranked().into_iter().enumerate().collect();
    let all = rows.len();
    if all > MOST_ROWS {
        let learned = rows.iter().position(|(_, row)| row.learned);
        let keep = learned.filter(|&place| place >= MOST_ROWS);
        let tail = keep.map(|place| rows[place]);
        rows.truncate(MOST_ROWS - usize::from(tail.is_some()));
        rows.extend(tail);
    }
    let value = |row: &crate::EvaluationRow| row.values.get(&evaluation.primary).copied();
    let ends = rows
        .iter()
        .filter_map(|(_, row)| value(row))
        .flat_map(|e: Estimate| [Some(e.value), e.low, e.high].into_iter().flatten());
    let digits = decimals(rows.iter().filter_map(|(_, row)| value(row)).map(|e| e.value));
    let longest = rows.iter().map(|(_, row)| row.sampler.chars().count()).max().unwrap_or(8);
    let (width, left) = (900.0, (longest as f64 * 7.2 + 56.0).clamp(150.0, 320.0));
    let (top, bottom) = (34.0, 34.0 + ROW * rows.len() as f64);
    let x = Scale::new(padded(extent(ends), 0.05), (left, width - 76.0));
    let mut svg = Svg::new(width, bottom + 46.0);
    for tick in x.ticks(7) {
        svg.line("grid", (x.at(tick), top - 6.0), (x.at(tick), bottom + 4.0));
        svg.text("t", (x.at(tick), bottom + 20.0), Anchor::Middle, &short(tick));
    }
    let best_fixed = rows.iter().find(|(_, row)| !row.learned).and_then(|(_, row)| value(row));
    for (i, (place, row)) in rows.iter().enumerate() {
        let y = top + ROW * (i as f64 + 0.5);
        if row.learned {
            svg.rect("w-learned", (0.0, y - ROW / 2.0), (width, ROW), 4.0);
        }
        let class = if row.learned { "t-learned" } else { "t-ink" };
        svg.text("t-small", (26.0, y + 4.0), Anchor::End, &(place + 1).to_string());
        svg.text(class, (36.0, y + 4.0), Anchor::Start, &row.sampler);
        let Some(estimate) = value(row) else {
            svg.text("t-small", (left, y + 4.0), Anchor::Start, "not measured");
            continue;
        };
        if let (Some(low), Some(high)) = (estimate.low, estimate.high) {
            let class = if row.learned { "i-learned" } else { "i-fixed" };
            svg.line(class, (x.at(low), y), (x.at(high), y));
        }
        let class = if row.learned { "d-learned" } else { "d-raw" };
        let tip = format!("{}: {}", row.sampler, with_interval(estimate));
        svg.dot(class, (x.at(estimate.value), y), if row.learned { 5.5 } else { 4.5 }, Some(&tip));
        let class = if row.learned { "t-learned" } else { "t" };
        svg.text(class, (width - 10.0, y + 4.0), Anchor::End, &fixed(estimate.value, digits));
    }
    if let Some(best) = best_fixed {
        let at = x.at(best.value);
        svg.line("rule", (at, top - 8.0), (at, bottom + 4.0));
        svg.text("t-small", (at, top - 14.0), Anchor::Middle, "best fixed");
    }
    let label = evaluation.column(&evaluation.primary).map_or(evaluation.primary.as_str(), |c| &c.label);
    svg.text("t", ((left + width - 76.0) / 2.0, bottom + 40.0), Anchor::Middle, label);
    svg.finish(&format!("{label} of every sampler with 95 % intervals"))
}

/// The difference and its interval on one line around zero.
pub fn difference(estimate: Estimate) -> String {
    let ends = [Some(0.0), Some(estimate.value), estimate.low, estimate.high];
    let (low, high) = padded(extent(ends.into_iter().flatten()), 0.15);
    let (width, height, y) = (420.0, 64.0, 22.0);
    let x = Scale::new((low, high), (12.0, width - 12.0));
    let mut svg = Svg::new(width, height);
    svg.line("axis", (12.0, y + 16.0), (width - 12.0, y + 16.0));
    for tick in x.ticks(5) {
        svg.line("axis", (x.at(tick), y + 16.0), (x.at(tick), y + 20.0));
        svg.text("t", (x.at(tick), y + 35.0), Anchor::Middle, &short(tick));
    }
    svg.line("rule", (x.at(0.0), 4.0), (x.at(0.0), y + 16.0));
    if let (Some(low), Some(high)) = (estimate.low, estimate.high) {
        svg.line("i-learned", (x.at(low), y), (x.at(high), y));
    }
    svg.dot("d-learned", (x.at(estimate.value), y), 6.0, Some(&with_interval(estimate)));
    svg.finish("difference between the learned sampler and the best fixed heuristic, with its interval")
}

/// `0.12 (0.03 to 0.2)`.
pub fn with_interval(estimate: Estimate) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{} ({} to {})", short(estimate.value), short(low), short(high)),
        _ => short(estimate.value),
    }
}
