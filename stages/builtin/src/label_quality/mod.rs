//! `label.quality`: generations → a rating of each among the generations of its prompt and seed.
//!
//! Every (prompt, seed) is a Swiss tournament whose outcomes a Bradley–Terry model rates. The judge here is a language model
//! that scores each distinct reply once; a comparison is `P(A better) = σ(β · (s(A) − s(B)))`.
//!
//! What s is matters. The summed log-probability praises short replies, its mean per token praises dull and repetitive ones:
//! a loop is all but certain after its first turn. So
//! * the reply ends in the end-of-text token where the generation did, so that stopping in the wrong place costs;
//! * the sum is divided by `tokens^length_exponent` (1: mean per token; 0: the plain sum; between: Wu et al., arXiv 1609.08144);
//! * `measure: typicality` replaces log-probability by its distance from what the judge expects at each place: minus the
//!   absolute value of `Σ (ln p + H)`, H the judge's entropy. Text by people keeps close to it (C. Meister et al., "Locally
//!   typical sampling", arXiv 2202.00666); greedy and looping text is too certain, incoherent text too surprising;
//! * the judge should be a stronger model than the one that wrote: a model that judges itself praises greedy decoding.

use crate::label_memo::{LabelMemo, for_each_chunk, pool};
use lsn_digest::{Canonical, Digest};
use lsn_labels::quality::{FitOptions, Prior, ScoreJudge, TournamentOptions, TournamentResult, rate, run_tournaments};
use lsn_lm::{LanguageModel, LoadOptions};
use lsn_stage::{
    ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult,
    dataset::{DataSetReader, DataSetWriter, Group},
    record::{FinishReason, Generation, QualityLabel, Record},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
};

/// What the judge reads off a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Log-probability under the judge.
    #[default]
    Likelihood,
    /// Minus the distance between the reply's surprise and the surprise that the judge expects.
    Typicality,
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
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: LabelQualityParams, ctx: &StageContext) -> StageResult<()> {
        let reader = DataSetReader::<Generation>::open(&ctx.input("generations")?.path)?;
        let judge = Judge::load(ctx, &params)?;
        let mut writer = DataSetWriter::create(ctx.output("rows")?)?;
        let mut summary = Summary::default();
        let pool = pool(ctx)?;
        for_each_chunk(ctx, &reader, &judge.memo, |groups| {
            for group in groups {
                ctx.check_cancelled()?;
                let scores = pool.install(|| judge.scores(&group))?;
                for label in tournaments(&params, &group, &scores, &mut summary)? {
                    writer.push(&label)?;
                }
            }
            Ok(())
        })?;
        writer.finish()?;
        summary.write(ctx)
    }
}

/// The language model that scores replies, and what it scored before.
struct Judge {
    model: LanguageModel,
    digest: Digest,
    measure: Measure,
    memo: LabelMemo,
}

/// What a reply is scored on: its sum over tokens and their number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Evidence {
    sum: f64,
    tokens: u32,
}

impl Judge {
    fn load(ctx: &StageContext, params: &LabelQualityParams) -> StageResult<Self> {
        let artifact = ctx.input("judge")?;
        let model = LanguageModel::load(&artifact.path, &LoadOptions::default())
            .map_err(|error| StageError::user(format!("input `judge`: {error}")))?;
        let digest = Digest::of(model.digest().to_string().as_bytes());
        Ok(Self { model, digest, measure: params.measure, memo: LabelMemo::open(ctx, "label.quality")? })
    }

    fn key(&self, prompt: &[u32], reply: &[u32]) -> Digest {
        let mut key = Canonical::new("lsn/row/label.quality/1");
        key.digest(&self.digest).str(match self.measure {
            Measure::Likelihood => "likelihood",
            Measure::Typicality => "typicality",
        });
        for ids in [prompt, reply] {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            key.bytes(&bytes);
        }
        key.finish()
    }

    /// The evidence on every row of one prompt; each distinct reply is scored once. Failed rows have none.
    fn scores(&self, group: &Group<Generation>) -> StageResult<Vec<Option<Evidence>>> {
        let Some(first) = group.rows.first() else { return Ok(Vec::new()) };
        let failed = |error| StageError::user(format!("judge, prompt {}: {error}", group.prompt_id));
        let prompt =
            self.model.encode_prompt(&first.prompt.prompt, first.prompt.system_prompt.as_deref()).map_err(failed)?;
        let mut replies = Vec::with_capacity(group.rows.len());
        for row in &group.rows {
            replies.push(self.reply(row)?);
        }
        let mut known: HashMap<&[u32], Evidence> = HashMap::new();
        let mut missing: Vec<&[u32]> = Vec::new();
        for reply in replies.iter().flatten() {
            if known.contains_key(reply.as_slice()) || missing.contains(&reply.as_slice()) {
                continue;
            }
            match self.memo.get(self.key(&prompt, reply))? {
                Some(evidence) => {
                    known.insert(reply, evidence);
                }
                None => missing.push(reply),
            }
        }
        for (reply, evidence) in missing.iter().zip(self.evidence(&prompt, &missing).map_err(failed)?) {
            self.memo.put(self.key(&prompt, reply), &evidence)?;
            known.insert(reply, evidence);
        }
        Ok(replies.iter().map(|reply| reply.as_ref().and_then(|ids| known.get(ids.as_slice()).copied())).collect())
    }

