//! What a truncation rule asks about a token: rank, mass, surprise and how typical it is.
//!
//! All features depend on a token only through its logit, so tokens with equal logits share them, and on the row only through
//! its logits in descending order: they commute with permutations. Each makes the cut of some rule a linear one: rank that of
//! top-k, mass before that of top-p, distance to the maximum those of min-p and top-nσ, surprise that of epsilon and, less the
//! entropy, eta, mass of more typical tokens that of typical sampling, share of the entropy up to it that of top-H, curvature
//! after it that of tail-free sampling, log-probability of the next token that of XTC. That a token is the most probable one is what
//! nearly all of them keep it for.

use crate::{
    buffer::{Buffer, reserve},
    real::Real,
    row::LogitSet,
};

/// Features per token.
pub(crate) const FEATURES: usize = 15;
/// Features per row.
pub(crate) const CONTEXT: usize = 4;
/// Columns that are worked on at once.
pub(crate) const TILE: usize = 512;

/// Top-H asks for a share of the entropy of so many tokens, the most probable ones.
const TOP_H_TOKENS: f64 = 100.0;
/// Logarithms of a mass stop here.
const LEAST_MASS: f64 = 1e-12;
/// Scales that bring features into a range of a few units.
const BY_LOG_PROB: f64 = 0.2;
const BY_LOG: f64 = 1.0 / 3.0;

/// The features of one row.
#[derive(Debug, Default)]
pub(crate) struct RankedFeatures<T> {
    /// Tile by tile `[FEATURES, n]`, columns in the order of the set.
    columns: Buffer<T>,
    /// Of the row: ln max p, entropy, standard deviation of the surprise, ln Σ p² (all scaled).
    pub context: Vec<T>,
    order: Vec<u32>,
    runs: Vec<Run>,
    /// Runs of equal logits by distance of the surprise from the entropy.
    typical: Vec<u32>,
}

/// Groups of one logit; more than one only where the set is not of distinct logits.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    ell: f64,
    /// Groups `start..end` of the descending order.
    start: usize,
    end: usize,
    tokens: f64,
    mass: f64,
    /// Mass of these and all less probable tokens.
    rest: f64,
    /// Mass of the tokens that are closer to the entropy.
    more_typical: f64,
    /// Mass of those that are not.
    typical_rest: f64,
    /// Sum of |second difference| of the descending probabilities after the first of these tokens.
    curvature_rest: f64,
}

impl<T: Real> RankedFeatures<T> {
    /// `[FEATURES, n]` of the columns from `start` on, where `n` columns make up a tile.
    pub fn tile(&self, start: usize, n: usize) -> &[T] {
        &self.columns[start * FEATURES..(start + n) * FEATURES]
    }

    pub fn fill(&mut self, set: &LogitSet) {
        self.find_runs(set);
        let runs = &mut self.runs;
        let sum = |of: &dyn Fn(&Run) -> f64| runs.iter().map(of).sum::<f64>();
        let (tokens, max) = (sum(&|run| run.tokens), runs.first().map_or(0.0, |run| run.ell));
        let entropy = -sum(&|run| run.mass * run.ell);
        let spread = sum(&|run| run.mass * (run.ell + entropy).powi(2)).sqrt();
        let collision = sum(&|run| run.mass * run.ell.exp()).ln();
        let mean = sum(&|run| run.tokens * run.ell) / tokens;
        let deviation = (sum(&|run| run.tokens * (run.ell - mean).powi(2)) / tokens).sqrt();
        self.context.clear();
        self.context.extend(
            [max * BY_LOG_PROB, entropy * BY_LOG, spread * BY_LOG, collision * BY_LOG_PROB].map(|value| T::of(value)),
        );
        rank_by_typicality(runs, &mut self.typical, entropy);
        let columns = reserve(&mut self.columns, set.len() * FEATURES);
        let mut rest = 0.0;
        // From the improbable end, so that small sums are exact.
        for run in runs.iter_mut().rev() {
            rest += run.mass;
            run.rest = rest;
        }
        let curvature = curve(runs);
        let (top_mass, top_entropy) = entropy_of_top(runs);
        let (mut tokens_before, mut mass_before, mut entropy_before) = (0.0_f64, 0.0, 0.0);
        for (at, run) in runs.iter().enumerate() {
            let next = match runs.get(at + 1) {
                _ if run.tokens > 1.0 => run.ell,
                Some(next) => next.ell,
                None => run.ell.min(LEAST_MASS.ln()),
            };
            // Tail-free sampling keeps the most probable token.
            let flatter = if at > 0 && curvature > 0.0 { run.curvature_rest / curvature } else { 1.0 };
            let surprise = -run.ell - entropy;
            let own_entropy = entropy_within(run.ell - top_mass.ln());
            let in_top = (TOP_H_TOKENS - tokens_before).clamp(0.0, run.tokens);
            let share = match top_entropy {
                _ if at == 0 => 0.0,
                whole if in_top > 0.0 && whole > LEAST_MASS => (entropy_before + own_entropy) / whole,
                _ => 1.0,
            };
            let features = [
                run.ell * BY_LOG_PROB,
                (run.ell - max) * BY_LOG_PROB,
                if deviation > 0.0 { (run.ell - max) / deviation * BY_LOG } else { 0.0 },
                tokens_before.ln_1p() * BY_LOG,
                2.0 * mass_before - 1.0,
                run.rest.max(LEAST_MASS).ln() * BY_LOG,
                surprise * BY_LOG,
                surprise.abs() * BY_LOG,
                2.0 * run.more_typical - 1.0,
                run.typical_rest.max(LEAST_MASS).ln() * BY_LOG,
                2.0 * share - 1.0,
                next * BY_LOG_PROB,
                1.0 - 2.0 * flatter,
                flatter.max(LEAST_MASS).ln() * BY_LOG,
                if at == 0 { 1.0 } else { 0.0 },
            ]
            .map(T::of);
            for &column in &self.order[run.start..run.end] {
                let start = column as usize / TILE * TILE;
                let n = TILE.min(set.len() - start);
                for (feature, &value) in features.iter().enumerate() {
                    columns[start * FEATURES + feature * n + column as usize - start] = value;
                }
            }
            tokens_before += run.tokens;
            mass_before += run.mass;
            entropy_before += in_top * own_entropy;
        }
    }

