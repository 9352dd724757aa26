//! Sums over positions: means, histograms, and the positions worth showing.

use crate::analyze_replay::{Distributions, Replayed};
use lsn_report::{Analysis, Bin, PipelineMean, PositionMean, TransferBin};
use serde::Serialize;
use std::{collections::BTreeMap, f64::consts::LN_10};

/// Decades of probability that the curves cover.
const DECADES: f64 = 8.0;
/// Intervals of raw probability per decade.
const PER_DECADE: f64 = 4.0;
const RAW_BINS: usize = (DECADES * PER_DECADE) as usize;
/// Learned and target probabilities are kept in intervals of a twentieth of a decade, down to twice as many decades.
const FINE: f64 = 20.0;
const FINE_BINS: usize = (2.0 * DECADES * FINE) as usize;
/// Calibration intervals per decade.
const CALIBRATION: f64 = 2.0;
const CALIBRATION_BINS: usize = (DECADES * CALIBRATION) as usize;
/// Width of an entropy interval in nats.
const ENTROPY: f64 = 0.5;
/// Curves leave out intervals with fewer tokens or positions than this.
const FEWEST: u64 = 5;

/// What was measured at one position.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    #[serde(skip)]
    pub row: usize,
    pub position: usize,
    /// KL(target ‖ raw) and KL(target ‖ learned), nats.
    pub raw_kl: f64,
    pub learned_kl: f64,
    /// Mass on tokens that the target removed.
    pub raw_truncated: f64,
    pub learned_truncated: f64,
    /// Entropies, nats.
    pub raw_entropy: f64,
    pub target_entropy: f64,
    pub learned_entropy: f64,
}

impl Record {
    pub fn measure(position: usize, distributions: &Distributions) -> Self {
        let Distributions { raw, target, learned } = distributions;
        let entropy = |logs: &[f64]| logs.iter().filter(|l| l.is_finite()).map(|l| -l.exp() * l).sum::<f64>();
        let kl = |logs: &[f64]| {
            target.iter().zip(logs).filter(|(t, _)| t.is_finite()).map(|(t, l)| t.exp() * (t - l)).sum::<f64>().max(0.0)
        };
        let removed =
            |logs: &[f64]| target.iter().zip(logs).filter(|(t, _)| !t.is_finite()).map(|(_, l)| l.exp()).sum::<f64>();
        Self {
            row: 0,
            position,
            raw_kl: kl(raw),
            learned_kl: kl(learned),
            raw_truncated: removed(raw),
            learned_truncated: removed(learned),
            raw_entropy: entropy(raw),
            target_entropy: entropy(target),
            learned_entropy: entropy(learned),
        }
    }
}

/// Histograms over all tokens of some positions.
#[derive(Debug, Clone)]
pub struct Curves {
    /// `[raw interval][learned interval]`, and the same of the target's kept tokens.
    learned: Vec<Vec<u64>>,
    target: Vec<Vec<u64>>,
    removed: Vec<u64>,
    /// Count and sum of target probability by predicted probability, of raw and learned distribution.
    calibration: [Vec<(u64, f64)>; 2],
}

impl Default for Curves {
    fn default() -> Self {
        Self {
            learned: vec![vec![0; FINE_BINS]; RAW_BINS],
            target: vec![vec![0; FINE_BINS]; RAW_BINS],
            removed: vec![0; RAW_BINS],
            calibration: [vec![(0, 0.0); CALIBRATION_BINS], vec![(0, 0.0); CALIBRATION_BINS]],
        }
    }
}

/// The interval of a natural log-probability, counted down from 1; what lies below the last one falls into it.
fn interval(log: f64, per_decade: f64, bins: usize) -> usize {
    ((-log / LN_10 * per_decade).max(0.0) as usize).min(bins - 1)
}

/// The middle of an interval, as a natural log-probability.
fn middle(interval: usize, per_decade: f64) -> f64 {
    -(interval as f64 + 0.5) / per_decade * LN_10
}

