//! `fidelity.report`: measurements of many samplers and heuristics → one table and one plot.

use lsn_report::{Fidelity, Measurement};
use lsn_stage::{Port, PortKind, Stage, StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs;

/// Parameters of `fidelity.report`: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FidelityReportParams {}

/// The stage type.
pub struct FidelityReport;

impl Stage for FidelityReport {
    type Params = FidelityReportParams;

    fn name(&self) -> &'static str {
        "fidelity.report"
    }

    fn about(&self) -> &'static str {
        "shows in one table and one plot how closely each architecture mimics each heuristic"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, _params: &FidelityReportParams) -> Vec<Port> {
        vec![Port::new("measurements", PortKind::File, "`measurement` of `fidelity`, in the order of the table").many()]
    }

    fn outputs(&self, _params: &FidelityReportParams) -> Vec<Port> {
        vec![
            Port::new("table", PortKind::File, "heuristics by architectures (Markdown)"),
            Port::new("data", PortKind::File, "every measurement, one a line (CSV)"),
            Port::new("plot", PortKind::File, "what each architecture leaves of each heuristic (SVG)"),
        ]
    }

    fn run(&self, _params: FidelityReportParams, ctx: &StageContext) -> StageResult<()> {
        let mut measurements = Vec::new();
        for (number, artifact) in ctx.inputs("measurements").iter().enumerate() {
            let text = fs::read(&artifact.path)
                .map_err(|error| StageError::io(format!("cannot read measurement {}", number + 1), &error))?;
            let measurement: Measurement = serde_json::from_slice(&text).map_err(|error| {
                StageError::user(format!("measurement {} is not one of `fidelity`: {error}", number + 1))
            })?;
            measurements.push(measurement);
        }
        let report = Fidelity::new(measurements).map_err(|error| StageError::user(error.to_string()))?;
        let write = |name: &str, content: &[u8]| -> StageResult<()> {
            fs::write(ctx.output(name)?, content)
                .map_err(|error| StageError::io(format!("cannot write output `{name}`"), &error))
        };
        write("table", report.to_markdown().as_bytes())?;
        write("plot", report.to_svg().as_bytes())?;
        let failed = |error: String| StageError::user(format!("cannot write output `data`: {error}"));
        let mut table = csv::Writer::from_writer(Vec::new());
        for measurement in report.measurements() {
            table.serialize(measurement).map_err(|error| failed(error.to_string()))?;
        }
        write("data", &table.into_inner().map_err(|error| failed(error.to_string()))?)
    }
}
