//! Data sets: directories of JSON lines, sorted by prompt, that are written whole and read as streams.
//!
//! A data set directory holds `part-00000.jsonl` … (or `.jsonl.zst`) and `schema.json` ([`Schema`]). All rows of a prompt
//! are in one shard ([`PromptId::shard`](crate::record::PromptId::shard)), contiguous, and every shard is sorted by
//! [`Record::ORDER`](crate::record::Record::ORDER). So reading all shards side by side gives the rows in one global order that
//! does not depend on how many shards there are, and tables of one prompt meet each other in bounded memory
//! ([`Lookup`]).

mod error;
mod groups;
mod parallel;
mod reader;
mod rejected;
mod schema;
mod shard;
mod sort;
mod writer;

pub use error::DataSetError;
pub use groups::{Group, Groups, Lookup};
pub use parallel::ParallelGroups;
pub use reader::{DataSetReader, Rows};
pub use rejected::{ReadOptions, Rejected};
pub use schema::{Compression, SCHEMA_FILE, Schema};
pub use writer::{DataSetWriter, WriteOptions};

#[cfg(test)]
mod tests;