    /// Runs of equal logits, the most probable first.
    fn find_runs(&mut self, set: &LogitSet) {
        set.descending(&mut self.order);
        self.runs.clear();
        for (place, &position) in self.order.iter().enumerate() {
            let ell = set.log_probs()[position as usize];
            let tokens = f64::from(set.counts()[position as usize]);
            match self.runs.last_mut() {
                Some(run) if run.ell == ell => {
                    run.end += 1;
                    run.tokens += tokens;
                }
                _ => self.runs.push(Run { ell, start: place, end: place + 1, tokens, ..Run::default() }),
            }
        }
        // Where one token has nearly all the mass, its ℓ is all rounding; the sum of the others' masses says it exactly.
        let Some(&Run { ell: top, tokens, .. }) = self.runs.first() else { return };
        let others: f64 = self.runs[1..].iter().rev().map(|run| run.tokens * (run.ell - top).exp()).sum();
        let max = -tokens.ln() - (others / tokens).ln_1p();
        for run in &mut self.runs {
            run.ell = run.ell - top + max;
            run.mass = run.tokens * run.ell.exp();
        }
    }
}

/// What a token of this log-probability adds to the entropy.
fn entropy_within(log_prob: f64) -> f64 {
    -log_prob.exp() * log_prob
}

/// Mass of the [`TOP_H_TOKENS`] most probable tokens, and their entropy once it is shared out among them.
fn entropy_of_top(runs: &[Run]) -> (f64, f64) {
    let top = || {
        runs.iter().scan(TOP_H_TOKENS, |left, run| {
            let tokens = run.tokens.min(*left);
            *left -= tokens;
            (tokens > 0.0).then_some((tokens, run.ell))
        })
    };
    let mass: f64 = top().map(|(tokens, ell)| tokens * ell.exp()).sum();
    let entropy = top().map(|(tokens, ell)| tokens * entropy_within(ell - mass.ln())).sum();
    (mass, entropy)
}

/// Sets how much of the curve of descending probabilities p is bent after each run, and gives the whole,
/// Σ |p_i − 2 p_{i+1} + p_{i+2}|.
fn curve(runs: &mut [Run]) -> f64 {
    let mut whole = 0.0;
    // p of the next run, and the first step down of those that come after this one; none after the last token.
    let (mut below, mut following) = (None, None);
    for run in runs.iter_mut().rev() {
        let p = run.ell.exp();
        let last_step = below.map(|below| p - below);
        let bends = |from: Option<f64>, to: Option<f64>| from.zip(to).map_or(0.0, |(from, to)| (from - to).abs());
        let at_last = bends(last_step, following);
        if run.tokens > 1.0 {
            // Between equal tokens there is no step, so the curve bends once before the last step and once after it.
            let at_last_but_one = last_step.unwrap_or(0.0);
            run.curvature_rest = whole + at_last + if run.tokens > 2.0 { at_last_but_one } else { 0.0 };
            whole += at_last + at_last_but_one;
            following = Some(0.0);
        } else {
            run.curvature_rest = whole;
            whole += at_last;
            following = last_step;
        }
        below = Some(p);
    }
    whole
}

