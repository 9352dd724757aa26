//! A framed plot area with axes, grid and title; several may share a drawing.

use crate::{
    scale::{Scale, short},
    svg::{Anchor, Svg},
};

/// Which of the three curves something belongs to.
#[derive(Clone, Copy)]
pub enum Series {
    Raw,
    Target,
    Learned,
}

impl Series {
    pub fn line(self) -> &'static str {
        match self {
            Self::Raw => "l-raw",
            Self::Target => "l-target",
            Self::Learned => "l-learned",
        }
    }

    pub fn dot(self) -> &'static str {
        match self {
            Self::Raw => "d-raw",
            Self::Target => "d-target",
            Self::Learned => "d-learned",
        }
    }
}

/// A legend in one line, from `x` on; returns where it ends.
pub fn legend(svg: &mut Svg, (mut x, y): (f64, f64), entries: &[(Series, &str)]) -> f64 {
    for (series, label) in entries {
        svg.line(series.line(), (x, y - 4.0), (x + 16.0, y - 4.0));
        svg.text("t-ink", (x + 22.0, y), Anchor::Start, label);
        x += 22.0 + 6.9 * label.chars().count() as f64 + 18.0;
    }
    x
}

/// How the labels of an axis read.
#[derive(Clone, Copy)]
pub enum Labels {
    Number,
    /// Values are base-10 logarithms of probabilities.
    PowerOfTen,
}

/// One plot area.
pub struct Panel {
    pub x: Scale,
    pub y: Scale,
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Panel {
    /// A panel whose plot area has these corners, over these domains.
    pub fn new((left, top): (f64, f64), (right, bottom): (f64, f64), x: (f64, f64), y: (f64, f64)) -> Self {
        Self { x: Scale::new(x, (left, right)), y: Scale::new(y, (bottom, top)), left, top, right, bottom }
    }

    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.x.at(x), self.y.at(y))
    }

    pub fn title(&self, svg: &mut Svg, title: &str) {
        svg.text("t-head", (self.left - 40.0, self.top - 16.0), Anchor::Start, title);
    }

    pub fn x_axis(&self, svg: &mut Svg, labels: Labels, caption: &str) {
        svg.line("axis", (self.left, self.bottom), (self.right, self.bottom));
        for (value, text) in ticks(&self.x, labels, ((self.right - self.left) / 70.0) as usize) {
            let x = self.x.at(value);
            svg.line("axis", (x, self.bottom), (x, self.bottom + 4.0));
            svg.text("t", (x, self.bottom + 18.0), Anchor::Middle, &text);
        }
        svg.text("t", ((self.left + self.right) / 2.0, self.bottom + 36.0), Anchor::Middle, caption);
    }

    pub fn y_axis(&self, svg: &mut Svg, labels: Labels) {
        for (value, text) in ticks(&self.y, labels, ((self.bottom - self.top) / 42.0) as usize) {
            let y = self.y.at(value);
            svg.line("grid", (self.left, y), (self.right, y));
            svg.text("t", (self.left - 8.0, y + 4.0), Anchor::End, &text);
        }
    }

    pub fn curve(&self, svg: &mut Svg, series: Series, points: impl Iterator<Item = (f64, f64)>) {
        let points: Vec<(f64, f64)> =
            points.map(|(x, y)| if y.is_finite() { self.at(x, y) } else { (x, f64::NAN) }).collect();
        svg.polyline(series.line(), &points);
    }

    /// The line y = x, as far as both domains go.
    pub fn diagonal(&self, svg: &mut Svg, (low, high): (f64, f64)) {
        svg.line("rule", self.at(low, low), self.at(high, high));
    }
}

fn ticks(scale: &Scale, labels: Labels, wanted: usize) -> Vec<(f64, String)> {
    match labels {
        Labels::Number => scale.ticks(wanted.max(2)).into_iter().map(|value| (value, short(value))).collect(),
        Labels::PowerOfTen => {
            let whole: Vec<f64> = scale.ticks(100).into_iter().filter(|v| (v - v.round()).abs() < 1e-9).collect();
            let mut whole: Vec<i32> = whole.into_iter().map(|v| v.round() as i32).collect();
            whole.dedup();
            let every = whole.len().div_ceil(wanted.max(2)).max(1) as i32;
            whole
                .into_iter()
                .filter(|exponent| exponent.rem_euclid(every) == 0)
                .map(|exponent| (f64::from(exponent), crate::scale::power_of_ten(exponent)))
                .collect()
        }
    }
}
