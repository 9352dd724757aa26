//! SOAP (Vyas et al. 2024, arXiv:2409.11321): the moments of Adam kept in the eigenbasis of Shampoo's preconditioner.
//!
//! For a matrix with gradient `G` it tracks `L = E[G Gᵀ]` and `R = E[Gᵀ G]`, and updates `Q_L · adam(Q_Lᵀ G Q_R) · Q_Rᵀ` with the
//! eigenvectors `Q_L`, `Q_R`. Networks of this size lose little time by it and their loss is badly scaled, so it gains much.

use crate::{AdamWConfig, SamplerError, Tensor, real::Real};
use nalgebra::{DMatrix, SymmetricEigen};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// Decay rate of the averages of `G Gᵀ` and `Gᵀ G`.
const DECAY: f64 = 0.95;
/// Steps from one update of the eigenvectors to the next.
const EVERY: u64 = 10;

/// One side of a matrix: the average of the gradient's products, and its eigenvectors as columns.
#[derive(Debug, Clone, PartialEq)]
struct Side {
    average: DMatrix<f64>,
    basis: DMatrix<f64>,
}

impl Side {
    fn new(width: usize) -> Self {
        Self { average: DMatrix::zeros(width, width), basis: DMatrix::identity(width, width) }
    }

    fn track(&mut self, product: &DMatrix<f64>) {
        self.average = &self.average * DECAY + product * (1.0 - DECAY);
    }

    /// Finds the basis anew, in the order of the eigenvalues.
    fn decompose(&mut self) {
        let eigen = SymmetricEigen::new(self.average.clone());
        let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        self.basis = eigen.eigenvectors.select_columns(&order);
    }

    /// One power iteration from the present basis, whose columns are put in the order of their eigenvalues first; gives that
    /// order, in which what is kept in the basis must be put as well.
    fn refine(&mut self) -> Vec<usize> {
        let image = &self.average * &self.basis;
        let value = |column: usize| self.basis.column(column).dot(&image.column(column));
        let values: Vec<f64> = (0..image.ncols()).map(value).collect();
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        self.basis = image.select_columns(&order).qr().q();
        order
    }
}

/// The two bases of one matrix of the network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotation {
    rows: usize,
    columns: usize,
    left: Side,
    right: Side,
}

impl Rotation {
    /// None for a vector.
    pub(crate) fn of(tensor: &Tensor) -> Option<Self> {
        let &[rows, columns] = tensor.shape.as_slice() else { return None };
        (rows > 1 || columns > 1).then(|| Self { rows, columns, left: Side::new(rows), right: Side::new(columns) })
    }

    /// One update; `step` counts from 0. All slices are the row-major matrix; the first moment is kept as the gradient comes, the
    /// second one in the eigenbasis.
    pub(crate) fn step<T: Real>(
        &mut self,
        (config, step, lr): (&AdamWConfig, u64, f64),
        gradient: &[T],
        (first, second): (&mut [T], &mut [T]),
        params: &mut [T],
    ) {
        let gradient = self.matrix(gradient);
        self.track(step, &gradient, second);
        let [beta1, beta2] = config.betas;
        let mut momentum = self.matrix(first);
        momentum.zip_apply(&gradient, |m, g| *m += (1.0 - beta1) * (g - *m));
        let mut moment = self.matrix(second);
        moment.zip_apply(&self.rotate(&gradient), |v, g| *v = beta2 * *v + (1.0 - beta2) * g * g);
        let mut direction = self.rotate(&momentum);
        let exponent = (step + 1) as f64;
        let (unbias, correction) = (1.0 / (1.0 - beta1.powf(exponent)), 1.0 / (1.0 - beta2.powf(exponent)));
        direction.zip_apply(&moment, |m, v| *m *= unbias / ((v * correction).sqrt() + config.eps));
        let direction = &self.left.basis * direction * self.right.basis.transpose();
        let keep = 1.0 - lr * config.weight_decay;
        for (index, param) in params.iter_mut().enumerate() {
            let at = (index / self.columns, index % self.columns);
            *param = T::of(param.f64() * keep - lr * direction[at]);
            (first[index], second[index]) = (T::of(momentum[at]), T::of(moment[at]));
        }
    }

    fn matrix<T: Real>(&self, row_major: &[T]) -> DMatrix<f64> {
        DMatrix::from_row_iterator(self.rows, self.columns, row_major.iter().map(|value| value.f64()))
    }

    fn rotate(&self, matrix: &DMatrix<f64>) -> DMatrix<f64> {
        self.left.basis.tr_mul(matrix) * &self.right.basis
    }

    /// Takes in a gradient, and now and then turns the basis; the second moments in it are put in the new order.
    fn track<T: Real>(&mut self, step: u64, gradient: &DMatrix<f64>, second: &mut [T]) {
        self.left.track(&(gradient * gradient.transpose()));
        self.right.track(&gradient.tr_mul(gradient));
        if step == 0 {
            self.left.decompose();
            self.right.decompose();
        } else if step.is_multiple_of(EVERY) {
            let (rows, columns) = (self.left.refine(), self.right.refine());
            let old = second.to_vec();
            for (to, from) in rows.into_iter().enumerate() {
                for (column, &old_column) in columns.iter().enumerate() {
                    second[to * self.columns + column] = old[from * self.columns + old_column];
                }
            }
        }
    }

