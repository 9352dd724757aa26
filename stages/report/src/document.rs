//! A report as data.

use crate::{Analysis, Evaluation, Graph, page, plots, theme};
use serde::{Deserialize, Serialize};

/// One logged step of the training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingPoint {
    pub step: u64,
    pub kl: f64,
    pub penalty: f64,
    pub lr: Option<f64>,
    /// On held-out rows, where they were evaluated at this step.
    pub validation_kl: Option<f64>,
    pub validation_penalty: Option<f64>,
    /// KL of the raw logits on the same rows: what a network that does nothing would have.
    pub raw_kl: Option<f64>,
}

/// A line of provenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub name: String,
    pub value: String,
}

/// Everything that a report may show; what is absent is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub title: String,
    /// One line under the title: which model, which data.
    pub subtitle: String,
    pub evaluation: Option<Evaluation>,
    pub training: Vec<TrainingPoint>,
    pub analysis: Option<Analysis>,
    pub graph: Option<Graph>,
    pub provenance: Vec<Fact>,
}

/// A plot as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPlot {
    /// File name without extension.
    pub name: String,
    /// A complete SVG document.
    pub svg: String,
}

impl Report {
    /// The report as one HTML file.
    #[must_use]
    pub fn to_html(&self) -> String {
        page::render(self)
    }

    /// Every plot of the report as an SVG file of its own.
    #[must_use]
    pub fn plots(&self) -> Vec<NamedPlot> {
        let mut named: Vec<(String, String)> = Vec::new();
        if let Some(evaluation) = &self.evaluation {
            named.push(("ranking".into(), plots::ranking(evaluation)));
        }
        if !self.training.is_empty() {
            named.push(("training".into(), plots::training(&self.training)));
        }
        if let Some(analysis) = &self.analysis {
            named.push(("positions".into(), plots::positions(&analysis.by_position)));
            named.push(("transfer".into(), plots::transfer(&analysis.transfer)));
            named.push(("calibration".into(), plots::calibration(&analysis.calibration)));
            if !analysis.by_pipeline.is_empty() {
                named.push(("imitation".into(), plots::imitation(&analysis.by_pipeline)));
            }
            named.push(("entropy".into(), plots::entropy(&analysis.entropy)));
            for (i, example) in analysis.examples.iter().enumerate() {
                named.push((format!("probabilities-{:02}", i + 1), plots::probabilities(example)));
            }
        }
        if let Some(graph) = &self.graph {
            named.push(("pipeline".into(), plots::pipeline(graph)));
        }
        named.into_iter().map(|(name, svg)| NamedPlot { name, svg: theme::standalone(&svg) }).collect()
    }
}
