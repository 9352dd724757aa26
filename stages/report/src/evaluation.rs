//! The evaluation table: every sampler's metrics on held-out prompts.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A number with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub value: f64,
    /// Lower end of the 95 % interval.
    #[serde(default)]
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    #[serde(default)]
    pub high: Option<f64>,
}

/// One metric of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricColumn {
    /// Under which [`EvaluationRow::values`] hold it.
    pub key: String,
    pub label: String,
    /// Which direction is good, where one is.
    #[serde(default)]
    pub higher_is_better: Option<bool>,
}

/// One sampler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRow {
    pub sampler: String,
    /// The trained network, as opposed to a fixed heuristic.
    pub learned: bool,
    pub values: BTreeMap<String, Estimate>,
}

/// The learned sampler against the best fixed heuristic, paired over prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub best_fixed: String,
    /// Learned minus best fixed, in the primary metric.
    pub difference: Estimate,
    /// How many fixed heuristics it is better than beyond the interval, undecided against, and worse than.
    #[serde(default)]
    pub against: Option<[u32; 3]>,
}

/// All samplers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Key of the metric that decides.
    pub primary: String,
    pub columns: Vec<MetricColumn>,
    pub rows: Vec<EvaluationRow>,
    #[serde(default)]
    pub comparison: Option<Comparison>,
    /// How many held-out prompts.
    #[serde(default)]
    pub prompts: Option<u64>,
}

/// How the learned sampler stands against the best fixed heuristic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The interval of the difference lies above zero.
    Ahead,
    /// The interval of the difference holds zero, or is unknown.
    Level,
    /// The interval of the difference lies below zero.
    Behind,
}

impl Evaluation {
    /// Rows from best to worst in the primary metric; rows without it last.
    #[must_use]
    pub fn ranked(&self) -> Vec<&EvaluationRow> {
        let value = |row: &EvaluationRow| row.values.get(&self.primary).map_or(f64::NEG_INFINITY, |e| e.value);
        let sign = if self.column(&self.primary).and_then(|c| c.higher_is_better) == Some(false) { -1.0 } else { 1.0 };
        let mut rows: Vec<&EvaluationRow> = self.rows.iter().collect();
        rows.sort_by(|a, b| (sign * value(b)).total_cmp(&(sign * value(a))).then_with(|| a.sampler.cmp(&b.sampler)));
        rows
    }

    /// A column by its key.
    #[must_use]
    pub fn column(&self, key: &str) -> Option<&MetricColumn> {
        self.columns.iter().find(|column| column.key == key)
    }

    /// Place of the learned sampler in [`Evaluation::ranked`], from 1, and the number of samplers.
    #[must_use]
    pub fn place(&self) -> Option<(usize, usize)> {
        let ranked = self.ranked();
        ranked.iter().position(|row| row.learned).map(|place| (place + 1, ranked.len()))
    }

    /// The answer to the question that the evaluation asks.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        let difference = self.comparison.as_ref()?.difference;
        Some(match (difference.low, difference.high) {
            (Some(low), _) if low > 0.0 => Standing::Ahead,
            (_, Some(high)) if high < 0.0 => Standing::Behind,
            _ => Standing::Level,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(low: f64, high: f64) -> Evaluation {
        let row = |sampler: &str, learned, value| EvaluationRow {
            sampler: sampler.to_owned(),
            learned,
            values: BTreeMap::from([("score".to_owned(), Estimate { value, low: None, high: None })]),
        };
        Evaluation {
            primary: "score".to_owned(),
            columns: vec![],
            rows: vec![row("a", false, 0.1), row("net", true, 0.3), row("b", false, 0.5)],
            comparison: Some(Comparison {
                best_fixed: "b".to_owned(),
                difference: Estimate { value: (low + high) / 2.0, low: Some(low), high: Some(high) },
                against: None,
            }),
            prompts: None,
        }
    }

    #[test]
    fn an_interval_that_holds_zero_is_no_win() {
        assert_eq!(evaluation(0.1, 0.2).standing(), Some(Standing::Ahead));
        assert_eq!(evaluation(-0.1, 0.2).standing(), Some(Standing::Level));
        assert_eq!(evaluation(-0.2, -0.1).standing(), Some(Standing::Behind));
        assert_eq!(evaluation(0.0, 0.0).place(), Some((2, 3)));
    }
}
