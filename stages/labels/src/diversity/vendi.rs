//! The spectrum of a cosine kernel and what is read off it: Vendi scores and von Neumann ("embedding") entropy.
//!
//! D. Friedman and A. B. Dieng, "The Vendi Score", arXiv 2210.02410; A. Pasarkar and A. B. Dieng, "Cousins of the Vendi
//! Score", arXiv 2310.12952 (orders).

use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

/// Eigenvalues below this are rounding errors of zero.
const CLIP: f64 = 1e-12;
/// The reference's threshold for eigenvalues that enter the embedding entropy.
const ENTROPY_CLIP: f64 = 1e-9;

/// The order q of a Vendi score: small orders count rare kinds more, large ones common kinds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// A finite order; 1 is the exponential of the Shannon entropy.
    Finite(f64),
    /// Only the largest eigenvalue counts.
    Infinite,
}

/// The embeddings have no kernel.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SpectrumError {
    #[error("there are no embeddings")]
    Empty,
    #[error("embedding {row} has {found} numbers, the first one has {expected}")]
    Width { row: usize, found: usize, expected: usize },
    #[error("embedding {row} has no direction: it is zero or not finite")]
    Direction { row: usize },
}

/// Eigenvalues of `K / n`, where `K` is the cosine similarity matrix of n embeddings; they sum to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    eigenvalues: Vec<f64>,
}

impl Spectrum {
    /// Computes the spectrum from n embeddings of d numbers, through the smaller of the n × n kernel and its d × d dual,
    /// which have the same non-zero eigenvalues.
    ///
    /// # Errors
    /// There are no embeddings, they differ in width, or one has no direction.
    pub fn of_embeddings<R: AsRef<[f32]>>(embeddings: &[R]) -> Result<Self, SpectrumError> {
        let rows: Vec<Vec<f64>> =
            embeddings.iter().map(|row| row.as_ref().iter().map(|&x| f64::from(x)).collect()).collect();
        Self::of_rows(&rows)
    }

    /// As [`Spectrum::of_embeddings`], for double precision.
    ///
    /// # Errors
    /// As there.
    pub fn of_rows(rows: &[Vec<f64>]) -> Result<Self, SpectrumError> {
        let n = rows.len();
        let d = rows.first().ok_or(SpectrumError::Empty)?.len();
        let mut unit = DMatrix::zeros(n, d);
        for (i, row) in rows.iter().enumerate() {
            if row.len() != d {
                return Err(SpectrumError::Width { row: i, found: row.len(), expected: d });
            }
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            if !(norm > 0.0 && norm.is_finite()) {
                return Err(SpectrumError::Direction { row: i });
            }
            row.iter().enumerate().for_each(|(j, x)| unit[(i, j)] = x / norm);
        }
        let kernel = if n <= d { &unit * unit.transpose() } else { unit.transpose() * &unit };
        let mut eigenvalues: Vec<f64> = (kernel / n as f64).symmetric_eigenvalues().iter().copied().collect();
        eigenvalues.sort_by(|a, b| b.total_cmp(a));
        Ok(Self { eigenvalues })
    }

    /// Largest first; at most min(n, d) of them.
    #[must_use]
    pub fn eigenvalues(&self) -> &[f64] {
        &self.eigenvalues
    }

    /// The Vendi score: the effective number of different embeddings, from 1 to n.
    #[must_use]
    pub fn vendi(&self, order: Order) -> f64 {
        let kept = || self.eigenvalues.iter().copied().filter(|&l| l > CLIP);
        match order {
            Order::Infinite => 1.0 / self.eigenvalues[0],
            Order::Finite(q) if (q - 1.0).abs() < 1e-9 => kept().map(|l| -l * l.ln()).sum::<f64>().exp(),
            Order::Finite(q) => kept().map(|l| l.powf(q)).sum::<f64>().powf(1.0 / (1.0 - q)),
        }
    }

    /// Von Neumann entropy in bits: `log2` of the Vendi score of order 1, over eigenvalues above 1e-9 scaled to sum 1.
    #[must_use]
    pub fn entropy_bits(&self) -> f64 {
        let kept = || self.eigenvalues.iter().copied().filter(|&l| l > ENTROPY_CLIP);
        let sum: f64 = kept().sum();
        kept().map(|l| -(l / sum) * (l / sum).log2()).sum::<f64>().max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dual_has_the_same_score() {
        let wide: Vec<Vec<f64>> =
            (0..4).map(|i| (0..9).map(|j| f64::from((i * 7 + j * 3) % 11) - 5.0).collect()).collect();
        let padded: Vec<Vec<f64>> = wide.iter().cycle().take(12).cloned().collect();
        let a = Spectrum::of_rows(&wide).unwrap();
        let b = Spectrum::of_rows(&padded).unwrap();
        for order in [Order::Finite(0.5), Order::Finite(1.0), Order::Finite(2.0), Order::Infinite] {
            assert!((a.vendi(order) - b.vendi(order)).abs() < 1e-6);
        }
        assert!((a.entropy_bits() - a.vendi(Order::Finite(1.0)).log2()).abs() < 1e-9);
    }

    #[test]
    fn embeddings_without_a_direction_are_refused() {
        assert_eq!(Spectrum::of_rows(&[]), Err(SpectrumError::Empty));
        assert_eq!(Spectrum::of_embeddings(&[vec![0.0_f32; 3]]), Err(SpectrumError::Direction { row: 0 }));
        assert!(matches!(Spectrum::of_rows(&[vec![1.0], vec![1.0, 2.0]]), Err(SpectrumError::Width { row: 1, .. })));
    }
}
