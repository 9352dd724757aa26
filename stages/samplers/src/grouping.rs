//! Which tokens of a row have equal logits: one pass over the vocabulary, no comparison sort of all tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Token index of a removed token (−inf).
pub(crate) const REMOVED: u32 = u32::MAX;

/// How the tokens of a row are grouped. The results agree whichever is chosen; only time and memory differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// `distinct` where a sample of the tokens has equal logits, `dense` where (nearly) all seem to differ.
    #[default]
    Automatic,
    /// Equal logits are one group, in ascending order.
    Distinct,
    /// Every token with a finite logit is a group of its own, in token order.
    Dense,
}

/// Tokens that [`Grouping::Automatic`] looks at.
const SAMPLE: usize = 512;
/// Of the sample, at least one token in so many must repeat a logit for grouping to be worth its pass.
const REPEATS: usize = 16;
/// One bucket per upper half of a logit's bits: sign, exponent and 7 bits of the fraction, all that a bf16 value has.
const BUCKETS: usize = 1 << 16;

/// Rows of fewer tokens are sorted: quicker than to go through all buckets.
const FEW: usize = 1 << 13;

/// An unsigned number that orders as `logit` does; −0 and +0 are one number.
pub(crate) fn ordered(logit: f32) -> u32 {
    let bits = (logit + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
}

/// The reverse of [`ordered`].
pub(crate) fn logit(ordered: u32) -> f32 {
    f32::from_bits(if ordered >> 31 == 1 { ordered & 0x7fff_ffff } else { !ordered })
}

/// Groups of one row, and the memory to find them; reused from row to row.
#[derive(Debug, Default)]
pub(crate) struct Grouper {
    /// The logit of each group.
    pub values: Vec<f32>,
    /// Tokens per bucket, then where the bucket's keys go, then its group.
    buckets: Vec<u32>,
    /// As [`key`] makes them.
    keys: Vec<u64>,
}

impl Grouper {
    /// Fills `values`, `counts` and, per token, the position of its logit in them; returns whether values ascend strictly.
    /// What is neither finite nor −inf is left to the caller: it ends up in `values`.
    pub fn group(&mut self, logits: &[f32], grouping: Grouping, counts: &mut Vec<u32>, index: &mut Vec<u32>) -> bool {
        self.values.clear();
        counts.clear();
        index.clear();
        let distinct = match grouping {
            Grouping::Automatic => self.repeats(logits),
            Grouping::Distinct => true,
            Grouping::Dense => false,
        };
        if distinct && logits.len() < FEW {
            self.by_sorting(logits, counts, index);
        } else if distinct {
            self.by_buckets(logits, counts, index);
        } else {
            self.dense(logits, counts, index);
        }
        distinct
    }

    /// Whether enough of a sample of the tokens repeat a logit.
    fn repeats(&mut self, logits: &[f32]) -> bool {
        let stride = logits.len().div_ceil(SAMPLE).max(1);
        let finite = logits.iter().step_by(stride).filter(|logit| **logit != f32::NEG_INFINITY);
        self.keys.clear();
        self.keys.extend(finite.map(|&logit| u64::from(ordered(logit))));
        self.keys.sort_unstable();
        let repeated = self.keys.windows(2).filter(|pair| pair[0] == pair[1]).count();
        repeated * REPEATS >= self.keys.len()
    }

    fn dense(&mut self, logits: &[f32], counts: &mut Vec<u32>, index: &mut Vec<u32>) {
        index.extend(logits.iter().map(|&logit| {
            if logit == f32::NEG_INFINITY {
                return REMOVED;
            }
            self.values.push(logit);
            self.values.len() as u32 - 1
        }));
        counts.resize(self.values.len(), 1);
    }

    fn by_sorting(&mut self, logits: &[f32], counts: &mut Vec<u32>, index: &mut Vec<u32>) {
        self.keys.clear();
        self.keys.extend(logits.iter().zip(0..).map(|(&logit, token)| key(logit, token)));
        self.keys.sort_unstable();
        self.of_sorted_keys(counts, index);
    }

    /// One bucket per upper half of the bits. Where lower halves differ, each bucket is sorted by itself.
    fn by_buckets(&mut self, logits: &[f32], counts: &mut Vec<u32>, index: &mut Vec<u32>) {
        self.buckets.clear();
        self.buckets.resize(BUCKETS, 0);
        let mut lower = 0;
        for &logit in logits {
            let removed = logit == f32::NEG_INFINITY;
            lower |= if removed { 0 } else { (logit + 0.0).to_bits() & 0xffff };
            self.buckets[(ordered(logit) >> 16) as usize] += 1;
        }
        // A −inf has a bucket that no other logit shares, except a NaN, which is refused anyway.
        let removed = (ordered(f32::NEG_INFINITY) >> 16) as usize;
        if lower == 0 {
            self.buckets[removed] = 0;
            for (bucket, count) in self.buckets.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
                let upper = (bucket as u32) << 16;
                // Of negative logits all bits are inverted, the lower half's too.
                self.values.push(logit(if bucket < BUCKETS / 2 { upper | 0xffff } else { upper }));
                counts.push(*count);
                *count = counts.len() as u32 - 1;
            }
            self.buckets[removed] = REMOVED;
            index.extend(logits.iter().map(|&logit| self.buckets[(ordered(logit) >> 16) as usize]));
            return;
        }
        let mut start = 0;
        for bucket in &mut self.buckets {
            start += std::mem::replace(bucket, start);
        }
        self.keys.clear();
        self.keys.resize(logits.len(), 0);
        for (&logit, token) in logits.iter().zip(0..) {
            let next = &mut self.buckets[(ordered(logit) >> 16) as usize];
            self.keys[*next as usize] = key(logit, token);
            *next += 1;
        }
        let mut from = 0;
        // Each entry has moved on to the end of its bucket.
        for &end in &self.buckets {
            self.keys[from..end as usize].sort_unstable();
            from = end as usize;
        }
        self.of_sorted_keys(counts, index);
    }

    /// Groups, and each token's, of `keys` in ascending order.
    fn of_sorted_keys(&mut self, counts: &mut Vec<u32>, index: &mut Vec<u32>) {
        index.resize(self.keys.len(), REMOVED);
        let (minus_infinity, mut last) = (ordered(f32::NEG_INFINITY), None);
        for &key in &self.keys {
            let (ordered, token) = ((key >> 32) as u32, (key & 0xffff_ffff) as usize);
            if ordered == minus_infinity {
                continue;
            }
            match counts.last_mut() {
                Some(count) if last == Some(ordered) => *count += 1,
                _ => {
                    self.values.push(logit(ordered));
                    counts.push(1);
                    last = Some(ordered);
                }
            }
            index[token] = counts.len() as u32 - 1;
        }
    }
}

