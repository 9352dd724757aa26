//! Writing SVG. Colours and type come from the theme's classes, so that one drawing suits light, dark and paper.

use crate::html::escape;
use std::fmt::Write;

/// A drawing in pixels.
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Where text hangs on its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

impl Svg {
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.body.write_fmt(text);
        self.body.push('\n');
    }

    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let (x1, y1, x2, y2) = (px(x1), px(y1), px(x2), px(y2));
        self.push(format_args!(r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#));
    }

    pub fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), radius: f64) {
        let (x, y, width, height, radius) = (px(x), px(y), px(width.max(0.0)), px(height.max(0.0)), px(radius));
        self.push(format_args!(
            r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"/>"#
        ));
    }

    /// A dot; `tip` shows when the pointer rests on it.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64, tip: Option<&str>) {
        let title = tip.map(|tip| format!("<title>{}</title>", escape(tip))).unwrap_or_default();
        self.push(format_args!(
            r#"<circle class="{class}" cx="{}" cy="{}" r="{}">{title}</circle>"#,
            px(x),
            px(y),
            px(radius)
        ));
    }

    pub fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        self.turned_text(class, (x, y), anchor, 0.0, text);
    }

    pub fn turned_text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, degrees: f64, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let turn = if degrees == 0.0 {
            String::new()
        } else {
            format!(r#" transform="rotate({degrees} {} {})""#, px(x), px(y))
        };
        self.push(format_args!(
            r#"<text class="{class}" x="{}" y="{}" text-anchor="{anchor}"{turn}>{}</text>"#,
            px(x),
            px(y),
            escape(text)
        ));
    }

    /// A line through points; pieces between points that are not finite are left out.
    pub fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        let mut pen_down = false;
        for &(x, y) in points {
            if x.is_finite() && y.is_finite() {
                let _ = write!(path, "{}{} {}", if pen_down { "L" } else { "M" }, px(x), px(y));
                pen_down = true;
            } else {
                pen_down = false;
            }
        }
        if !path.is_empty() {
            self.path(class, &path);
        }
    }

    /// The area between two lines over the same x.
    pub fn band(&mut self, class: &str, upper: &[(f64, f64)], lower: &[(f64, f64)]) {
        let points: Vec<String> =
            upper.iter().chain(lower.iter().rev()).map(|&(x, y)| format!("{} {}", px(x), px(y))).collect();
        if points.len() > 2 {
            self.path(class, &format!("M{}Z", points.join("L")));
        }
    }

    pub fn path(&mut self, class: &str, path: &str) {
        self.push(format_args!(r#"<path class="{class}" d="{path}"/>"#));
    }

    /// The element, to be put into a page.
    pub fn finish(self, label: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" role=\"img\" aria-label=\"{}\">\n{}</svg>",
            escape(label),
            self.body,
            w = px(self.width),
            h = px(self.height),
        )
    }
}
