//! `lsn sampler`: sampler networks by hand, so that anybody can compare them with another implementation.

use super::{
    CliError, CliResult, Global, Status, Style,
    logits_file::{self, BadRows},
    write_json,
};
use clap::{Subcommand, ValueEnum};
use lsn_samplers::{Checkpoint, Grouping, INTERPOLATION_TOLERANCE, Precision, SamplerError, WEIGHTS_FILE, Workspace};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// Arguments of `lsn sampler`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show a checkpoint's architecture, parameters and provenance
    Describe {
        /// A checkpoint directory: config.json with sampler.safetensors or the reference's sampler_model.bin
        #[arg(value_name = "DIR")]
        checkpoint: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Apply a sampler to rows of logits
    Apply(ApplyArgs),
    /// Write a checkpoint anew, its parameters as sampler.safetensors: what the reference saved as a pickle, too
    Convert {
        /// The checkpoint directory to read
        #[arg(short, long, value_name = "DIR")]
        checkpoint: PathBuf,
        /// The checkpoint directory to write
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
        /// Number format of the parameters; bf16 rounds them, to half the space
        #[arg(short, long, value_name = "FORMAT", default_value = "f32")]
        precision: PrecisionArg,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PrecisionArg {
    F32,
    Bf16,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::Bf16 => Self::Bf16,
        }
    }
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    /// A checkpoint directory: config.json with sampler.safetensors or the reference's sampler_model.bin
    #[arg(short, long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// A safetensors file: `logits`, f32 [B, V]; other tensors, such as a history, do not matter to a sampler
    #[arg(short, long, value_name = "FILE")]
    logits: PathBuf,
    /// Where to write `logits`, f32 [B, V], as the sampler leaves them
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// How to evaluate the network
    #[arg(long, value_name = "HOW", default_value = "automatic")]
    evaluation: Evaluation,
    /// What to do with rows that hold NaN, +inf or no finite logit
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    bad_rows: BadRows,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// The first three give the same numbers up to rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Evaluation {
    /// On distinct logits where they repeat, else on every token
    Automatic,
    /// On distinct logits
    Distinct,
    /// On every token
    Dense,
    /// On a grid of logits, where the network allows that: at most 1e-4 off, relative to the largest output
    Interpolated,
}

impl Evaluation {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl From<SamplerError> for CliError {
    fn from(error: SamplerError) -> Self {
        Self::usage(error.to_string())
    }
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    match &args.action {
        Action::Describe { checkpoint, json } => describe(&Checkpoint::load(checkpoint)?, *json),
        Action::Apply(args) => apply(args),
        Action::Convert { checkpoint, out, precision } => {
            if out.join(WEIGHTS_FILE).exists() {
                let error = CliError::usage(format!("`{}` already holds a checkpoint", out.display()));
                return Err(error.hint("choose another directory, or remove it first"));
            }
            let read = Checkpoint::load(checkpoint)?;
            read.save_as(out, (*precision).into()).map_err(|error| CliError::failed(error.to_string()))?;
            writeln!(io::stdout().lock(), "{} parameters: {}", parameters(&read), out.join(WEIGHTS_FILE).display())?;
            Ok(Status::Done)
        }
    }
}

fn parameters(checkpoint: &Checkpoint) -> usize {
    checkpoint.sampler.layout().len()
}

fn describe(checkpoint: &Checkpoint, json: bool) -> CliResult<Status> {
    let sampler = &checkpoint.sampler;
    let architecture = serde_json::to_value(sampler.architecture()).map_err(io::Error::from)?;
    let mut out = io::stdout().lock();
    if json {
        let tensors: Vec<Value> = sampler
            .layout()
            .tensors()
            .iter()
            .map(|tensor| json!({"name": tensor.name, "shape": tensor.shape}))
            .collect();
        let mut report = architecture;
        report["parameters"] = json!(parameters(checkpoint));
        report["tensors"] = json!(tensors);
        report["provenance"] = checkpoint.provenance.clone();
        write_json(&mut out, &report)?;
        return Ok(Status::Done);
    }
    writeln!(out, "{}: {} parameters", Style::strong(sampler.architecture().name()), parameters(checkpoint))?;
    for (name, value) in architecture["arguments"].as_object().into_iter().flatten() {
        writeln!(out, "  {name}: {value}")?;
    }
    writeln!(out, "\n{}", Style::strong("tensors"))?;
    let tensors = sampler.layout().tensors();
    let width = tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
    for tensor in tensors {
        writeln!(out, "  {:width$}  {:?}", tensor.name, tensor.shape)?;
    }
    if !checkpoint.provenance.is_null() {
        writeln!(out, "\n{}", Style::strong("provenance"))?;
        let text = serde_json::to_string_pretty(&checkpoint.provenance).map_err(io::Error::from)?;
        writeln!(out, "{text}")?;
    }
    Ok(Status::Done)
}

fn apply(args: &ApplyArgs) -> CliResult<Status> {
    let Checkpoint { sampler, .. } = Checkpoint::load(&args.checkpoint)?;
    let bytes = logits_file::read(&args.logits)?;
    let tensors = logits_file::tensors(&bytes, &args.logits)?;
    let mut logits = logits_file::logits(&tensors).map_err(logits_file::broken(&args.logits))?;
    let count = logits.data.len() / logits.width;
    let failed: Vec<(usize, String)> = logits
        .data
        .par_chunks_mut(logits.width)
        .enumerate()
        .map_init(Workspace::default, |workspace, (at, row)| {
            let done = match args.evaluation {
                Evaluation::Automatic => sampler.apply(row, workspace),
                Evaluation::Distinct => sampler.apply_grouped(row, Grouping::Distinct, workspace),
                Evaluation::Dense => sampler.apply_grouped(row, Grouping::Dense, workspace),
                Evaluation::Interpolated => sampler.apply_interpolated(row, workspace),
            };
            done.err().map(|error| (at, error.to_string()))
        })
        .flatten()
        .collect();
    args.bad_rows.check(&failed, &args.logits)?;
    logits_file::write(&args.out, &logits)?;
    let mut out = io::stdout().lock();
    if args.json {
        let bad: Vec<Value> = failed.iter().map(|(row, error)| json!({"row": row, "error": error})).collect();
        let report = json!({
            "architecture": sampler.architecture().name(), "rows": count, "vocabulary": logits.width,
            "evaluation": args.evaluation.name(),
            "tolerance": (args.evaluation == Evaluation::Interpolated).then_some(INTERPOLATION_TOLERANCE),
            "bad_rows": bad, "out": args.out,
        });
        write_json(&mut out, &report)?;
    } else {
        writeln!(out, "{count} rows of {}: {}", logits.width, args.out.display())?;
        if !failed.is_empty() {
            eprintln!("{} {} rows kept as they were", Style::warning("warning:"), failed.len());
        }
    }
    Ok(Status::Done)
}
