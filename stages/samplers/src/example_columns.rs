//! Training examples side by side, as devices take them: one column for each distinct logit.

use crate::Example;

/// Target masses are whole numbers of this part, so that sums do not depend on their order.
const MASS_UNIT: f64 = (1_u64 << 50) as f64;

/// Columns `[rows, stride]` of some examples; those past a row's last one hold no token.
#[derive(Debug, Default)]
pub(crate) struct ExampleColumns {
    pub rows: usize,
    pub stride: usize,
    /// Log-probabilities and multiplicities.
    pub ell: Vec<f32>,
    pub count: Vec<f32>,
    /// Target mass in units of 2⁻⁵⁰, and tokens that the target removes.
    pub mass: Vec<u64>,
    pub removed: Vec<i32>,
    /// Of each row: its candidates, and Σ t ln t of the target.
    pub total: Vec<f32>,
    pub negentropy: Vec<f64>,
}

impl ExampleColumns {
    /// `multiple` divides the stride.
    pub fn new(examples: &[Example], multiple: usize) -> Self {
        let most = examples.iter().map(|example| example.set.len()).max().unwrap_or(0);
        let (rows, stride) = (examples.len(), most.next_multiple_of(multiple));
        let mut columns = Self {
            rows,
            stride,
            ell: vec![0.0; rows * stride],
            count: vec![0.0; rows * stride],
            mass: vec![0; rows * stride],
            removed: vec![0; rows * stride],
            total: Vec::with_capacity(rows),
            negentropy: Vec::with_capacity(rows),
        };
        for (row, Example { set, target }) in examples.iter().enumerate() {
            let at = row * stride..row * stride + set.len();
            copy(set.log_probs(), &mut columns.ell[at.clone()], |ell| ell as f32);
            copy(set.counts(), &mut columns.count[at.clone()], |count| count as f32);
            copy(&target.mass, &mut columns.mass[at.clone()], |mass| (mass * MASS_UNIT).round() as u64);
            copy(&target.removed, &mut columns.removed[at], |removed| removed as i32);
            columns.total.push(set.counts().iter().map(|&count| f64::from(count)).sum::<f64>() as f32);
            columns.negentropy.push(target.negentropy);
        }
        columns
    }
}

fn copy<A: Copy, B>(from: &[A], into: &mut [B], convert: impl Fn(A) -> B) {
    into.iter_mut().zip(from).for_each(|(into, &value)| *into = convert(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss_and_gradient;
    use proptest::prelude::*;

    /// KL divergence and penalty as a device sums them up, for a network that changes nothing.
    fn loss(columns: &ExampleColumns, row: usize) -> (f64, f64) {
        let at = row * columns.stride..(row + 1) * columns.stride;
        let (mut sum, mut away, mut cross) = (0.0, 0.0, 0.0);
        for column in at.filter(|&column| columns.count[column] > 0.0) {
            let ell = f64::from(columns.ell[column]);
            sum += f64::from(columns.count[column]) * ell.exp();
            away += f64::from(columns.removed[column]) * ell.exp();
            cross += columns.mass[column] as f64 / MASS_UNIT * ell;
        }
        (columns.negentropy[row] - cross + f64::ln(sum), away / sum)
    }

    proptest! {
        #[test]
        fn columns_say_of_every_row_what_its_example_says(
            rows in prop::collection::vec((prop::collection::vec(-9_i8..9, 1..300), -9_i8..9), 1..5),
            multiple in prop::sample::select(vec![1_usize, 32, 256]),
        ) {
            let examples: Vec<Example> = rows.iter().map(|(steps, cut)| {
                let raw: Vec<f32> = steps.iter().map(|&step| f32::from(step) * 0.75).collect();
                let floor = f32::from(*cut).min(raw.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                // Cuts through equal logits, too: of those at the cut, every other one stays.
                let kept = |(token, &z): (usize, &f32)| if z > floor || (z == floor && token % 2 == 0) { z / 0.7 } else { f32::NEG_INFINITY };
                let target: Vec<f32> = raw.iter().enumerate().map(kept).collect();
                if target.iter().any(|z| z.is_finite()) { Example::new(&raw, &target) } else { Example::new(&raw, &raw) }.unwrap()
            }).collect();
            let columns = ExampleColumns::new(&examples, multiple);
            prop_assert_eq!(columns.rows, examples.len());
            prop_assert!(columns.stride.is_multiple_of(multiple) && columns.ell.len() == examples.len() * columns.stride);
            for (row, Example { set, target }) in examples.iter().enumerate() {
                let expected = loss_and_gradient(set, set.log_probs(), target, 1.0, None);
                let (kl, penalty) = loss(&columns, row);
                prop_assert!((kl - expected.kl).abs() < 1e-5 && (penalty - expected.penalty).abs() < 1e-6, "{kl} {expected:?}");
                prop_assert_eq!(f64::from(columns.total[row]), set.counts().iter().map(|&n| f64::from(n)).sum::<f64>());
            }
        }
    }
}
