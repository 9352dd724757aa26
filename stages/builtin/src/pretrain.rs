//! `pretrain`: a small Llama-architecture model, from scratch or grown from a smaller one, resumable at any moment.

use lsn_digest::Canonical;
use lsn_pretrain::{
    Job, PretrainError, Sets, TrainConfig,
    chat::{Chat, encode, read_chats},
    export, grow,
    measure::{Accuracy, accuracy},
    model::Model,
    tokenizer,
};
use lsn_stage::{Determinism, FailureClass, ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fs, ops::ControlFlow, path::Path};

/// What is measured on the finished model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MeasureParams {
    /// Held-out word problems to solve.
    pub problems: usize,
    /// Temperatures to solve them at; 0 is greedy.
    pub temperatures: Vec<f64>,
    /// Seed of the sampling.
    pub seed: u64,
}

impl Default for MeasureParams {
    fn default() -> Self {
        Self { problems: 300, temperatures: vec![0.0, 1.0, 1.2], seed: 1 }
    }
}

/// Parameters of `pretrain`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainParams {
    /// What decides the weights.
    pub train: TrainConfig,
    pub measure: MeasureParams,
}

/// The `metrics` output.
#[derive(Debug, Serialize)]
struct Metrics {
    parameters: usize,
    vocabulary: usize,
    train_documents: usize,
    steps: u64,
    tokens: u64,
    heldout_loss: Option<f64>,
    arithmetic: Vec<Accuracy>,
}

/// Trains and writes a Hugging Face folder.
pub struct Pretrain;

impl Stage for Pretrain {
    type Params = PretrainParams;

