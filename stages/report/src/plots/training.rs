//! Loss curves.

use super::panel::{Labels, Panel, Series, legend};
use crate::{
    TrainingPoint,
    scale::extent,
    svg::{Anchor, Svg},
};

/// KL and truncated mass over the steps: every step thin, an exponential mean bold, held-out values as dots.
pub fn training(points: &[TrainingPoint]) -> String {
    let mut svg = Svg::new(900.0, 312.0);
    let steps = extent(points.iter().map(|p| p.step as f64));
    let raw = points.iter().rev().find_map(|p| p.raw_kl);
    type Read = fn(&TrainingPoint) -> f64;
    type ReadOption = fn(&TrainingPoint) -> Option<f64>;
    let panels: [(&str, f64, Read, ReadOption, Option<f64>); 2] = [
        ("KL from the target, nats", 48.0, |p| p.kl, |p| p.validation_kl, raw),
        ("mass on removed tokens", 506.0, |p| p.penalty, |p| p.validation_penalty, None),
    ];
    for (title, left, read, validation, baseline) in panels {
        let smooth = smoothed(points.iter().map(read));
        // Single steps may spike far above the curve; the axis follows the curve and clips them.
        let mut sorted: Vec<f64> = points.iter().map(read).filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let high = sorted.get(sorted.len().saturating_sub(1) * 98 / 100).copied().unwrap_or(1.0);
        let values = smooth.iter().copied().chain(baseline).chain(points.iter().filter_map(validation)).chain([high]);
        let (_, high) = extent(values);
        let panel = Panel::new((left, 62.0), (left + 376.0, 260.0), steps, (0.0, high * 1.08));
        panel.title(&mut svg, title);
        panel.y_axis(&mut svg, Labels::Number);
        panel.x_axis(&mut svg, Labels::Number, "step");
        let each: Vec<(f64, f64)> = points.iter().map(|p| panel.at(p.step as f64, read(p))).collect();
        svg.polyline("thin", &each);
        let steps = points.iter().map(|p| p.step as f64);
        panel.curve(&mut svg, Series::Learned, steps.zip(smooth));
        for (step, value) in points.iter().filter_map(|p| Some((p.step as f64, validation(p)?))) {
            svg.dot("o-learned", panel.at(step, value), 4.0, Some(&format!("held out, step {step}: {value:.4}")));
        }
        if let Some(value) = baseline {
            let (x, y) = panel.at(steps_end(points), value);
            svg.line("rule", (left, y), (x, y));
            svg.text("t-small", (x, y - 6.0), Anchor::End, "raw logits");
        }
    }
    if points.iter().any(|p| p.validation_kl.is_some()) {
        svg.dot("o-learned", (770.0, 14.0), 4.0, None);
        svg.text("t-ink", (782.0, 18.0), Anchor::Start, "held-out rows");
        legend(&mut svg, (660.0, 18.0), &[(Series::Learned, "training")]);
    }
    svg.finish("training curves")
}

fn steps_end(points: &[TrainingPoint]) -> f64 {
    points.last().map_or(0.0, |p| p.step as f64)
}

/// Exponential mean over about a fortieth of the steps, without a bias at the beginning.
fn smoothed(values: impl ExactSizeIterator<Item = f64>) -> Vec<f64> {
    let keep = 1.0 - 1.0 / (values.len() as f64 / 40.0).max(1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    values
        .map(|value| {
            if value.is_finite() {
                sum = keep * sum + value;
                weight = keep * weight + 1.0;
            }
            sum / weight
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_has_no_bias_and_skips_what_is_no_number() {
        let smooth = smoothed(vec![2.0, f64::NAN, 2.0, 2.0].into_iter());
        assert!(smooth.iter().all(|v| (v - 2.0).abs() < 1e-12));
    }
}
