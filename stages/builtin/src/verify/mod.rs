//! `verify`: the generations of all seeds → one data set in which every (prompt, sampler, seed) occurs exactly once.

mod judge;
mod report;

use judge::{Expected, FaultKind};
use lsn_heuristics::HeuristicsFile;
use lsn_stage::{
    ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult,
    dataset::{DataSetReader, DataSetWriter, Groups, ReadOptions},
    record::{Generation, Prompt, PromptId, Record},
};
use report::Report;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fs, path::Path};

/// What happens to a prompt with faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// All its rows are left out, so that every sampler is judged on the same prompts.
    #[default]
    DropPrompt,
    /// Only the faulty rows are left out.
    DropRow,
    /// The task fails.
    Fail,
    /// The task fails and names the rows to generate again; those that are sound come from the row memo.
    Regenerate,
}

/// Parameters of `verify`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VerifyParams {
    /// The seeds that must be there; empty: those that the prompt's rows have.
    pub seeds: Vec<u64>,
    /// Samplers that must be there beside those of the input `heuristics`. With neither: those that the prompt's rows have.
    pub samplers: Vec<String>,
    /// What happens to a prompt with faults.
    pub policy: Policy,
    /// Faults that are reported and nothing more.
    pub tolerate: Vec<FaultKind>,
    /// Fewer sound prompts than this are an error.
    pub min_prompts: u64,
    /// How many malformed rows are tolerated in each input; they are copied to `rejected.jsonl` beside the output.
    pub max_rejected: u64,
}

impl Default for VerifyParams {
    fn default() -> Self {
        Self {
            seeds: Vec::new(),
            samplers: Vec::new(),
            policy: Policy::DropPrompt,
            tolerate: vec![FaultKind::Truncated],
            min_prompts: 1,
            max_rejected: 0,
        }
    }
}

/// The stage type.
pub struct Verify;

impl Stage for Verify {
    type Params = VerifyParams;

    fn name(&self) -> &'static str {
        "verify"
    }

    fn about(&self) -> &'static str {
        "merges generations and checks that every prompt, sampler and seed is there once and sound"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, _params: &VerifyParams) -> Vec<Port> {
        let rows = PortKind::DataSet(Generation::TYPE.to_owned());
        let prompts = PortKind::DataSet(Prompt::TYPE.to_owned());
        vec![
            Port::new("generations", rows, "generations, of all seeds and samplers").many(),
            Port::new("prompts", prompts, "the prompts that must be there").optional(),
            Port::new("heuristics", PortKind::File, "heuristics files whose pipelines must be there").optional().many(),
        ]
    }

    fn outputs(&self, _params: &VerifyParams) -> Vec<Port> {
        vec![
            Port::new("rows", PortKind::DataSet(Generation::TYPE.to_owned()), "the sound generations"),
            Port::new("report", PortKind::File, "what is missing or faulty, per prompt and why (JSON)"),
            Port::new("text", PortKind::File, "the same in words"),
        ]
    }

    fn check(&self, params: &VerifyParams) -> Result<(), Vec<ParamIssue>> {
        let distinct: BTreeSet<_> = params.seeds.iter().collect();
        if distinct.len() == params.seeds.len() {
            return Ok(());
        }
        let message = "a seed occurs twice".to_owned();
        Err(vec![ParamIssue { pointer: "/seeds".into(), message, suggestion: None }])
    }

    fn run(&self, params: VerifyParams, ctx: &StageContext) -> StageResult<()> {
        let expected = expected(&params, ctx)?;
        let mut report = Report::new(params.policy, &expected);
        let mut writer = DataSetWriter::create(ctx.output("rows")?)?;
        let mut groups = Merged::open(ctx, params.max_rejected)?;
        while let Some((prompt_id, prompt, rows)) = groups.next()? {
            ctx.check_cancelled()?;
            if prompt.is_none() && groups.prompts.is_some() {
                report.unknown_prompt(rows.len());
                continue;
            }
            let text = prompt.as_ref().map_or_else(|| rows[0].prompt.prompt.clone(), |prompt| prompt.prompt.clone());
            let found = rows.len();
            let judged = judge::judge(rows, &expected);
            let fatal = judged.faults.iter().any(|fault| !params.tolerate.contains(&fault.kind));
            let mut kept = judged.rows;
            if fatal && params.policy == Policy::DropPrompt {
                kept.clear();
            }
            kept.retain(|(_, fault)| fault.is_none_or(|kind| params.tolerate.contains(&kind)));
            report.prompt(prompt_id, &text, judged.faults, found, kept.len(), fatal);
            for (row, _) in &kept {
                writer.push(row)?;
            }
        }
        for reader in &groups.readers {
            report.malformed_rows += reader.rejected();
            reader.rejected_examples().into_iter().for_each(|example| ctx.warn(format!("malformed row: {example}")));
        }
        finish(&params, ctx, report, writer)
    }
}