    fn sides(&self) -> [(&'static str, &DMatrix<f64>); 4] {
        [
            ("left", &self.left.average),
            ("left_basis", &self.left.basis),
            ("right", &self.right.average),
            ("right_basis", &self.right.basis),
        ]
    }

    /// What [`Rotation::restore`] reads, by names that begin with `tensor`.
    pub(crate) fn save(&self, tensor: &str) -> Vec<(String, usize, Vec<u8>)> {
        let bytes = |matrix: &DMatrix<f64>| matrix.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.sides().map(|(side, matrix)| (format!("{tensor}.{side}"), matrix.nrows(), bytes(matrix))).into()
    }

    pub(crate) fn restore(&mut self, tensor: &str, file: &SafeTensors<'_>) -> Result<(), SamplerError> {
        let read = |side: &str, width: usize| {
            let name = format!("{tensor}.{side}");
            let view = file.tensor(&name).map_err(|error| SamplerError::State(error.to_string()))?;
            if view.dtype() != Dtype::F64 || view.shape() != [width, width] {
                return Err(SamplerError::State(format!("`{name}` is {:?} {:?}", view.dtype(), view.shape())));
            }
            let values = view.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
            Ok(DMatrix::from_iterator(width, width, values))
        };
        let side = |average: &str, basis: &str, width| {
            Ok::<_, SamplerError>(Side { average: read(average, width)?, basis: read(basis, width)? })
        };
        self.left = side("left", "left_basis", self.rows)?;
        self.right = side("right", "right_basis", self.columns)?;
        Ok(())
    }
}

/// A square matrix of [`Rotation::save`] as a tensor.
pub(crate) fn view(width: usize, bytes: &[u8]) -> Result<TensorView<'_>, safetensors::SafeTensorError> {
    TensorView::new(Dtype::F64, vec![width, width], bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdamW, Init};

    const SIZE: usize = 6;

    /// Minimises ½‖A·W·B − C‖² from W = 0 and gives the parameters and the last loss.
    fn minimise(scale: impl Fn(usize, usize) -> f64, soap: bool, steps: u64) -> (Vec<f64>, f64) {
        let tensor =
            Tensor { name: "weight".to_owned(), shape: vec![SIZE, SIZE], offset: 0, init: Init::Constant(0.0) };
        // An ε so large that what rounding leaves of a 0 does not grow.
        let config = AdamWConfig { betas: [0.9, 0.95], eps: 1e-4, weight_decay: 0.01 };
        let (a, b) = (DMatrix::from_fn(SIZE, SIZE, &scale), DMatrix::from_fn(SIZE, SIZE, |i, j| scale(j, i)));
        let c = DMatrix::from_fn(SIZE, SIZE, |i, j| if i == j { 1.0 + i as f64 } else { 0.0 });
        let mut rotation = Rotation::of(&tensor).unwrap();
        let mut adamw = AdamW::new(config, SIZE * SIZE);
        let mut params = vec![0.0; SIZE * SIZE];
        let mut loss = f64::NAN;
        for step in 0..steps {
            let rest = &a * rotation.matrix(&params) * &b - &c;
            loss = rest.norm_squared() / 2.0;
            let gradient = (a.tr_mul(&rest) * b.transpose()).transpose().as_slice().to_vec();
            let lr = 0.02 * (1.0 - step as f64 / steps as f64);
            if soap {
                let (first, second) = (&mut adamw.first, &mut adamw.second);
                rotation.step((&config, step, lr), &gradient, (first, second), &mut params);
            } else {
                adamw.step(step, lr, 0..params.len(), &gradient, &mut params);
            }
        }
        (params, loss)
    }

    #[test]
    fn where_the_gradient_is_diagonal_it_is_adamw() {
        let diagonal = |i: usize, j: usize| if i == j { 0.1 + 0.02 * i as f64 } else { 0.0 };
        let (soap, _) = minimise(diagonal, true, 35);
        let (adamw, _) = minimise(diagonal, false, 35);
        for (soap, adamw) in soap.iter().zip(&adamw) {
            assert!((soap - adamw).abs() < 1e-6, "{soap} {adamw}");
        }
        assert!(soap.iter().any(|value| value.abs() > 0.1));
    }

    #[test]
    fn where_scales_are_mixed_it_gets_further() {
        // Nearly singular in directions that no single parameter has.
        let mixed = |i: usize, j: usize| 1.0 + if i == j { 0.1 * (1 + i) as f64 } else { 0.0 };
        let (_, soap) = minimise(mixed, true, 2000);
        let (_, adamw) = minimise(mixed, false, 2000);
        assert!(soap < adamw / 2.0, "{soap} {adamw}");
    }
}