impl Curves {
    pub fn add(&mut self, distributions: &Distributions) {
        let Distributions { raw, target, learned } = distributions;
        for ((&raw, &target), &learned) in raw.iter().zip(target).zip(learned) {
            for (curve, predicted) in self.calibration.iter_mut().zip([raw, learned]) {
                if -predicted < DECADES * LN_10 {
                    let bin = &mut curve[interval(predicted, CALIBRATION, CALIBRATION_BINS)];
                    bin.0 += 1;
                    bin.1 += target.exp();
                }
            }
            if -raw >= DECADES * LN_10 {
                continue;
            }
            let bin = interval(raw, PER_DECADE, RAW_BINS);
            self.learned[bin][interval(learned, FINE, FINE_BINS)] += 1;
            if target.is_finite() {
                self.target[bin][interval(target, FINE, FINE_BINS)] += 1;
            } else {
                self.removed[bin] += 1;
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        let add = |into: &mut [u64], from: &[u64]| into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        for (into, from) in self.learned.iter_mut().zip(&other.learned) {
            add(into, from);
        }
        for (into, from) in self.target.iter_mut().zip(&other.target) {
            add(into, from);
        }
        add(&mut self.removed, &other.removed);
        for (into, from) in self.calibration.iter_mut().zip(&other.calibration) {
            into.iter_mut().zip(from).for_each(|(a, b)| *a = (a.0 + b.0, a.1 + b.1));
        }
    }

    fn transfer(&self) -> Vec<TransferBin> {
        let quantile = |counts: &[u64], share: f64| {
            let wanted = (counts.iter().sum::<u64>() as f64 * share).ceil().max(1.0) as u64;
            let mut seen = 0;
            // Intervals count down from probability 1, so the lowest probabilities come last.
            let at = (0..counts.len()).rev().find(|&i| {
                seen += counts[i];
                seen >= wanted
            });
            middle(at.unwrap_or(0), FINE)
        };
        (0..RAW_BINS)
            .rev()
            .filter_map(|bin| {
                let count: u64 = self.learned[bin].iter().sum();
                let kept: u64 = self.target[bin].iter().sum();
                (count >= FEWEST).then(|| TransferBin {
                    raw: middle(bin, PER_DECADE),
                    count,
                    learned: [0.1, 0.5, 0.9].map(|share| quantile(&self.learned[bin], share)),
                    target: (kept >= FEWEST).then(|| quantile(&self.target[bin], 0.5)),
                    removed: self.removed[bin] as f64 / count as f64,
                })
            })
            .collect()
    }

    fn calibration(&self) -> Vec<Bin> {
        let mean = |(count, sum): (u64, f64)| if count >= FEWEST { sum / count as f64 } else { f64::NAN };
        (0..CALIBRATION_BINS)
            .rev()
            .map(|bin| {
                let x = middle(bin, CALIBRATION).exp();
                let [raw, learned] = [0, 1].map(|curve| self.calibration[curve][bin]);
                Bin { x, count: raw.0 + learned.0, raw: mean(raw), target: x, learned: mean(learned) }
            })
            .filter(|bin| bin.raw > 0.0 || bin.learned > 0.0)
            .collect()
    }
}

/// Everything about all rows.
#[derive(Default)]
pub struct Statistics {
    records: Vec<Record>,
    /// Sampler of each row.
    samplers: Vec<String>,
    curves: Curves,
}

/// Sums of a group of records.
#[derive(Default, Clone, Copy)]
struct Sums {
    count: usize,
    raw_kl: f64,
    learned_kl: f64,
    raw_truncated: f64,
    learned_truncated: f64,
}

impl Sums {
    fn of<'a>(records: impl Iterator<Item = &'a Record>) -> Self {
        records.fold(Self::default(), |sums, record| Self {
            count: sums.count + 1,
            raw_kl: sums.raw_kl + record.raw_kl,
            learned_kl: sums.learned_kl + record.learned_kl,
            raw_truncated: sums.raw_truncated + record.raw_truncated,
            learned_truncated: sums.learned_truncated + record.learned_truncated,
        })
    }

    fn means(self) -> Self {
        let n = self.count.max(1) as f64;
        Self {
            count: self.count,
            raw_kl: self.raw_kl / n,
            learned_kl: self.learned_kl / n,
            raw_truncated: self.raw_truncated / n,
            learned_truncated: self.learned_truncated / n,
        }
    }
}

impl Statistics {
    /// Adds a row, by the name of the sampler that wrote it.
    pub fn add(&mut self, sampler: &str, replayed: Replayed) {
        let row = self.samplers.len();
        self.samplers.push(sampler.to_owned());
        self.records.extend(replayed.records.into_iter().map(|record| Record { row, ..record }));
        self.curves.merge(&replayed.curves);
    }

