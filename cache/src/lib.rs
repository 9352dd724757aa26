//! The content-addressed store, its index, row segments and materializing.
//!
//! A [`Store`] is a directory that any number of processes and machines share without locks: blobs named by their
//! content, action records named by their task key, row segments, pins. Everything in it is immutable once its name
//! exists. A [`Catalog`] is a store seen through an [`Index`], which remembers what would be slow to ask the file system
//! again; the index belongs to one process at a time and can always be rebuilt.

mod action;
mod artifact;
mod blob;
mod capture;
mod catalog;
mod durable;
mod error;
mod event;
mod gc;
mod hashing;
mod history;
mod index;
mod inspect;
mod lay_out;
mod layout;
mod materialize;
mod pin;
mod records;
mod reflink;
mod rows;
mod stat_cache;
mod store;
mod tier;
mod walk;
mod write_behind;

pub use action::{ActionRecord, ParseRecordError, Provenance, RECORD_VERSION, TaskKey};
pub use artifact::{Artifact, Directory, Entry, FileEntry};
pub use blob::BlobWriter;
pub use capture::Ownership;
pub use catalog::Catalog;
pub use error::{StoreError, StoreResult};
pub use event::{EventHandler, StoreEvent};
pub use gc::{GcPolicy, GcReport, SHORTEST_GRACE};
pub use history::TaskTime;
pub use index::{Index, IndexError, IndexResult, MemoryIndex, SledIndex, Table};
pub use inspect::{Amount, StoreStats, VerifyProgress, VerifyReport};
pub use lay_out::lay_out;
pub use lsn_digest::Digest;
pub use materialize::Access;
pub use pin::Pin;
pub use records::{Lookup, MissReason, Published};
pub use rows::{Compaction, RowStore, Rows};
pub use stat_cache::{PathDigest, Stamp, digest_path};
pub use store::{OpenMode, STORE_VERSION, Store};
pub use tier::{Tier, TierError, TierResult};
pub use write_behind::{Watch, WriteBehind};
