//! DRY: "don't repeat yourself".

use crate::{
    ConfigError, Context, Params, Processor, Row, RowError,
    info::{ParamInfo, ProcessorInfo, last_n_value},
    scratch::cleared,
};
use serde_json::Value;

/// DRY (text-generation-webui pull request 5677, as in llama.cpp): a token that followed an earlier occurrence of the
/// history's last m ids is lowered by `multiplier · base^(m − allowed_length)` for the longest such m, if that is
/// `allowed_length` or more.
///
/// Matches stop at the latest sequence breaker, and a breaker of one token is never lowered itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Dry {
    multiplier: f64,
    base: f64,
    allowed_length: usize,
    last_n: Option<usize>,
    breakers: Vec<Vec<u32>>,
}

impl Dry {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "dry",
        about: "lowers tokens that would go on repeating the history, the more the longer the repetition",
        source: "llama.cpp; text-generation-webui pull request 5677",
        stateful: false,
        needs: &[],
        params: &[
            ParamInfo::non_negative("multiplier", "weight of the penalty; 0 is none").or_number(0.0),
            ParamInfo::one_or_more("base", "growth per repeated token").or_number(1.75),
            ParamInfo::count("allowed_length", "repetitions up to one token less are free").or(2),
            ParamInfo::last_n("last_n", "how many of the last ids count; -1: all").or(64),
            ParamInfo::token_lists("breakers", "token sequences that no repetition goes across"),
        ],
    };

    /// # Errors
    /// A value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self {
            multiplier: values.number("multiplier"),
            base: values.number("base"),
            allowed_length: values.count("allowed_length"),
            last_n: values.last_n("last_n"),
            breakers: values.token_lists("breakers"),
        })
    }

    /// How many of the last ids lie behind the latest breaker.
    fn match_limit(&self, window: &[u32]) -> usize {
        for start in (0..window.len()).rev() {
            let rest = &window[start..];
            // Of several breakers that begin here, the longest counts.
            let longest = self.breakers.iter().filter(|breaker| rest.starts_with(breaker)).map(Vec::len).max();
            if let Some(longest) = longest {
                return rest.len() - longest;
            }
        }
        window.len()
    }

    fn penalty(&self, length: usize) -> f64 {
        // e^88.72 is about the largest f32.
        let most = if self.base > 1.000_001 { (88.722_839_1 / self.base.ln()).floor() } else { f64::INFINITY };
        self.multiplier * self.base.powf(((length - self.allowed_length) as f64).min(most))
    }
}

/// For each prefix of `window`, the length of the longest suffix that it shares with the whole, at most `limit`: the Z
/// algorithm from the right.
fn common_suffixes(window: &[u32], limit: usize, lengths: &mut Vec<u32>) {
    let n = window.len();
    cleared(lengths, n).resize(n, 0);
    let from_end = |index: usize| window[n - 1 - index];
    // [left, right) is the reversed stretch that matches the beginning and reaches furthest.
    let (mut left, mut right) = (0, 0);
    for k in 1..n {
        let mut length = if k < right { (lengths[n - 1 - (k - left)] as usize).min(right - k) } else { 0 };
        while k + length < n && from_end(length) == from_end(k + length) {
            length += 1;
        }
        if k + length > right {
            (left, right) = (k, k + length);
        }
        lengths[n - 1 - k] = length as u32;
    }
    lengths.iter_mut().for_each(|length| *length = (*length).min(limit as u32));
}

impl Processor for Dry {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        let breakers: Value = self.breakers.iter().cloned().map(Value::from).collect();
        Self::INFO.canonical([
            ("multiplier", self.multiplier.into()),
            ("base", self.base.into()),
            ("allowed_length", self.allowed_length.into()),
            ("last_n", last_n_value(self.last_n)),
            ("breakers", breakers),
        ])
    }

    fn process(&self, row: &mut Row<'_>, context: &Context<'_>) -> Result<(), RowError> {
        row.max()?;
        let window = context.history.window(self.last_n);
        if self.multiplier == 0.0 || window.len() <= self.allowed_length {
            return Ok(());
        }
        let limit = self.match_limit(window);
        if limit < self.allowed_length {
            return Ok(());
        }
        let vocabulary = row.vocabulary();
        let mut lengths = std::mem::take(&mut row.buffers().lengths);
        let mut longest = std::mem::take(&mut row.buffers().counts);
        if longest.len() < vocabulary {
            longest.resize(vocabulary, 0);
        }
        common_suffixes(window, limit, &mut lengths);
        let continuations = || lengths.iter().zip(&window[1..]);
        for (&length, &next) in continuations().filter(|(length, _)| **length as usize >= self.allowed_length) {
            if let Some(longest) = longest.get_mut(next as usize) {
                *longest = length.max(*longest);
            }
        }
        for (_, &next) in continuations() {
            let length = longest.get_mut(next as usize).map_or(0, std::mem::take) as usize;
            let breaker = || self.breakers.iter().any(|breaker| breaker == &[next]);
            if let (true, Some(position)) = (length > 0, row.position(next))
                && !breaker()
            {
                let penalty = self.penalty(length) as f32;
                row.update(position, |logit| logit - penalty);
            }
        }
        row.buffers().lengths = lengths;
        row.buffers().counts = longest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn common_suffixes_are_what_their_definition_says(window in prop::collection::vec(0_u32..3, 0..40), limit in 0_usize..50) {
            let mut lengths = Vec::new();
            common_suffixes(&window, limit, &mut lengths);
            for end in 1..window.len() {
                let common = window[..end].iter().rev().zip(window.iter().rev()).take_while(|(a, b)| a == b).count();
                prop_assert_eq!(lengths[end - 1] as usize, common.min(limit));
            }
        }
    }

    #[test]
    fn matches_stop_at_the_latest_breaker() {
        let dry = |breakers: &[&[u32]]| Dry {
            multiplier: 1.0,
            base: 2.0,
            allowed_length: 1,
            last_n: None,
            breakers: breakers.iter().map(|breaker| breaker.to_vec()).collect(),
        };
        assert_eq!(dry(&[]).match_limit(&[1, 2, 3]), 3);
        assert_eq!(dry(&[&[2]]).match_limit(&[1, 2, 3]), 1);
        assert_eq!(dry(&[&[1, 2]]).match_limit(&[1, 2, 3]), 1);
        assert_eq!(dry(&[&[1, 3]]).match_limit(&[1, 2, 3]), 3);
        assert_eq!(dry(&[&[2], &[2, 3]]).match_limit(&[1, 2, 3]), 0);
    }
}
