//! The ways to draw tokens: heuristic pipelines and learned samplers, as the language model's processors.

use lsn_digest::{Canonical, Digest};
use lsn_heuristics::{ConfigError, HeuristicsFile, Pipeline, PipelineState, ProcessorConfig as Step, Scratch};
use lsn_lm::{History, LogitsProcessor, ProcessorError, RowProcessor};
use lsn_samplers::{Checkpoint, Sampler, Workspace};
use lsn_stage::{
    StageContext, StageError, StageResult,
    record::{ProcessorConfig, SamplerInfo},
};
use serde_json::{Value, json};
use std::{cell::RefCell, collections::BTreeMap, fs, sync::Arc};

/// The name of the learned sampler's rows, and of its one processor.
pub(crate) const LEARNED: &str = "learned";

/// The pipeline that a row says it was drawn with.
///
/// # Errors
/// It was drawn otherwise, such as by a learned sampler, or a parameter is out of its range.
pub(crate) fn recorded_pipeline(info: &SamplerInfo) -> Result<Pipeline, ConfigError> {
    let steps = info.config.iter();
    let steps = steps.map(|step| Step { name: step.name.clone(), params: step.params.clone().into_iter().collect() });
    Pipeline::from_config(&steps.collect::<Vec<_>>())
}

/// How tokens are drawn from raw logits.
pub(crate) enum TokenSampler {
    Pipeline(Arc<Pipeline>),
    Network(Arc<Sampler<f32>>),
}

/// One sampler of a job.
pub(crate) struct NamedSampler {
    pub info: SamplerInfo,
    /// The form that enters keys: equal for equal behaviour, whatever the name.
    pub canonical: Value,
    pub sampler: TokenSampler,
}

/// All samplers of a job, by unique name and unique behaviour.
pub(crate) struct Samplers(Vec<NamedSampler>);

impl Samplers {
    /// Reads the heuristics file, the sampler checkpoint, or both, from the inputs of these names. Of pipelines that do the same
    /// the first draws for all, which is told.
    ///
    /// # Errors
    /// Neither is given, one does not parse, or two samplers have one name.
    pub fn from_inputs(ctx: &StageContext) -> StageResult<Self> {
        let (heuristics, checkpoint) = (ctx.input_opt("heuristics"), ctx.input_opt("sampler"));
        let mut samplers = Vec::new();
        if let Some(artifact) = heuristics {
            let text = fs::read_to_string(&artifact.path)
                .map_err(|error| StageError::io("cannot read the heuristics file", &error))?;
            let file = HeuristicsFile::from_yaml(&text).map_err(|error| StageError::user(error.to_string()))?;
            let distinct = file.distinct().map_err(|error| StageError::user(error.to_string()))?;
            if let [(repeat, original), ..] = &distinct.repeats[..] {
                let count = distinct.repeats.len();
                ctx.note(format!(
                    "{count} pipelines do what another does and are not drawn again: `{repeat}` is `{original}`"
                ));
            }
            for (config, pipeline) in distinct.pipelines {
                if let Some(needed) = pipeline.needs().first() {
                    let message = format!("pipeline `{}` needs further logits `{needed}`", config.name);
                    return Err(StageError::user(message).hint("generation has the model's final logits only"));
                }
                let steps = config.processors.into_iter().map(|processor| ProcessorConfig {
                    name: processor.name,
                    params: processor.params.into_iter().collect(),
                });
                samplers.push(NamedSampler {
                    info: SamplerInfo { name: config.name, config: steps.collect() },
                    canonical: pipeline.canonical(),
                    sampler: TokenSampler::Pipeline(Arc::new(pipeline)),
                });
            }
        }
        if let Some(artifact) = checkpoint {
            let checkpoint = Checkpoint::load(&artifact.path)
                .map_err(|error| StageError::user(format!("sampler checkpoint: {error}")))?;
            samplers.push(NamedSampler::network(LEARNED, checkpoint.sampler));
        }
        Self::new(samplers)
    }

