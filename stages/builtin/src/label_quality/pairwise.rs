//! A generative judge that is shown two replies, and what it said before.

use super::LabelQualityParams;
use crate::label_memo::LabelMemo;
use lsn_digest::{Canonical, Digest};
use lsn_labels::quality::{Comparison, PairJudge, QuestionTemplate, preference};
use lsn_lm::{LanguageModel, LmResult, Message};
use lsn_stage::{
    StageContext, StageError, StageResult,
    record::{FinishReason, Generation, Prompt},
};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// The question to a judge that nobody configured.
pub(super) const QUESTION: &str = "Below are a request and two answers to it, A and B. Judge which answer is better: which one \
does what the request asks for, is correct, and reads well. Their order and their length must not count.\n\n\
[Request]\n{prompt}\n\n[Answer A]\n{first}\n\n[Answer B]\n{second}\n\n\
Name the better answer by its letter, A or B, and say nothing else.";
pub(super) const CUE: &str = "#Preferred: ";

/// Questions between two looks at whether the run was interrupted; what was answered is durable by then.
const BATCH: usize = 64;

/// Whether a row can be shown to a judge.
pub(super) fn can_play(row: &Generation) -> bool {
    row.finish_reason != FinishReason::Error && !row.generation.is_empty()
}

/// A language model that names the better of two replies.
pub(super) struct PairwiseJudge {
    model: LanguageModel,
    digest: Digest,
    question: QuestionTemplate,
    cue: String,
    /// The tokens that name the first and the second reply.
    answers: [u32; 2],
}

impl PairwiseJudge {
    pub fn new(model: LanguageModel, params: &LabelQualityParams) -> StageResult<Self> {
        let failed = |error: &dyn std::fmt::Display| StageError::user(format!("input `judge`: {error}"));
        let question = QuestionTemplate::parse(&params.question)
            .map_err(|missing| StageError::user(format!("parameter `question` {missing}")))?;
        let tokenizer = model.tokenizer().map_err(|error| failed(&error))?;
        let mut answers = [0; 2];
        for (id, answer) in answers.iter_mut().zip(&params.answers) {
            let ids = tokenizer.encode(answer, false).map_err(|error| failed(&error))?;
            *id = *ids.first().ok_or_else(|| failed(&format!("answer `{answer}` has no token")))?;
        }
        if answers[0] == answers[1] {
            let [a, b] = &params.answers;
            return Err(failed(&format!("answers `{a}` and `{b}` begin with the same token"))
                .hint("choose `answers` that the judge's tokenizer tells apart"));
        }
        let mut key = Canonical::new("lsn/pairwise-judge/1");
        key.digest(&Digest::of(model.digest().to_string().as_bytes())).str(&params.question).str(&params.cue);
        answers.iter().for_each(|id| {
            key.u64(u64::from(*id));
        });
        Ok(Self { digest: key.finish(), model, question, cue: params.cue.clone(), answers })
    }

    /// The judge of tournaments about these prompts.
    pub fn about<'a>(&'a self, prompts: Vec<&'a Prompt>, pool: &'a rayon::ThreadPool) -> PairwiseAbout<'a> {
        PairwiseAbout { judge: self, prompts, pool }
    }

    fn preference(&self, prompt: &Prompt, (first, second): (&str, &str)) -> LmResult<f64> {
        let question = self.question.fill(&prompt.prompt, first, second);
        let mut text = match self.model.chat_template() {
            Ok(template) => template.render(&[Message::new("user", &question)], true, &BTreeMap::new())?,
            Err(_) => question,
        };
        text.push_str(&self.cue);
        let ids = self.model.tokenizer()?.encode(&text, false)?;
        let logits = self.model.continuation_logits(&ids, &self.answers[..1])?;
        let [first, second] = self.answers.map(|id| probability(&logits, id as usize));
        Ok(preference(first, second))
    }
}

/// The softmax probability of a token.
fn probability(logits: &[f32], token: usize) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    (f64::from(logits[token]) - max).exp() / sum
}

/// A judge that knows which prompt each tournament is about.
pub(super) struct PairwiseAbout<'a> {
    judge: &'a PairwiseJudge,
    prompts: Vec<&'a Prompt>,
    pool: &'a rayon::ThreadPool,
}