    /// All positions, row by row.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The report's numbers, without examples.
    pub fn analysis(&self) -> Analysis {
        let whole = Sums::of(self.records.iter()).means();
        let mut by_position: BTreeMap<usize, Vec<&Record>> = BTreeMap::new();
        let mut by_pipeline: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
        let mut by_entropy: BTreeMap<usize, Vec<&Record>> = BTreeMap::new();
        for record in &self.records {
            by_position.entry(record.position).or_default().push(record);
            by_pipeline.entry(&self.samplers[record.row]).or_default().push(record);
            by_entropy.entry((record.raw_entropy / ENTROPY) as usize).or_default().push(record);
        }
        let mut pipelines: Vec<PipelineMean> = by_pipeline
            .into_iter()
            .map(|(pipeline, records)| {
                let means = Sums::of(records.into_iter()).means();
                PipelineMean {
                    pipeline: pipeline.to_owned(),
                    positions: means.count,
                    raw_kl: means.raw_kl,
                    learned_kl: means.learned_kl,
                }
            })
            .collect();
        pipelines.sort_by(|a, b| b.positions.cmp(&a.positions).then_with(|| a.pipeline.cmp(&b.pipeline)));
        let entropy = by_entropy.into_values().filter(|records| records.len() as u64 >= FEWEST).map(|records| {
            let mean = |read: fn(&Record) -> f64| records.iter().map(|r| read(r)).sum::<f64>() / records.len() as f64;
            let raw = mean(|r| r.raw_entropy);
            let (target, learned) = (mean(|r| r.target_entropy), mean(|r| r.learned_entropy));
            Bin { x: raw, count: records.len() as u64, raw, target, learned }
        });
        Analysis {
            texts: self.samplers.len(),
            positions: self.records.len(),
            raw_kl: whole.raw_kl,
            learned_kl: whole.learned_kl,
            raw_truncated: whole.raw_truncated,
            learned_truncated: whole.learned_truncated,
            by_position: by_position
                .into_iter()
                .filter(|(_, records)| records.len() as u64 >= FEWEST.min(self.samplers.len() as u64))
                .map(|(position, records)| {
                    let means = Sums::of(records.into_iter()).means();
                    PositionMean {
                        position,
                        count: means.count,
                        raw_kl: means.raw_kl,
                        learned_kl: means.learned_kl,
                        raw_truncated: means.raw_truncated,
                        learned_truncated: means.learned_truncated,
                    }
                })
                .collect(),
            by_pipeline: pipelines,
            transfer: self.curves.transfer(),
            calibration: self.curves.calibration(),
            entropy: entropy.collect(),
            examples: Vec::new(),
        }
    }

    /// Positions worth a plot, each of a row of its own as far as there are rows, and why.
    pub fn remarkable(&self) -> Vec<(&'static str, &Record)> {
        // Where the model is all but certain there is nothing to see.
        let open: Vec<&Record> = self.records.iter().filter(|record| record.raw_entropy > 0.3).collect();
        let open: Vec<&Record> = if open.is_empty() { self.records.iter().collect() } else { open };
        let mut kls: Vec<f64> = open.iter().map(|record| record.raw_kl).collect();
        kls.sort_by(f64::total_cmp);
        let median = kls.get(kls.len() / 2).copied().unwrap_or(0.0);
        type Measure<'a> = Box<dyn Fn(&Record) -> f64 + 'a>;
        let wanted: [(&'static str, Measure<'_>); 6] = [
            ("typical position", Box::new(move |r| -(r.raw_kl - median).abs())),
            ("target far from the raw model", Box::new(|r| r.raw_kl)),
            ("model most uncertain", Box::new(|r| r.raw_entropy)),
            ("most mass removed", Box::new(|r| r.raw_truncated)),
            ("best correction", Box::new(|r| r.raw_kl - r.learned_kl)),
            ("worst imitation", Box::new(|r| r.learned_kl)),
        ];
        let mut found: Vec<(&'static str, &Record)> = Vec::new();
        for (why, measure) in wanted {
            let fresh = |record: &&&Record| found.iter().all(|(_, other)| other.row != record.row);
            let best = open.iter().filter(fresh).max_by(|a, b| measure(a).total_cmp(&measure(b)));
            if let Some(record) = best {
                found.push((why, record));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distributions(raw: &[f64], target: &[f64], learned: &[f64]) -> Distributions {
        let logs = |p: &[f64]| p.iter().map(|p| p.ln()).collect();
        Distributions { raw: logs(raw), target: logs(target), learned: logs(learned) }
    }

    #[test]
    fn a_truncation_has_its_closed_form() {
        let record = Record::measure(3, &distributions(&[0.5, 0.3, 0.2], &[0.625, 0.375, 0.0], &[0.625, 0.375, 0.0]));
        // KL(target ‖ raw) = −ln of the kept mass.
        assert!((record.raw_kl + 0.8_f64.ln()).abs() < 1e-12);
        assert!((record.raw_truncated - 0.2).abs() < 1e-12);
        assert_eq!((record.learned_kl, record.learned_truncated), (0.0, 0.0));
    }

    #[test]
    fn curves_follow_the_distributions() {
        let mut statistics = Statistics::default();
        for row in 0..8 {
            let d = distributions(&[0.9, 0.09, 0.01], &[1.0, 0.0, 0.0], &[0.97, 0.02, 0.01]);
            let mut curves = Curves::default();
            curves.add(&d);
            let records = (0..=row % 3).map(|position| Record::measure(position, &d)).collect();
            statistics.add(if row == 0 { "a" } else { "b" }, Replayed { records, curves });
        }
        let analysis = statistics.analysis();
        assert_eq!(analysis.texts, 8);
        let removed: Vec<f64> = analysis.transfer.iter().map(|bin| bin.removed).collect();
        assert_eq!(removed, [1.0, 1.0, 0.0]);
        let top = analysis.transfer.last().unwrap();
        assert!((top.learned[1] - 0.97_f64.ln()).abs() < 0.1 && top.target.is_some());
        assert_eq!(analysis.by_pipeline[0].pipeline, "b");
        assert_eq!(statistics.remarkable().len(), 6);
    }
}
