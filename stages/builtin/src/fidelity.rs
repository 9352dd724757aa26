//! `fidelity`: a trained sampler, held-out rows and one heuristic → how much of what the heuristic does the sampler does.
//!
//! Rows are replayed teacher-forced on the token ids that were generated; whoever drew them, the target at every position is
//! what the given heuristic makes of the raw logits.

use crate::{
    generate::{PromptForm, answer::state_seed},
    label_memo::pool,
    teacher_forcing,
    train::target_issue,
};
use lsn_heuristics::{Pipeline, ProcessorConfig};
use lsn_lm::{Day, LanguageModel, LoadOptions};
use lsn_report::Measurement;
use lsn_samplers::{Checkpoint, LogitSet, RowLoss, Sampler, Target, Workspace, loss_and_gradient};
use lsn_stage::{
    ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult,
    dataset::DataSetReader,
    record::{Record, ScoredRow},
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs;

/// Parameters of `fidelity`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FidelityParams {
    /// What the heuristic is called in reports.
    pub heuristic: String,
    /// The heuristic's processors, as in `train`.
    pub target: Vec<ProcessorConfig>,
    /// How prompts reached the model: as in the `generate` stage that the rows come from.
    pub prompt_form: PromptForm,
    /// The day (`YYYY-MM-DD`) that chat templates printed: as in the `generate` stage that the rows come from.
    pub date: Option<String>,
    /// At most this many tokens of each row, its first ones; null takes all.
    pub max_positions: Option<usize>,
}

/// The stage type.
pub struct Fidelity;

impl Stage for Fidelity {
    type Params = FidelityParams;

    fn name(&self) -> &'static str {
        "fidelity"
    }

    fn about(&self) -> &'static str {
        "measures how closely a sampler mimics one heuristic on rows that it has not seen"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, _params: &FidelityParams) -> Vec<Port> {
        let rows = PortKind::DataSet(ScoredRow::TYPE.to_owned());
        vec![
            Port::new("rows", rows, "the rows whose positions are measured"),
            Port::new("sampler", PortKind::Directory, "the sampler"),
            Port::new("model", PortKind::Directory, "the language model that wrote the rows"),
        ]
    }

    fn outputs(&self, _params: &FidelityParams) -> Vec<Port> {
        let about = "KL divergence from the heuristic and truncated mass, of raw logits and of the sampler (JSON)";
        vec![Port::new("measurement", PortKind::File, about)]
    }

    fn check(&self, params: &FidelityParams) -> Result<(), Vec<ParamIssue>> {
        let mut issues = Vec::new();
        let mut issue = |pointer: &str, message: String| {
            issues.push(ParamIssue { pointer: pointer.to_owned(), message, suggestion: None });
        };
        if params.target.is_empty() {
            issue("/target", "is empty, expected at least one processor".to_owned());
        } else if let Some(message) = target_issue(&params.target) {
            issue("/target", message);
        }
        if params.date.as_deref().is_some_and(|date| Day::parse(date).is_none()) {
            issue("/date", "expected a day as `YYYY-MM-DD`".to_owned());
        }
        if params.max_positions == Some(0) {
            issue("/max_positions", "is 0, expected at least 1".to_owned());
        }
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: FidelityParams, ctx: &StageContext) -> StageResult<()> {
        let day = params.date.as_deref().and_then(Day::parse);
        let model = LanguageModel::load(&ctx.input("model")?.path, &LoadOptions { day, ..LoadOptions::default() })
            .map_err(|error| StageError::user(format!("input `model`: {error}")))?;
        let sampler = Checkpoint::load(&ctx.input("sampler")?.path)
            .map_err(|error| StageError::user(format!("input `sampler`: {error}")))?
            .sampler;
        let pipeline =
            Pipeline::from_config(&params.target).map_err(|error| StageError::user(format!("`target`: {error}")))?;
        let meter = Meter { model: &model, sampler: &sampler, pipeline: &pipeline, params: &params };
        let mut rows = DataSetReader::<ScoredRow>::open(&ctx.input("rows")?.path)?.rows()?;
        let pool = pool(ctx)?;
        let (mut sums, mut done) = (Sums::default(), 0);
        loop {
            ctx.check_cancelled()?;
            // As many rows at once as there are threads: more would only hold more logits in memory.
            let chunk: Vec<ScoredRow> = rows.by_ref().take(ctx.threads()).collect::<Result<_, _>>()?;
            if chunk.is_empty() {
                break;
            }
            let measured: Vec<Sums> =
                pool.install(|| chunk.par_iter().map(|row| meter.row(row)).collect::<StageResult<_>>())?;
            measured.iter().for_each(|row| sums.add(row));
            done += chunk.len() as u64;
            ctx.progress(done, None, "rows");
        }
        if sums.positions == 0 {
            return Err(StageError::user("input `rows` holds no generated token to measure at"));
        }
        let measurement = sums.mean(params.heuristic, &sampler);
        ctx.metric("raw_kl", measurement.raw_kl);
        ctx.metric("learned_kl", measurement.learned_kl);
        let mut text = serde_json::to_string_pretty(&measurement)
            .map_err(|error| StageError::user(format!("cannot write the measurement: {error}")))?;
        text.push('\n');
        fs::write(ctx.output("measurement")?, text)
            .map_err(|error| StageError::io("cannot write output `measurement`", &error))
    }
}

