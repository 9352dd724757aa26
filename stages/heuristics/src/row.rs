//! One row of logits on its way through a pipeline.

use crate::{
    RowError, Scratch,
    distribution::{Distribution, insane},
    kernels::{self, BLOCK},
    scratch::{Buffers, cleared},
    select::{self, descending_key, position_of_descending},
};

/// Most probable tokens that a visit looks at first; each further ring is four times as large.
const FIRST_RING: usize = 128;

/// One row of logits `[V]` on its way through a pipeline.
///
/// Processors work on [`Row::logits`], whose positions are in the order of token ids. While many tokens are candidates,
/// that is the whole row, position and token id are one, and −inf stands for "not a candidate"; once few are left, it
/// is these alone.
#[derive(Debug)]
pub struct Row<'a> {
    whole: &'a mut [f32],
    scratch: &'a mut Scratch,
    /// Whether the candidates stand in the scratch memory instead of in `whole`.
    few: bool,
    /// The largest logit; known means also that the block maxima are.
    max: Option<f32>,
    sum: Option<f64>,
}

/// The most probable tokens down to one: greater logits than `logit`, and of equal ones those at `position` or later.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cut {
    pub logit: f32,
    pub position: usize,
}

impl Cut {
    /// All logits of at least `floor`.
    pub fn from_floor(floor: f32) -> Self {
        Self { logit: floor, position: 0 }
    }

    pub fn keeps(self, position: usize, logit: f32) -> bool {
        logit > self.logit || (logit == self.logit && position >= self.position)
    }
}

impl<'a> Row<'a> {
    pub(crate) fn new(logits: &'a mut [f32], scratch: &'a mut Scratch) -> Self {
        Self { whole: logits, scratch, few: false, max: None, sum: None }
    }

