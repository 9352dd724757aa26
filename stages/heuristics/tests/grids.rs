//! The committed grids expand to what they say.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use lsn_heuristics::{Grid, HeuristicsFile};
use std::collections::BTreeSet;

fn expand(name: &str) -> HeuristicsFile {
    let path = format!("{}/../../configs/heuristics/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    Grid::from_yaml(&std::fs::read_to_string(path).unwrap()).unwrap().expand(&[]).unwrap()
}

fn distinct(file: &HeuristicsFile) -> usize {
    let forms: BTreeSet<_> =
        file.sampling_pipelines.iter().map(|pipeline| pipeline.build().unwrap().canonical().to_string()).collect();
    forms.len()
}

#[test]
fn the_grid_of_llama_has_12_temperatures_of_33_pipelines() {
    let file = expand("llama3.2_3b");
    assert_eq!(file.sampling_pipelines.len(), 12 * 33);
    // The official setting equals top-p 0.9 and is listed under both names.
    assert_eq!(distinct(&file), 12 * 32);
    let first: Vec<_> = file.sampling_pipelines[..3].iter().map(|pipeline| pipeline.name.as_str()).collect();
    assert_eq!(first, ["temp_0.3", "official_temp_0.3", "top_p_0.5_temp_0.3"]);
    assert_eq!(file.sampling_pipelines[395].name, "typical_0.95_temp_2.5");
}

#[test]
fn the_grids_of_qwen_and_gemma_differ_in_the_official_setting() {
    for name in ["qwen2.5_3b", "gemma3_4b"] {
        let file = expand(name);
        assert_eq!((file.sampling_pipelines.len(), distinct(&file)), (396, 396), "{name}");
    }
}

#[test]
fn the_quickstart_grid_is_small() {
    let file = expand("quickstart");
    assert_eq!((file.sampling_pipelines.len(), distinct(&file)), (24, 24));
    assert_eq!(HeuristicsFile::from_yaml(&file.to_yaml().unwrap()).unwrap(), file);
}