    /// The judge's ids of a reply; none for a failed row or an empty one that did not even end.
    fn reply(&self, row: &Generation) -> StageResult<Option<Vec<u32>>> {
        if row.finish_reason == FinishReason::Error {
            return Ok(None);
        }
        let encoded = self.model.tokenizer().and_then(|tokenizer| tokenizer.encode(&row.generation, false));
        let mut ids = encoded.map_err(|error| StageError::user(format!("judge: {error}")))?;
        if row.finish_reason == FinishReason::Stop {
            ids.extend(self.model.eos_ids().first());
        }
        Ok(if ids.is_empty() { None } else { Some(ids) })
    }

    fn evidence(&self, prompt: &[u32], replies: &[&[u32]]) -> Result<Vec<Evidence>, lsn_lm::LmError> {
        use rayon::prelude::*;
        match self.measure {
            Measure::Likelihood => {
                let scored = self.model.score_continuations(prompt, replies)?;
                Ok(scored
                    .into_iter()
                    .map(|tokens| Evidence {
                        sum: tokens.iter().map(|&p| f64::from(p)).sum(),
                        tokens: tokens.len() as u32,
                    })
                    .collect())
            }
            Measure::Typicality => replies
                .par_iter()
                .map(|reply| {
                    let logits = self.model.continuation_logits(prompt, reply)?;
                    let vocabulary = logits.len() / reply.len();
                    let rows = logits.chunks_exact(vocabulary).zip(reply.iter());
                    let sum = rows.map(|(row, &id)| excess(row, id as usize)).sum();
                    Ok(Evidence { sum, tokens: reply.len() as u32 })
                })
                .collect(),
        }
    }
}

/// `ln p(token) + H`: how much more likely a token is than the distribution expects of its tokens.
fn excess(logits: &[f32], token: usize) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let (mut sum, mut weighted) = (0.0, 0.0);
    for &logit in logits {
        let shifted = f64::from(logit) - max;
        let weight = shifted.exp();
        sum += weight;
        if weight > 0.0 {
            weighted += weight * shifted;
        }
    }
    f64::from(logits[token]) - max - weighted / sum
}

fn score(params: &LabelQualityParams, evidence: Evidence) -> f64 {
    let length = f64::from(evidence.tokens).powf(params.length_exponent);
    match params.measure {
        Measure::Likelihood => evidence.sum / length,
        Measure::Typicality => -(evidence.sum / length).abs(),
    }
}

/// Plays and rates the tournaments of all seeds of one prompt.
fn tournaments(
    params: &LabelQualityParams,
    group: &Group<Generation>,
    evidence: &[Option<Evidence>],
    summary: &mut Summary,
) -> StageResult<Vec<QualityLabel>> {
    let mut seeds: BTreeMap<u64, Vec<(usize, f64)>> = BTreeMap::new();
    for (i, row) in group.rows.iter().enumerate() {
        match evidence[i] {
            Some(evidence) => seeds.entry(row.seed).or_default().push((i, score(params, evidence))),
            None => summary.unrated += 1,
        }
    }
    let players: Vec<Vec<&str>> = seeds
        .values()
        .map(|players| players.iter().map(|(i, _)| group.rows[*i].generation.as_str()).collect())
        .collect();
    let pairing_seeds: Vec<u64> = seeds.keys().map(|&seed| pairing_seed(params.seed, group, seed)).collect();
    let mut judge =
        ScoreJudge::new(seeds.values().map(|p| p.iter().map(|(_, score)| *score).collect()).collect(), params.beta);
    let options = TournamentOptions { extra_rounds: params.extra_rounds, both_orders: true };
    let failed = |error: String| StageError::user(format!("tournament of prompt {}: {error}", group.prompt_id));
    let results =
        run_tournaments(&players, &pairing_seeds, &options, &mut judge).map_err(|error| failed(error.to_string()))?;
    let fit = FitOptions { prior: Prior::Anchor { games: params.prior_games }, ..FitOptions::default() };
    let mut labels = Vec::with_capacity(group.rows.len());
    for (players, result) in seeds.values().zip(&results) {
        let ratings = rate(players.len(), &result.games, &fit).map_err(|error| failed(error.to_string()))?;
        let mut games = vec![0; players.len()];
        for game in &result.games {
            games[game.a] += 1;
            games[game.b] += 1;
        }
        summary.add(result, &ratings.standard_errors);
        for (player, (i, _)) in players.iter().enumerate() {
            let row = &group.rows[*i];
            labels.push(QualityLabel {
                prompt_id: row.prompt.prompt_id,
                generation_id: row.generation_id,
                sampler: row.sampler_info.name.clone(),
                seed: row.seed,
                bradley_terry_rating: ratings.ratings[player],
                standard_error: Some(ratings.standard_errors[player]),
                games: games[player],
                points: result.scores[player],
            });
        }
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
    use super::*;
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
        let group = Group { prompt_id: prompt.prompt_id, rows };
        let evidence: Vec<Option<Evidence>> =
            (0..10).map(|i| (i != 9).then(|| Evidence { sum: -2.0 * f64::from(10 - i), tokens: 4 })).collect();
        let mut summary = Summary::default();
        let labels = tournaments(&LabelQualityParams::default(), &group, &evidence, &mut summary).unwrap();
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