    /// V: how many tokens there are, candidates or not.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.whole.len()
    }

    /// The logits by position.
    #[must_use]
    pub fn logits(&self) -> &[f32] {
        if self.few { &self.scratch.candidates.logits } else { self.whole }
    }

    /// The token id at a position of [`Row::logits`].
    #[must_use]
    pub fn token(&self, position: usize) -> usize {
        if self.few { self.scratch.candidates.tokens[position] as usize } else { position }
    }

    /// The position of a token; `None` where it is no candidate.
    #[must_use]
    pub fn position(&self, token: u32) -> Option<usize> {
        if self.few {
            return self.scratch.candidates.tokens.binary_search(&token).ok();
        }
        self.whole.get(token as usize).is_some_and(|&logit| logit > f32::NEG_INFINITY).then_some(token as usize)
    }

    fn logits_mut(&mut self) -> &mut [f32] {
        (self.max, self.sum) = (None, None);
        if self.few { &mut self.scratch.candidates.logits } else { self.whole }
    }

    fn parts(&mut self) -> (&[f32], &mut Buffers) {
        let Scratch { candidates, buffers, .. } = &mut *self.scratch;
        (if self.few { &candidates.logits } else { &*self.whole }, buffers)
    }

    pub(crate) fn buffers(&mut self) -> &mut Buffers {
        &mut self.scratch.buffers
    }

    /// The largest logit.
    ///
    /// # Errors
    /// The row holds NaN or +inf, or no finite logit.
    pub fn max(&mut self) -> Result<f32, RowError> {
        if let Some(max) = self.max {
            return Ok(max);
        }
        let isa = self.scratch.isa;
        let (logits, buffers) = self.parts();
        let blocks = logits.len().div_ceil(BLOCK);
        cleared(&mut buffers.maxima, blocks).resize(blocks, f32::NEG_INFINITY);
        if !kernels::block_maxima(isa, logits, &mut buffers.maxima) {
            return Err(insane(self.logits(), |at| self.token(at)));
        }
        let max = buffers.maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if max == f32::NEG_INFINITY {
            return Err(RowError::NoCandidate);
        }
        self.max = Some(max);
        Ok(max)
    }

    /// How many candidates there are.
    #[must_use]
    pub fn candidates(&self) -> usize {
        kernels::count(self.scratch.isa, self.logits())
    }

    /// # Errors
    /// As [`Row::max`].
    pub(crate) fn distribution(&mut self) -> Result<Distribution, RowError> {
        let max = self.max()?;
        let sum = self.sum.unwrap_or_else(|| kernels::exp_sum(self.scratch.isa, self.logits(), max));
        self.sum = Some(sum);
        Ok(Distribution { max, sum })
    }

    /// H = −Σ p ln p in nats, with p ln p = 0 at p = 0.
    ///
    /// # Errors
    /// As [`Row::max`].
    pub fn entropy(&mut self) -> Result<f64, RowError> {
        let Distribution { max, sum } = self.distribution()?;
        let weighted = kernels::weighted_exp_sum(self.scratch.isa, self.logits(), max);
        Ok(sum.ln() - weighted / sum)
    }

    /// Σ e^(2·(z − max)): with the distribution's sum s, Σ p² is this over s².
    ///
    /// # Errors
    /// As [`Row::max`].
    pub(crate) fn squared_sum(&mut self) -> Result<f64, RowError> {
        let max = self.max()?;
        Ok(kernels::squared_exp_sum(self.scratch.isa, self.logits(), max))
    }

    /// [`kernels::layer_divergence`] of the row from other logits `[V]`, with the logarithms of both sums of exponentials.
    pub(crate) fn layer_divergence(&mut self, log_sum: f64, other: &[f32], other_log_sum: f64) -> (f64, f64) {
        let Scratch { isa, candidates, buffers } = &mut *self.scratch;
        let sums = (log_sum as f32, other_log_sum as f32);
        if !self.few {
            return kernels::layer_divergence(*isa, self.whole, sums.0, other, sums.1);
        }
        let values = cleared(&mut buffers.values, other.len());
        values.extend(candidates.tokens.iter().map(|&token| other[token as usize]));
        kernels::layer_divergence(*isa, &candidates.logits, sums.0, values, sums.1)
    }

    /// Population standard deviation of the candidates' logits.
    pub(crate) fn deviation(&self) -> f64 {
        let count = self.candidates().max(1) as f64;
        let sums = |centre| kernels::central_sums(self.scratch.isa, self.logits(), centre);
        let mean = sums(0.0)[0] / count;
        (sums(mean)[1] / count).sqrt()
    }

    /// Replaces each candidate's logit; a result below the finite numbers removes the token, one above them becomes the
    /// largest.
    pub fn map(&mut self, mut f: impl FnMut(f32) -> f32) {
        for logit in self.logits_mut() {
            if *logit > f32::NEG_INFINITY {
                *logit = f(*logit).clamp(f32::NEG_INFINITY, f32::MAX);
            }
        }
    }

    /// As [`Row::map`], with token ids. −inf removes the token.
    pub(crate) fn map_tokens(&mut self, mut f: impl FnMut(usize, f32) -> f32) {
        (self.max, self.sum) = (None, None);
        let candidates = &mut self.scratch.candidates;
        if self.few {
            let pairs = candidates.tokens.iter().zip(&mut candidates.logits);
            pairs.for_each(|(&token, logit)| *logit = f(token as usize, *logit));
        } else {
            let pairs = self.whole.iter_mut().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY);
            pairs.for_each(|(token, logit)| *logit = f(token, *logit));
        }
    }

    /// Replaces one candidate's logit, as [`Row::map`] does.
    pub fn update(&mut self, position: usize, f: impl FnOnce(f32) -> f32) {
        let logit = &mut self.logits_mut()[position];
        if *logit > f32::NEG_INFINITY {
            *logit = f(*logit).clamp(f32::NEG_INFINITY, f32::MAX);
        }
    }

    /// Takes a token out.
    pub fn remove(&mut self, position: usize) {
        self.logits_mut()[position] = f32::NEG_INFINITY;
    }

    /// `z / divisor` for a divisor above 0. Where that leaves the finite numbers, `(z − max) / divisor`, which is the
    /// same distribution.
    ///
    /// # Errors
    /// As [`Row::max`].
    pub fn divide(&mut self, divisor: f32) -> Result<(), RowError> {
        let max = self.max()?;
        if !(max / divisor).is_finite() {
            self.map(|logit| logit - max);
            self.max()?;
        }
        let Scratch { isa, candidates, buffers } = &mut *self.scratch;
        let logits = if self.few { &mut candidates.logits[..] } else { &mut *self.whole };
        kernels::divide(*isa, logits, divisor, &mut buffers.maxima);
        (self.max, self.sum) = (self.max.map(|max| max / divisor), None);
        Ok(())
    }

    /// The k-th largest logit, −inf where there are fewer candidates than `k ≥ 1`.
    ///
    /// # Errors
    /// As [`Row::max`].
    pub(crate) fn kth_largest(&mut self, k: usize) -> Result<f32, RowError> {
        let max = self.max()?;
        if k <= 1 {
            return Ok(max);
        }
        let vocabulary = self.vocabulary();
        let (logits, buffers) = self.parts();
        let floor = buffers.floor_for(k);
        let values = cleared(&mut buffers.values, vocabulary);
        for (_, block) in Buffers::blocks(&buffers.maxima, logits, floor) {
            values.extend(block.iter().filter(|logit| **logit >= floor));
        }
        Ok(if values.len() < k { f32::NEG_INFINITY } else { select::kth_largest(values, k) })
    }

    /// The cut that keeps exactly the `k ≥ 1` most probable tokens, of equal logits those at higher positions.
    ///
    /// # Errors
    /// As [`Row::max`].
    pub(crate) fn rank_cut(&mut self, k: usize) -> Result<Cut, RowError> {
        let floor = self.kth_largest(k)?;
        if floor == f32::NEG_INFINITY {
            return Ok(Cut::from_floor(floor));
        }
        let (logits, buffers) = self.parts();
        let above = Buffers::blocks(&buffers.maxima, logits, floor)
            .map(|(_, block)| block.iter().filter(|logit| **logit > floor).count())
            .sum();
        let equal = Buffers::blocks(&buffers.maxima, logits, floor)
            .rev()
            .flat_map(|(start, block)| (start..start + block.len()).zip(block).rev())
            .filter(|(_, logit)| **logit == floor);
        let last = equal.take(k.saturating_sub(above)).last();
        Ok(Cut { logit: floor, position: last.map_or(0, |(position, _)| position) })
    }

    /// Calls `visit` with sort keys of all candidates ([`descending_key`]), ring by ring of falling probability, until
    /// it returns false. Within a ring the keys are in no order.
    fn visit_rings(&mut self, mut visit: impl FnMut(&mut [u64], &[f32]) -> bool) -> Result<(), RowError> {
        self.max()?;
        let vocabulary = self.vocabulary();
        let (logits, buffers) = self.parts();
        let mut ceiling = f32::INFINITY;
        let mut ring = FIRST_RING;
        loop {
            let floor = buffers.floor_for(ring);
            let keys = cleared(&mut buffers.keys, vocabulary);
            for (start, block) in Buffers::blocks(&buffers.maxima, logits, floor) {
                for (position, &logit) in (start..).zip(block) {
                    if logit >= floor && logit < ceiling {
                        keys.push(descending_key(logit, position));
                    }
                }
            }
            if !visit(keys, logits) || floor == f32::MIN {
                return Ok(());
            }
            ceiling = floor;
            ring *= 4;
        }
    }

    /// Visits positions and logits of the candidates from the most probable down, of equal logits higher positions
    /// first, until `visit` returns false.
    ///
    /// # Errors
    /// As [`Row::max`].
    pub fn visit_descending(&mut self, mut visit: impl FnMut(usize, f32) -> bool) -> Result<(), RowError> {
        self.visit_rings(|keys, logits| {
            select::visit_ascending(keys, |key| {
                let position = position_of_descending(key);
                visit(position, logits[position])
            })
        })
    }

    /// Lends an empty buffer of sort keys beside the logits.
    pub(crate) fn with_keys<T>(&mut self, f: impl FnOnce(&mut Vec<u64>, &[f32]) -> T) -> T {
        let vocabulary = self.vocabulary();
        let (logits, buffers) = self.parts();
        f(cleared(&mut buffers.keys, vocabulary), logits)
    }

    /// Keeps the first position of the largest logit only.
    ///
    /// # Errors
    /// As [`Row::max`].
    pub fn keep_first_max(&mut self) -> Result<(), RowError> {
        let max = self.max()?;
        let Some(token) = self.logits().iter().position(|&logit| logit == max).map(|at| self.token(at)) else {
            return Ok(());
        };
        self.scratch.candidates.clear(self.whole.len());
        self.scratch.candidates.push(token, max);
        (self.few, self.max, self.sum) = (true, None, None);
        Ok(())
    }

    /// The shortest cut of at least `min_tokens` tokens that together weigh `wanted` or more; `None` where all do not.
    ///
    /// # Errors
    /// As [`Row::max`].
    pub(crate) fn mass_cut(&mut self, wanted: f64, min_tokens: usize) -> Result<Option<Cut>, RowError> {
        let distribution = self.distribution()?;
        let mut walk = select::MassWalk::new(wanted, min_tokens);
        let mut cut = None;
        self.visit_rings(|keys, logits| {
            let last = walk.through(keys, |key| distribution.weight(logits[position_of_descending(key)]));
            cut = last.map(position_of_descending).map(|position| Cut { logit: logits[position], position });
            cut.is_none()
        })?;
        Ok(cut)
    }

    /// Removes everything below a cut.
    ///
    /// # Errors
    /// As [`Row::max`].
    pub(crate) fn keep(&mut self, cut: Cut) -> Result<(), RowError> {
        self.max()?;
        if cut.logit == f32::NEG_INFINITY {
            return Ok(());
        }
        let Scratch { isa, candidates, buffers } = &mut *self.scratch;
        self.sum = None;
        if self.few {
            candidates.retain(|position, logit| cut.keeps(position, logit));
            self.max = None;
            return Ok(());
        }
        let reached = kernels::count_from(*isa, &buffers.maxima, cut.logit);
        if reached <= (buffers.maxima.len() / 4).max(4) {
            candidates.clear(self.whole.len());
            for (start, block) in Buffers::blocks(&buffers.maxima, self.whole, cut.logit) {
                for (position, &logit) in (start..).zip(block) {
                    if cut.keeps(position, logit) {
                        candidates.push(position, logit);
                    }
                }
            }
            (self.few, self.max) = (true, None);
            return Ok(());
        }
        // Up to the cut's position, equality removes.
        let (before, after) = self.whole.split_at_mut(cut.position);
        before.iter_mut().filter(|logit| **logit == cut.logit).for_each(|logit| *logit = f32::NEG_INFINITY);
        kernels::mask(*isa, before, cut.logit);
        kernels::mask(*isa, after, cut.logit);
        self.max = None;
        Ok(())
    }

    /// Keeps the candidates for which `keep(position, logit)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(usize, f32) -> bool) {
        (self.max, self.sum) = (None, None);
        let candidates = &mut self.scratch.candidates;
        if self.few {
            return candidates.retain(keep);
        }
        candidates.clear(self.whole.len());
        let most = self.whole.len() / 8 + 256;
        let mut kept = 0;
        for (position, logit) in self.whole.iter_mut().enumerate() {
            if *logit == f32::NEG_INFINITY {
                continue;
            }
            if keep(position, *logit) {
                kept += 1;
                if kept <= most {
                    candidates.push(position, *logit);
                }
            } else {
                *logit = f32::NEG_INFINITY;
            }
        }
        self.few = kept <= most;
    }

    /// Writes the candidates back and checks them.
    ///
    /// # Errors
    /// The row holds NaN or +inf.
    pub(crate) fn finish(mut self) -> Result<(), RowError> {
        match self.max() {
            Ok(_) | Err(RowError::NoCandidate) => {}
            Err(error) => return Err(error),
        }
        if self.few {
            self.whole.fill(f32::NEG_INFINITY);
            let candidates = &self.scratch.candidates;
            for (&token, &logit) in candidates.tokens.iter().zip(&candidates.logits) {
                self.whole[token as usize] = logit;
            }
        }
        Ok(())
    }
}