/// Everything that measuring a row takes.
struct Meter<'a> {
    model: &'a LanguageModel,
    sampler: &'a Sampler<f32>,
    pipeline: &'a Pipeline,
    params: &'a FidelityParams,
}

/// Sums over positions.
#[derive(Default)]
struct Sums {
    positions: u64,
    raw: RowLoss,
    learned: RowLoss,
    least_kl: f64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.positions += other.positions;
        self.least_kl += other.least_kl;
        for (sum, part) in [(&mut self.raw, &other.raw), (&mut self.learned, &other.learned)] {
            sum.kl += part.kl;
            sum.penalty += part.penalty;
        }
    }

    fn mean(&self, heuristic: String, sampler: &Sampler<f32>) -> Measurement {
        let count = self.positions as f64;
        Measurement {
            heuristic,
            architecture: sampler.architecture().name().to_owned(),
            parameters: sampler.parameters().len(),
            positions: self.positions,
            raw_kl: self.raw.kl / count,
            learned_kl: self.learned.kl / count,
            least_kl: self.least_kl / count,
            raw_truncated_mass: self.raw.penalty / count,
            learned_truncated_mass: self.learned.penalty / count,
        }
    }
}

impl Meter<'_> {
    fn row(&self, row: &ScoredRow) -> StageResult<Sums> {
        let generation = &row.generation;
        let failed = |error: String| StageError::user(format!("generation {}: {error}", generation.generation_id));
        let prompt = self.params.prompt_form.encode(self.model, &generation.prompt);
        let prompt = prompt.map_err(|error| failed(error.to_string()))?;
        let most = self.params.max_positions.unwrap_or(usize::MAX);
        let mut workspace = Workspace::default();
        let mut sums = Sums::default();
        teacher_forcing::Replay {
            model: self.model,
            pipeline: self.pipeline,
            drew: false,
            state_seed: state_seed(generation, &self.pipeline.canonical()),
            prompt: &prompt,
            generated: &generation.token_ids[..generation.token_ids.len().min(most)],
        }
        .positions(
            |_| true,
            |_, raw, target| {
                let set = LogitSet::distinct(raw).map_err(|error| error.to_string())?;
                let target = Target::new(&set, target).map_err(|error| error.to_string())?;
                sums.add(&Sums {
                    positions: 1,
                    raw: loss_and_gradient(&set, set.log_probs(), &target, 0.0, None),
                    learned: self.sampler.loss(&set, &target, 0.0, &mut workspace),
                    least_kl: target.least_kl(&set),
                });
                Ok(())
            },
        )
        .map_err(failed)?;
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        harness::Harness,
        train::tests::{model, rows},
    };
    use lsn_samplers::{Architecture, LocalProbabilityTransform};
    use serde_json::json;

    /// A sampler that multiplies log-probabilities by 1 / `temperature`, exactly.
    fn exact(temperature: f64) -> Sampler<f32> {
        let architecture = Architecture::LocalProbabilityTransform(LocalProbabilityTransform { hidden_dims: 3 });
        let mut sampler = Sampler::new(architecture, 0).unwrap();
        let tensors = sampler.layout().tensors().to_vec();
        for tensor in tensors {
            // ℓ + down·silu(gate)·up of one unit with gate ≡ 30, up = ℓ; a gate that is wide open.
            let value: f64 = match tensor.name.as_str() {
                "mlp.gate_proj.bias" => 30.0,
                "mlp.up_proj.weight" => 1.0,
                "mlp.down_proj.weight" => (1.0 / temperature - 1.0) / 30.0 / 2.0,
                "truncation_threshold" => 1e4,
                _ => 0.0,
            };
            sampler.parameters_mut()[tensor.offset..tensor.offset + tensor.len()].fill(value as f32);
        }
        sampler
    }

    fn measure(sampler: Sampler<f32>, target: serde_json::Value) -> StageResult<Measurement> {
        let harness = Harness::new();
        let (model, rows) = (model(&harness), harness.rows("rows", &rows()));
        let directory = harness.path("sampler/config.json").parent().unwrap().to_owned();
        Checkpoint { sampler, provenance: json!(null) }.save(&directory).unwrap();
        let inputs: [(&str, &[&std::path::Path]); 3] =
            [("rows", &[&rows]), ("sampler", &[&directory]), ("model", &[&model])];
        let ctx = harness.context(&inputs, &["measurement"]);
        let target = serde_json::from_value(target).unwrap();
        let params = FidelityParams { heuristic: "h".to_owned(), target, ..FidelityParams::default() };
        Fidelity.check(&params).map_err(|issues| StageError::user(issues[0].message.clone()))?;
        Fidelity.run(params, &ctx)?;
        Ok(serde_json::from_slice(&fs::read(ctx.output("measurement").unwrap()).unwrap()).unwrap())
    }

    #[test]
    fn a_sampler_that_is_the_heuristic_leaves_nothing_and_one_that_does_nothing_leaves_all() {
        let cold = json!([{"name": "temperature", "params": {"temperature": 0.5}}]);
        let same = measure(exact(0.5), cold.clone()).unwrap();
        let positions: usize = rows().iter().map(|row| row.generation.token_ids.len()).sum();
        assert_eq!((same.positions, same.architecture.as_str()), (positions as u64, "LocalProbabilityTransform"));
        assert!(same.raw_kl > 1e-3 && same.learned_kl < 1e-6 * same.raw_kl.max(1.0), "{same:?}");
        let nothing = measure(exact(1.0), cold).unwrap();
        assert!((nothing.learned_kl - nothing.raw_kl).abs() < 1e-6, "{nothing:?}");
        // A cut: −ln m and 1 − m agree as far as Jensen's inequality says.
        let cut = measure(exact(1.0), json!([{"name": "top_k", "params": {"top_k": 40}}])).unwrap();
        assert!((cut.learned_truncated_mass - cut.raw_truncated_mass).abs() < 1e-6 && cut.raw_truncated_mass > 0.01);
        assert!(cut.raw_kl >= -(1.0 - cut.raw_truncated_mass).ln(), "{cut:?}");
    }

    #[test]
    fn a_target_that_cannot_work_is_refused() {
        let refused = |target| measure(exact(1.0), target).unwrap_err().message;
        assert!(refused(json!([])).contains("at least one processor"));
        assert!(refused(json!([{"name": "top_k", "params": {"top_k": 0}}])).contains("top_k"));
        assert!(refused(json!([{"name": "cfg", "params": {"guidance_scale": 2.0}}])).contains("further logits"));
    }
}
