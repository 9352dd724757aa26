//! Working memory that is reused from row to row, and partial selection on it.

/// Working memory of processors: one per thread, any vocabulary size.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Sort keys: an ordered value in the upper half, the token id in the lower.
    pub(crate) keys: Vec<u64>,
    /// Candidates of a selection by value.
    pub(crate) values: Vec<f32>,
}

/// Blocks of this size are sorted first; each further block is four times as large.
const FIRST_BLOCK: usize = 256;

/// Visits keys in ascending order until `visit` says stop, sorting only as far as it is asked to.
pub(crate) fn visit_ascending(keys: &mut [u64], mut visit: impl FnMut(u64) -> bool) {
    let mut rest = keys;
    let mut block = FIRST_BLOCK;
    while !rest.is_empty() {
        let len = block.min(rest.len());
        if len < rest.len() {
            rest.select_nth_unstable(len);
        }
        let (head, tail) = rest.split_at_mut(len);
        head.sort_unstable();
        if !head.iter().all(|&key| visit(key)) {
            return;
        }
        rest = tail;
        block *= 4;
    }
}

/// An unsigned number that orders as `value` does; −0 and +0 are one value.
fn ordered(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
}

/// A key whose ascending order is: larger logits first, of equal logits the higher token ids first.
pub(crate) fn descending_key(logit: f32, token: usize) -> u64 {
    !((u64::from(ordered(logit)) << 32) | token as u64)
}

/// A key whose ascending order is: smaller distances first, of equal distances the lower token ids first.
pub(crate) fn distance_key(distance: f32, token: usize) -> u64 {
    (u64::from(ordered(distance)) << 32) | token as u64
}

/// The k-th largest finite logit, or −inf where there are fewer than `k ≥ 1`. One pass; `values` holds the candidates.
pub(crate) fn kth_largest(logits: &[f32], k: usize, values: &mut Vec<f32>) -> f32 {
    let descending = |a: &f32, b: &f32| b.total_cmp(a);
    let full = (2 * k).max(FIRST_BLOCK);
    let mut floor = f32::NEG_INFINITY;
    values.clear();
    for &logit in logits {
        if logit > floor {
            values.push(logit);
            if values.len() == full {
                floor = *values.select_nth_unstable_by(k - 1, descending).1;
                values.truncate(k);
            }
        }
    }
    if values.len() < k { f32::NEG_INFINITY } else { *values.select_nth_unstable_by(k - 1, descending).1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_partial_visit_is_a_prefix_of_the_full_sort(mut keys in prop::collection::vec(any::<u64>(), 0..2000), take in 0usize..2000) {
            let mut sorted = keys.clone();
            sorted.sort_unstable();
            let mut seen = Vec::new();
            visit_ascending(&mut keys, |key| {
                seen.push(key);
                seen.len() < take
            });
            let expected = take.max(1).min(sorted.len());
            prop_assert_eq!(&seen[..], &sorted[..expected]);
        }

        #[test]
        fn the_kth_largest_is_that_of_a_full_sort(
            logits in prop::collection::vec(prop_oneof![3 => (-8i8..8).prop_map(f32::from), 1 => Just(f32::NEG_INFINITY)], 1..1500),
            k in 1usize..1600,
        ) {
            let mut sorted: Vec<f32> = logits.iter().copied().filter(|z| z.is_finite()).collect();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let expected = sorted.get(k - 1).copied().unwrap_or(f32::NEG_INFINITY);
            prop_assert_eq!(kth_largest(&logits, k, &mut Vec::new()), expected);
        }

        #[test]
        fn keys_order_as_their_values(a in any::<f32>(), b in any::<f32>(), i in 0usize..9, j in 0usize..9) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            let by_value = b.partial_cmp(&a).unwrap().then(j.cmp(&i));
            prop_assert_eq!(descending_key(a, i).cmp(&descending_key(b, j)), by_value);
        }
    }
}
