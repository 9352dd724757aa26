//! `score`: generations and their labels → one score per row, the best rows to train on, and a ranking of the samplers.
//!
//! Two passes over the data, one prompt in memory at a time: the first finds mean and standard deviation of each metric,
//! the second scores and selects.

mod join;
mod metric;
mod params;
mod ranking;
mod report;

pub use params::ScoreParams;

use join::{Joined, Tables};
use lsn_stage::{
    ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult,
    dataset::DataSetWriter,
    record::{DiversityLabel, Generation, QualityLabel, Record, ScoredRow, VerifiableLabel},
};
use metric::{Metric, Moments, Normalization};
use params::{Missing, Scope};
use ranking::Ranking;
use report::Report;
use std::{collections::BTreeMap, fs};

/// The stage type.
pub struct Score;

impl Stage for Score {
    type Params = ScoreParams;

    fn name(&self) -> &'static str {
        "score"
    }

    fn about(&self) -> &'static str {
        "combines labels into one score per generation, keeps the best rows and ranks the samplers"
    }

    fn version(&self) -> u32 {
        2
    }

    fn inputs(&self, _params: &ScoreParams) -> Vec<Port> {
        let table = |name, record: &str, about| Port::new(name, PortKind::DataSet(record.to_owned()), about);
        vec![
            table("generations", Generation::TYPE, "the generations that were labelled"),
            table("quality", QualityLabel::TYPE, "ratings; without them quality does not count").optional(),
            table("diversity", DiversityLabel::TYPE, "diversities; without them diversity does not count").optional(),
            table("verifiable", VerifiableLabel::TYPE, "verdicts; without them correctness does not count").optional(),
        ]
    }

    fn outputs(&self, _params: &ScoreParams) -> Vec<Port> {
        let rows = || PortKind::DataSet(ScoredRow::TYPE.to_owned());
        vec![
            Port::new("scored", rows(), "every row with its labels, score and rank"),
            Port::new("training", rows(), "the best rows of each prompt and seed"),
            Port::new("report", PortKind::File, "normalisation, what each filter removed, the ranking (JSON)"),
            Port::new("ranking", PortKind::File, "the samplers by mean score, with bootstrap intervals (CSV)"),
        ]
    }

    fn check(&self, params: &ScoreParams) -> Result<(), Vec<ParamIssue>> {
        let issues = params.issues();
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: ScoreParams, ctx: &StageContext) -> StageResult<()> {
        let scorer = Scorer { global: moments(&params, ctx)?, params };
        let mut report = Report::new(&scorer.global, &scorer.params);
        let mut ranking = Ranking::new(scorer.params.bootstrap, scorer.params.seed);
        let mut scored = DataSetWriter::create(ctx.output("scored")?)?;
        let mut training = DataSetWriter::create(ctx.output("training")?)?;
        let mut tables = Tables::open(ctx)?;
        while let Some(rows) = tables.next()? {
            ctx.check_cancelled()?;
            let prompt_id = rows[0].generation.prompt.prompt_id;
            let rows = scorer.prompt(rows, &mut report)?;
            for row in &rows {
                scored.push(row)?;
                if row.rank.is_some_and(|rank| rank <= scorer.params.top_k) {
                    training.push(row)?;
                }
            }
            report.prompt(&rows, scorer.params.top_k);
            ranking.prompt(prompt_id, &rows, scorer.params.top_k);
        }
        report.unmatched_labels = tables.finish()?;
        if report.unmatched_labels > 0 {
            ctx.warn(format!("{} labels belong to no generation", report.unmatched_labels));
        }
        let (scored, training) = (scored.finish()?, training.finish()?);
        if training.rows == 0 {
            return Err(StageError::user(format!("no row is left to train on: {}", report.filters()))
                .hint("set `keep_incorrect: true`, or look at the labels of these generations"));
        }
        let ranking = ranking.finish(scorer.params.confidence);
        let write = |name: &str, content: &[u8]| -> StageResult<()> {
            let path = ctx.output(name)?;
            fs::write(path, content).map_err(|error| StageError::io(format!("cannot write output `{name}`"), &error))
        };
        write("ranking", &ranking::to_csv(&ranking)?)?;
        ctx.metric("rows", scored.rows as f64);
        ctx.metric("training_rows", training.rows as f64);
        ctx.note(format!("{} of {} rows are for training: {}", training.rows, scored.rows, report.filters()));
        write("report", &report.into_json(ranking)?)
    }
}

