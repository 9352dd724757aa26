//! `corpus`: the synthetic corpus and prompt sets of its held-out problems.

use lsn_corpus::{CorpusConfig, CorpusError, Mixture, Split};
use lsn_stage::{ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

/// Documents between two progress events.
const REPORT_EVERY: usize = 4096;

/// Parameters of `corpus`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CorpusParams {
    /// Seed of every choice.
    pub seed: u64,
    /// How often each kind of task comes in the documents.
    pub mixture: Mixture,
    /// Share of the documents that carry a system prompt.
    pub system_share: f64,
    /// Documents to train on.
    pub documents: usize,
    /// Documents to measure with; their problems occur in no other output.
    pub heldout: usize,
    /// How often each kind of task comes in the prompt sets.
    pub prompt_mixture: Mixture,
    /// Prompts to train samplers with; their problems occur in no other output.
    pub prompts_train: usize,
    /// Prompts to evaluate samplers with; their problems occur in no other output.
    pub prompts_heldout: usize,
}

impl Default for CorpusParams {
    fn default() -> Self {
        let CorpusConfig { seed, mixture, system_share } = CorpusConfig::default();
        Self {
            seed,
            mixture,
            system_share,
            documents: 90_000,
            heldout: 1200,
            // Prompts where samplers differ most, the open ones, are a larger part than in the corpus.
            prompt_mixture: Mixture { arithmetic: 0.35, story: 0.3, instruction: 0.25, fact: 0.1 },
            prompts_train: 60,
            prompts_heldout: 40,
        }
    }
}

impl CorpusParams {
    fn config(&self, mixture: Mixture) -> CorpusConfig {
        CorpusConfig { seed: self.seed, mixture, system_share: self.system_share }
    }
}

/// Writes the corpus as JSON lines.
pub struct Corpus;

impl Stage for Corpus {
    type Params = CorpusParams;

    fn name(&self) -> &'static str {
        "corpus"
    }

    fn about(&self) -> &'static str {
        "makes a synthetic corpus of word problems, stories, checkable instructions and facts"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, _params: &CorpusParams) -> Vec<Port> {
        Vec::new()
    }

    fn outputs(&self, _params: &CorpusParams) -> Vec<Port> {
        vec![
            Port::new("documents", PortKind::File, "chats to train on, one JSON object a line"),
            Port::new("heldout", PortKind::File, "chats to measure with, one JSON object a line"),
            Port::new("prompts_train", PortKind::File, "prompt records to train samplers with"),
            Port::new("prompts_heldout", PortKind::File, "prompt records to evaluate samplers with"),
        ]
    }

    fn check(&self, params: &CorpusParams) -> Result<(), Vec<ParamIssue>> {
        let issue = |pointer: &str, error: &CorpusError| ParamIssue {
            pointer: pointer.to_owned(),
            message: error.to_string(),
            suggestion: None,
        };
        let mut issues = Vec::new();
        for (pointer, mixture) in [("/mixture", params.mixture), ("/prompt_mixture", params.prompt_mixture)] {
            if let Err(error) = mixture.check() {
                issues.push(issue(pointer, &error));
            }
        }
        if !(0.0..=1.0).contains(&params.system_share) {
            issues.push(issue("/system_share", &CorpusError::SystemShare(params.system_share)));
        }
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: CorpusParams, ctx: &StageContext) -> StageResult<()> {
        let config = params.config(params.mixture);
        let user = |error: CorpusError| StageError::user(error.to_string());
        for (name, split, count) in
            [("documents", Split::Train, params.documents), ("heldout", Split::HeldOut, params.heldout)]
        {
            let stream = lsn_corpus::documents(&config, split).map_err(user)?.take(count);
            write_lines(ctx.output(name)?, stream, |done| {
                if name == "documents" {
                    ctx.progress(done as u64, Some(count as u64), "documents");
                }
                ctx.check_cancelled()
            })?;
        }
        let config = params.config(params.prompt_mixture);
        for (name, split, count) in [
            ("prompts_train", Split::PromptsTrain, params.prompts_train),
            ("prompts_heldout", Split::PromptsHeldOut, params.prompts_heldout),
        ] {
            let records = lsn_corpus::prompts(&config, split, count).map_err(user)?;
            write_lines(ctx.output(name)?, records, |_| Ok(()))?;
        }
        Ok(())
    }
}

fn write_lines<T: Serialize>(
    path: &Path,
    rows: impl IntoIterator<Item = T>,
    mut watch: impl FnMut(usize) -> StageResult<()>,
) -> StageResult<()> {
    let failed = |error: &std::io::Error| StageError::io(format!("cannot write {}", path.display()), error);
    let mut out = BufWriter::new(File::create(path).map_err(|e| failed(&e))?);
    for (index, row) in rows.into_iter().enumerate() {
        serde_json::to_writer(&mut out, &row).map_err(|e| failed(&e.into()))?;
        out.write_all(b"\n").map_err(|e| failed(&e))?;
        if (index + 1) % REPORT_EVERY == 0 {
            watch(index + 1)?;
        }
    }
    out.flush().map_err(|e| failed(&e))
}
