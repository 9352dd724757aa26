//! Working memory that is kept from one tile to the next.

use crate::real::Real;
use aligned_vec::{AVec, ConstAlign};
use std::ops::{Deref, DerefMut};

/// Makes `buffer` hold `len` elements of any value.
pub(crate) fn reserve<T: Real>(buffer: &mut Buffer<T>, len: usize) -> &mut [T] {
    if buffer.memory.len() < len {
        buffer.memory.resize(len, T::ZERO);
    }
    buffer.len = len;
    buffer
}

/// Working memory that begins at a cache line, so that no vector of a tile straddles two, and that is not cleared between uses.
#[derive(Debug)]
pub(crate) struct Buffer<T> {
    memory: AVec<T, ConstAlign<64>>,
    /// How much of it is in use.
    len: usize,
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self { memory: AVec::new(64), len: 0 }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[..self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[..self.len]
    }
}
