//! `label.diversity`: the generations of one prompt by one sampler → how different they are from each other.
//!
//! Texts are embedded by a sentence encoder, or, where the folder holds a language model, by the mean of its hidden states over
//! the reply's tokens, given the prompt, scaled to length 1. A language model's states share a large common direction, so entropies are
//! small: they rank sets well, but are not comparable between embedders.

use crate::label_memo::{LabelMemo, for_each_chunk, pool};
use lsn_digest::{Canonical, Digest};
use lsn_labels::diversity::{BleuForm, BleuTokenizer, Order, Spectrum, self_bleu};
use lsn_lm::{LanguageModel, LoadOptions, TextEncoder};
use lsn_stage::{
    ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult,
    dataset::{DataSetReader, DataSetWriter, Group},
    record::{DiversityLabel, FinishReason, Generation, Record},
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// The smallest value whose logarithm is stored.
const LOG_FLOOR: f64 = 1e-9;

/// Parameters of `label.diversity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelDiversityParams {
    /// How texts are cut into tokens for self-BLEU.
    pub tokenizer: BleuTokenizer,
    /// Longest n-grams that self-BLEU counts.
    pub max_order: usize,
    /// Hidden states of which layer of a language model embed a text, as a share of the depth in percent: 100 is the last one.
    pub layer_percent: u8,
}

impl Default for LabelDiversityParams {
    fn default() -> Self {
        Self { tokenizer: BleuTokenizer::V13a, max_order: 4, layer_percent: 100 }
    }
}

/// The stage type.
pub struct LabelDiversity;

impl Stage for LabelDiversity {
    type Params = LabelDiversityParams;

    fn name(&self) -> &'static str {
        "label.diversity"
    }

    fn about(&self) -> &'static str {
        "measures how different the generations of each prompt and sampler are: self-BLEU, embedding entropy, Vendi score"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, _params: &LabelDiversityParams) -> Vec<Port> {
        let about = "a sentence encoder (BERT class: MiniLM, BGE, …), or a language model whose hidden states embed \
                     the texts; without it only self-BLEU is measured";
        vec![
            Port::new("generations", PortKind::DataSet(Generation::TYPE.to_owned()), "the generations to compare"),
            Port::new("embedder", PortKind::Directory, about).optional(),
        ]
    }

    fn outputs(&self, _params: &LabelDiversityParams) -> Vec<Port> {
        vec![Port::new("rows", PortKind::DataSet(DiversityLabel::TYPE.to_owned()), "one row per prompt and sampler")]
    }

    fn check(&self, params: &LabelDiversityParams) -> Result<(), Vec<ParamIssue>> {
        let mut issues = Vec::new();
        if !(1..=16).contains(&params.max_order) {
            let message = format!("is {}, expected 1 to 16", params.max_order);
            issues.push(ParamIssue { pointer: "/max_order".to_owned(), message, suggestion: None });
        }
        if params.layer_percent > 100 {
            let message = format!("is {}, expected 0 (token embeddings) to 100 (last layer)", params.layer_percent);
            issues.push(ParamIssue { pointer: "/layer_percent".to_owned(), message, suggestion: None });
        }
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: LabelDiversityParams, ctx: &StageContext) -> StageResult<()> {
        let reader = DataSetReader::<Generation>::open(&ctx.input("generations")?.path)?;
        let memo = LabelMemo::open(ctx, "label.diversity")?;
        let embedder = Embedder::load(ctx, &params)?;
        let mut writer = DataSetWriter::create(ctx.output("rows")?)?;
        let pool = pool(ctx)?;
        let mut single = 0_u64;
        for_each_chunk(ctx, &reader, &memo, |groups| {
            for group in groups {
                ctx.check_cancelled()?;
                for label in pool.install(|| labels(&params, embedder.as_ref(), &memo, &group))? {
                    single += u64::from(label.samples < 2);
                    writer.push(&label)?;
                }
            }
            Ok(())
        })?;
        writer.finish()?;
        if single > 0 {
            ctx.warn(format!(
                "{single} of the prompt × sampler sets have one generation: nothing to compare; use more seeds"
            ));
        }
        Ok(())
    }
}

/// What is remembered of a set of texts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct SetDiversity {
    self_bleu: Option<f64>,
    entropy_bits: Option<f64>,
    vendi: Option<f64>,
}

