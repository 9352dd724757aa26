//! `prompts`: files of prompts in any common format → a data set of prompts, and a held-out one beside it.

mod hub;
#[cfg(feature = "parquet")]
mod parquet_rows;
mod row;
mod select;
pub(crate) mod source;

pub use hub::HubFile;
pub use row::RowParams;
pub use select::Select;

use lsn_digest::{Canonical, Digest};
use lsn_stage::{
    ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult,
    dataset::{DataSetWriter, ReadOptions, Rejected},
    record::{Prompt, Record},
};
use schemars::JsonSchema;
use select::Selector;
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, path::Path};

/// Parameters of `prompts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromptsParams {
    /// How rows become prompts, for every source that `sources` does not describe.
    pub source: RowParams,
    /// How rows of each artifact of the input `sources` become prompts, in the same order.
    pub sources: Vec<RowParams>,
    /// Files of the Hugging Face hub that are read as well.
    pub hub: Vec<HubFile>,
    /// At most this many prompts of all sources together.
    pub limit: Option<u64>,
    /// Which prompts stay under a limit.
    pub select: Select,
    /// Seed of the random selection and of the split.
    pub seed: u64,
    /// Whether a prompt whose text occurred before, in whatever source, is left out.
    pub deduplicate: bool,
    /// Share of the prompts that goes to `heldout`. A prompt's side depends on its text and `seed` alone.
    pub held_out: f64,
    /// How many malformed rows are tolerated.
    pub max_rejected: u64,
}

impl Default for PromptsParams {
    fn default() -> Self {
        Self {
            source: RowParams::default(),
            sources: Vec::new(),
            hub: Vec::new(),
            limit: None,
            select: Select::First,
            seed: 0,
            deduplicate: true,
            held_out: 0.0,
            max_rejected: 0,
        }
    }
}

/// The stage type.
pub struct Prompts;

impl Stage for Prompts {
    type Params = PromptsParams;

    fn name(&self) -> &'static str {
        "prompts"
    }

    fn about(&self) -> &'static str {
        "reads prompts from JSONL, JSON, CSV or Parquet, selects, de-duplicates and splits them"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, params: &PromptsParams) -> Vec<Port> {
        let about = "files of rows, or directories of them; the format is found from the content";
        let port = Port::new("sources", PortKind::Any, about).many();
        vec![if params.hub.is_empty() { port } else { port.optional() }]
    }

    fn outputs(&self, params: &PromptsParams) -> Vec<Port> {
        let kind = || PortKind::DataSet(Prompt::TYPE.to_owned());
        let heldout = Port::new("heldout", kind(), "the prompts that `held_out` sets aside");
        vec![Port::new("rows", kind(), "the prompts"), if params.held_out > 0.0 { heldout } else { heldout.optional() }]
    }

    fn check(&self, params: &PromptsParams) -> Result<(), Vec<ParamIssue>> {
        let mut issues = Vec::new();
        let mut issue = |pointer: String, message: &str| {
            issues.push(ParamIssue { pointer, message: message.to_owned(), suggestion: None });
        };
        if !(0.0..1.0).contains(&params.held_out) {
            issue("/held_out".into(), "must be at least 0 and below 1");
        }
        if params.limit == Some(0) {
            issue("/limit".into(), "must be at least 1; leave it out for all prompts");
        }
        for (index, file) in params.hub.iter().enumerate() {
            if !file.is_pinned() {
                let message =
                    "must be a commit (40 hexadecimal digits), so that the same parameters mean the same rows";
                issue(format!("/hub/{index}/revision"), message);
            }
        }
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: PromptsParams, ctx: &StageContext) -> StageResult<()> {
        let inputs = ctx.inputs("sources");
        if !params.sources.is_empty() && params.sources.len() != inputs.len() {
            let message =
                format!("`sources` describes {} sources, the input has {}", params.sources.len(), inputs.len());
            return Err(StageError::user(message));
        }
        let mut collector = Collector::new(&params, ctx)?;
        for (index, artifact) in inputs.iter().enumerate() {
            collector.add(&artifact.path, params.sources.get(index).unwrap_or(&params.source))?;
        }
        for file in &params.hub {
            collector.add(&file.fetch()?, &file.source)?;
        }
        collector.finish()
    }
}

