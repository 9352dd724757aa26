//! The evaluation as CSV and as a table for people.

use super::statistics::{Comparison, Entry, Estimate, Evaluation, Outcome};
use lsn_stage::{StageError, StageResult};
use std::fmt::Write;

/// Lists of estimates by name, in the order of the columns.
fn estimates(entry: &Entry) -> [(&'static str, Option<Estimate>); 9] {
    [
        ("score", Some(entry.score)),
        ("quality", entry.quality),
        ("pass_at_1", entry.pass_at_1),
        ("pass_at_k", entry.pass_at_k),
        ("vendi", entry.vendi),
        ("self_bleu", entry.self_bleu),
        ("tokens", Some(entry.tokens)),
        ("difference", entry.against.map(|against| against.difference)),
        ("win_rate", entry.against.map(|against| against.win_rate)),
    ]
}

/// One line per sampler; mean, lower and upper bound of every metric.
pub fn csv(evaluation: &Evaluation) -> StageResult<Vec<u8>> {
    let failed = |error: csv::Error| StageError::user(format!("cannot write output `table`: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for (line, entry) in evaluation.samplers.iter().enumerate() {
        let estimates = estimates(entry);
        if line == 0 {
            let names = ["rank", "sampler", "learned"].map(str::to_owned).into_iter();
            let metrics = estimates
                .iter()
                .flat_map(|(name, _)| [(*name).to_owned(), format!("{name}_low"), format!("{name}_high")]);
            writer.write_record(names.chain(metrics).chain(["outcome".to_owned()])).map_err(failed)?;
        }
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value}"));
        let heads = [entry.rank.to_string(), entry.name.clone(), entry.learned.to_string()].into_iter();
        let values = estimates.iter().flat_map(|(_, estimate)| {
            let interval = estimate.and_then(|estimate| estimate.interval);
            [
                number(estimate.map(|estimate| estimate.mean)),
                number(interval.map(|[low, _]| low)),
                number(interval.map(|[_, high]| high)),
            ]
        });
        let outcome = entry.against.map_or("", |against| word(&against)).to_owned();
        writer.write_record(heads.chain(values).chain([outcome])).map_err(failed)?;
    }
    writer.into_inner().map_err(|error| StageError::user(format!("cannot write output `table`: {error}")))
}

fn word(against: &Comparison) -> &'static str {
    match against.outcome {
        Outcome::Better => "better",
        Outcome::Open => "open",
        Outcome::Worse => "worse",
    }
}

/// The table for people: what was compared, one line per sampler, and the verdict.
pub fn text(evaluation: &Evaluation) -> String {
    let percent = 100.0 * evaluation.confidence;
    let k = evaluation.k;
    let mut lines = vec![["rank", "sampler", "score", "interval", "quality", "pass@1"].map(str::to_owned).to_vec()];
    lines[0].extend([format!("pass@{k}"), "vendi".into(), "tokens".into(), "learned wins".into(), "learned is".into()]);
    for entry in &evaluation.samplers {
        let mean = |estimate: Option<Estimate>, digits: usize| {
            estimate.map_or_else(|| "-".to_owned(), |estimate| format!("{:.digits$}", estimate.mean))
        };
        let share = |estimate: Option<Estimate>| {
            estimate.map_or_else(|| "-".to_owned(), |estimate| format!("{:.0} %", 100.0 * estimate.mean))
        };
        let interval =
            entry.score.interval.map_or_else(|| "-".to_owned(), |[low, high]| format!("{low:.3} … {high:.3}"));
        lines.push(vec![
            entry.rank.to_string(),
            if entry.learned { format!("> {}", entry.name) } else { entry.name.clone() },
            mean(Some(entry.score), 3),
            interval,
            mean(entry.quality, 2),
            share(entry.pass_at_1),
            share(entry.pass_at_k),
            mean(entry.vendi, 2),
            mean(Some(entry.tokens), 1),
            share(entry.against.map(|against| against.win_rate)),
            entry.against.map_or("", |against| word(&against)).to_owned(),
        ]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut out = format!(
        "{} held-out prompts, score with {percent:.0} % bootstrap intervals over prompts\n",
        evaluation.prompts
    );
    for line in &lines {
        let mut text = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let gap = " ".repeat(width - cell.chars().count());
            // Names are flush left, numbers flush right.
            let cell = if matches!(column, 1 | 10) { format!("{cell}{gap}  ") } else { format!("{gap}{cell}  ") };
            text.push_str(&cell);
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out.push_str(&sentence(evaluation));
    out
}

/// The verdict in words, whatever it is.
fn sentence(evaluation: &Evaluation) -> String {
    let verdict = &evaluation.verdict;
    let heuristics = verdict.samplers - 1;
    let mut text = format!(
        "`{}` is number {} of {} by mean score: better than {}, worse than {}, undecided against {} of {heuristics} heuristics.\n",
        evaluation.sampler, verdict.rank, verdict.samplers, verdict.better_than, verdict.worse_than, verdict.undecided,
    );
    let best = &verdict.best_heuristic;
    let ahead = evaluation.samplers.iter().find(|entry| entry.name == *best).and_then(|entry| entry.against);
    if let Some(Comparison { difference, .. }) = ahead {
        let bounds =
            difference.interval.map_or_else(String::new, |[low, high]| format!(" (interval {low:+.3} … {high:+.3})"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "Against the best heuristic, `{best}`, it scores {:+.3}{bounds}.", difference.mean);
    }
    let answer = if verdict.beats_every_heuristic { "It beats" } else { "It does not beat" };
    let _ = writeln!(text, "{answer} every fixed heuristic beyond doubt at this number of prompts.");
    if evaluation.prompts_left_out > 0 {
        let _ =
            writeln!(text, "{} prompts without an answer of every sampler were left out.", evaluation.prompts_left_out);
    }
    text
}