    fn name(&self) -> &'static str {
        "pretrain"
    }

    fn about(&self) -> &'static str {
        "trains a small Llama-architecture chat model from scratch on the CPU"
    }

    fn version(&self) -> u32 {
        1
    }

    fn determinism(&self) -> Determinism {
        Determinism::Seeded
    }

    fn inputs(&self, _params: &PretrainParams) -> Vec<Port> {
        vec![
            Port::new("documents", PortKind::File, "chats to train on, one JSON object a line"),
            Port::new("heldout", PortKind::File, "chats to measure with, one JSON object a line"),
            Port::new("tokenizer", PortKind::Directory, "tokenizer.json with the special tokens of a chat"),
            Port::new(
                "base",
                PortKind::Directory,
                "a model of this stage type to start from; it may have fewer layers",
            )
            .optional(),
        ]
    }

    fn outputs(&self, _params: &PretrainParams) -> Vec<Port> {
        vec![
            Port::new("model", PortKind::Directory, "Hugging Face folder: configuration, bf16 weights, tokenizer"),
            Port::new("curve", PortKind::File, "loss curve, one JSON object a line"),
            Port::new("metrics", PortKind::File, "held-out loss and accuracy, JSON"),
        ]
    }

    fn check(&self, params: &PretrainParams) -> Result<(), Vec<ParamIssue>> {
        let issue =
            |pointer: &str, message: String| ParamIssue { pointer: pointer.to_owned(), message, suggestion: None };
        let mut issues: Vec<_> = params.train.issue().map(|message| issue("/train", message)).into_iter().collect();
        if let Some(bad) = params.measure.temperatures.iter().find(|t| !t.is_finite() || **t < 0.0) {
            issues.push(issue("/measure/temperatures", format!("{bad} is not a temperature, give 0 or more")));
        }
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: PretrainParams, ctx: &StageContext) -> StageResult<()> {
        let inputs = ["documents", "heldout", "tokenizer"].map(|name| ctx.input(name));
        let [documents, heldout, tokenizer_files] = inputs;
        let (documents, heldout, tokenizer_files) = (documents?, heldout?, tokenizer_files?);
        // The checkpoint belongs to these inputs and to what decides the weights, not to what is measured afterwards.
        let mut identity = Canonical::new("lsn/pretrain-checkpoint/1");
        let config = serde_json::to_value(&params.train).map_err(|e| StageError::user(e.to_string()))?;
        identity.json(&config);
        identity.digest(&documents.digest).digest(&heldout.digest).digest(&tokenizer_files.digest);
        let base = ctx.input_opt("base");
        match base {
            Some(base) => identity.digest(&base.digest),
            None => identity.none(),
        };
        let identity = identity.finish().hex();

        let tokenizer = tokenizer::read(&tokenizer_files.path).map_err(stage_error)?;
        let heldout_chats = read_chats(&heldout.path).map_err(stage_error)?;
        let train = encode(&tokenizer, &read_chats(&documents.path).map_err(stage_error)?).map_err(stage_error)?;
        let heldout = encode(&tokenizer, &heldout_chats).map_err(stage_error)?;
        let vocabulary = tokenizer.get_vocab_size(true);
        ctx.check_cancelled()?;

        let model = Model::new(params.train.model.clone(), vocabulary);
        let grown = base.map(|base| {
            let (base, parameters) = export::read(&base.path)?;
            grow::deepen(&base, &parameters, &model)
        });
        let initial = grown.transpose().map_err(stage_error)?;
        let sets = Sets { train: &train, heldout: &heldout };
        let steps = params.train.steps;
        let mut watch = |step: u64, entry: Option<&lsn_pretrain::LossRecord>| {
            ctx.progress(step, Some(steps), "steps");
            if let Some(entry) = entry {
                ctx.metric("train_loss", entry.train_loss);
                ctx.metric("lr", entry.lr);
                if let Some(loss) = entry.heldout_loss {
                    ctx.metric("heldout_loss", loss);
                }
            }
            if ctx.cancel_token().is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let (directory, identity, threads) = (ctx.scratch(), identity.as_str(), ctx.threads());
        let job = Job { vocabulary, sets, initial, directory, identity, threads };
        let trained = lsn_pretrain::train(&params.train, job, &mut watch).map_err(stage_error)?;

        let mut problems: Vec<Chat> = heldout_chats;
        problems.retain(|chat| chat.answer.is_some() && chat.reply.contains("####"));
        problems.truncate(params.measure.problems);
        let mut arithmetic = Vec::new();
        for &temperature in &params.measure.temperatures {
            ctx.check_cancelled()?;
            let measured =
                accuracy(&model, &trained.parameters, &tokenizer, &problems, temperature, params.measure.seed)
                    .map_err(stage_error)?;
            ctx.metric(&format!("accuracy_t{temperature}"), measured.accuracy);
            arithmetic.push(measured);
        }
        let metrics = Metrics {
            parameters: model.layout.len,
            vocabulary,
            train_documents: train.len(),
            steps,
            tokens: trained.tokens,
            heldout_loss: trained.log.iter().rev().find_map(|entry| entry.heldout_loss),
            arithmetic,
        };
        let mut curve = String::new();
        for entry in &trained.log {
            curve.push_str(&to_json(entry)?);
            curve.push('\n');
        }
        write(ctx.output("curve")?, &curve)?;
        write(ctx.output("metrics")?, &(to_json(&metrics)? + "\n"))?;
        export::write(&model, &trained.parameters, &tokenizer, ctx.output("model")?).map_err(stage_error)
    }
}

fn to_json<T: Serialize>(value: &T) -> StageResult<String> {
    serde_json::to_string(value).map_err(|e| StageError::user(e.to_string()))
}

fn write(path: &Path, text: &str) -> StageResult<()> {
    fs::write(path, text).map_err(|e| StageError::io(format!("cannot write {}", path.display()), &e))
}

/// The class of a failure in the tokenizer or the training.
pub(crate) fn stage_error(error: PretrainError) -> StageError {
    match &error {
        PretrainError::Interrupted { .. } => StageError::cancelled(),
        PretrainError::Io { .. } => StageError::new(FailureClass::Infrastructure, error.to_string()),
        _ => StageError::user(error.to_string()),
    }
}
