//! What a store noticed and dealt with: things a person should hear of although nothing failed.

use crate::TaskKey;
use lsn_digest::Digest;
use std::{fmt, path::PathBuf, sync::Arc};

/// One observation. `Display` gives the sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEvent {
    /// A blob's bytes did not match its name; it was moved away and whoever needs it must make it again.
    BlobQuarantined { digest: Digest, found: Digest, quarantined: PathBuf },
    /// An action record could not be read; its task will run again.
    RecordDamaged { key: TaskKey, message: String },
    /// The index could not be opened and was made anew; the old one was moved aside.
    IndexRecreated { path: PathBuf, message: String },
    /// Rows of a segment were damaged and will be computed again.
    RowsDamaged { namespace: String, segment: PathBuf, bytes: u64 },
    /// A segment that a dead writer left behind was completed.
    SegmentRecovered { namespace: String, segment: PathBuf, rows: u64 },
}

impl fmt::Display for StoreEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlobQuarantined { digest, found, quarantined } => write!(
                f,
                "blob {} holds other bytes ({}); moved to `{}`, it will be made anew",
                digest.short(),
                found.short(),
                quarantined.display()
            ),
            Self::RecordDamaged { key, message } => {
                write!(f, "action record {} is damaged ({message}); its task will run again", key.0.short())
            }
            Self::IndexRecreated { path, message } => {
                write!(f, "index `{}` was unreadable ({message}); started a new one, nothing is lost", path.display())
            }
            Self::RowsDamaged { namespace, segment, bytes } => write!(
                f,
                "{bytes} bytes of row segment `{}` ({namespace}) are damaged; those rows will be computed again",
                segment.display()
            ),
            Self::SegmentRecovered { namespace, segment, rows } => {
                write!(
                    f,
                    "recovered {rows} rows ({namespace}) that an interrupted writer left in `{}`",
                    segment.display()
                )
            }
        }
    }
}

/// Receives events; called from any thread.
#[derive(Clone)]
pub struct EventHandler(Arc<dyn Fn(StoreEvent) + Send + Sync>);

impl EventHandler {
    pub fn new(handler: impl Fn(StoreEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(handler))
    }

    pub(crate) fn emit(&self, event: StoreEvent) {
        (self.0)(event);
    }
}

impl Default for EventHandler {
    /// Logs each event as a warning.
    fn default() -> Self {
        Self::new(|event| tracing::warn!("{event}"))
    }
}

impl fmt::Debug for EventHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventHandler")
    }
}