/// First pass: the moments of each metric over all rows it applies to.
fn moments(params: &ScoreParams, ctx: &StageContext) -> StageResult<Normalization> {
    let mut moments = Moments::default();
    let mut tables = Tables::open(ctx)?;
    while let Some(rows) = tables.next()? {
        ctx.check_cancelled()?;
        rows.iter().for_each(|row| moments.add(row, params));
    }
    Ok(moments.finish())
}

struct Scorer {
    params: ScoreParams,
    global: Normalization,
}

impl Scorer {
    /// Scores and ranks the rows of one prompt; the order of rows stays.
    fn prompt(&self, rows: Vec<Joined>, report: &mut Report) -> StageResult<Vec<ScoredRow>> {
        let own = match self.params.normalize {
            Scope::All => None,
            Scope::Prompt => {
                let mut moments = Moments::default();
                rows.iter().for_each(|row| moments.add(row, &self.params));
                Some(moments.finish())
            }
        };
        let normalization = own.as_ref().unwrap_or(&self.global);
        let mut scored = Vec::with_capacity(rows.len());
        let mut eligible: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for row in rows {
            let [quality, diversity] = self.missing(&row)?;
            report.without_quality += u64::from(quality);
            report.without_diversity += u64::from(diversity);
            let incomplete = quality || diversity;
            let row = self.row(row, normalization);
            if row.generation.defect().is_some() {
                report.unusable += 1;
            } else if incomplete && self.params.missing == Missing::DropRow {
                report.missing_label += 1;
            } else if row.verifiable_reward.is_some_and(|reward| reward < 1.0) && !self.params.keep_incorrect {
                report.incorrect += 1;
            } else {
                eligible.entry(row.generation.seed).or_default().push(scored.len());
            }
            scored.push(row);
        }
        for mut places in eligible.into_values() {
            // A stable sort: equal scores keep the order of the data set.
            places.sort_by(|&a, &b| scored[b].score.total_cmp(&scored[a].score));
            for (place, rank) in places.into_iter().zip(1..) {
                scored[place].rank = Some(rank);
            }
        }
        Ok(scored)
    }

    /// Whether quality or diversity applies to the row and has no value.
    fn missing(&self, row: &Joined) -> StageResult<[bool; 2]> {
        let metrics = [Metric::Quality, Metric::Diversity];
        let missing = metrics.map(|metric| row.applies(metric) && row.value(metric, &self.params).is_none());
        match metrics.iter().zip(missing).find(|(_, missing)| *missing) {
            Some((metric, _)) if self.params.missing == Missing::Fail => Err(StageError::user(format!(
                "generation {} ({}, seed {}) has no {metric} label",
                row.generation.generation_id, row.generation.sampler_info.name, row.generation.seed
            ))
            .hint("label all generations, or choose another `missing`")),
            _ => Ok(missing),
        }
    }

    fn row(&self, row: Joined, normalization: &Normalization) -> ScoredRow {
        let standard = |metric| {
            row.applies(metric).then(|| match row.value(metric, &self.params) {
                Some(value) => normalization.standard(metric, value),
                None if self.params.missing == Missing::Worst => normalization.worst(metric),
                // The mean stands for a missing value.
                None => 0.0,
            })
        };
        let (quality, diversity) = (standard(Metric::Quality), standard(Metric::Diversity));
        let reward = row.verdict();
        let terms = [diversity, quality, reward];
        let mut combined_scores = BTreeMap::new();
        for weights in self.params.combine.weights() {
            let [a, b, c] = weights;
            combined_scores.insert(format!("a{a}_b{b}_c{c}"), weighted_mean(terms, weights));
        }
        let score = weighted_mean(terms, self.params.weights.in_order());
        ScoredRow {
            bradley_terry_rating: row.quality.as_ref().map(|label| label.bradley_terry_rating),
            diversity: row.diversity.as_ref().map(join::scores),
            verifiable_reward: reward,
            normalized_quality: quality,
            normalized_diversity: diversity,
            combined_scores,
            score,
            rank: None,
            generation: row.generation,
        }
    }
}

/// Mean of the terms that are there, 0 where none has a weight.
fn weighted_mean(terms: [Option<f64>; 3], weights: [f64; 3]) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for (term, weight) in terms.into_iter().zip(weights) {
        if let Some(term) = term {
            sum += weight * term;
            total += weight;
        }
    }
    if total > 0.0 { sum / total } else { 0.0 }
}

#[cfg(test)]
mod tests;
