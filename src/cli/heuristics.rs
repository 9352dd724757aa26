//! `lsn heuristics`: the logits processors by hand, so that anybody can compare them with another implementation.

use super::{
    CliError, CliResult, Global, Status, Style,
    logits_file::{self, BadRows, Rows, floats, read},
    write_json,
};
use clap::Subcommand;
use lsn_heuristics::{
    ConfigError, Context, FurtherLogits, Grid, HeuristicsFile, History, Pipeline, PipelineConfig, Scratch,
    describe_processor, processor_names,
};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Arguments of `lsn heuristics`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the processors
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a processor's parameters
    Describe {
        #[arg(value_name = "PROCESSOR")]
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write out all pipelines of a grid file
    Expand {
        #[arg(value_name = "GRID")]
        grid: PathBuf,
        /// As JSON instead of YAML
        #[arg(long)]
        json: bool,
    },
    /// Apply a pipeline to rows of logits
    Apply(ApplyArgs),
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    /// A heuristics file
    #[arg(short, long, value_name = "FILE")]
    pipeline: PathBuf,
    /// Which of its pipelines; may be left out where there is only one
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// A safetensors file: `logits`, f32 [B, V]; optionally `history`, i64 or i32 [B, T], padded with -1; further
    /// logits that the pipeline needs, by name: f32 [B, V] or [B, n, V]
    #[arg(short, long, value_name = "FILE")]
    logits: PathBuf,
    /// Where to write `logits`, f32 [B, V], as the pipeline leaves them
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Seed of stateful processors; row i uses seed + i
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How many tokens at the start of each history are the prompt
    #[arg(long, value_name = "N", default_value_t = 0)]
    prompt_len: usize,
    /// What to do with rows that hold NaN, +inf or no finite logit
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    bad_rows: BadRows,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    match &args.action {
        Action::List { json } => list(*json),
        Action::Describe { name, json } => describe(name, *json),
        Action::Expand { grid, json } => expand(grid, *json),
        Action::Apply(args) => apply(args),
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

fn read_text(path: &Path) -> CliResult<String> {
    String::from_utf8(read(path)?).map_err(|_| CliError::usage(format!("`{}` is not UTF-8 text", path.display())))
}

fn in_file(path: &Path) -> impl Fn(ConfigError) -> CliError {
    move |error| CliError::usage(format!("`{}`: {error}", path.display()))
}

fn list(json: bool) -> CliResult<Status> {
    let all: Vec<_> = processor_names().filter_map(describe_processor).collect();
    let mut out = io::stdout().lock();
    if json {
        write_json(&mut out, &all)?;
    } else {
        let width = all.iter().map(|known| known.name.len()).max().unwrap_or(0);
        for known in all {
            writeln!(out, "{}  {}", Style::strong(format!("{:width$}", known.name)), known.about)?;
        }
    }
    Ok(Status::Done)
}

fn describe(name: &str, json: bool) -> CliResult<Status> {
    let Some(known) = describe_processor(name) else {
        let error = CliError::usage(format!("unknown processor `{name}`"));
        return Err(match crate::manifest::nearest(name, processor_names()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`lsn heuristics list` shows all"),
        });
    };
    let mut out = io::stdout().lock();
    if json {
        write_json(&mut out, &known)?;
        return Ok(Status::Done);
    }
    writeln!(out, "{}: {}\nsource: {}", Style::strong(known.name), known.about, known.source)?;
    if known.stateful {
        writeln!(out, "keeps a state per row")?;
    }
    if !known.needs.is_empty() {
        writeln!(out, "needs further logits: {}", known.needs.join(", "))?;
    }
    writeln!(out, "\n{}", Style::strong("parameters"))?;
    if known.params.is_empty() {
        writeln!(out, "  none")?;
    }
    for param in known.params {
        let need = param.default.map_or_else(|| "required".to_owned(), |default| format!("default {default}"));
        writeln!(out, "  {}: {}, {need}; {}", Style::strong(param.name), param.expected, param.about)?;
    }
    Ok(Status::Done)
}

fn expand(path: &Path, json: bool) -> CliResult<Status> {
    let grid = Grid::from_yaml(&read_text(path)?).map_err(in_file(path))?;
    let file = grid.expand(&[]).map_err(in_file(path))?;
    let text =
        if json { serde_json::to_string_pretty(&file).map_err(io::Error::from)? + "\n" } else { file.to_yaml()? };
    io::stdout().lock().write_all(text.as_bytes())?;
    eprintln!("{} pipelines", file.sampling_pipelines.len());
    Ok(Status::Done)
}

fn chosen(path: &Path, name: Option<&str>) -> CliResult<PipelineConfig> {
    let file = HeuristicsFile::from_yaml(&read_text(path)?).map_err(in_file(path))?;
    let names = || file.sampling_pipelines.iter().map(|pipeline| pipeline.name.as_str());
    match (name, file.sampling_pipelines.as_slice()) {
        (None, [only]) => Ok(only.clone()),
        (None, many) => Err(CliError::usage(format!("`{}` has {} pipelines", path.display(), many.len()))
            .hint("choose one with `--name`")),
        (Some(name), all) => all.iter().find(|pipeline| pipeline.name == name).cloned().ok_or_else(|| {
            let error = CliError::usage(format!("`{}` has no pipeline `{name}`", path.display()));
            match crate::manifest::nearest(name, names()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            }
        }),
    }
}

fn apply(args: &ApplyArgs) -> CliResult<Status> {
    let config = chosen(&args.pipeline, args.name.as_deref())?;
    let pipeline = config.build()?;
    let bytes = read(&args.logits)?;
    let broken = logits_file::broken(&args.logits);
    let tensors = logits_file::tensors(&bytes, &args.logits)?;
    let mut logits = logits_file::logits(&tensors).map_err(&broken)?;
    let count = logits.data.len() / logits.width;
    let history = history(&tensors, count).map_err(&broken)?;
    let further = further(&tensors, &pipeline, count, logits.width).map_err(broken)?;
    let failed: Vec<(usize, String)> = logits
        .data
        .par_chunks_mut(logits.width)
        .enumerate()
        .map_init(Scratch::default, |scratch, (at, row)| {
            let tokens = history.as_ref().map_or(&[][..], |history| history[at].as_slice());
            let history = History { tokens, prompt_len: args.prompt_len.min(tokens.len()) };
            let further: Vec<_> = further
                .iter()
                .map(|(name, rows)| FurtherLogits { name, logits: &rows.data[at * rows.width..(at + 1) * rows.width] })
                .collect();
            let context = Context { history, further: &further };
            let before = row.to_vec();
            let mut state = pipeline.start(args.seed.wrapping_add(at as u64));
            let done = pipeline.process(row, context, &mut state, scratch);
            done.err().map(|error| {
                row.copy_from_slice(&before);
                (at, error.to_string())
            })
        })
        .flatten()
        .collect();
    args.bad_rows.check(&failed, &args.logits)?;
    logits_file::write(&args.out, &logits)?;
    let left = logits.data.iter().filter(|logit| logit.is_finite()).count();
    let mut out = io::stdout().lock();
    if args.json {
        let bad: Vec<Value> = failed.iter().map(|(row, error)| json!({"row": row, "error": error})).collect();
        let report = json!({
            "pipeline": config.name, "processors": pipeline.canonical(), "rows": count, "vocabulary": logits.width,
            "candidates": left, "bad_rows": bad, "out": args.out,
        });
        write_json(&mut out, &report)?;
    } else {
        let mean = left as f64 / count.max(1) as f64;
        writeln!(out, "{count} rows of {}, {mean:.1} candidates left per row: {}", logits.width, args.out.display())?;
        if !failed.is_empty() {
            eprintln!("{} {} rows kept as they were", Style::warning("warning:"), failed.len());
        }
    }
    Ok(Status::Done)
}

/// The further logits that a pipeline needs, `n · V` numbers per row.
fn further(
    tensors: &SafeTensors<'_>,
    pipeline: &Pipeline,
    count: usize,
    vocabulary: usize,
) -> Result<Vec<(&'static str, Rows<f32>)>, String> {
    let read = |name: &'static str| {
        let view = tensors.tensor(name).map_err(|_| format!("no tensor `{name}`, which the pipeline needs"))?;
        let fits = match *view.shape() {
            [rows, width] => rows == count && width == vocabulary,
            [rows, n, width] => rows == count && n > 0 && width == vocabulary,
            _ => false,
        };
        if view.dtype() != Dtype::F32 || !fits {
            let (dtype, shape) = (view.dtype(), view.shape());
            return Err(format!(
                "`{name}` is {dtype:?} {shape:?}, expected f32 [{count}, {vocabulary}] or [{count}, n, {vocabulary}]"
            ));
        }
        let data = floats(&view);
        let width = data.len() / count;
        Ok((name, Rows { data, width }))
    };
    pipeline.needs().into_iter().map(read).collect()
}

/// Token histories without their padding.
fn history(tensors: &SafeTensors<'_>, count: usize) -> Result<Option<Vec<Vec<u32>>>, String> {
    let Ok(view) = tensors.tensor("history") else { return Ok(None) };
    let [rows, width] = view.shape() else { return Err(format!("`history` is {:?}, expected [B, T]", view.shape())) };
    if *rows != count {
        return Err(format!("`history` has {rows} rows, `logits` {count}"));
    }
    let ids: Vec<i64> = match view.dtype() {
        Dtype::I64 => view.data().as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
        Dtype::I32 => view.data().as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect(),
        other => return Err(format!("`history` is {other:?}, expected i64 or i32")),
    };
    let row = |at: usize| {
        let ids = &ids[at * width..(at + 1) * width];
        ids.iter()
            .filter(|id| **id != -1)
            .map(|id| u32::try_from(*id).map_err(|_| format!("`history` row {at} holds {id}, which is no token")))
            .collect::<Result<Vec<u32>, String>>()
    };
    (0..count).map(row).collect::<Result<_, _>>().map(Some)
}
