//! `label.quality`: generations → a rating of each among the generations of its prompt and seed.
//!
//! Every (prompt, seed) is a Swiss tournament whose outcomes a Bradley–Terry model rates. All tournaments of a chunk of prompts
//! are played at once, so that a judge gets the questions of a round together. Judges are of two kinds:
//! * scalar: each distinct reply is scored once, and a comparison is `P(A better) = σ(β · (s(A) − s(B)))`;
//! * pairwise (`measure: pairwise`): a generative judge is shown both replies and asked which is better; P is that of the token
//!   that names A, of both names' (C. Wang et al., "GRAM: A Generative Foundation Reward Model for Reward Generalization", arXiv
//!   2506.14175). Both presentation orders are asked and averaged; the report says how often they disagree.
//!
//! What the scalar s is matters. The summed log-probability praises short replies, its mean per token praises dull and
//! repetitive ones: a loop is all but certain after its first turn. So
//! * the reply ends in the end-of-text token where the generation did, so that stopping in the wrong place costs;
//! * the sum is divided by `tokens^length_exponent` (1: mean per token; 0: the plain sum; between: Wu et al., arXiv 1609.08144);
//! * `measure: typicality` replaces log-probability by its distance from what the judge expects at each place: minus the
//!   absolute value of `Σ (ln p + H)`, H the judge's entropy. Text by people keeps close to it (C. Meister et al., "Locally
//!   typical sampling", arXiv 2202.00666); greedy and looping text is too certain, incoherent text too surprising;
//! * the judge should be a stronger model than the one that wrote: a model that judges itself praises greedy decoding.

mod pairwise;
mod scalar;

use crate::label_memo::{LabelMemo, for_each_chunk, pool};
use lsn_digest::Canonical;
use lsn_labels::quality::{
    FitOptions, PairJudge, Prior, QuestionTemplate, ScoreJudge, TournamentError, TournamentOptions, TournamentResult,
    rate, run_tournaments,
};
use lsn_lm::{LanguageModel, LoadOptions};
use lsn_stage::{
    ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult,
    dataset::{DataSetReader, DataSetWriter, Group},
    record::{Generation, QualityLabel, Record},
};
use pairwise::{PairwiseJudge, Remembered};
use scalar::{Evidence, ScalarJudge};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, fs};

/// What the judge is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Log-probability under the judge.
    #[default]
    Likelihood,
    /// Minus the distance between the reply's surprise and the surprise that the judge expects.
    Typicality,
    /// The scalar of a reward model: a sequence-classification folder with one label. Its own scale suits `beta: 1`.
    Reward,
    /// Which of two replies is better, as the next token of a generative judge.
    Pairwise,
}

/// Parameters of `label.quality`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelQualityParams {
    pub measure: Measure,
    /// The sum over a reply's tokens is divided by their number to this power; 1 is the mean per token.
    pub length_exponent: f64,
    /// How sharply a difference in score decides a comparison: `P(A better) = σ(beta · (s(A) − s(B)))`, s in nats.
    pub beta: f64,
    /// Rounds of each tournament beyond `ceil(log2 n)`.
    pub extra_rounds: u32,
    /// The question to a pairwise judge, with `{prompt}`, `{first}` and `{second}` in it; the judge's chat template goes around it.
    pub question: String,
    /// What the pairwise judge's answer begins with, up to the token that names the better reply.
    pub cue: String,
    /// What names the first and the second reply behind the cue; the first token of each counts.
    pub answers: [String; 2],
    /// Virtual wins, and as many losses, of each player against an average one: the Bradley–Terry prior.
    pub prior_games: f64,
    /// Seed of the first pairings.
    pub seed: u64,
}

impl Default for LabelQualityParams {
    fn default() -> Self {
        Self {
            measure: Measure::Likelihood,
            length_exponent: 1.0,
            beta: 4.0,
            extra_rounds: 1,
            question: pairwise::QUESTION.to_owned(),
            cue: pairwise::CUE.to_owned(),
            answers: ["A".to_owned(), "B".to_owned()],
            prior_games: 0.5,
            seed: 0,
        }
    }
}

/// The stage type.
pub struct LabelQuality;

impl Stage for LabelQuality {
    type Params = LabelQualityParams;

