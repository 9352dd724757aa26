//! Partial selection by sort keys: an ordered value in the upper half, a position in the lower.

/// Blocks of this size are sorted first; each further block is four times as large.
const FIRST_BLOCK: usize = 256;

/// Visits keys in ascending order until `visit` says stop, sorting only as far as it is asked to; whether it never did.
pub(crate) fn visit_ascending(keys: &mut [u64], mut visit: impl FnMut(u64) -> bool) -> bool {
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
            return false;
        }
        rest = tail;
        block *= 4;
    }
    true
}

/// A walk over keys in ascending order that ends once it has seen enough mass and enough keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MassWalk {
    pub mass: f64,
    pub seen: usize,
    pub wanted_mass: f64,
    pub wanted: usize,
}

impl MassWalk {
    pub fn new(wanted_mass: f64, wanted: usize) -> Self {
        Self { mass: 0.0, seen: 0, wanted_mass, wanted }
    }

    fn enough(&self, mass: f64, seen: usize) -> bool {
        seen >= self.wanted && mass >= self.wanted_mass
    }

    /// Goes over `keys`, which all lie behind those of earlier calls; the last key of the walk if it ends here.
    ///
    /// Halves the keys by selection and goes on in the half where the walk ends, so it takes linear time.
    pub fn through(&mut self, mut keys: &mut [u64], weight: impl Fn(u64) -> f64) -> Option<u64> {
        while keys.len() > FIRST_BLOCK {
            let half = keys.len() / 2;
            keys.select_nth_unstable(half);
            let (head, tail) = keys.split_at_mut(half);
            let mass = self.mass + head.iter().map(|&key| weight(key)).sum::<f64>();
            if self.enough(mass, self.seen + half) {
                keys = head;
            } else {
                (self.mass, self.seen) = (mass, self.seen + half);
                keys = tail;
            }
        }
        keys.sort_unstable();
        for &key in &*keys {
            self.mass += weight(key);
            self.seen += 1;
            if self.enough(self.mass, self.seen) {
                return Some(key);
            }
        }
        None
    }
}

/// An unsigned number that orders as `value` does; −0 and +0 are one value.
fn ordered(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
}

/// A key whose ascending order is: larger logits first, of equal logits the higher positions first.
pub(crate) fn descending_key(logit: f32, position: usize) -> u64 {
    !((u64::from(ordered(logit)) << 32) | position as u64)
}

/// The position in a [`descending_key`].
pub(crate) fn position_of_descending(key: u64) -> usize {
    (!key & 0xffff_ffff) as usize
}

/// A key whose ascending order is: smaller distances first, of equal distances the lower positions first.
pub(crate) fn distance_key(distance: f32, position: usize) -> u64 {
    (u64::from(ordered(distance)) << 32) | position as u64
}

/// The position in a [`distance_key`].
pub(crate) fn position_of_distance(key: u64) -> usize {
    (key & 0xffff_ffff) as usize
}

/// The k-th largest value, `1 ≤ k ≤ values.len()`; reorders them.
pub(crate) fn kth_largest(values: &mut [f32], k: usize) -> f32 {
    *values.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
}

/// The smallest f32 that is not below `value`.
pub(crate) fn at_least(value: f64) -> f32 {
    let rounded = value as f32;
    if f64::from(rounded) < value { rounded.next_up() } else { rounded }
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
        fn a_walk_ends_where_a_full_sort_says(
            keys in prop::collection::btree_set(0_u64..1_000_000, 1..2000), share in 0.0..1.1_f64, wanted in 1_usize..2100,
            cut in any::<prop::sample::Index>(),
        ) {
            let sorted: Vec<u64> = keys.into_iter().collect();
            // Small integers: their sums are exact in any order.
            let weight = |key: u64| (key % 7) as f64;
            let target = (share * sorted.iter().map(|&key| weight(key)).sum::<f64>()).floor();
            let mut mass = 0.0;
            let expected = sorted.iter().enumerate().find_map(|(at, &key)| {
                mass += weight(key);
                (mass >= target && at + 1 >= wanted).then_some(key)
            });
            let (near, far) = sorted.split_at(cut.index(sorted.len()));
            let (mut near, mut far) = (near.to_vec(), far.to_vec());
            near.reverse();
            far.reverse();
            let mut walk = MassWalk::new(target, wanted);
            prop_assert_eq!(walk.through(&mut near, weight).or_else(|| walk.through(&mut far, weight)), expected);
        }

        #[test]
        fn keys_order_as_their_values(a in any::<f32>(), b in any::<f32>(), i in 0usize..9, j in 0usize..9) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            let by_value = b.partial_cmp(&a).unwrap().then(j.cmp(&i));
            prop_assert_eq!(descending_key(a, i).cmp(&descending_key(b, j)), by_value);
            prop_assert_eq!(position_of_descending(descending_key(a, i)), i);
        }

        #[test]
        fn rounding_up_is_the_least_upper_neighbour(value in -1e30_f64..1e30) {
            let up = at_least(value);
            prop_assert!(f64::from(up) >= value && f64::from(up.next_down()) < value);
        }
    }
}
