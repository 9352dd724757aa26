//! `y = x · Wᵀ` with `W` packed once into panels of 32 output columns.
//!
//! Each `y[i][j]` is one chain of fused multiply-adds over `k` from 0 up. The number of rows taken together and the width
//! of a vector change which elements are computed side by side, never the chain of one element.

use super::{Isa, LANES, Line};

/// Output columns per panel: two lines.
const PANEL: usize = 2 * LANES;

/// A weight matrix `[n, k]` in panels: panel `p` holds, for each `k`, the weights of outputs `32p .. 32p + 32`.
///
/// Rows beyond `n` are zero.
#[derive(Debug, Clone)]
pub struct PackedMatrix {
    n: usize,
    k: usize,
    panels: Vec<Line>,
    bias: Option<Vec<f32>>,
}

/// What to do with the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// `y = x · Wᵀ (+ b)`.
    Set,
    /// `y = y + (x · Wᵀ (+ b))`.
    Add,
}

impl PackedMatrix {
    /// An all-zero matrix of `n` outputs and `k` inputs, to be filled with [`PackedMatrix::fill_rows`].
    #[must_use]
    pub fn zeros(n: usize, k: usize) -> Self {
        Self { n, k, panels: vec![Line::default(); n.div_ceil(PANEL) * k * 2], bias: None }
    }

    /// Packs row-major weights `[n, k]`.
    #[must_use]
    pub fn pack(weights: &[f32], n: usize, k: usize) -> Self {
        let mut packed = Self::zeros(n, k);
        packed.fill_rows(0, weights);
        packed
    }

    /// Sets rows (outputs) `first ..` from row-major weights `[rows, k]`.
    pub fn fill_rows(&mut self, first: usize, weights: &[f32]) {
        let k = self.k;
        for (offset, row) in weights.chunks_exact(k).enumerate() {
            let n = first + offset;
            let (base, lane) = ((n / PANEL) * k * 2 + (n % PANEL) / LANES, n % LANES);
            for (index, weight) in row.iter().enumerate() {
                self.panels[base + 2 * index].0[lane] = *weight;
            }
        }
    }

    /// Adds a bias `[n]`.
    #[must_use]
    pub fn with_bias(mut self, bias: Option<Vec<f32>>) -> Self {
        self.bias = bias;
        self
    }

    /// Number of outputs.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.n
    }

    /// Number of inputs.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.k
    }

    /// Copies the weights of output `n` into `out` (`[k]`): an embedding look-up in a tied head.
    pub fn copy_row(&self, n: usize, out: &mut [f32]) {
        let (base, lane) = ((n / PANEL) * self.k * 2 + (n % PANEL) / LANES, n % LANES);
        for (index, value) in out.iter_mut().enumerate() {
            *value = self.panels[base + 2 * index].0[lane];
        }
    }
}

/// `y = x · Wᵀ` for rows `x: [m, k]` and `y: [m, n]`, both row-major and dense.
///
/// # Panics
/// The slices are shorter than `m` rows.
pub fn matmul(isa: Isa, x: &[f32], m: usize, w: &PackedMatrix, y: &mut [f32], store: Store) {
    assert!(x.len() >= m * w.k && y.len() >= m * w.n, "matmul: slices shorter than {m} rows");
    for (panel_index, panel) in w.panels.chunks_exact(w.k * 2).enumerate() {
        let first = panel_index * PANEL;
        let width = PANEL.min(w.n - first);
        let bias = w.bias.as_ref().map(|bias| &bias[first..first + width]);
        let block = match isa {
            Isa::Avx512 => 12,
            Isa::Avx2 => 6,
            Isa::Portable => 4,
        };
        let mut row = 0;
        while row < m {
            let rows = block.min(m - row);
            let mut sums = [[Line::default(); 2]; 12];
            products(isa, &x[row * w.k..(row + rows) * w.k], rows, panel, &mut sums);
            for (i, sum) in sums[..rows].iter().enumerate() {
                let start = (row + i) * w.n + first;
                finish(&mut y[start..start + width], sum, bias, store);
            }
            row += rows;
        }
    }
}

/// Writes one row of a panel's products.
#[inline]
fn finish(y: &mut [f32], sum: &[Line; 2], bias: Option<&[f32]>, store: Store) {
    let sums = sum[0].0.iter().chain(&sum[1].0);
    match (store, bias) {
        (Store::Set, None) => y.iter_mut().zip(sums).for_each(|(y, s)| *y = *s),
        (Store::Add, None) => y.iter_mut().zip(sums).for_each(|(y, s)| *y += *s),
        (Store::Set, Some(bias)) => y.iter_mut().zip(sums).zip(bias).for_each(|((y, s), b)| *y = *s + *b),
        (Store::Add, Some(bias)) => y.iter_mut().zip(sums).zip(bias).for_each(|((y, s), b)| *y += *s + *b),
    }
}