    fn name(&self) -> &'static str {
        "label.quality"
    }

    fn about(&self) -> &'static str {
        "rates the generations of each prompt and seed by a Swiss tournament under a judge"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, _params: &LabelQualityParams) -> Vec<Port> {
        vec![
            Port::new("generations", PortKind::DataSet(Generation::TYPE.to_owned()), "the generations to rate"),
            Port::new(
                "judge",
                PortKind::Directory,
                "the language model that judges, better a stronger one than the author",
            ),
        ]
    }

    fn outputs(&self, _params: &LabelQualityParams) -> Vec<Port> {
        vec![
            Port::new("rows", PortKind::DataSet(QualityLabel::TYPE.to_owned()), "one rating per generation"),
            Port::new("report", PortKind::File, "games, flip rate and uncertainty of the tournaments (JSON)"),
        ]
    }

    fn check(&self, params: &LabelQualityParams) -> Result<(), Vec<ParamIssue>> {
        let mut issues = Vec::new();
        let mut positive = |name: &str, value: f64| {
            if !(value > 0.0 && value.is_finite()) {
                let message = format!("is {value}, expected a positive number");
                issues.push(ParamIssue { pointer: format!("/{name}"), message, suggestion: None });
            }
        };
        positive("beta", params.beta);
        positive("prior_games", params.prior_games);
        if !(0.0..=2.0).contains(&params.length_exponent) {
            let message = format!("is {}, expected 0 (sum) to 2", params.length_exponent);
            issues.push(ParamIssue { pointer: "/length_exponent".to_owned(), message, suggestion: None });
        }
        if let Err(missing) = QuestionTemplate::parse(&params.question) {
            issues.push(ParamIssue { pointer: "/question".to_owned(), message: missing.to_string(), suggestion: None });
        }
        if params.answers[0] == params.answers[1] || params.answers.iter().any(String::is_empty) {
            let message = "must be two different texts".to_owned();
            issues.push(ParamIssue { pointer: "/answers".to_owned(), message, suggestion: None });
        }
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: LabelQualityParams, ctx: &StageContext) -> StageResult<()> {
        let reader = DataSetReader::<Generation>::open(&ctx.input("generations")?.path)?;
        let model = LanguageModel::load(&ctx.input("judge")?.path, &LoadOptions::default())
            .map_err(|error| StageError::user(format!("input `judge`: {error}")))?;
        let judge = match params.measure {
            Measure::Pairwise => Judge::Pairwise(PairwiseJudge::new(model, &params)?),
            measure => Judge::Scalar(ScalarJudge::new(model, measure)?),
        };
        let memo = LabelMemo::open(ctx, "label.quality")?;
        let mut writer = DataSetWriter::create(ctx.output("rows")?)?;
        let mut summary = Summary::default();
        let pool = pool(ctx)?;
        for_each_chunk(ctx, &reader, &memo, |groups| {
            let labels = match &judge {
                Judge::Scalar(judge) => {
                    let mut evidence = Vec::with_capacity(groups.len());
                    for group in &groups {
                        ctx.check_cancelled()?;
                        evidence.push(pool.install(|| judge.scores(group, &memo))?);
                    }
                    let tournaments = tournaments(&params, &groups, |g, i| evidence[g][i].is_some(), &mut summary);
                    let score = |t: &Tournament<'_>| -> Vec<f64> {
                        let known = t.rows.iter().filter_map(|&i| evidence[t.group][i]);
                        known.map(|evidence| score(&params, evidence)).collect()
                    };
                    let scores = tournaments.iter().map(score).collect();
                    play(
                        &params,
                        &tournaments,
                        &mut ScoreJudge::new(scores, params.beta),
                        |never| match never {},
                        &mut summary,
                    )?
                }
                Judge::Pairwise(judge) => {
                    let rated = |g: usize, i: usize| pairwise::can_play(&groups[g].rows[i]);
                    let tournaments = tournaments(&params, &groups, rated, &mut summary);
                    let prompts = tournaments.iter().map(|t| &t.players[0].prompt).collect();
                    let asked = judge.about(prompts, &pool);
                    play(&params, &tournaments, &mut Remembered::new(asked, &memo, ctx), |error| error, &mut summary)?
                }
            };
            labels.iter().try_for_each(|label| writer.push(label))?;
            Ok(())
        })?;
        writer.finish()?;
        summary.write(ctx)
    }
}

