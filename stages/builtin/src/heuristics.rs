//! `heuristics`: a grid file → the list of sampling pipelines that it stands for.

use lsn_heuristics::{Grid, HeuristicsFile, PipelineConfig};
use lsn_stage::{Port, PortKind, Stage, StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// Parameters of `heuristics`: none, the grid file says it all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeuristicsParams {}

/// The stage type.
pub struct Heuristics;

fn read(path: &Path, what: &str) -> StageResult<String> {
    fs::read_to_string(path).map_err(|error| StageError::io(format!("cannot read {what} {}", path.display()), &error))
}

/// The pipelines of further heuristics files, in the order of the inputs.
fn extra(ctx: &StageContext) -> StageResult<Vec<PipelineConfig>> {
    let mut pipelines = Vec::new();
    for artifact in ctx.inputs("extra") {
        let file = HeuristicsFile::from_yaml(&read(&artifact.path, "the heuristics file")?)
            .map_err(|error| StageError::user(format!("input `extra`: {error}")))?;
        pipelines.extend(file.sampling_pipelines);
    }
    Ok(pipelines)
}

impl Stage for Heuristics {
    type Params = HeuristicsParams;

    fn name(&self) -> &'static str {
        "heuristics"
    }

    fn about(&self) -> &'static str {
        "expands a grid of sampling settings into a list of named pipelines"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, _params: &HeuristicsParams) -> Vec<Port> {
        vec![
            Port::new("grid", PortKind::File, "temperatures, values per heuristic, named settings, filters (YAML)"),
            Port::new("extra", PortKind::File, "heuristics files whose pipelines are appended").optional().many(),
        ]
    }

    fn outputs(&self, _params: &HeuristicsParams) -> Vec<Port> {
        vec![Port::new("pipelines", PortKind::File, "the pipelines, as `sampling_pipelines` (YAML)")]
    }

    fn run(&self, _params: HeuristicsParams, ctx: &StageContext) -> StageResult<()> {
        let user = |error: lsn_heuristics::ConfigError| StageError::user(format!("input `grid`: {error}"));
        let grid = Grid::from_yaml(&read(&ctx.input("grid")?.path, "the grid file")?).map_err(user)?;
        let file = grid.expand(&extra(ctx)?).map_err(user)?;
        let path = ctx.output("pipelines")?;
        fs::write(path, file.to_yaml().map_err(user)?)
            .map_err(|error| StageError::io("cannot write output `pipelines`", &error))?;
        ctx.metric("pipelines", file.sampling_pipelines.len() as f64);
        ctx.note(format!("{} sampling pipelines", file.sampling_pipelines.len()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Harness;

    const GRID: &str = "{temperatures: [0.7, 1.0], top_k: [5]}";

    fn run(grid: &str, extra: &[&str]) -> StageResult<HeuristicsFile> {
        let harness = Harness::new();
        let grid = harness.file("grid", grid);
        let extra: Vec<_> =
            extra.iter().enumerate().map(|(index, text)| harness.file(&format!("extra{index}"), text)).collect();
        let extra: Vec<&Path> = extra.iter().map(|path| path.as_path()).collect();
        let ctx = harness.context(&[("grid", &[&grid]), ("extra", &extra)], &["pipelines"]);
        Heuristics.run(HeuristicsParams::default(), &ctx)?;
        Ok(HeuristicsFile::from_yaml(&fs::read_to_string(ctx.output("pipelines").unwrap()).unwrap()).unwrap())
    }

    fn names(file: &HeuristicsFile) -> Vec<&str> {
        file.sampling_pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect()
    }

    #[test]
    fn a_grid_becomes_pipelines_and_extra_files_follow() {
        let file = run(GRID, &["sampling_pipelines: [{name: raw}]"]).unwrap();
        assert_eq!(names(&file), ["temp_0.7", "top_k_5_temp_0.7", "temp_1.0", "top_k_5_temp_1.0", "raw"]);
        let repeated = "sampling_pipelines: [{name: x, processors: [{name: temperature, params: {temperature: 1}}]}]";
        assert_eq!(names(&run(GRID, &[repeated]).unwrap()).len(), 4);
    }

    #[test]
    fn errors_say_which_input_is_wrong() {
        let message = run("{temperatures: [0.0]}", &[]).unwrap_err().message;
        assert!(message.contains("`grid`") && message.contains("`temperature`"), "{message}");
        let message = run(GRID, &["sampling_pipelines: []"]).unwrap_err().message;
        assert!(message.contains("`extra`"), "{message}");
    }
}
