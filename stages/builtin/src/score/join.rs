//! Generations with their labels, prompt by prompt.

use lsn_stage::{
    StageContext, StageResult,
    dataset::{DataSetReader, Groups, Lookup},
    record::{DiversityLabel, DiversityScores, Generation, QualityLabel, Record, VerifiableLabel},
};
use std::{collections::HashMap, rc::Rc};

/// A generation and its labels.
pub(super) struct Joined {
    pub generation: Generation,
    pub quality: Option<QualityLabel>,
    pub diversity: Option<Rc<DiversityLabel>>,
    pub verifiable: Option<VerifiableLabel>,
    /// Which tables there are at all.
    pub rated: bool,
    pub compared: bool,
}

impl Joined {
    /// 1 correct, 0 wrong, `None` where there is nothing to verify.
    pub fn verdict(&self) -> Option<f64> {
        self.verifiable.as_ref().and_then(|label| label.verifiable_reward)
    }
}

pub(super) fn scores(label: &Rc<DiversityLabel>) -> DiversityScores {
    DiversityScores {
        self_bleu: label.self_bleu,
        log_self_bleu: label.log_self_bleu,
        embedding_entropy: label.embedding_entropy,
        log_embedding_entropy: label.log_embedding_entropy,
        vendi_score: label.vendi_score,
    }
}

/// The open inputs of the stage.
pub(super) struct Tables {
    generations: Groups<Generation>,
    quality: Option<Lookup<QualityLabel>>,
    diversity: Option<Lookup<DiversityLabel>>,
    verifiable: Option<Lookup<VerifiableLabel>>,
    unmatched: u64,
}

fn open<R: Record>(ctx: &StageContext, name: &str) -> StageResult<Option<Lookup<R>>> {
    let Some(artifact) = ctx.input_opt(name) else { return Ok(None) };
    Ok(Some(DataSetReader::open(&artifact.path)?.lookup()?))
}

impl Tables {
    pub fn open(ctx: &StageContext) -> StageResult<Self> {
        Ok(Self {
            generations: DataSetReader::open(&ctx.input("generations")?.path)?.groups()?,
            quality: open(ctx, "quality")?,
            diversity: open(ctx, "diversity")?,
            verifiable: open(ctx, "verifiable")?,
            unmatched: 0,
        })
    }

    /// The rows of the next prompt, at least one.
    pub fn next(&mut self) -> StageResult<Option<Vec<Joined>>> {
        let Some(group) = self.generations.next().transpose()? else { return Ok(None) };
        let id = group.prompt_id;
        let mut quality = HashMap::new();
        if let Some(table) = &mut self.quality {
            quality.extend(table.take(id)?.into_iter().map(|label| (label.generation_id, label)));
        }
        let mut verifiable = HashMap::new();
        if let Some(table) = &mut self.verifiable {
            verifiable.extend(table.take(id)?.into_iter().map(|label| (label.generation_id, label)));
        }
        let mut diversity = HashMap::new();
        if let Some(table) = &mut self.diversity {
            diversity.extend(table.take(id)?.into_iter().map(|label| (label.sampler.clone(), Rc::new(label))));
        }
        let mut rows = Vec::with_capacity(group.rows.len());
        for generation in group.rows {
            rows.push(Joined {
                quality: quality.remove(&generation.generation_id),
                diversity: diversity.get(&generation.sampler_info.name).cloned(),
                verifiable: verifiable.remove(&generation.generation_id),
                rated: self.quality.is_some(),
                compared: self.diversity.is_some(),
                generation,
            });
        }
        self.unmatched += (quality.len() + verifiable.len()) as u64;
        Ok(Some(rows))
    }

    /// How many labels belong to no generation.
    pub fn finish(self) -> StageResult<u64> {
        let mut unmatched = self.unmatched;
        unmatched += self.quality.map_or(Ok(0), Lookup::finish)?;
        unmatched += self.diversity.map_or(Ok(0), Lookup::finish)?;
        unmatched += self.verifiable.map_or(Ok(0), Lookup::finish)?;
        Ok(unmatched)
    }
}