    /// # Errors
    /// There are none, or two have one name or one behaviour: their rows could not be told apart.
    pub fn new(samplers: Vec<NamedSampler>) -> StageResult<Self> {
        if samplers.is_empty() {
            return Err(StageError::user("nothing to draw with: both inputs `heuristics` and `sampler` are missing"));
        }
        let (mut names, mut forms) = (BTreeMap::new(), BTreeMap::new());
        for (index, sampler) in samplers.iter().enumerate() {
            let name = &sampler.info.name;
            if names.insert(name.as_str(), index).is_some() {
                return Err(StageError::user(format!("two samplers are named `{name}`")).hint("rename one of them"));
            }
            if let Some(other) = forms.insert(sampler.canonical.to_string(), name) {
                let message = format!("samplers `{other}` and `{name}` are the same pipeline");
                return Err(StageError::user(message).hint("leave one of them out"));
            }
        }
        Ok(Self(samplers))
    }

    pub fn iter(&self) -> std::slice::Iter<'_, NamedSampler> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl NamedSampler {
    /// A learned sampler. Its canonical form is its architecture and parameters; where it came from does not count.
    pub fn network(name: &str, sampler: Sampler<f32>) -> Self {
        let mut canonical = Canonical::new("lsn/sampler/1");
        canonical.json(&serde_json::to_value(sampler.architecture()).unwrap_or_default());
        let bytes: Vec<u8> = sampler.parameters().iter().flat_map(|value| value.to_le_bytes()).collect();
        let digest: Digest = canonical.bytes(&bytes).finish();
        let params = json!({"digest": digest});
        let config =
            ProcessorConfig { name: LEARNED.to_owned(), params: params.as_object().cloned().unwrap_or_default() };
        Self {
            info: SamplerInfo { name: name.to_owned(), config: vec![config] },
            canonical: json!([{"name": LEARNED, "params": params}]),
            sampler: TokenSampler::Network(Arc::new(sampler)),
        }
    }

    /// The processor of one row.
    pub fn start(&self, row_seed: u64) -> RowProcessor {
        match &self.sampler {
            TokenSampler::Pipeline(pipeline) if pipeline.steps().is_empty() => RowProcessor::Raw,
            TokenSampler::Pipeline(pipeline) => RowProcessor::Own(Box::new(PipelineRow {
                state: pipeline.start(row_seed),
                pipeline: Arc::clone(pipeline),
            })),
            TokenSampler::Network(sampler) => RowProcessor::Own(Box::new(NetworkRow(Arc::clone(sampler)))),
        }
    }
}

thread_local! {
    /// Working memory is as large as the vocabulary, so rows of a thread share it.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static WORKSPACE: RefCell<Workspace<f32>> = RefCell::default();
}

struct PipelineRow {
    pipeline: Arc<Pipeline>,
    state: PipelineState,
}

impl LogitsProcessor for PipelineRow {
    fn process(&mut self, logits: &mut [f32], history: History<'_>) -> Result<(), ProcessorError> {
        let history = lsn_heuristics::History { tokens: history.tokens, prompt_len: history.prompt_len };
        SCRATCH
            .with_borrow_mut(|scratch| self.pipeline.process(logits, history, &mut self.state, scratch))
            .map_err(ProcessorError::new)
    }

    fn chosen(&mut self, token: u32, processed: &[f32]) -> Result<(), ProcessorError> {
        self.pipeline.accept(token, processed, &mut self.state).map_err(ProcessorError::new)
    }
}

struct NetworkRow(Arc<Sampler<f32>>);

impl LogitsProcessor for NetworkRow {
    fn process(&mut self, logits: &mut [f32], _history: History<'_>) -> Result<(), ProcessorError> {
        WORKSPACE.with_borrow_mut(|workspace| self.0.apply(logits, workspace)).map_err(ProcessorError::new)
    }
}