/// The products of up to 12 rows with one panel.
#[inline]
fn products(isa: Isa, x: &[f32], rows: usize, panel: &[Line], sums: &mut [[Line; 2]; 12]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::available` names an instruction set only after the processor reported it.
        Isa::Avx512 => unsafe { x86::avx512(x, rows, panel, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { x86::avx2(x, rows, panel, sums) },
        _ => portable(x, rows, panel, sums),
    }
}

fn portable(x: &[f32], rows: usize, panel: &[Line], sums: &mut [[Line; 2]; 12]) {
    let k = panel.len() / 2;
    for (row, sum) in x.chunks_exact(k).zip(sums[..rows].iter_mut()) {
        let mut acc = [0.0f32; PANEL];
        for (value, pair) in row.iter().zip(panel.chunks_exact(2)) {
            for (acc, weight) in acc.iter_mut().zip(pair[0].0.iter().chain(&pair[1].0)) {
                *acc = value.mul_add(*weight, *acc);
            }
        }
        sum[0].0.copy_from_slice(&acc[..LANES]);
        sum[1].0.copy_from_slice(&acc[LANES..]);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Line;
    use std::arch::x86_64::{
        __m256, __m512, _mm256_fmadd_ps, _mm256_load_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_store_ps,
        _mm512_fmadd_ps, _mm512_load_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_store_ps,
    };

    /// Calls `$kernel::<rows>` with the row count as a constant, so that its sums stay in registers.
    macro_rules! by_rows {
        ($kernel:ident, $rows:expr, $args:tt, [$($n:literal),*]) => {
            match $rows {
                $($n => $kernel::<$n> $args,)*
                _ => {}
            }
        };
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(x: &[f32], rows: usize, panel: &[Line], sums: &mut [[Line; 2]; 12]) {
        by_rows!(wide, rows, (x, panel, sums), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[target_feature(enable = "avx512f")]
    fn wide<const M: usize>(x: &[f32], panel: &[Line], sums: &mut [[Line; 2]; 12]) {
        let k = panel.len() / 2;
        assert!(x.len() >= M * k);
        let mut acc: [[__m512; 2]; M] = [[_mm512_setzero_ps(); 2]; M];
        let (x, weights) = (x.as_ptr(), panel.as_ptr().cast::<f32>());
        for index in 0..k {
            // SAFETY: `index < k`; the panel holds `2k` aligned lines and `x` at least `M·k` values.
            unsafe {
                let low = _mm512_load_ps(weights.add(index * 32));
                let high = _mm512_load_ps(weights.add(index * 32 + 16));
                for (row, acc) in acc.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*x.add(row * k + index));
                    acc[0] = _mm512_fmadd_ps(value, low, acc[0]);
                    acc[1] = _mm512_fmadd_ps(value, high, acc[1]);
                }
            }
        }
        for (acc, sum) in acc.iter().zip(sums.iter_mut()) {
            // SAFETY: a `Line` is 64 aligned bytes.
            unsafe {
                _mm512_store_ps(sum[0].0.as_mut_ptr(), acc[0]);
                _mm512_store_ps(sum[1].0.as_mut_ptr(), acc[1]);
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(x: &[f32], rows: usize, panel: &[Line], sums: &mut [[Line; 2]; 12]) {
        for half in 0..2 {
            by_rows!(narrow, rows, (x, panel, half, sums), [1, 2, 3, 4, 5, 6]);
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn narrow<const M: usize>(x: &[f32], panel: &[Line], half: usize, sums: &mut [[Line; 2]; 12]) {
        let k = panel.len() / 2;
        assert!(x.len() >= M * k && half < 2);
        let mut acc: [[__m256; 2]; M] = [[_mm256_setzero_ps(); 2]; M];
        let (x, weights) = (x.as_ptr(), panel.as_ptr().cast::<f32>());
        for index in 0..k {
            // SAFETY: `index < k`; the panel holds `2k` aligned lines and `x` at least `M·k` values.
            unsafe {
                let low = _mm256_load_ps(weights.add(index * 32 + half * 16));
                let high = _mm256_load_ps(weights.add(index * 32 + half * 16 + 8));
                for (row, acc) in acc.iter_mut().enumerate() {
                    let value = _mm256_set1_ps(*x.add(row * k + index));
                    acc[0] = _mm256_fmadd_ps(value, low, acc[0]);
                    acc[1] = _mm256_fmadd_ps(value, high, acc[1]);
                }
            }
        }
        for (acc, sum) in acc.iter().zip(sums.iter_mut()) {
            // SAFETY: a `Line` is 64 aligned bytes.
            unsafe {
                _mm256_store_ps(sum[half].0.as_mut_ptr(), acc[0]);
                _mm256_store_ps(sum[half].0.as_mut_ptr().add(8), acc[1]);
            }
        }
    }
}
