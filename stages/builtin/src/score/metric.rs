//! The metrics of a row, with the sign "more is better", and their standardisation.

use super::{
    join::Joined,
    params::{DiversityMetric, ScoreParams},
};
use lsn_stage::record::Check;
use serde::Serialize;
use std::fmt;

/// Standard deviations below this are taken as 1, so that a constant metric counts nothing.
const MIN_DEVIATION: f64 = 1e-6;

/// A metric that is standardised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    Quality,
    Diversity,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quality => "quality",
            Self::Diversity => "diversity",
        })
    }
}

impl Joined {
    /// Whether the metric makes sense for the row.
    pub fn applies(&self, metric: Metric) -> bool {
        match metric {
            Metric::Quality => self.rated,
            Metric::Diversity => self.compared && self.generation.prompt.has(Check::Diversity),
        }
    }

    /// The row's value, more is better.
    pub fn value(&self, metric: Metric, params: &ScoreParams) -> Option<f64> {
        let value = match metric {
            Metric::Quality => self.quality.as_ref().map(|label| label.bradley_terry_rating),
            Metric::Diversity => {
                let label = self.diversity.as_ref()?;
                let value = match params.diversity_metric {
                    DiversityMetric::EmbeddingEntropy => label.embedding_entropy,
                    DiversityMetric::LogEmbeddingEntropy => label.log_embedding_entropy,
                    DiversityMetric::VendiScore => label.vendi_score,
                    DiversityMetric::SelfBleu => label.self_bleu,
                    DiversityMetric::LogSelfBleu => label.log_self_bleu,
                };
                value.map(|value| f64::from(params.diversity_metric.sign()) * value)
            }
        };
        value.filter(|value| value.is_finite())
    }
}

/// Count, mean and sum of squared deviations, updated row by row (Welford 1962).
#[derive(Debug, Clone, Copy)]
struct Running {
    count: u64,
    mean: f64,
    squares: f64,
    least: f64,
}

impl Default for Running {
    fn default() -> Self {
        Self { count: 0, mean: 0.0, squares: 0.0, least: f64::INFINITY }
    }
}

impl Running {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        self.least = self.least.min(value);
    }

    fn finish(self) -> MetricMoments {
        let deviation = if self.count > 0 { (self.squares / self.count as f64).sqrt() } else { 0.0 };
        let divisor = if deviation > MIN_DEVIATION { deviation } else { 1.0 };
        let least = if self.count > 0 { self.least } else { self.mean };
        MetricMoments { rows: self.count, mean: self.mean, deviation, divisor, least }
    }
}

/// Moments in the making.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    quality: Running,
    diversity: Running,
}

impl Moments {
    pub fn add(&mut self, row: &Joined, params: &ScoreParams) {
        for metric in [Metric::Quality, Metric::Diversity] {
            if row.applies(metric)
                && let Some(value) = row.value(metric, params)
            {
                match metric {
                    Metric::Quality => self.quality.add(value),
                    Metric::Diversity => self.diversity.add(value),
                }
            }
        }
    }

    pub fn finish(self) -> Normalization {
        Normalization { quality: self.quality.finish(), diversity: self.diversity.finish() }
    }
}

/// Mean and population standard deviation of one metric.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct MetricMoments {
    rows: u64,
    mean: f64,
    deviation: f64,
    #[serde(skip)]
    divisor: f64,
    /// The worst value.
    #[serde(skip)]
    least: f64,
}

/// What turns values into standard scores.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Normalization {
    quality: MetricMoments,
    diversity: MetricMoments,
}

impl Normalization {
    fn moments(&self, metric: Metric) -> &MetricMoments {
        match metric {
            Metric::Quality => &self.quality,
            Metric::Diversity => &self.diversity,
        }
    }

    pub fn standard(&self, metric: Metric, value: f64) -> f64 {
        let moments = self.moments(metric);
        (value - moments.mean) / moments.divisor
    }

    /// The standardised worst value.
    pub fn worst(&self, metric: Metric) -> f64 {
        self.standard(metric, self.moments(metric).least)
    }
}