enum Judge {
    Scalar(ScalarJudge),
    Pairwise(PairwiseJudge),
}

fn score(params: &LabelQualityParams, evidence: Evidence) -> f64 {
    let length = f64::from(evidence.tokens).powf(params.length_exponent);
    match params.measure {
        Measure::Likelihood | Measure::Reward | Measure::Pairwise => evidence.sum / length,
        Measure::Typicality => -(evidence.sum / length).abs(),
    }
}

/// The generations of one prompt and seed that meet each other; never none.
struct Tournament<'a> {
    /// The prompt's place in the chunk, and the places of the players among its rows.
    group: usize,
    rows: Vec<usize>,
    players: Vec<&'a Generation>,
    /// Seed of the pairings.
    seed: u64,
}

/// The tournaments of all prompts and seeds of a chunk, among the rows that can be rated.
fn tournaments<'a>(
    params: &LabelQualityParams,
    groups: &'a [Group<Generation>],
    rated: impl Fn(usize, usize) -> bool,
    summary: &mut Summary,
) -> Vec<Tournament<'a>> {
    let mut all = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        let mut seeds: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (i, row) in group.rows.iter().enumerate() {
            if rated(g, i) {
                seeds.entry(row.seed).or_default().push(i);
            } else {
                summary.unrated += 1;
            }
        }
        all.extend(seeds.into_iter().map(|(seed, rows)| Tournament {
            group: g,
            players: rows.iter().map(|&i| &group.rows[i]).collect(),
            rows,
            seed: pairing_seed(params.seed, group, seed),
        }));
    }
    all
}

