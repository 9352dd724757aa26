//! Parameter gradients as sums of products over columns, cut into tiles.

use super::{
    CudaError,
    columns::reserve,
    device::{Buffer, Device},
    kernels::{FLAT, Kernels, arguments, launch},
};

/// Rows and columns of a tile, and the values it writes: products, then row sums.
const TILE: usize = 32;
const TILE_SIZE: usize = TILE * TILE + TILE;
/// Columns that a block of threads holds at once, and chunks that the columns are cut into at most.
const SPAN: usize = 64;
const CHUNKS: usize = 128;
/// 64-bit words of a tile on the device.
const WORDS: usize = 6;

/// `gradient[into + a·row_stride + b] += Σ A[a]·B[b]` and `gradient[bias + a] += Σ A[a]`, sums over `length` columns; `a` and
/// `b` are addresses of feature-major matrices.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub a: u64,
    pub a_rows: usize,
    pub b: u64,
    /// 0 where only the sums of A are wanted.
    pub b_rows: usize,
    pub length: usize,
    pub into: usize,
    pub row_stride: usize,
    pub bias: Option<usize>,
    /// Only products of equal rows, added to `into + a`.
    pub diagonal: bool,
}

impl Product {
    fn tiles(&self, words: &mut Vec<u64>) {
        let pair = |low: i32, high: i32| u64::from(low as u32) | u64::from(high as u32) << 32;
        let bias = |row: usize| self.bias.map_or(-1, |bias| (bias + row) as i32);
        let element = |rows: u64, base: u64| base + rows * self.length as u64 * 4;
        for row in (0..self.a_rows).step_by(TILE) {
            let a_rows = (self.a_rows - row).min(TILE);
            let columns = if self.diagonal { 1 } else { self.b_rows.max(1) };
            for column in (0..columns).step_by(TILE) {
                let (b_first, b_rows, into) = if self.diagonal {
                    (row, a_rows, self.into + row)
                } else {
                    (
                        column,
                        (self.b_rows - column.min(self.b_rows)).min(TILE),
                        self.into + row * self.row_stride + column,
                    )
                };
                words.extend([
                    element(row as u64, self.a),
                    element(b_first as u64, self.b),
                    pair(a_rows as i32, b_rows as i32),
                    pair(self.length as i32, into as i32),
                    pair(self.row_stride as i32, if column == 0 { bias(row) } else { -1 }),
                    u64::from(self.diagonal),
                ]);
            }
        }
    }
}

/// The tiles of groups of products; a group is worked off in one go.
#[derive(Debug)]
pub(super) struct Tiles {
    words: Vec<u64>,
    /// First tile of each group, and the end.
    starts: Vec<usize>,
    chunks: usize,
    on_device: Buffer<u64>,
    partial: Buffer<f32>,
}

impl Tiles {
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        let (words, starts) = (Vec::new(), Vec::new());
        Ok(Self { words, starts, chunks: 0, on_device: device.zeros(0)?, partial: device.zeros(0)? })
    }

    /// Takes the groups of a pass over `columns` columns; what is on the device already is kept.
    pub fn prepare(&mut self, device: &Device, columns: usize, groups: &[Vec<Product>]) -> Result<(), CudaError> {
        self.chunks = (columns / (4 * SPAN)).clamp(1, CHUNKS);
        let mut words = Vec::new();
        self.starts.clear();
        for group in groups {
            self.starts.push(words.len() / WORDS);
            group.iter().for_each(|product| product.tiles(&mut words));
        }
        self.starts.push(words.len() / WORDS);
        let largest = self.starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        reserve(device, &mut self.partial, largest * self.chunks * TILE_SIZE)?;
        if words != self.words {
            self.on_device = device.upload(&words)?;
            self.words = words;
        }
        Ok(())
    }

    /// Adds a group's products to the gradient.
    pub fn add(
        &self,
        device: &Device,
        kernels: &Kernels,
        group: usize,
        gradient: &Buffer<f32>,
    ) -> Result<(), CudaError> {
        let (first, count) = (self.starts[group], self.starts[group + 1] - self.starts[group]);
        if count == 0 {
            return Ok(());
        }
        let tiles = self.on_device.pointer() + (first * WORDS * 8) as u64;
        let arguments = arguments![tiles, &self.partial];
        launch(device, kernels.multiply_tiles.as_ref(), (self.chunks, count), FLAT, arguments)?;
        let arguments = arguments![tiles, &self.partial, self.chunks, gradient];
        launch(device, kernels.add_tiles.as_ref(), (TILE_SIZE.div_ceil(128), count), 128, arguments)
    }
}
