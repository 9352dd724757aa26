//! How closely samplers mimic heuristics: measurements, and the table that they make up.

use crate::{plots, theme};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// One trained sampler against the one heuristic that it was trained to mimic, on held-out positions. Divergences are
/// KL(heuristic ‖ sampler) in nats, means over positions; truncated mass is the probability of tokens that the heuristic removes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    pub heuristic: String,
    pub architecture: String,
    /// Number of the network's parameters.
    pub parameters: usize,
    pub positions: u64,
    /// Of the raw logits: what doing nothing costs.
    pub raw_kl: f64,
    pub learned_kl: f64,
    /// What no sampler that gives equal logits equal outputs can go below.
    pub least_kl: f64,
    pub raw_truncated_mass: f64,
    pub learned_truncated_mass: f64,
}

impl Measurement {
    /// Share of the raw divergence that is gone; negative where the sampler is worse than doing nothing, `None` where there is
    /// nothing to mimic.
    #[must_use]
    pub fn removed(&self) -> Option<f64> {
        (self.raw_kl > 0.0).then(|| 1.0 - self.learned_kl / self.raw_kl)
    }

    /// Share of the divergence beyond [`Measurement::least_kl`] that is left.
    #[must_use]
    pub fn left(&self) -> Option<f64> {
        let removable = self.raw_kl - self.least_kl;
        (removable > 0.0).then(|| (self.learned_kl - self.least_kl) / removable)
    }
}

/// The measurements do not make up a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FidelityError {
    #[error("there is no measurement, expected at least one")]
    Empty,
    #[error("heuristic `{heuristic}` was measured twice with `{architecture}`")]
    Repeated { heuristic: String, architecture: String },
}

/// Heuristics by architectures, both in the order in which they first occur.
#[derive(Debug, Clone, PartialEq)]
pub struct Fidelity {
    measurements: Vec<Measurement>,
    heuristics: Vec<String>,
    architectures: Vec<String>,
}