/// The logit's ordered bits in the upper half, its token in the lower.
fn key(logit: f32, token: u32) -> u64 {
    u64::from(ordered(logit)) << 32 | u64::from(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn logits() -> impl Strategy<Value = Vec<f32>> {
        let bf16 = any::<u16>().prop_map(|upper| f32::from_bits(u32::from(upper) << 16));
        let close = (0u32..40).prop_map(|step| f32::from_bits(0x4120_fff0 + step));
        let zero = prop_oneof![Just(0.0_f32), Just(-0.0_f32)];
        let finite = |logit: &f32| logit.is_finite() || *logit == f32::NEG_INFINITY;
        let mixed =
            prop_oneof![3 => bf16.clone(), 3 => close, 2 => -3.0f32..3.0, 1 => zero, 1 => Just(f32::NEG_INFINITY)];
        prop_oneof![prop::collection::vec(mixed, 0..300), prop::collection::vec(bf16, 0..300)]
            .prop_map(move |row| row.into_iter().filter(finite).collect())
    }

    proptest! {
        #[test]
        fn distinct_groups_are_those_of_a_sort(logits in logits()) {
            let mut expected: Vec<f32> = logits.iter().copied().filter(|z| z.is_finite()).collect();
            expected.sort_unstable_by(f32::total_cmp);
            expected.dedup();
            for way in [Grouper::by_sorting, Grouper::by_buckets] {
                let (mut grouper, mut counts, mut index) = (Grouper::default(), vec![], vec![]);
                way(&mut grouper, &logits, &mut counts, &mut index);
                prop_assert_eq!(&grouper.values, &expected);
                for (value, &count) in expected.iter().zip(&counts) {
                    prop_assert_eq!(count as usize, logits.iter().filter(|logit| *logit == value).count());
                }
                for (logit, &position) in logits.iter().zip(&index) {
                    let value = expected.get(position as usize).copied().unwrap_or(f32::NEG_INFINITY);
                    prop_assert_eq!(*logit, value);
                }
            }
        }
    }

    #[test]
    fn the_choice_follows_the_data() {
        let mut grouper = Grouper::default();
        let fine: Vec<f32> = (0..5000).map(|step| (step as f32 * 0.37).sin() * 9.0).collect();
        assert!(!grouper.repeats(&fine));
        let coarse: Vec<f32> = fine.iter().map(|z| f32::from_bits(z.to_bits() & 0xffff_0000)).collect();
        assert!(grouper.repeats(&coarse));
        assert!(grouper.repeats(&[1.0; 3]) && !grouper.repeats(&[1.0, 2.0]));
    }
}
