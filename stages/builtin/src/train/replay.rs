//! Replaying the frozen model: what the chosen positions of rows teach, packed, and kept on disk between uses.

use super::{
    emphasis::Stake,
    samples::{Sample, Samples},
};
use crate::teacher_forcing;
use lsn_lm::LanguageModel;
use lsn_samplers::{Example, Packer, loss_and_gradient};
use lsn_stage::{StageError, StageResult};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// One position: a row, and which of its chosen positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub row: u32,
    pub index: u32,
}

/// Replays rows. What does not fit into `limit` bytes is kept only as long as somebody holds the [`Replayed`] rows.
pub struct Replay<'a> {
    model: &'a LanguageModel,
    samples: &'a Samples,
    scratch: PathBuf,
    kept: PackedFile,
    kept_rows: HashMap<u32, Place>,
    limit: u64,
    cost: Arc<Cost>,
}

/// Rows that were replayed.
pub struct Replayed {
    rows: HashMap<u32, Place>,
    cost: Arc<Cost>,
}

/// How much was replayed and read back, and how long that took on the threads that did it.
#[derive(Debug, Default)]
pub struct Cost {
    replayed: AtomicU64,
    packed_bytes: AtomicU64,
    replay_nanos: AtomicU64,
    pack_nanos: AtomicU64,
    read: AtomicU64,
    read_nanos: AtomicU64,
}

/// Packed examples, one after the other, in a file without a name: it is gone when nobody holds it.
struct PackedFile {
    file: Arc<File>,
    len: u64,
}

/// Where the packed examples of a row lie: where each begins, and where the last one ends.
#[derive(Clone)]
struct Place {
    file: Arc<File>,
    bounds: Arc<[u64]>,
}

/// The packed examples of one row, one after the other, and where each ends.
struct PackedRow {
    bytes: Vec<u8>,
    ends: Vec<u64>,
}

fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

fn nanos(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}

impl Cost {
    /// Size and speed in words, against raw and target logits as `f32`; nothing where nothing was replayed.
    pub fn summary(&self, vocabulary: usize) -> Option<String> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let (replayed, read) = (get(&self.replayed), get(&self.read));
        if replayed == 0.0 {
            return None;
        }
        let bytes = get(&self.packed_bytes) / replayed;
        let dense = 8.0 * vocabulary as f64;
        let micros = |counter: &AtomicU64, count: f64| get(counter) / 1e3 / count.max(1.0);
        Some(format!(
            "replayed {replayed} positions at {:.0} µs each, of that {:.1} µs for packing into {bytes:.0} bytes ({:.1} times \
             less than dense f32); read back {read} at {:.1} µs each",
            micros(&self.replay_nanos, replayed),
            micros(&self.pack_nanos, replayed),
            dense / bytes,
            micros(&self.read_nanos, read),
        ))
    }
}

impl PackedFile {
    fn create(directory: &Path) -> StageResult<Self> {
        let file = tempfile::tempfile_in(directory)
            .map_err(|error| StageError::io(format!("cannot create a file in {}", directory.display()), &error))?;
        Ok(Self { file: Arc::new(file), len: 0 })
    }

    fn push(&mut self, row: &PackedRow) -> StageResult<Place> {
        self.file
            .write_all_at(&row.bytes, self.len)
            .map_err(|error| StageError::io("cannot write replayed logits to the scratch directory", &error))?;
        let bounds = std::iter::once(0).chain(row.ends.iter().copied()).map(|end| self.len + end).collect();
        self.len += row.bytes.len() as u64;
        Ok(Place { file: Arc::clone(&self.file), bounds })
    }
}

impl<'a> Replay<'a> {
    /// `limit`: bytes to keep for later epochs, in `scratch`.
    pub fn new(model: &'a LanguageModel, samples: &'a Samples, scratch: &Path, limit: u64) -> StageResult<Self> {
        Ok(Self {
            model,
            samples,
            scratch: scratch.to_owned(),
            kept: PackedFile::create(scratch)?,
            kept_rows: HashMap::new(),
            limit,
            cost: Arc::default(),
        })
    }

    /// Shared with all rows that are replayed.
    pub fn cost(&self) -> Arc<Cost> {
        Arc::clone(&self.cost)
    }

