//! Matrices that expressions come to.

use super::super::expr::{Expr, Matrix};

/// The matrix that sums, products and multiples of matrices come to; none where there is none or shapes do not fit.
pub(super) fn matrix(expr: &Expr) -> Option<Matrix> {
    match expr {
        Expr::Matrix(matrix) => Some(matrix.clone()),
        Expr::Add(terms) if expr.has_matrix() => {
            let mut terms = terms.iter().map(matrix);
            let first = terms.next()??;
            terms.try_fold(first, |sum, term| {
                let term = term?;
                if (sum.rows, sum.columns) != (term.rows, term.columns) {
                    return None;
                }
                let cells = sum.cells.into_iter().zip(term.cells).map(|(a, b)| Expr::sum(a, b)).collect();
                Some(Matrix { cells, ..sum })
            })
        }
        Expr::Mul(factors) if expr.has_matrix() => {
            let mut scale: Vec<Expr> = Vec::new();
            let mut product: Option<Matrix> = None;
            for factor in factors {
                if !factor.has_matrix() {
                    scale.push(factor.clone());
                    continue;
                }
                let factor = matrix(factor)?;
                product = Some(match product {
                    None => factor,
                    Some(left) => multiplied(&left, &factor)?,
                });
            }
            let mut product = product?;
            if !scale.is_empty() {
                for cell in &mut product.cells {
                    let mut factors = scale.clone();
                    factors.push(cell.clone());
                    *cell = Expr::Mul(factors);
                }
            }
            Some(product)
        }
        _ => None,
    }
}

fn multiplied(a: &Matrix, b: &Matrix) -> Option<Matrix> {
    const MAX_CELLS: usize = 4096;
    if a.columns != b.rows || a.rows * b.columns * a.columns > MAX_CELLS {
        return None;
    }
    let cell = |row: usize, column: usize| {
        let terms = (0..a.columns)
            .map(|k| Expr::Mul(vec![a.cells[row * a.columns + k].clone(), b.cells[k * b.columns + column].clone()]));
        Expr::Add(terms.collect())
    };
    let cells = (0..a.rows).flat_map(|row| (0..b.columns).map(move |column| (row, column)));
    Some(Matrix { rows: a.rows, columns: b.columns, cells: cells.map(|(row, column)| cell(row, column)).collect() })
}
