//! Arguments that name a pipeline and change its parameters; shared by all commands that read a manifest.

use super::{CliError, CliResult};
use crate::manifest::Overrides;
use clap::Args;
use std::path::{Path, PathBuf};

/// Changes to a manifest from the command line.
#[derive(Debug, Clone, Default, Args)]
pub struct OverrideArgs {
    /// Set a parameter, as `key=value` or `outer.inner=value`; the value is read as YAML
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Take parameters from a YAML file; later files and `--set` win
    #[arg(long, value_name = "FILE")]
    pub params: Vec<PathBuf>,
    /// Use a profile of the manifest
    #[arg(long, value_name = "NAME", env = "LSN_PROFILE")]
    pub profile: Option<String>,
}

impl OverrideArgs {
    /// The changes, with the environment of this process.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides {
            set: self.set.clone(),
            params_files: self.params.clone(),
            profile: self.profile.clone(),
            ..Overrides::from_environment()
        }
    }
}

/// The halves of `key=value`.
///
/// # Errors
/// There is no `=`, or nothing before it.
pub fn split_pair<'a>(word: &'a str, option: &str) -> CliResult<(&'a str, &'a str)> {
    match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key, value)),
        _ => Err(CliError::usage(format!("`{option} {word}`: expected `{option} KEY=VALUE`"))),
    }
}

/// A manifest and the changes to it.
#[derive(Debug, Clone, Default, Args)]
pub struct PipelineArgs {
    /// The pipeline manifest; may be left out where there is only one `pipelines/*.yaml`
    #[arg(value_name = "PIPELINE")]
    pub manifest: Option<PathBuf>,
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

impl PipelineArgs {
    /// The manifest that was named, or the only one there is.
    ///
    /// # Errors
    /// None was named and there is none or more than one.
    pub fn manifest(&self) -> CliResult<PathBuf> {
        find_manifest(self.manifest.as_deref())
    }
}

/// The manifest that was named, or the only one in `pipelines/`.
///
/// # Errors
/// None was named and there is none or more than one.
pub fn find_manifest(named: Option<&Path>) -> CliResult<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir("pipelines")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .collect();
    found.sort();
    match found.as_slice() {
        [] => Err(CliError::usage("no pipeline given, and there is no `pipelines/*.yaml` here")
            .hint("name a manifest, or write a first one with `lsn init`")),
        [one] => Ok(one.clone()),
        many => {
            let names: Vec<_> = many.iter().map(|path| path.display().to_string()).collect();
            Err(CliError::usage("no pipeline given, and there are several here")
                .hint(format!("name one of: {}", names.join(", "))))
        }
    }
}