/// Sets what mass is more typical than a run, and what is not: a merge of the runs above and below the entropy.
fn rank_by_typicality(runs: &mut [Run], order: &mut Vec<u32>, entropy: f64) {
    let distance = |run: &Run| (run.ell + entropy).abs();
    let mut below = runs.partition_point(|run| -run.ell < entropy);
    let mut above = below;
    order.clear();
    while above > 0 || below < runs.len() {
        if below == runs.len() || (above > 0 && distance(&runs[above - 1]) <= distance(&runs[below])) {
            above -= 1;
            order.push(above as u32);
        } else {
            order.push(below as u32);
            below += 1;
        }
    }
    let same = |a: &u32, b: &u32| distance(&runs[*a as usize]) == distance(&runs[*b as usize]);
    let groups: Vec<usize> = order.chunk_by(same).map(<[u32]>::len).collect();
    let (mut start, mut before) = (0, 0.0);
    for &len in &groups {
        let group = &order[start..start + len];
        group.iter().for_each(|&run| runs[run as usize].more_typical = before);
        before += group.iter().map(|&run| runs[run as usize].mass).sum::<f64>();
        start += len;
    }
    let (mut end, mut rest) = (order.len(), 0.0);
    for &len in groups.iter().rev() {
        let group = &order[end - len..end];
        rest += group.iter().map(|&run| runs[run as usize].mass).sum::<f64>();
        group.iter().for_each(|&run| runs[run as usize].typical_rest = rest);
        end -= len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn features_follow_their_definitions(steps in prop::collection::vec(-9i8..9, 1..700)) {
            let logits: Vec<f32> = steps.iter().map(|&step| f32::from(step) * 0.75).collect();
            for set in [LogitSet::distinct(&logits).unwrap(), LogitSet::dense(&logits).unwrap()] {
                let mut ranked = RankedFeatures::<f64>::default();
                ranked.fill(&set);
                let ell: Vec<f64> = (0..logits.len()).map(|token| set.log_probs()[set.position(token).unwrap()]).collect();
                let mass = |of: &dyn Fn(f64) -> bool| ell.iter().filter(|l| of(**l)).map(|l| l.exp()).sum::<f64>();
                let entropy = -ell.iter().map(|l| l.exp() * l).sum::<f64>();
                let log = |mass: f64| mass.max(LEAST_MASS).ln() / 3.0;
                let mut falling = ell.clone();
                falling.sort_by(|a, b| b.total_cmp(a));
                let p: Vec<f64> = falling.iter().map(|l| l.exp()).collect();
                let bends: Vec<f64> = p.windows(3).map(|p| (p[0] - 2.0 * p[1] + p[2]).abs()).collect();
                let curvature: f64 = bends.iter().sum();
                for token in [0, logits.len() / 2, logits.len() - 1] {
                    let own = ell[token];
                    // Sums in another order: what is as typical up to rounding counts as that.
                    let nearer = |l: f64| (l + entropy).abs() < (own + entropy).abs() - 1e-9;
                    let before = ell.iter().filter(|l| **l > own).count() as f64;
                    let at = before as usize;
                    let top: f64 = p[..p.len().min(100)].iter().sum();
                    let q: Vec<f64> = p[..p.len().min(100)].iter().map(|p| p / top).collect();
                    let entropies: Vec<f64> = q.iter().map(|q| -q * q.ln()).collect();
                    let (up_to, whole) = (entropies.iter().take(at + 1).sum::<f64>(), entropies.iter().sum::<f64>());
                    let share = if at == 0 { 0.0 } else if at < 100 && whole > LEAST_MASS { up_to / whole } else { 1.0 };
                    let next = falling.get(before as usize + 1).copied().unwrap_or(own.min(LEAST_MASS.ln()));
                    let bent_after: f64 = bends.iter().skip(before as usize + 1).sum();
                    let flatter = if before > 0.0 && curvature > 1e-9 { bent_after / curvature } else { 1.0 };
                    let expected = [
                        (3, (1.0 + before).ln() / 3.0),
                        (4, 2.0 * mass(&|l| l > own) - 1.0),
                        (5, log(mass(&|l| l <= own))),
                        (6, (-own - entropy) / 3.0),
                        (8, 2.0 * mass(&nearer) - 1.0),
                        (9, log(mass(&|l| !nearer(l)))),
                        (10, 2.0 * share - 1.0),
                        (11, next / 5.0),
                        (12, 1.0 - 2.0 * flatter),
                        (13, log(flatter)),
                        (14, if before == 0.0 { 1.0 } else { 0.0 }),
                    ];
                    let column = set.position(token).unwrap();
                    let (start, n) = (column / TILE * TILE, TILE.min(set.len() - column / TILE * TILE));
                    let tile = ranked.tile(start, n);
                    for (feature, value) in expected {
                        let ours = tile[feature * n + column - start];
                        // Two distances may differ by rounding alone, one from above and one from below.
                        let tied = ell.iter().any(|l| *l != own && ((l + entropy).abs() - (own + entropy).abs()).abs() < 1e-9);
                        prop_assert!((ours - value).abs() < 1e-9 || (tied && (feature == 8 || feature == 9)), "{feature}: {ours} {value}");
                    }
                }
            }
        }
    }
}
