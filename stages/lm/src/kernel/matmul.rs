//! `y = x · Wᵀ` with `W` packed once into panels of 32 output columns.
//!
//! Each `y[i][j]` is one chain of fused multiply-adds over `k` from 0 up. The number of rows taken together and the width
//! of a vector change which elements are computed side by side, never the chain of one element.

use super::{Isa, IsaKind, LANES, Line};

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
    let block = match isa.kind() {
        IsaKind::Avx512 => 12,
        IsaKind::Avx2 => 6,
        IsaKind::Portable => 1,
    };
    let mut panels = w.panels.chunks_exact(w.k * 2).enumerate().peekable();
    while let Some((index, panel)) = panels.next() {
        let next = panels.peek().map_or(panel, |(_, next)| next);
        let first = index * PANEL;
        let width = PANEL.min(w.n - first);
        let bias = w.bias.as_ref().map(|bias| &bias[first..first + width]);
        let mut row = 0;
        while row < m {
            let rows = block.min(m - row);
            let x = &x[row * w.k..(row + rows) * w.k];
            let y = &mut y[row * w.n + first..(row + rows - 1) * w.n + first + width];
            // The first two blocks of rows fetch half of the next panel each, while the arithmetic hides the latency.
            let ahead = match row / block {
                0 if m <= block => next,
                0 => &next[..w.k],
                1 => &next[w.k..],
                _ => &[],
            };
            products(isa, x, rows, panel, ahead, &mut Target { y, stride: w.n, width, bias, store });
            row += rows;
        }
    }
}

/// Where the products of a few rows with one panel go.
struct Target<'a> {
    /// From the first row's first column to the last row's last one.
    y: &'a mut [f32],
    stride: usize,
    /// Columns, at most 32.
    width: usize,
    bias: Option<&'a [f32]>,
    store: Store,
}

impl Target<'_> {
    /// Writes one row of sums where whole vectors do not fit.
    fn write(&mut self, row: usize, sums: &[f32; PANEL]) {
        let start = row * self.stride;
        for (index, y) in self.y[start..start + self.width].iter_mut().enumerate() {
            let sum = self.bias.map_or(sums[index], |bias| sums[index] + bias[index]);
            *y = if self.store == Store::Add { *y + sum } else { sum };
        }
    }
}

/// The products of up to 12 rows with one panel.
#[inline]
fn products(isa: Isa, x: &[f32], rows: usize, panel: &[Line], ahead: &[Line], target: &mut Target<'_>) {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` of this kind exists only after the processor reported it.
        IsaKind::Avx512 => unsafe { x86::avx512(x, rows, panel, ahead, target) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        IsaKind::Avx2 => unsafe { x86::avx2(x, rows, panel, target) },
        _ => portable(x, panel, target),
    }
}