/// A judge whose questions have names.
pub(super) trait NamedQuestions: PairJudge<Error = StageError> {
    /// The digest of everything that decides the answer.
    fn name(&self, asked: &Comparison<'_>) -> Digest;
}

impl NamedQuestions for PairwiseAbout<'_> {
    fn name(&self, asked: &Comparison<'_>) -> Digest {
        let mut key = Canonical::new("lsn/row/label.quality.pair/1");
        key.digest(&self.judge.digest)
            .str(&self.prompts[asked.tournament].prompt)
            .str(asked.texts.0)
            .str(asked.texts.1);
        key.finish()
    }
}

impl PairJudge for PairwiseAbout<'_> {
    type Error = StageError;

    fn judge(&mut self, comparisons: &[Comparison<'_>]) -> StageResult<Vec<f64>> {
        let answer = |asked: &Comparison<'_>| {
            let prompt = self.prompts[asked.tournament];
            let failed = |error| StageError::user(format!("judge, prompt {}: {error}", prompt.prompt_id));
            self.judge.preference(prompt, asked.texts).map_err(failed)
        };
        self.pool.install(|| comparisons.par_iter().map(answer).collect())
    }
}

/// Asks a judge only what it did not answer before, each ordered pair once. An interrupted tournament goes on in the middle of
/// its round.
pub(super) struct Remembered<'a, J> {
    judge: J,
    memo: &'a LabelMemo,
    ctx: &'a StageContext,
}

impl<'a, J> Remembered<'a, J> {
    pub fn new(judge: J, memo: &'a LabelMemo, ctx: &'a StageContext) -> Self {
        Self { judge, memo, ctx }
    }
}