    /// Replays those of `rows` that are not kept from an earlier call, on the threads of the current pool.
    pub fn load(&mut self, rows: &[u32], cancelled: impl Fn() -> StageResult<()> + Sync) -> StageResult<Replayed> {
        let mut passing = None;
        let mut loaded = HashMap::with_capacity(rows.len());
        let mut missing = Vec::new();
        for &row in rows {
            match self.kept_rows.get(&row) {
                Some(place) => drop(loaded.insert(row, place.clone())),
                None => missing.push(row),
            }
        }
        // As many rows at once as there are threads: more would only hold more logits in memory.
        for rows in missing.chunks(rayon::current_num_threads().max(1)) {
            cancelled()?;
            let packed: Vec<PackedRow> =
                rows.par_iter().map(|&row| self.replay(&self.samples.get(row)?)).collect::<StageResult<_>>()?;
            for (&row, packed) in rows.iter().zip(&packed) {
                let place = if self.kept.len + packed.bytes.len() as u64 <= self.limit {
                    let place = self.kept.push(packed)?;
                    self.kept_rows.insert(row, place.clone());
                    place
                } else {
                    let file = match &mut passing {
                        Some(file) => file,
                        none => none.insert(PackedFile::create(&self.scratch)?),
                    };
                    file.push(packed)?
                };
                loaded.insert(row, place);
            }
        }
        Ok(Replayed { rows: loaded, cost: self.cost() })
    }

    /// Raw logits and targets of one row, position by position.
    fn replay(&self, sample: &Sample) -> StageResult<PackedRow> {
        let started = Instant::now();
        let wanted = sample.positions.last().map_or(0, |&last| last as usize + 1);
        let (mut packer, mut pack_nanos) = (Packer::default(), 0);
        let mut packed = PackedRow { bytes: Vec::new(), ends: Vec::with_capacity(sample.positions.len()) };
        teacher_forcing::Replay {
            model: self.model,
            pipeline: self.samples.pipeline(sample.pipeline),
            drew: self.samples.drew,
            state_seed: sample.state_seed,
            prompt: &sample.prompt,
            generated: &sample.generated[..wanted],
        }
        .positions(
            |position| sample.positions.binary_search(&(position as u32)).is_ok(),
            |_, raw, target| {
                let started = Instant::now();
                packer.pack(raw, target, &mut packed.bytes).map_err(|error| error.to_string())?;
                packed.ends.push(packed.bytes.len() as u64);
                pack_nanos += nanos(started);
                Ok(())
            },
        )
        .map_err(|error| StageError::user(format!("replaying a training row: {error}")))?;
        add(&self.cost.replayed, packed.ends.len() as u64);
        add(&self.cost.packed_bytes, packed.bytes.len() as u64);
        add(&self.cost.pack_nanos, pack_nanos);
        add(&self.cost.replay_nanos, nanos(started));
        Ok(packed)
    }
}

impl Replayed {
    /// Examples of positions of these rows, in their order.
    pub fn examples(&self, positions: &[Position]) -> StageResult<Vec<Example>> {
        positions.par_iter().map(|&position| self.example(position)).collect()
    }

    /// What is at stake at each position, but for the network's loss.
    pub fn stakes(&self, positions: &[Position]) -> StageResult<Vec<Stake>> {
        let stake = |&position: &Position| {
            let Example { set, target } = self.example(position)?;
            let effect = loss_and_gradient(&set, set.log_probs(), &target, 0.0, None).kl;
            Ok(Stake { effect, entropy: set.entropy(), loss: 0.0 })
        };
        positions.par_iter().map(stake).collect()
    }

    fn example(&self, position: Position) -> StageResult<Example> {
        let started = Instant::now();
        let missing = || StageError::user(format!("training row {} was not replayed", position.row));
        let Place { file, bounds } = self.rows.get(&position.row).ok_or_else(missing)?;
        let index = position.index as usize;
        let Some(&[start, end]) = bounds.get(index..index + 2) else { return Err(missing()) };
        let mut bytes = vec![0; (end - start) as usize];
        file.read_exact_at(&mut bytes, start).map_err(|error| StageError::io("cannot read replayed logits", &error))?;
        let example = Example::unpack(&bytes).map_err(|error| {
            StageError::io("cannot read replayed logits from the scratch directory", &std::io::Error::other(error))
        })?;
        add(&self.cost.read, 1);
        add(&self.cost.read_nanos, nanos(started));
        Ok(example)
    }
}
