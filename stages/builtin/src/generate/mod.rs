//! `generate`: prompts × samplers at one seed → generations, by the embedded language model.

pub(crate) mod answer;
pub(crate) mod driver;
pub(crate) mod sampler;

use crate::device::Device;
use driver::Job;
use lsn_digest::Digest;
use lsn_lm::{Day, HubOptions, LanguageModel, LmError, LoadOptions};
use lsn_stage::{
    Determinism, FailureClass, ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult,
    dataset::{DataSetReader, DataSetWriter},
    record::{Generation, Prompt, Record},
};
use sampler::Samplers;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A model on the Hugging Face hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HubModel {
    /// The repository, `owner/name`.
    pub repo: String,
    /// The commit, 40 hexadecimal digits.
    pub revision: String,
}

/// How a prompt reaches the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromptForm {
    /// As a conversation, through the model's chat template.
    #[default]
    Chat,
    /// As plain text for the model to continue; a system prompt comes before it, on lines of its own.
    Plain,
}

impl PromptForm {
    /// Prompt ids as the model reads them.
    pub(crate) fn encode(self, model: &LanguageModel, prompt: &Prompt) -> Result<Vec<u32>, LmError> {
        let system = prompt.system_prompt.as_deref();
        match self {
            Self::Chat => model.encode_prompt(&prompt.prompt, system),
            Self::Plain => {
                let text =
                    system.map_or_else(|| prompt.prompt.clone(), |system| format!("{system}\n\n{}", prompt.prompt));
                model.tokenizer()?.encode(&text, true)
            }
        }
    }
}

/// What decides an answer besides prompt, sampler, seed and model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerParams {
    /// Longest answer in tokens.
    pub max_tokens: usize,
    /// Texts that end an answer; they are cut off.
    pub stop: Vec<String>,
    /// How prompts reach the model.
    pub prompt_form: PromptForm,
    /// The day (`YYYY-MM-DD`) that a chat template may print; without it the template uses its own default.
    pub date: Option<String>,
    /// What computes the model.
    pub device: Device,
    /// Longest prompt and answer together on `cuda`, in tokens; the processor goes to the model's own limit.
    pub context: usize,
}

impl Default for AnswerParams {
    fn default() -> Self {
        let (max_tokens, context) = (256, 2048);
        Self { max_tokens, stop: Vec::new(), prompt_form: PromptForm::Chat, date: None, device: Device::Cpu, context }
    }
}

impl AnswerParams {
    /// Everything wrong with the parameters, at `pointer`.
    pub(crate) fn issues(&self, pointer: &str) -> Vec<ParamIssue> {
        let mut issues = Vec::new();
        let mut issue = |field: &str, message: &str| {
            issues.push(ParamIssue {
                pointer: format!("{pointer}/{field}"),
                message: message.to_owned(),
                suggestion: None,
            });
        };
        if self.max_tokens == 0 {
            issue("max_tokens", "must be at least 1");
        }
        if self.context == 0 {
            issue("context", "must be at least 1");
        }
        if self.stop.iter().any(String::is_empty) {
            issue("stop", "an empty stop string would end every answer at once");
        }
        if self.date.as_ref().is_some_and(|date| Day::parse(date).is_none()) {
            issue("date", "expected a day as `YYYY-MM-DD`");
        }
        issues
    }

    /// What enters ids and row keys.
    pub(crate) fn canonical(&self) -> Value {
        let Self { max_tokens, stop, prompt_form, date, device, context } = self;
        let arithmetic = match device {
            Device::Cpu => json!("f32"),
            // The shapes of the batch decide how it rounds.
            Device::Cuda => json!({"bf16": context}),
        };
        json!({"max_tokens": max_tokens, "stop": stop, "prompt_form": prompt_form, "date": date, "arithmetic": arithmetic})
    }
}

/// Parameters of `generate`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GenerateParams {
    /// Seed of all draws. One task per seed; each row's draws depend on the row and this seed alone.
    pub seed: u64,
    /// Longest answer in tokens (256 if left out).
    pub max_tokens: Option<usize>,
    /// Texts that end an answer; they are cut off.
    pub stop: Vec<String>,
    /// How prompts reach the model.
    pub prompt_form: PromptForm,
    /// The day (`YYYY-MM-DD`) that a chat template may print; without it the template uses its own default.
    pub date: Option<String>,
    /// What computes the model.
    pub device: Device,
    /// Longest prompt and answer together on `cuda`, in tokens (2048 if left out).
    pub context: Option<usize>,
    /// Keep each token's log-probability under the distribution that it was drawn from.
    pub logprobs: bool,
    /// A model of the hub, in place of the input `model`.
    pub hub: Option<HubModel>,
    /// Share of the rows that must have an answer, or the task fails; `verify` deals with those that have none.
    pub min_ok: f64,
}

impl GenerateParams {
    fn answer(&self) -> AnswerParams {
        let default = AnswerParams::default();
        AnswerParams {
            max_tokens: self.max_tokens.unwrap_or(default.max_tokens),
            stop: self.stop.clone(),
            prompt_form: self.prompt_form,
            date: self.date.clone(),
            device: self.device,
            context: self.context.unwrap_or(default.context),
        }
    }
}