struct Collector<'a> {
    params: &'a PromptsParams,
    ctx: &'a StageContext,
    rejected: Rejected,
    seen: HashSet<Digest>,
    selector: Selector,
    rows: DataSetWriter<Prompt>,
    heldout: Option<DataSetWriter<Prompt>>,
    read: u64,
    duplicates: u64,
}

impl<'a> Collector<'a> {
    fn new(params: &'a PromptsParams, ctx: &'a StageContext) -> StageResult<Self> {
        let output = ctx.output("rows")?;
        let heldout = if params.held_out > 0.0 { Some(DataSetWriter::create(ctx.output("heldout")?)?) } else { None };
        Ok(Self {
            params,
            ctx,
            rejected: Rejected::new(ReadOptions::beside(output, params.max_rejected)),
            seen: HashSet::new(),
            selector: Selector::new(params.select, params.limit, params.seed),
            rows: DataSetWriter::create(output)?,
            heldout,
            read: 0,
            duplicates: 0,
        })
    }

    fn add(&mut self, path: &Path, row: &RowParams) -> StageResult<()> {
        let mut selector = Selector::new(self.params.select, row.limit, self.params.seed);
        for file in source::files(path)? {
            source::stream(&file, &mut |line, parsed| {
                if line % 4096 == 0 {
                    self.ctx.check_cancelled()?;
                }
                let prompt = parsed.and_then(|object| {
                    let text = || serde_json::to_vec(&object).unwrap_or_default();
                    row.prompt(object.clone()).map_err(|error| (text(), error))
                });
                match prompt {
                    Err((raw, error)) => Ok(self.rejected.add(&file, line, &raw, &error)?),
                    Ok(prompt) => {
                        self.read += 1;
                        if !self.is_new(&prompt) {
                            self.duplicates += 1;
                            return Ok(());
                        }
                        selector.push(prompt).map_or(Ok(()), |prompt| self.select(prompt))
                    }
                }
            })?;
        }
        for prompt in selector.finish() {
            self.select(prompt)?;
        }
        Ok(())
    }

    /// A prompt that occurs twice in one source would have one id for two rows, so it is never kept.
    fn is_new(&mut self, prompt: &Prompt) -> bool {
        let key =
            if self.params.deduplicate { text_digest("lsn/prompt-text/1", 0, prompt) } else { prompt.prompt_id.0 };
        self.seen.insert(key)
    }

    fn select(&mut self, prompt: Prompt) -> StageResult<()> {
        match self.selector.push(prompt) {
            Some(prompt) => self.write(&prompt),
            None => Ok(()),
        }
    }

    fn write(&mut self, prompt: &Prompt) -> StageResult<()> {
        let digest = text_digest("lsn/prompt-split/1", self.params.seed, prompt);
        match &mut self.heldout {
            Some(heldout) if select::unit_interval(&digest) < self.params.held_out => heldout.push(prompt)?,
            _ => self.rows.push(prompt)?,
        }
        Ok(())
    }

    fn finish(mut self) -> StageResult<()> {
        let selector = std::mem::replace(&mut self.selector, Selector::new(Select::First, None, 0));
        for prompt in selector.finish() {
            self.write(&prompt)?;
        }
        for example in self.rejected.shown() {
            self.ctx.warn(format!("malformed row: {example}"));
        }
        let rows = self.rows.finish()?.rows;
        let heldout = self.heldout.map(DataSetWriter::finish).transpose()?.map_or(0, |schema| schema.rows);
        self.ctx.metric("prompts", rows as f64);
        self.ctx.note(format!(
            "{} rows read, {} malformed, {} repeated, {rows} prompts kept, {heldout} held out",
            self.read + self.rejected.count(),
            self.rejected.count(),
            self.duplicates,
        ));
        Ok(())
    }
}

/// Digest of a prompt's text without its source.
fn text_digest(domain: &str, seed: u64, prompt: &Prompt) -> Digest {
    let mut canonical = Canonical::new(domain);
    canonical.u64(seed).str(&prompt.prompt).str(prompt.system_prompt.as_deref().unwrap_or_default());
    canonical.finish()
}

#[cfg(test)]
mod tests;
