//! A project opened for work: its store, and the index that one run at a time holds.

use crate::home::{CreateError, Home, RunId};
use lsn_cache::{
    Catalog, EventHandler, Index, IndexError, MemoryIndex, OpenMode, SledIndex, Store, StoreError, StoreEvent,
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// Who holds the index while a command reads it: not for long.
const LOOKING: &str = "a command that only looks";

/// How to open a project.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    pub home: Home,
    pub pipeline: String,
    /// Another store than the project's own.
    pub store: Option<PathBuf>,
}

/// A project cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Home(#[from] CreateError),
    /// Another run of the same pipeline is under way.
    #[error("pipeline `{pipeline}` is in use by {holder}")]
    Busy { pipeline: String, holder: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An open project.
pub struct Session {
    pub home: Home,
    pub catalog: Catalog,
    /// Whether the index knows earlier runs; a temporary one does not.
    pub indexed: bool,
    noticed: Arc<Mutex<Vec<StoreEvent>>>,
    /// Results from which a lost index was rebuilt.
    pub rebuilt: Option<u64>,
    /// Goes away with the session.
    _empty: Option<tempfile::TempDir>,
}

impl Session {
    /// Opens for a run, alone: `waiting` hears who holds the pipeline before the wait; `None` fails instead.
    ///
    /// # Errors
    /// Another run holds the pipeline, or store or index cannot be opened.
    pub fn for_run(options: &OpenOptions, run: &RunId, waiting: Option<&dyn Fn(&str)>) -> Result<Self, OpenError> {
        let noticed = Arc::default();
        let events = handler(&noticed);
        let store = open_store(options, OpenMode::ReadWrite, &events)?;
        let path = options.home.index(&options.pipeline);
        let holder = format!("run {run} (process {})", std::process::id());
        let index = match SledIndex::open(&path, &holder, &events) {
            Err(IndexError::Locked { holder: other, .. }) => {
                let other = other.unwrap_or_else(|| "another process".to_owned());
                match waiting {
                    _ if other == LOOKING => {}
                    Some(waiting) => waiting(&other),
                    None => return Err(OpenError::Busy { pipeline: options.pipeline.clone(), holder: other }),
                }
                SledIndex::open_waiting(&path, &holder, &events)
            }
            opened => opened,
        }
        .map_err(StoreError::from)?;
        let is_new = index.is_new();
        let mut session = Self::over(options, store, Arc::new(index), true, noticed);
        if is_new {
            session.reindex()?;
        }
        Ok(session)
    }

    /// Opens to look at: the index is used if nobody holds it, and nothing is created.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub fn for_reading(options: &OpenOptions) -> Result<Self, OpenError> {
        let noticed = Arc::default();
        let events = handler(&noticed);
        let store = open_store(options, OpenMode::ReadOnly, &events)?;
        let path = options.home.index(&options.pipeline);
        let there = path.is_dir().then(|| SledIndex::open(&path, LOOKING, &events));
        Ok(match there {
            Some(Ok(index)) => Self::over(options, store, Arc::new(index), true, noticed),
            _ => Self::over(options, store, Arc::new(MemoryIndex::new()), false, noticed),
        })
    }

    /// Opens to plan: as [`Session::for_reading`], and a project without a store is one with an empty store, kept in
    /// memory's stead in a directory that goes away with the session.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub fn for_planning(options: &OpenOptions) -> Result<Self, OpenError> {
        match Self::for_reading(options) {
            Err(OpenError::Store(StoreError::NoStore { .. })) => {
                let empty = tempfile::tempdir().map_err(CreateError::at(std::env::temp_dir()))?;
                let options = OpenOptions { store: Some(empty.path().join("store")), ..options.clone() };
                let noticed = Arc::default();
                let store = Store::open_with(&empty.path().join("store"), OpenMode::ReadWrite, handler(&noticed))?;
                let mut session = Self::over(&options, store, Arc::new(MemoryIndex::new()), false, noticed);
                session._empty = Some(empty);
                Ok(session)
            }
            opened => opened,
        }
    }

    fn over(
        options: &OpenOptions,
        store: Store,
        index: Arc<dyn Index>,
        indexed: bool,
        noticed: Arc<Mutex<Vec<StoreEvent>>>,
    ) -> Self {
        Self {
            home: options.home.clone(),
            catalog: Catalog::new(store, index),
            indexed,
            noticed,
            rebuilt: None,
            _empty: None,
        }
    }

    /// A lost index is rebuilt at once, so that reasons and estimates survive it.
    fn reindex(&mut self) -> Result<(), OpenError> {
        if self.catalog.store().action_keys()?.is_empty() {
            return Ok(());
        }
        let records = self.catalog.reindex()?;
        self.rebuilt = Some(records);
        Ok(())
    }

    /// What store and index noticed since the last call, in words.
    #[must_use]
    pub fn take_notices(&self) -> Vec<String> {
        let mut noticed = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
        noticed.drain(..).map(|event| event.to_string()).collect()
    }
}

fn handler(noticed: &Arc<Mutex<Vec<StoreEvent>>>) -> EventHandler {
    let noticed = Arc::clone(noticed);
    EventHandler::new(move |event| {
        tracing::debug!("{event}");
        noticed.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    })
}

/// The store of the options, created where it may be.
fn open_store(options: &OpenOptions, mode: OpenMode, events: &EventHandler) -> Result<Store, OpenError> {
    if mode == OpenMode::ReadWrite {
        options.home.create()?;
    }
    let path = options.store.clone().unwrap_or_else(|| options.home.store());
    Ok(Store::open_with(&path, mode, events.clone())?)
}