impl Fidelity {
    /// # Errors
    /// There is no measurement, or two have one place.
    pub fn new(measurements: Vec<Measurement>) -> Result<Self, FidelityError> {
        let (mut heuristics, mut architectures) = (Vec::new(), Vec::new());
        for (number, measurement) in measurements.iter().enumerate() {
            let Measurement { heuristic, architecture, .. } = measurement;
            let same = |other: &Measurement| other.heuristic == *heuristic && other.architecture == *architecture;
            if measurements[..number].iter().any(same) {
                let (heuristic, architecture) = (heuristic.clone(), architecture.clone());
                return Err(FidelityError::Repeated { heuristic, architecture });
            }
            for (names, name) in [(&mut heuristics, heuristic), (&mut architectures, architecture)] {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        if measurements.is_empty() {
            Err(FidelityError::Empty)
        } else {
            Ok(Self { measurements, heuristics, architectures })
        }
    }

    #[must_use]
    pub fn measurements(&self) -> &[Measurement] {
        &self.measurements
    }

    #[must_use]
    pub fn heuristics(&self) -> &[String] {
        &self.heuristics
    }

    #[must_use]
    pub fn architectures(&self) -> &[String] {
        &self.architectures
    }

    #[must_use]
    pub fn get(&self, heuristic: &str, architecture: &str) -> Option<&Measurement> {
        self.measurements.iter().find(|m| m.heuristic == heuristic && m.architecture == architecture)
    }

    /// Two tables in Markdown: the share of the divergence that is gone, and the truncated mass.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut out =
            String::from("Share of the KL divergence from the heuristic that is gone, on held-out positions:\n\n");
        let raw = |m: &Measurement| vec![significant(m.raw_kl), significant(m.least_kl.max(0.0))];
        self.table(&mut out, &["raw KL, nats", "least KL"], raw, |m| {
            m.removed().map_or("–".to_owned(), |share| format!("{share:.3}"))
        });
        out.push_str("\nProbability of the tokens that the heuristic removes:\n\n");
        let raw = |m: &Measurement| vec![significant(m.raw_truncated_mass)];
        self.table(&mut out, &["raw logits"], raw, |m| significant(m.learned_truncated_mass));
        out
    }

    fn table(
        &self,
        out: &mut String,
        heads: &[&str],
        of_heuristic: impl Fn(&Measurement) -> Vec<String>,
        cell: impl Fn(&Measurement) -> String,
    ) {
        let columns = heads.iter().copied().chain(self.architectures.iter().map(String::as_str));
        // Writing to a string does not fail.
        let _ = writeln!(out, "| heuristic | {} |", columns.collect::<Vec<_>>().join(" | "));
        let _ = writeln!(out, "|---|{}", "---:|".repeat(heads.len() + self.architectures.len()));
        for heuristic in &self.heuristics {
            let measured = self.architectures.iter().map(|architecture| self.get(heuristic, architecture));
            let measured: Vec<Option<&Measurement>> = measured.collect();
            let shared = measured.iter().flatten().next().map_or_else(Vec::new, |m| of_heuristic(m));
            let cells = measured.iter().map(|m| m.map_or("–".to_owned(), &cell));
            let _ =
                writeln!(out, "| {heuristic} | {} |", shared.into_iter().chain(cells).collect::<Vec<_>>().join(" | "));
        }
    }

    /// What each architecture leaves of each heuristic, as an SVG document.
    #[must_use]
    pub fn to_svg(&self) -> String {
        theme::standalone(&plots::fidelity(self))
    }
}

/// Three significant digits; 0 below what f32 networks resolve.
fn significant(value: f64) -> String {
    if value < 1e-6 {
        return "0".to_owned();
    }
    let digits = (2.0 - value.log10().floor()).max(0.0) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(heuristic: &str, architecture: &str, learned_kl: f64) -> Measurement {
        Measurement {
            heuristic: heuristic.to_owned(),
            architecture: architecture.to_owned(),
            parameters: 10,
            positions: 100,
            raw_kl: 0.05,
            learned_kl,
            least_kl: 0.01,
            raw_truncated_mass: 0.0125,
            learned_truncated_mass: 2e-7,
        }
    }

    #[test]
    fn shares_are_of_the_raw_and_of_the_removable_divergence() {
        let one = measurement("top_k 20", "A", 0.02);
        assert!((one.removed().unwrap() - 0.6).abs() < 1e-12 && (one.left().unwrap() - 0.25).abs() < 1e-12);
        assert!(measurement("x", "A", 0.1).removed().unwrap() < 0.0);
        let nothing = Measurement { raw_kl: 0.0, least_kl: 0.0, ..one };
        assert_eq!((nothing.removed(), nothing.left()), (None, None));
    }

    #[test]
    fn the_table_has_a_row_for_each_heuristic_and_a_dash_for_what_was_not_measured() {
        let all = vec![measurement("b", "Z", 0.01), measurement("b", "A", 0.02), measurement("a", "A", 0.05)];
        let report = Fidelity::new(all).unwrap();
        let text = report.to_markdown();
        assert!(
            text.contains("| heuristic | raw KL, nats | least KL | Z | A |\n|---|---:|---:|---:|---:|\n"),
            "{text}"
        );
        assert!(
            text.contains("| b | 0.0500 | 0.0100 | 0.800 | 0.600 |\n| a | 0.0500 | 0.0100 | – | 0.000 |\n"),
            "{text}"
        );
        assert!(text.contains("| b | 0.0125 | 0 | 0 |\n"), "{text}");
        let svg = report.to_svg();
        assert_eq!(svg.matches("<circle").count(), 3 + 2, "a dot for each measurement and for each name in the legend");
    }

    #[test]
    fn what_makes_no_table_is_an_error() {
        assert_eq!(Fidelity::new(vec![]).unwrap_err(), FidelityError::Empty);
        let twice = vec![measurement("a", "A", 0.0), measurement("a", "A", 0.0)];
        assert!(Fidelity::new(twice).unwrap_err().to_string().contains("`a` was measured twice with `A`"));
    }
}