impl<J: NamedQuestions> PairJudge for Remembered<'_, J> {
    type Error = StageError;

    fn judge(&mut self, comparisons: &[Comparison<'_>]) -> StageResult<Vec<f64>> {
        let names: Vec<Digest> = comparisons.iter().map(|asked| self.judge.name(asked)).collect();
        let mut known: HashMap<Digest, Option<f64>> = HashMap::with_capacity(names.len());
        let mut open: Vec<(Digest, Comparison<'_>)> = Vec::new();
        for (name, asked) in names.iter().zip(comparisons) {
            if !known.contains_key(name) {
                let found: Option<f64> = self.memo.get(*name)?;
                if found.is_none() {
                    open.push((*name, *asked));
                }
                known.insert(*name, found);
            }
        }
        for batch in open.chunks(BATCH) {
            self.ctx.check_cancelled()?;
            let questions: Vec<Comparison<'_>> = batch.iter().map(|(_, asked)| *asked).collect();
            let answers = self.judge.judge(&questions)?;
            for ((name, _), answer) in batch.iter().zip(answers) {
                self.memo.put(*name, &answer)?;
                known.insert(*name, Some(answer));
            }
            self.memo.flush()?;
        }
        // Where the judge left an answer out, the tournament sees that one is missing.
        Ok(names.iter().filter_map(|name| known.get(name).copied().flatten()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};
    use crate::{
        harness::{Harness, read},
        label_tests::{MemoryMemo, generation},
    };
    use lsn_stage::NoEvents;
    use std::{cell::Cell, path::Path, sync::Arc};

    /// Prefers longer texts, likes what it is shown first, and fails when its patience is over.
    struct Impatient<'a> {
        asked: &'a Cell<usize>,
        patience: usize,
    }

    impl NamedQuestions for Impatient<'_> {
        fn name(&self, asked: &Comparison<'_>) -> Digest {
            Digest::of(format!("{:?}", asked.texts).as_bytes())
        }
    }

    impl PairJudge for Impatient<'_> {
        type Error = StageError;

        fn judge(&mut self, comparisons: &[Comparison<'_>]) -> StageResult<Vec<f64>> {
            if self.asked.get() + comparisons.len() > self.patience {
                return Err(StageError::cancelled());
            }
            self.asked.set(self.asked.get() + comparisons.len());
            let longer = |asked: &Comparison<'_>| {
                let [a, b] = [asked.texts.0, asked.texts.1].map(|text| text.len() as f64);
                lsn_labels::quality::sigmoid(a - b + 0.5)
            };
            Ok(comparisons.iter().map(longer).collect())
        }
    }

    fn groups(prompts: usize, players: usize) -> Vec<Group<Generation>> {
        let group = |p: usize| {
            let prompt = Prompt::new("d", format!("prompt {p}"), None);
            let row = |i: usize| generation(&prompt, &format!("h{i}"), 0, &format!("{p} {}", "x".repeat(i)));
            Group { prompt_id: prompt.prompt_id, rows: (0..players).map(row).collect() }
        };
        (0..prompts).map(group).collect()
    }

    #[test]
    fn an_interrupted_tournament_goes_on_in_the_middle_of_its_round() {
        let groups = groups(20, 8);
        let params = LabelQualityParams::default();
        let harness = Harness::new();
        let rows = Arc::new(MemoryMemo::default());
        let ctx = harness.context_with(&[], &[], rows.clone(), Arc::new(NoEvents));
        let memo = LabelMemo::open(&ctx, "label.quality").unwrap();
        let rate = |memo: &LabelMemo, asked: &Cell<usize>, patience: usize| {
            let mut summary = Summary::default();
            let tournaments = tournaments(&params, &groups, |_, _| true, &mut summary);
            let mut judge = Remembered::new(Impatient { asked, patience }, memo, &ctx);
            play(&params, &tournaments, &mut judge, |error| error, &mut summary)
        };
        // 20 tournaments of 8 ask 160 questions a round: 2.5 batches.
        let (whole, first, second, third) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
        let fresh = harness.context_with(&[], &[], Arc::new(MemoryMemo::default()), Arc::new(NoEvents));
        let expected = rate(&LabelMemo::open(&fresh, "q").unwrap(), &whole, usize::MAX).unwrap();
        assert_eq!(whole.get(), 160 * 4);
        let stopped = rate(&memo, &first, 160 + BATCH).unwrap_err();
        assert_eq!(stopped.class, lsn_stage::FailureClass::Cancelled);
        assert_eq!((first.get(), rows.computed()), (160 + BATCH, 160 + BATCH));
        assert_eq!(rate(&memo, &second, usize::MAX).unwrap(), expected);
        assert_eq!(first.get() + second.get(), whole.get());
        assert_eq!(rate(&memo, &third, 0).unwrap(), expected);
        // Longer is better, whatever the taste for the first slot.
        let of = |name: &str| expected.iter().find(|label| label.sampler == name).unwrap().bradley_terry_rating;
        assert!(of("h7") > of("h4") && of("h4") > of("h0"));
    }

    #[test]
    fn a_language_model_judges_pairs_and_both_orders_are_reported() {
        let harness = Harness::new();
        let rows: Vec<Generation> = groups(3, 5).into_iter().flat_map(|group| group.rows).collect();
        let input = harness.rows("generations", &rows);
        let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/models/tiny-judge");
        let memo = Arc::new(MemoryMemo::default());
        let mut outputs = Vec::new();
        for _ in 0..2 {
            let inputs: [(&str, &[&Path]); 2] = [("generations", &[&input]), ("judge", &[&judge])];
            let ctx = harness.context_with(&inputs, &["rows", "report"], memo.clone(), Arc::new(NoEvents));
            let question = "{prompt}: A {first}, B {second}".to_owned();
            let params = LabelQualityParams { measure: Measure::Pairwise, question, ..LabelQualityParams::default() };
            LabelQuality.run(params, &ctx).unwrap();
            let report = fs::read_to_string(ctx.output("report").unwrap()).unwrap();
            let report: serde_json::Value = serde_json::from_str(&report).unwrap();
            assert!((0.0..=1.0).contains(&report["flip_rate"].as_f64().unwrap()));
            outputs.push((read::<QualityLabel>(ctx.output("rows").unwrap()), memo.computed()));
        }
        assert_eq!(outputs[0], outputs[1]);
        assert_eq!(outputs[0].0.len(), 15);
        // Both orders of each of two games in each of four rounds, but for rematches, whose answers are remembered.
        let asked = outputs[0].1;
        assert!(asked.is_multiple_of(2) && (3 * 2 * 2 * 3..=3 * 2 * 2 * 4).contains(&asked), "{asked}");
    }

    #[test]
    fn what_the_judge_cannot_be_asked_is_said() {
        let params = LabelQualityParams {
            question: "{prompt} {first}".to_owned(),
            answers: ["A".to_owned(), "A".to_owned()],
            ..LabelQualityParams::default()
        };
        let issues = LabelQuality.check(&params).unwrap_err();
        assert_eq!(issues.iter().map(|issue| issue.pointer.as_str()).collect::<Vec<_>>(), ["/question", "/answers"]);
        let harness = Harness::new();
        let rows = harness.rows("generations", &groups(1, 2).remove(0).rows);
        let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/models/tiny-judge");
        let ctx = harness.context(&[("generations", &[&rows]), ("judge", &[&judge])], &["rows", "report"]);
        let params = LabelQualityParams { measure: Measure::Reward, ..LabelQualityParams::default() };
        assert!(LabelQuality.run(params, &ctx).unwrap_err().message.contains("no reward model"));
    }
}