fn portable(x: &[f32], panel: &[Line], target: &mut Target<'_>) {
    for (row, x) in x.chunks_exact(panel.len() / 2).enumerate() {
        let mut sums = [0.0f32; PANEL];
        for (value, pair) in x.iter().zip(panel.chunks_exact(2)) {
            for (sum, weight) in sums.iter_mut().zip(pair[0].0.iter().chain(&pair[1].0)) {
                *sum = value.mul_add(*weight, *sum);
            }
        }
        target.write(row, &sums);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, Line, PANEL, Store, Target};
    use std::arch::x86_64::{
        __m256, __m512, _MM_HINT_T1, _mm_prefetch, _mm256_add_ps, _mm256_fmadd_ps, _mm256_load_ps, _mm256_loadu_ps,
        _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_load_ps,
        _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
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
    pub(super) fn avx512(x: &[f32], rows: usize, panel: &[Line], ahead: &[Line], target: &mut Target<'_>) {
        by_rows!(wide, rows, (x, panel, ahead, target), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[target_feature(enable = "avx512f")]
    fn wide<const M: usize>(x: &[f32], panel: &[Line], ahead: &[Line], target: &mut Target<'_>) {
        let k = panel.len() / 2;
        assert!(x.len() >= M * k);
        let mut acc: [[__m512; 2]; M] = [[_mm512_setzero_ps(); 2]; M];
        let (x, weights) = (x.as_ptr(), panel.as_ptr().cast::<f32>());
        // None, one or two lines per step.
        let fetches = ahead.len() / k;
        for index in 0..k {
            for fetch in 0..fetches {
                _mm_prefetch::<_MM_HINT_T1>(ahead.as_ptr().wrapping_add(fetches * index + fetch).cast());
            }
            // SAFETY: `index < k`; the panel holds `2k` aligned lines and `x` at least `M·k` values.
            unsafe {
                let low = _mm512_load_ps(weights.add(index * PANEL));
                let high = _mm512_load_ps(weights.add(index * PANEL + LANES));
                for (row, acc) in acc.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*x.add(row * k + index));
                    acc[0] = _mm512_fmadd_ps(value, low, acc[0]);
                    acc[1] = _mm512_fmadd_ps(value, high, acc[1]);
                }
            }
        }
        for (row, acc) in acc.iter().enumerate() {
            if target.width < PANEL {
                let mut sums = [0.0; PANEL];
                // SAFETY: `sums` holds twice sixteen values.
                unsafe {
                    _mm512_storeu_ps(sums.as_mut_ptr(), acc[0]);
                    _mm512_storeu_ps(sums.as_mut_ptr().add(LANES), acc[1]);
                }
                target.write(row, &sums);
                continue;
            }
            for (half, sum) in acc.iter().enumerate() {
                let (at, mut sum) = (half * LANES, *sum);
                let y = target.y[row * target.stride + at..row * target.stride + at + LANES].as_mut_ptr();
                // SAFETY: `y` and the bias were sliced to sixteen values.
                unsafe {
                    if let Some(bias) = target.bias {
                        sum = _mm512_add_ps(sum, _mm512_loadu_ps(bias[at..at + LANES].as_ptr()));
                    }
                    if target.store == Store::Add {
                        sum = _mm512_add_ps(_mm512_loadu_ps(y), sum);
                    }
                    _mm512_storeu_ps(y, sum);
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(x: &[f32], rows: usize, panel: &[Line], target: &mut Target<'_>) {
        let mut sums = [[0.0; PANEL]; 6];
        for half in 0..2 {
            by_rows!(narrow, rows, (x, panel, half * LANES, target, &mut sums), [1, 2, 3, 4, 5, 6]);
        }
        if target.width < PANEL {
            sums[..rows].iter().enumerate().for_each(|(row, sums)| target.write(row, sums));
        }
    }

    /// The columns `at .. at + 16` of a panel.
    #[target_feature(enable = "avx2,fma")]
    fn narrow<const M: usize>(
        x: &[f32],
        panel: &[Line],
        at: usize,
        target: &mut Target<'_>,
        sums: &mut [[f32; PANEL]; 6],
    ) {
        let k = panel.len() / 2;
        assert!(x.len() >= M * k && at + LANES <= PANEL);
        let mut acc: [[__m256; 2]; M] = [[_mm256_setzero_ps(); 2]; M];
        let (x, weights) = (x.as_ptr(), panel.as_ptr().cast::<f32>());
        for index in 0..k {
            // SAFETY: `index < k`; the panel holds `2k` aligned lines and `x` at least `M·k` values.
            unsafe {
                let low = _mm256_load_ps(weights.add(index * PANEL + at));
                let high = _mm256_load_ps(weights.add(index * PANEL + at + 8));
                for (row, acc) in acc.iter_mut().enumerate() {
                    let value = _mm256_set1_ps(*x.add(row * k + index));
                    acc[0] = _mm256_fmadd_ps(value, low, acc[0]);
                    acc[1] = _mm256_fmadd_ps(value, high, acc[1]);
                }
            }
        }
        for (row, acc) in acc.iter().enumerate() {
            for (part, sum) in acc.iter().enumerate() {
                let (at, mut sum) = (at + part * 8, *sum);
                if target.width < PANEL {
                    // SAFETY: `at + 8` is at most 32.
                    unsafe { _mm256_storeu_ps(sums[row].as_mut_ptr().add(at), sum) };
                    continue;
                }
                let y = target.y[row * target.stride + at..row * target.stride + at + 8].as_mut_ptr();
                // SAFETY: `y` and the bias were sliced to eight values.
                unsafe {
                    if let Some(bias) = target.bias {
                        sum = _mm256_add_ps(sum, _mm256_loadu_ps(bias[at..at + 8].as_ptr()));
                    }
                    if target.store == Store::Add {
                        sum = _mm256_add_ps(_mm256_loadu_ps(y), sum);
                    }
                    _mm256_storeu_ps(y, sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_are_right_and_the_same_bits_for_any_rows_and_instruction_set(
            m in 1usize..30, n in 1usize..70, k in 1usize..40, add in any::<bool>(), biased in any::<bool>(), seed in any::<u32>(),
        ) {
            let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 16_777_216.0 - 0.5;
            let x: Vec<f32> = (0..m * k).map(value).collect();
            let w: Vec<f32> = (0..n * k).map(|i| value(i + 7777)).collect();
            let bias: Option<Vec<f32>> = biased.then(|| (0..n).map(|i| value(i + 99)).collect());
            let start: Vec<f32> = (0..m * n).map(|i| value(i + 555)).collect();
            let packed = PackedMatrix::pack(&w, n, k).with_bias(bias.clone());
            let store = if add { Store::Add } else { Store::Set };
            let run = |isa, x: &[f32], m: usize, start: &[f32]| {
                let mut y = start.to_vec();
                matmul(isa, x, m, &packed, &mut y, store);
                y
            };
            let reference = run(Isa::PORTABLE, &x, m, &start);
            for (index, y) in reference.iter().enumerate() {
                let (row, column) = (index / n, index % n);
                let dot: f64 = (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(w[column * k + i])).sum();
                let rest = f64::from(if add { start[index] } else { 0.0 }) + bias.as_ref().map_or(0.0, |b| f64::from(b[column]));
                prop_assert!((f64::from(*y) - dot - rest).abs() < 1e-5);
            }
            for isa in Isa::available() {
                prop_assert_eq!(&run(isa, &x, m, &start), &reference);
                for row in 0..m {
                    let alone = run(isa, &x[row * k..(row + 1) * k], 1, &start[row * n..(row + 1) * n]);
                    prop_assert_eq!(&alone[..], &reference[row * n..(row + 1) * n]);
                }
            }
        }
    }
}