fn expected(params: &VerifyParams, ctx: &StageContext) -> StageResult<Expected> {
    let mut samplers: BTreeSet<String> = params.samplers.iter().cloned().collect();
    for artifact in ctx.inputs("heuristics") {
        let text = fs::read_to_string(&artifact.path)
            .map_err(|error| StageError::io(format!("cannot read {}", artifact.path.display()), &error))?;
        let file = HeuristicsFile::from_yaml(&text).map_err(|error| StageError::user(error.to_string()))?;
        let distinct = file.distinct().map_err(|error| StageError::user(error.to_string()))?;
        samplers.extend(distinct.pipelines.into_iter().map(|(config, _)| config.name));
    }
    Ok(Expected { samplers, seeds: params.seeds.iter().copied().collect() })
}

fn finish(
    params: &VerifyParams,
    ctx: &StageContext,
    report: Report,
    writer: DataSetWriter<Generation>,
) -> StageResult<()> {
    let (json, text) = (report.to_json()?, report.to_text());
    let write = |path: &Path, content: &str| {
        fs::write(path, content).map_err(|error| StageError::io(format!("cannot write {}", path.display()), &error))
    };
    let failure = match params.policy {
        _ if report.kept_prompts() < params.min_prompts => Some(
            StageError::user(format!(
                "{} prompts are sound, at least {} wanted",
                report.kept_prompts(),
                params.min_prompts
            ))
            .hint("look at what is missing in the report; lower `min_prompts` or choose policy `drop_row`"),
        ),
        Policy::Fail if report.faulty_prompts() > 0 => Some(
            StageError::user(format!("{} of {} prompts have faults", report.faulty_prompts(), report.prompts()))
                .hint("mend what the report names, or choose policy `drop_row` or `drop_prompt`"),
        ),
        Policy::Regenerate if report.faulty_prompts() > 0 => Some(
            StageError::user(format!("{} prompts have rows to generate again", report.faulty_prompts()))
                .hint("force the stages that made these rows; the sound ones come from the row memo"),
        ),
        _ => None,
    };
    if let Some(mut failure) = failure {
        // The outputs of a failed task are not kept; its scratch directory is.
        let path = ctx.scratch().join("report.json");
        write(&path, &json)?;
        failure.message = format!("{}; the whole report is in {}\n{text}", failure.message, path.display());
        return Err(failure);
    }
    let rows = writer.finish()?.rows;
    write(ctx.output("report")?, &json)?;
    write(ctx.output("text")?, &text)?;
    ctx.metric("rows", rows as f64);
    ctx.metric("faulty_prompts", report.faulty_prompts() as f64);
    ctx.note(report.headline());
    Ok(())
}

/// A prompt, its row among the expected prompts, and its generations.
type PromptRows = (PromptId, Option<Prompt>, Vec<Generation>);
type PeekGroups<R> = std::iter::Peekable<Groups<R>>;

/// All inputs side by side, prompt by prompt.
struct Merged {
    prompts: Option<PeekGroups<Prompt>>,
    generations: Vec<PeekGroups<Generation>>,
    readers: Vec<DataSetReader<Generation>>,
}

impl Merged {
    fn open(ctx: &StageContext, max_rejected: u64) -> StageResult<Self> {
        let output = ctx.output("rows")?;
        let prompts = match ctx.input_opt("prompts") {
            Some(artifact) => Some(DataSetReader::<Prompt>::open(&artifact.path)?.groups()?.peekable()),
            None => None,
        };
        let (mut readers, mut generations) = (Vec::new(), Vec::new());
        for artifact in ctx.inputs("generations") {
            let options = ReadOptions::beside(output, max_rejected);
            let reader = DataSetReader::<Generation>::open_with(&artifact.path, options)?;
            generations.push(reader.groups()?.peekable());
            readers.push(reader);
        }
        Ok(Self { prompts, generations, readers })
    }

    /// The next prompt in order.
    fn next(&mut self) -> StageResult<Option<PromptRows>> {
        let mut least: Option<PromptId> = None;
        let mut see = |id: PromptId| least = Some(least.map_or(id, |least| least.min(id)));
        if let Some(prompts) = &mut self.prompts {
            peek_id(prompts)?.map(&mut see);
        }
        for groups in &mut self.generations {
            peek_id(groups)?.map(&mut see);
        }
        let Some(prompt_id) = least else { return Ok(None) };
        let mut prompt = None;
        if let Some(prompts) = &mut self.prompts {
            prompt = take(prompts, prompt_id)?.into_iter().next();
        }
        let mut rows = Vec::new();
        for groups in &mut self.generations {
            rows.extend(take(groups, prompt_id)?);
        }
        Ok(Some((prompt_id, prompt, rows)))
    }
}

fn peek_id<R: Record>(groups: &mut PeekGroups<R>) -> StageResult<Option<PromptId>> {
    if let Some(Err(error)) = groups.next_if(|next| next.is_err()) {
        return Err(error.into());
    }
    Ok(groups.peek().and_then(|next| next.as_ref().ok()).map(|group| group.prompt_id))
}

fn take<R: Record>(groups: &mut PeekGroups<R>, prompt: PromptId) -> StageResult<Vec<R>> {
    match groups.next_if(|next| next.as_ref().is_ok_and(|group| group.prompt_id == prompt)) {
        Some(group) => Ok(group?.rows),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests;
