//! Plots and the self-contained HTML report. Plain data in, SVG and HTML text out.
//!
//! [`Report`] holds everything a report may show; what is absent is left out. [`Report::to_html`] gives one file that needs no
//! network, follows the reader's light or dark preference and prints well; [`Report::plots`] gives the same plots as files.

mod analysis;
mod document;
mod evaluation;
mod fidelity;
mod graph;
mod html;
mod page;
mod plots;
mod scale;
mod svg;
mod table;
mod theme;

pub use analysis::{Analysis, Bin, Candidate, Example, PipelineMean, PositionMean, TransferBin};
pub use document::{Fact, NamedPlot, Report, TrainingPoint};
pub use evaluation::{Comparison, Estimate, Evaluation, EvaluationRow, MetricColumn, Standing};
pub use fidelity::{Fidelity, FidelityError, Measurement};
pub use graph::{Edge, Graph, GraphError, Node};
