//! The order of the documents and how they are packed into shards: a function of the seed alone.

use crate::{chat::Encoded, model::Shard};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// Where in the stream of documents a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    pub epoch: u64,
    /// Documents of this epoch already taken.
    pub taken: usize,
}

/// Endless shards over shuffled documents.
pub struct ShardStream<'a> {
    documents: &'a [Encoded],
    seed: u64,
    cursor: Cursor,
    order: Vec<u32>,
    prompt_weight: f32,
}

impl<'a> ShardStream<'a> {
    /// Goes on at `cursor`. `prompt_weight` is the loss weight of tokens that belong to the prompt; the reply's is 1.
    #[must_use]
    pub fn new(documents: &'a [Encoded], seed: u64, prompt_weight: f32, cursor: Cursor) -> Self {
        let order = shuffled(documents.len(), seed, cursor.epoch);
        Self { documents, seed, cursor, order, prompt_weight }
    }

    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The next documents that fit into `tokens` tokens, at least one.
    pub fn shard(&mut self, tokens: usize) -> Shard {
        let mut shard = Shard { bounds: vec![0], ..Shard::default() };
        loop {
            if self.cursor.taken == self.order.len() {
                self.cursor = Cursor { epoch: self.cursor.epoch + 1, taken: 0 };
                self.order = shuffled(self.documents.len(), self.seed, self.cursor.epoch);
            }
            let document = &self.documents[self.order[self.cursor.taken] as usize];
            if !shard.is_empty() && shard.len() + document.tokens.len() > tokens {
                return shard;
            }
            push(&mut shard, document, self.prompt_weight);
            self.cursor.taken += 1;
        }
    }
}

/// Adds a document to a shard.
pub fn push(shard: &mut Shard, document: &Encoded, prompt_weight: f32) {
    let weight = |i: usize| {
        if i == 0 {
            0.0
        } else if i < document.reply_start {
            prompt_weight
        } else {
            1.0
        }
    };
    shard.weights.extend((0..document.tokens.len()).map(weight));
    shard.tokens.extend(&document.tokens);
    shard.bounds.push(shard.tokens.len());
}

fn shuffled(count: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch);
    let mut order: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
    order.shuffle(&mut rng);
    order
}