fn labels(
    params: &LabelDiversityParams,
    embedder: Option<&Embedder>,
    memo: &LabelMemo,
    group: &Group<Generation>,
) -> StageResult<Vec<DiversityLabel>> {
    let mut sets: BTreeMap<&str, Vec<&Generation>> = BTreeMap::new();
    for row in group.rows.iter().filter(|row| row.finish_reason != FinishReason::Error) {
        sets.entry(&row.sampler_info.name).or_default().push(row);
    }
    let mut found: Vec<Option<SetDiversity>> = Vec::with_capacity(sets.len());
    for rows in sets.values() {
        found.push(memo.get(set_key(params, embedder, rows))?);
    }
    // Only texts of sets that are not known yet are embedded, each distinct one once.
    let open: Vec<&Generation> = sets
        .values()
        .zip(&found)
        .filter(|(_, known)| known.is_none())
        .flat_map(|(rows, _)| rows.iter().copied())
        .collect();
    let embeddings = match embedder {
        Some(embedder) => embedder.embed(&open)?,
        None => HashMap::new(),
    };
    let mut labels = Vec::with_capacity(sets.len());
    for ((sampler, rows), known) in sets.iter().zip(found) {
        let diversity = match known {
            Some(known) => known,
            None => {
                let diversity = measure(params, rows, &embeddings);
                memo.put(set_key(params, embedder, rows), &diversity)?;
                diversity
            }
        };
        let log = |value: Option<f64>| value.map(|value| value.max(LOG_FLOOR).ln());
        labels.push(DiversityLabel {
            prompt_id: group.prompt_id,
            sampler: (*sampler).to_owned(),
            samples: rows.len() as u32,
            self_bleu: diversity.self_bleu,
            log_self_bleu: log(diversity.self_bleu),
            embedding_entropy: diversity.entropy_bits,
            log_embedding_entropy: log(diversity.entropy_bits),
            vendi_score: diversity.vendi,
        });
    }
    Ok(labels)
}

fn measure(params: &LabelDiversityParams, rows: &[&Generation], embeddings: &HashMap<&str, Vec<f32>>) -> SetDiversity {
    let texts: Vec<&str> = rows.iter().map(|row| row.generation.as_str()).collect();
    let bleu = self_bleu(&texts, params.tokenizer, params.max_order, BleuForm::default()).map(|bleu| bleu.mean);
    // A single text has no diversity to measure; an empty one no embedding.
    let vectors: Vec<&Vec<f32>> = texts.iter().filter_map(|text| embeddings.get(text)).collect();
    let spectrum = if vectors.len() >= 2 { Spectrum::of_embeddings(&vectors).ok() } else { None };
    SetDiversity {
        self_bleu: bleu,
        entropy_bits: spectrum.as_ref().map(Spectrum::entropy_bits),
        vendi: spectrum.as_ref().map(|spectrum| spectrum.vendi(Order::Finite(1.0))),
    }
}

fn set_key(params: &LabelDiversityParams, embedder: Option<&Embedder>, rows: &[&Generation]) -> Digest {
    let mut key = Canonical::new("lsn/row/label.diversity/1");
    // As the parameter is written, not as the code calls it.
    let tokenizer = serde_json::to_value(params.tokenizer).unwrap_or_default();
    key.json(&tokenizer).u64(params.max_order as u64);
    match embedder {
        Some(embedder) => key.digest(&embedder.digest).u64(embedder.layer() as u64),
        None => key.none(),
    };
    if let Some(first) = rows.first() {
        key.digest(&first.prompt.prompt_id.0);
    }
    key.seq(rows.len());
    for row in rows {
        key.str(&row.generation);
    }
    key.finish()
}

/// Embeds replies, by an encoder made for it or by the hidden states of a language model.
struct Embedder {
    network: Network,
    digest: Digest,
}

enum Network {
    Encoder(Box<TextEncoder>),
    LanguageModel { model: Box<LanguageModel>, layer: usize },
}

