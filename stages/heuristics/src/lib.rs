//! Sampling heuristics: logits processors, pipelines and grids.
//!
//! A [`Processor`] maps one row of logits to another; a [`Pipeline`] is an explicit list of processors applied from left to
//! right, with no implied order. A token is removed by setting its logit to −inf, and a removed token never comes back.
//! Everything works on plain slices; after the first row of a size nothing is allocated.
//!
//! ```
//! use lsn_heuristics::{HeuristicsFile, History, Scratch};
//!
//! let file = HeuristicsFile::from_yaml(
//!     "sampling_pipelines: [{name: nucleus, weight: 1, processors: [{name: top_p, params: {top_p: 0.5}}]}]",
//! )?;
//! let pipeline = file.sampling_pipelines[0].build()?;
//! let mut logits = [2.0, 1.0, 0.0];
//! pipeline.process(&mut logits, History::default(), &mut pipeline.start(0), &mut Scratch::default())?;
//! assert_eq!(logits, [2.0, f32::NEG_INFINITY, f32::NEG_INFINITY]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod catalogue;
mod config;
mod describe;
mod distribution;
mod error;
mod greedy;
mod grid;
mod params;
mod pipeline;
mod processor;
mod rank;
mod scale;
mod scratch;
mod threshold;
mod typical;

pub use catalogue::{build_processor, processor_names};
pub use config::{Distinct, HeuristicsFile, PipelineConfig, ProcessorConfig};
pub use describe::{ParamInfo, ProcessorInfo, describe_processor};
pub use error::{ConfigError, RowError};
pub use greedy::Greedy;
pub use grid::{Duplicates, Family, Grid, GridFilter, Setting};
pub use params::Params;
pub use pipeline::{Pipeline, PipelineState, Step};
pub use processor::{History, Processor, RowState, StatefulProcessor};
pub use rank::{TopK, TopP};
pub use scale::{LogSoftmax, Temperature};
pub use scratch::Scratch;
pub use threshold::{Epsilon, Eta, MinP};
pub use typical::Typical;