/// The stage type.
pub struct Generate;

impl Stage for Generate {
    type Params = GenerateParams;

    fn name(&self) -> &'static str {
        "generate"
    }

    fn about(&self) -> &'static str {
        "answers every prompt with every heuristic, and a learned sampler, by the embedded language model"
    }

    fn version(&self) -> u32 {
        2
    }

    fn determinism(&self) -> Determinism {
        Determinism::Seeded
    }

    fn inputs(&self, params: &GenerateParams) -> Vec<Port> {
        let model = Port::new("model", PortKind::Directory, "the language model, a Hugging Face folder");
        vec![
            Port::new("prompts", PortKind::DataSet(Prompt::TYPE.to_owned()), "what to answer"),
            Port::new("heuristics", PortKind::File, "sampling pipelines; left out only with a `sampler`").optional(),
            Port::new("sampler", PortKind::Directory, "checkpoint of a learned sampler, as one more way to draw")
                .optional(),
            if params.hub.is_some() { model.optional() } else { model },
        ]
    }

    fn outputs(&self, _params: &GenerateParams) -> Vec<Port> {
        let about = "one row per prompt and sampler; failed rows say why";
        vec![Port::new("rows", PortKind::DataSet(Generation::TYPE.to_owned()), about)]
    }

    fn check(&self, params: &GenerateParams) -> Result<(), Vec<ParamIssue>> {
        let mut issues = params.answer().issues("");
        let pinned = |hub: &HubModel| hub.revision.len() == 40 && hub.revision.bytes().all(|b| b.is_ascii_hexdigit());
        if params.hub.as_ref().is_some_and(|hub| !pinned(hub)) {
            issues.push(ParamIssue {
                pointer: "/hub/revision".to_owned(),
                message: "must be a commit (40 hexadecimal digits), so that the same parameters mean the same model"
                    .to_owned(),
                suggestion: None,
            });
        }
        if !(0.0..=1.0).contains(&params.min_ok) {
            let message = format!("is {}, expected a share from 0 to 1", params.min_ok);
            issues.push(ParamIssue { pointer: "/min_ok".to_owned(), message, suggestion: None });
        }
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: GenerateParams, ctx: &StageContext) -> StageResult<()> {
        let answer = params.answer();
        let samplers = Samplers::from_inputs(ctx)?;
        let model = load_model(ctx, params.hub.as_ref(), &answer)?;
        let prompts = DataSetReader::<Prompt>::open(&ctx.input("prompts")?.path)?;
        let total = prompts.schema().rows;
        let mut writer = DataSetWriter::<Generation>::create(ctx.output("rows")?)?;
        let job = Job {
            model: &model,
            samplers: &samplers,
            answer: &answer,
            seeds: &[params.seed],
            logprobs: params.logprobs,
        };
        let rows = prompts.rows()?.map(|row| row.map_err(StageError::from));
        let answers = job.run(ctx, rows, total, |row| Ok(writer.push(&row)?))?;
        let rows = writer.finish()?.rows;
        answers.report(ctx);
        let failed = answers.counts.failed;
        if ((rows - failed) as f64) < params.min_ok * rows as f64 {
            let message = format!("{failed} of {rows} rows have no answer, `min_ok` is {}", params.min_ok);
            return Err(StageError::new(FailureClass::Contract, message)
                .hint("look at the field `error` of the rows that `lsn stage run generate` gives, or lower `min_ok`"));
        }
        Ok(())
    }
}

/// The model of the input `model`, or of the hub where one is named.
pub(crate) fn load_model(
    ctx: &StageContext,
    hub: Option<&HubModel>,
    answer: &AnswerParams,
) -> StageResult<LanguageModel> {
    let dir = match (hub, ctx.input_opt("model")) {
        (Some(_), Some(_)) => {
            return Err(StageError::user(
                "both the input `model` and the parameter `hub` name a model; give one of them",
            ));
        }
        (None, _) => ctx.input("model")?.path.clone(),
        (Some(hub), None) => {
            let options = HubOptions::from_env();
            let class = if options.offline { FailureClass::User } else { FailureClass::Infrastructure };
            options.fetch(&hub.repo, Some(&hub.revision)).map_err(|error| StageError::new(class, error.to_string()))?
        }
    };
    let day = answer.date.as_deref().and_then(Day::parse);
    let compute = answer.device.compute(ctx)?;
    LanguageModel::load(&dir, &LoadOptions { compute, context: Some(answer.context), day })
        .map_err(|error| model_error(&error))
}

/// A model error as a stage error: unreadable files may be the machine's fault, the rest is the model's or the caller's.
pub(crate) fn model_error(error: &LmError) -> StageError {
    let class = match error {
        LmError::Read { .. } | LmError::Device(_) => FailureClass::Infrastructure,
        _ => FailureClass::User,
    };
    StageError::new(class, format!("language model: {error}"))
}

/// The model's digest as the engine's type.
pub(crate) fn model_digest(model: &LanguageModel) -> Digest {
    Digest::from_bytes(*model.digest().as_bytes())
}
