//! The order of training: a pure function of seed and epoch, so that the number of steps done is the whole data cursor.

use super::{
    replay::Position,
    samples::{Samples, generator},
};
use rand::seq::SliceRandom;

/// Positions of a stretch of shuffled rows, mixed with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub rows: Vec<u32>,
    pub positions: Vec<Position>,
    /// How many of the positions an earlier attempt has done.
    pub done: usize,
    /// The epoch, and which group of it this is.
    pub place: [u64; 2],
}

/// All positions of all epochs, group by group.
pub struct Stream<'a> {
    samples: &'a Samples,
    seed: u64,
    group_rows: usize,
}

impl<'a> Stream<'a> {
    pub fn new(samples: &'a Samples, seed: u64, group_rows: usize) -> Self {
        Self { samples, seed, group_rows }
    }

    /// Positions of one epoch.
    pub fn epoch_len(&self) -> u64 {
        self.samples.training.iter().map(|&row| self.samples.positions(row) as u64).sum()
    }

    fn shuffled(&self, epoch: u64) -> Vec<u32> {
        let mut rows = self.samples.training.clone();
        rows.shuffle(&mut generator(self.seed, "rows", &[epoch]));
        rows
    }

    fn group(&self, rows: &[u32], epoch: u64, index: u64) -> Group {
        let mut positions: Vec<Position> = rows
            .iter()
            .flat_map(|&row| (0..self.samples.positions(row) as u32).map(move |index| Position { row, index }))
            .collect();
        positions.shuffle(&mut generator(self.seed, "group", &[epoch, index]));
        Group { rows: rows.to_vec(), positions, done: 0, place: [epoch, index] }
    }

    /// The groups from position `start` of the whole stream on, over `epochs` epochs; the first one says what of it
    /// lies before.
    pub fn groups_from(&self, start: u64, epochs: u64) -> impl Iterator<Item = Group> + '_ {
        let epoch_len = self.epoch_len();
        let first_epoch = start / epoch_len.max(1);
        (first_epoch..epochs).flat_map(move |epoch| {
            let mut skip = if epoch == first_epoch { start % epoch_len.max(1) } else { 0 };
            let rows = self.shuffled(epoch);
            let chunks: Vec<Vec<u32>> = rows.chunks(self.group_rows).map(<[u32]>::to_vec).collect();
            chunks.into_iter().zip(0..).filter_map(move |(rows, index)| {
                let len: u64 = rows.iter().map(|&row| self.samples.positions(row) as u64).sum();
                if skip >= len {
                    skip -= len;
                    return None;
                }
                let mut group = self.group(&rows, epoch, index);
                group.done = std::mem::take(&mut skip) as usize;
                Some(group)
            })
        })
    }
}