/// Plays the tournaments, all at once, and rates their players.
fn play<J: PairJudge<Error: std::error::Error>>(
    params: &LabelQualityParams,
    tournaments: &[Tournament<'_>],
    judge: &mut J,
    failed: impl FnOnce(J::Error) -> StageError,
    summary: &mut Summary,
) -> StageResult<Vec<QualityLabel>> {
    let players: Vec<Vec<&str>> =
        tournaments.iter().map(|t| t.players.iter().map(|row| row.generation.as_str()).collect()).collect();
    let seeds: Vec<u64> = tournaments.iter().map(|t| t.seed).collect();
    let options = TournamentOptions { extra_rounds: params.extra_rounds, both_orders: true };
    let results = run_tournaments(&players, &seeds, &options, judge).map_err(|error| match error {
        TournamentError::Judge(error) => failed(error),
        other => StageError::user(format!("tournaments: {other}")),
    })?;
    let fit = FitOptions { prior: Prior::Anchor { games: params.prior_games }, ..FitOptions::default() };
    let mut labels = Vec::new();
    for (tournament, result) in tournaments.iter().zip(&results) {
        let prompt = tournament.players[0].prompt.prompt_id;
        let ratings = rate(tournament.players.len(), &result.games, &fit)
            .map_err(|error| StageError::user(format!("tournament of prompt {prompt}: {error}")))?;
        let mut games = vec![0; tournament.players.len()];
        for game in &result.games {
            games[game.a] += 1;
            games[game.b] += 1;
        }
        summary.add(result, &ratings.standard_errors);
        labels.extend(tournament.players.iter().enumerate().map(|(player, row)| QualityLabel {
            prompt_id: prompt,
            generation_id: row.generation_id,
            sampler: row.sampler_info.name.clone(),
            seed: row.seed,
            bradley_terry_rating: ratings.ratings[player],
            standard_error: Some(ratings.standard_errors[player]),
            games: games[player],
            points: result.scores[player],
        }));
    }
    Ok(labels)
}

/// A tournament's pairings depend on its prompt and seed, not on what else is labelled.
fn pairing_seed(base: u64, group: &Group<Generation>, seed: u64) -> u64 {
    let mut canonical = Canonical::new("lsn/swiss-seed/1");
    let digest = canonical.u64(base).digest(&group.prompt_id.0).u64(seed).finish();
    let mut head = [0; 8];
    head.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(head)
}

/// Numbers on all tournaments.
#[derive(Default)]
struct Summary {
    tournaments: u64,
    players: u64,
    games: u64,
    both_orders: u64,
    flipped: u64,
    standard_error: f64,
    unrated: u64,
}

impl Summary {
    fn add(&mut self, result: &TournamentResult, standard_errors: &[f64]) {
        self.tournaments += 1;
        self.players += standard_errors.len() as u64;
        self.games += result.games.len() as u64;
        self.both_orders += result.games.iter().filter(|game| game.b_first.is_some()).count() as u64;
        self.flipped += result.games.iter().filter(|game| game.flipped()).count() as u64;
        self.standard_error += standard_errors.iter().sum::<f64>();
    }

    fn write(&self, ctx: &StageContext) -> StageResult<()> {
        let flip_rate = (self.both_orders > 0).then(|| self.flipped as f64 / self.both_orders as f64);
        let standard_error = (self.players > 0).then(|| self.standard_error / self.players as f64);
        let report = json!({
            "tournaments": self.tournaments,
            "players": self.players,
            "games": self.games,
            "flip_rate": flip_rate,
            "mean_standard_error": standard_error,
            "unrated_generations": self.unrated,
        });
        let path = ctx.output("report")?;
        fs::write(path, format!("{report:#}\n")).map_err(|error| StageError::io(path.display(), &error))?;
        ctx.metric("quality/games", self.games as f64);
        if let Some(flip_rate) = flip_rate {
            ctx.metric("quality/flip_rate", flip_rate);
        }
        if self.unrated > 0 {
            ctx.warn(format!("{} generations failed or are empty and have no rating", self.unrated));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{scalar::excess, *};
    use crate::label_tests::generation;
    use lsn_stage::record::Prompt;

    #[test]
    fn excess_is_zero_on_average() {
        let logits = [0.3_f32, -1.0, 2.0, 0.0];
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let mean: f64 = (0..4).map(|i| f64::from(logits[i]).exp() / sum * excess(&logits, i)).sum();
        assert!(mean.abs() < 1e-12);
        assert!(excess(&logits, 2) > 0.0 && excess(&logits, 1) < 0.0);
    }

    #[test]
    fn ratings_follow_the_scores_within_each_seed() {
        let prompt = Prompt::new("d", "p", None);
        let rows: Vec<Generation> =
            (0..10).map(|i| generation(&prompt, &format!("h{}", i / 2), i % 2, &format!("text {i}"))).collect();
        let groups = [Group { prompt_id: prompt.prompt_id, rows }];
        let params = LabelQualityParams::default();
        let mut summary = Summary::default();
        // The last row has no score.
        let tournaments = tournaments(&params, &groups, |_, i| i != 9, &mut summary);
        let scores = tournaments.iter().map(|t| t.rows.iter().map(|&i| 0.5 * i as f64).collect()).collect();
        let labels = play(
            &params,
            &tournaments,
            &mut ScoreJudge::new(scores, params.beta),
            |never| match never {},
            &mut summary,
        )
        .unwrap();
        assert_eq!((labels.len(), summary.unrated, summary.tournaments), (9, 1, 2));
        for seed in 0..2 {
            let mut ratings: Vec<(&str, f64)> = labels
                .iter()
                .filter(|label| label.seed == seed)
                .map(|label| (label.sampler.as_str(), label.bradley_terry_rating))
                .collect();
            ratings.sort_by(|a, b| a.0.cmp(b.0));
            assert!(ratings.windows(2).all(|pair| pair[0].1 < pair[1].1), "{ratings:?}");
            assert!(ratings.iter().map(|(_, rating)| rating).sum::<f64>().abs() < 1e-9);
        }
    }

    #[test]
    fn length_rules_do_what_they_say() {
        let of = |exponent, sum, tokens| {
            score(&LabelQualityParams { length_exponent: exponent, ..Default::default() }, Evidence { sum, tokens })
        };
        assert_eq!(of(1.0, -8.0, 4), of(1.0, -4.0, 2));
        assert!(of(0.0, -8.0, 4) < of(0.0, -4.0, 2));
        let typical = LabelQualityParams { measure: Measure::Typicality, ..Default::default() };
        assert_eq!(
            score(&typical, Evidence { sum: 3.0, tokens: 3 }),
            score(&typical, Evidence { sum: -3.0, tokens: 3 })
        );
    }
}