impl Embedder {
    fn load(ctx: &StageContext, params: &LabelDiversityParams) -> StageResult<Option<Self>> {
        let Some(artifact) = ctx.input_opt("embedder") else { return Ok(None) };
        let failed = |error| StageError::user(format!("input `embedder`: {error}"));
        if TextEncoder::is_encoder(&artifact.path) {
            let encoder = TextEncoder::load(&artifact.path).map_err(failed)?;
            return Ok(Some(Self {
                digest: Digest::of(encoder.digest()),
                network: Network::Encoder(Box::new(encoder)),
            }));
        }
        let model = LanguageModel::load(&artifact.path, &LoadOptions::default()).map_err(failed)?;
        let layers = model.config().layers.len();
        Ok(Some(Self {
            digest: Digest::of(model.digest().to_string().as_bytes()),
            network: Network::LanguageModel {
                layer: (layers * usize::from(params.layer_percent) + 50) / 100,
                model: Box::new(model),
            },
        }))
    }

    /// The layer that embeds, where there is a choice.
    fn layer(&self) -> usize {
        match &self.network {
            Network::Encoder(_) => 0,
            Network::LanguageModel { layer, .. } => *layer,
        }
    }

    /// The embedding of each distinct text, of rows of one prompt. Empty texts have none.
    fn embed<'a>(&self, rows: &[&'a Generation]) -> StageResult<HashMap<&'a str, Vec<f32>>> {
        let Some(first) = rows.first() else { return Ok(HashMap::new()) };
        let failed = |error| StageError::user(format!("embedder, prompt {}: {error}", first.prompt.prompt_id));
        let mut texts: Vec<&str> =
            rows.iter().map(|row| row.generation.as_str()).filter(|text| !text.is_empty()).collect();
        texts.sort_unstable();
        texts.dedup();
        let (model, layer) = match &self.network {
            Network::Encoder(encoder) => {
                let embed = |text: &&'a str| encoder.embed(text).map(|embedded| (*text, embedded)).map_err(failed);
                return texts.par_iter().map(embed).collect();
            }
            Network::LanguageModel { model, layer } => (model.as_ref(), *layer),
        };
        let prompt =
            model.encode_prompt(&first.prompt.prompt, first.prompt.system_prompt.as_deref()).map_err(failed)?;
        let tokenizer = model.tokenizer().map_err(failed)?;
        let replies: Vec<Vec<u32>> =
            texts.iter().map(|text| tokenizer.encode(text, false).map_err(failed)).collect::<StageResult<_>>()?;
        let continuations: Vec<&[u32]> = replies.iter().map(Vec::as_slice).collect();
        let means = model.embed_continuations(&prompt, &continuations, layer).map_err(failed)?;
        let embedded = texts.into_iter().zip(means).filter(|(_, mean)| !mean.is_empty());
        Ok(embedded.map(|(text, mean)| (text, unit(&mean))).collect())
    }
}

/// Scaled to length 1.
fn unit(vector: &[f64]) -> Vec<f32> {
    let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    vector.iter().map(|x| (x / norm) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Harness, read};
    use crate::label_tests::{MemoryMemo, generation};
    use lsn_stage::{NoEvents, record::Prompt};
    use std::sync::Arc;

    #[test]
    fn sets_are_compared_per_prompt_and_sampler_and_remembered() {
        let prompt = Prompt::new("d", "p", None);
        let texts = [("same", "a red fox sat here"), ("varied", "a red fox sat here")];
        let mut rows = Vec::new();
        for seed in 0..3 {
            rows.push(generation(&prompt, texts[0].0, seed, texts[0].1));
            rows.push(generation(
                &prompt,
                texts[1].0,
                seed,
                ["one two three", "four five six", "seven eight"][seed as usize],
            ));
        }
        rows.push(generation(&prompt, "single", 0, "alone"));
        let harness = Harness::new();
        let input = harness.rows("generations", &rows);
        let memo = Arc::new(MemoryMemo::default());
        let inputs: &[(&str, &[&std::path::Path])] = &[("generations", &[&input])];
        let run = || {
            let ctx = harness.context_with(inputs, &["rows"], memo.clone(), Arc::new(NoEvents));
            LabelDiversity.run(LabelDiversityParams::default(), &ctx).unwrap();
            read::<DiversityLabel>(ctx.output("rows").unwrap())
        };
        let labels = run();
        assert_eq!(run(), labels);
        assert_eq!(memo.computed(), 3);
        let of = |sampler: &str| labels.iter().find(|label| label.sampler == sampler).unwrap();
        assert!((of("same").self_bleu.unwrap() - 100.0).abs() < 1e-9);
        assert_eq!(of("varied").self_bleu, Some(0.0));
        assert_eq!((of("single").self_bleu, of("single").samples), (None, 1));
    }
}
