//! Curves over positions, raw log-probability, predicted probability and entropy.

use super::panel::{Labels, Panel, Series, legend};
use crate::{
    analysis::{Bin, PositionMean, TransferBin},
    scale::{extent, padded},
    svg::Svg,
};
use std::f64::consts::LN_10;

const BOTH: [(Series, &str); 2] = [(Series::Raw, "raw logits"), (Series::Learned, "learned sampler")];
const ALL: [(Series, &str); 3] = [(Series::Raw, "raw"), (Series::Target, "target"), (Series::Learned, "learned")];

/// KL and truncated mass at each position of the reply.
pub fn positions(means: &[PositionMean]) -> String {
    let mut svg = Svg::new(900.0, 312.0);
    let x = extent(means.iter().map(|m| m.position as f64));
    type Read = fn(&PositionMean) -> f64;
    let panels: [(&str, f64, Read, Read); 2] = [
        ("KL from the target, nats", 48.0, |m| m.raw_kl, |m| m.learned_kl),
        ("mass on removed tokens", 506.0, |m| m.raw_truncated, |m| m.learned_truncated),
    ];
    for (title, left, raw, learned) in panels {
        let (_, high) = extent(means.iter().flat_map(|m| [raw(m), learned(m)]));
        let panel = Panel::new((left, 62.0), (left + 376.0, 260.0), x, (0.0, high * 1.08));
        panel.title(&mut svg, title);
        panel.y_axis(&mut svg, Labels::Number);
        panel.x_axis(&mut svg, Labels::Number, "token of the reply");
        let at = |m: &PositionMean| m.position as f64;
        panel.curve(&mut svg, Series::Raw, means.iter().map(|m| (at(m), raw(m))));
        panel.curve(&mut svg, Series::Learned, means.iter().map(|m| (at(m), learned(m))));
    }
    legend(&mut svg, (644.0, 18.0), &BOTH);
    svg.finish("KL divergence and truncated mass by position, raw and learned")
}

/// Learned log-probability against raw log-probability, and below it how much the target removes.
pub fn transfer(bins: &[TransferBin]) -> String {
    let mut svg = Svg::new(430.0, 400.0);
    let ten = |ln: f64| ln / LN_10;
    let (low, _) = extent(bins.iter().map(|b| ten(b.raw)));
    let domain = (low.min(-1.0), 0.0);
    let lowest = extent(bins.iter().flat_map(|b| [ten(b.learned[1]), ten(b.learned[0])])).0;
    // Far below the raw probabilities' own range a token is as good as removed: the axis ends there.
    let floor = lowest.max(domain.0 * 1.3).min(domain.0);
    let y = (floor, 0.3);
    let panel = Panel::new((50.0, 52.0), (420.0, 270.0), domain, y);
    panel.y_axis(&mut svg, Labels::PowerOfTen);
    panel.diagonal(&mut svg, (domain.0.max(y.0), 0.0));
    let line = |i: usize| bins.iter().map(|b| panel.at(ten(b.raw), ten(b.learned[i]))).collect::<Vec<_>>();
    svg.band("b-learned", &line(2), &line(0));
    panel.curve(&mut svg, Series::Target, bins.iter().map(|b| (ten(b.raw), b.target.map_or(f64::NAN, ten))));
    let shown = |v: f64| if v >= floor { v } else { f64::NAN };
    panel.curve(&mut svg, Series::Learned, bins.iter().map(|b| (ten(b.raw), shown(ten(b.learned[1])))));
    legend(&mut svg, (10.0, 18.0), &[(Series::Target, "target, kept tokens"), (Series::Learned, "learned, 10–90 %")]);

    let strip = Panel::new((50.0, 292.0), (420.0, 356.0), domain, (0.0, 1.0));
    let step = bins.windows(2).map(|w| ten(w[1].raw) - ten(w[0].raw)).fold(f64::INFINITY, f64::min);
    let step = if step.is_finite() { step } else { 0.2 };
    for bin in bins {
        let (left, right) = (strip.x.at(ten(bin.raw) - step / 2.0), strip.x.at(ten(bin.raw) + step / 2.0));
        let y = strip.y.at(bin.removed);
        svg.rect("b-target", (left + 0.5, y), (right - left - 1.0, strip.y.at(0.0) - y), 1.0);
    }
    for share in [0.0, 1.0] {
        svg.text("t", (42.0, strip.y.at(share) + 4.0), crate::svg::Anchor::End, if share > 0.5 { "100%" } else { "0" });
    }
    svg.text("t-small", (50.0, 287.0), crate::svg::Anchor::Start, "removed by the target");
    strip.x_axis(&mut svg, Labels::PowerOfTen, "raw probability");
    svg.finish("transfer curve: learned against raw probability")
}

/// Where a curve predicts a probability, what the target gives to those tokens on average.
pub fn calibration(bins: &[Bin]) -> String {
    let mut svg = Svg::new(430.0, 400.0);
    let log = |p: f64| p.max(1e-12).log10();
    let (low, _) = extent(bins.iter().map(|b| log(b.x)));
    let domain = (low.floor().min(-1.0), 0.0);
    let floor = extent(bins.iter().flat_map(|b| [log(b.raw), log(b.learned)])).0.max(domain.0 - 2.0);
    let panel = Panel::new((50.0, 52.0), (420.0, 350.0), domain, (floor.min(domain.0), 0.1));
    panel.y_axis(&mut svg, Labels::PowerOfTen);
    panel.x_axis(&mut svg, Labels::PowerOfTen, "predicted probability");
    panel.diagonal(&mut svg, (domain.0, 0.0));
    for (series, read) in
        [(Series::Raw, (|b| b.raw) as fn(&Bin) -> f64), (Series::Learned, (|b| b.learned) as fn(&Bin) -> f64)]
    {
        let points = || bins.iter().filter(move |b| read(b).is_finite()).map(move |b| (log(b.x), log(read(b))));
        panel.curve(&mut svg, series, points());
        for (x, y) in points() {
            svg.dot(series.dot(), panel.at(x, y), 3.0, None);
        }
    }
    legend(&mut svg, (10.0, 18.0), &BOTH);
    svg.finish("calibration: mean target probability against predicted probability")
}

/// Entropy after processing against the model's own entropy.
pub fn entropy(bins: &[Bin]) -> String {
    let mut svg = Svg::new(430.0, 400.0);
    let (_, high) = extent(bins.iter().flat_map(|b| [b.x, b.raw, b.target, b.learned]));
    let domain = padded((0.0, high), 0.03);
    let panel = Panel::new((50.0, 52.0), (420.0, 350.0), (0.0, domain.1), (0.0, domain.1));
    panel.y_axis(&mut svg, Labels::Number);
    panel.x_axis(&mut svg, Labels::Number, "entropy of the raw distribution, nats");
    for (series, read) in [
        (Series::Raw, (|b| b.raw) as fn(&Bin) -> f64),
        (Series::Target, (|b| b.target) as fn(&Bin) -> f64),
        (Series::Learned, (|b| b.learned) as fn(&Bin) -> f64),
    ] {
        panel.curve(&mut svg, series, bins.iter().map(|b| (b.x, read(b))));
        for bin in bins {
            svg.dot(series.dot(), panel.at(bin.x, read(bin)), 3.0, None);
        }
    }
    legend(&mut svg, (10.0, 18.0), &ALL);
    svg.finish("entropy of raw, target and learned distribution against raw entropy")
}
