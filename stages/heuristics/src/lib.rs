//! Sampling heuristics: logits processors, pipelines and grids.
//!
//! A [`Processor`] maps one row of logits to another; a [`Pipeline`] is an explicit list of processors applied from
//! left to right, with no implied order. A token is removed by setting its logit to −inf, and a removed token never
//! comes back. Everything works on plain slices; after the first row of a size nothing is allocated.
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

mod adaptive_p;
mod catalogue;
mod config;
mod context;
mod distribution;
mod dola;
mod dry;
mod error;
mod greedy;
mod grid;
mod guidance;
mod info;
mod isa;
mod kernels;
mod mirostat;
mod ngram;
mod p_less;
mod params;
mod penalties;
mod pipeline;
mod processor;
mod rank;
mod row;
mod scratch;
mod select;
mod shape;
mod state;
mod tail_free;
mod temperature;
mod threshold;
mod typical;
mod xtc;

pub use adaptive_p::AdaptiveP;
pub use catalogue::{build_processor, describe_processor, processor_names};
pub use config::{Distinct, HeuristicsFile, PipelineConfig, ProcessorConfig};
pub use context::{Context, FurtherLogits, History};
pub use dola::Dola;
pub use dry::Dry;
pub use error::{ConfigError, RowError};
pub use greedy::Greedy;
pub use grid::{Duplicates, Family, Grid, GridFilter, Setting};
pub use guidance::Guidance;
pub use info::{DefaultValue, ParamInfo, ProcessorInfo};
pub use mirostat::{MirostatV1, MirostatV2};
pub use ngram::NoRepeatNgram;
pub use p_less::{PLess, PLessNorm};
pub use params::Params;
pub use penalties::{Penalties, RepetitionPenalty};
pub use pipeline::{Pipeline, PipelineState, Step};
pub use processor::{Processor, RowState, StatefulProcessor};
pub use rank::{TopH, TopK, TopP};
pub use row::Row;
pub use scratch::Scratch;
pub use shape::{LogSoftmax, Quadratic};
pub use tail_free::TailFree;
pub use temperature::{DynamicTemperature, Temperature};
pub use threshold::{Epsilon, Eta, MinP, TopA, TopNSigma};
pub use typical::Typical;
pub use xtc::Xtc;
