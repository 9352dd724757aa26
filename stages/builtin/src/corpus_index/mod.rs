//! `index`: documents → an n-gram index of their tokens, which `label.overlap` and `lsn index query` read.

mod documents;
mod tokens;

pub use documents::DocumentFormat;
pub use tokens::CorpusTokenizer;

use documents::for_each_document;
use lsn_infinigram::{BuildOptions, Description, IndexBuilder, IndexError};
use lsn_stage::{FailureClass, ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Bytes of text that are tokenized at a time, in parallel.
const BATCH: usize = 4 << 20;

/// Parameters of `index`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IndexParams {
    /// What a document is.
    pub format: DocumentFormat,
    /// The field of a row that holds the text.
    pub field: String,
    /// Memory to sort in, in MiB. It decides how large shards are: 5 to 8 bytes per token, the fewer the narrower tokens are.
    /// Fewer shards make faster queries.
    pub memory_mib: u64,
    /// Shards that are sorted at a time, in that memory all together.
    pub sorters: usize,
}

impl Default for IndexParams {
    fn default() -> Self {
        Self { format: DocumentFormat::Rows, field: "text".to_owned(), memory_mib: 1024, sorters: 1 }
    }
}

/// The stage type.
pub struct CorpusIndex;

impl Stage for CorpusIndex {
    type Params = IndexParams;

    fn name(&self) -> &'static str {
        "index"
    }

    fn about(&self) -> &'static str {
        "builds an n-gram index of documents, in the layout of the infini-gram package"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, _params: &IndexParams) -> Vec<Port> {
        let tokenizer = "a folder with a `tokenizer.json`; without it, every byte of the text is a token";
        vec![
            Port::new("documents", PortKind::Any, "files of documents, or directories of them").many(),
            Port::new("tokenizer", PortKind::Directory, tokenizer).optional(),
        ]
    }

    fn outputs(&self, _params: &IndexParams) -> Vec<Port> {
        vec![Port::new("index", PortKind::Directory, "the index, with the tokenizer that made it")]
    }

    fn check(&self, params: &IndexParams) -> Result<(), Vec<ParamIssue>> {
        let at_least_one = |pointer: &str| ParamIssue {
            pointer: pointer.to_owned(),
            message: "must be at least 1".to_owned(),
            suggestion: None,
        };
        let issues: Vec<ParamIssue> = [("/memory_mib", params.memory_mib), ("/sorters", params.sorters as u64)]
            .into_iter()
            .filter(|(_, value)| *value == 0)
            .map(|(pointer, _)| at_least_one(pointer))
            .collect();
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: IndexParams, ctx: &StageContext) -> StageResult<()> {
        let tokenizer = match ctx.input_opt("tokenizer") {
            Some(artifact) => CorpusTokenizer::from_folder(&artifact.path)?,
            None => CorpusTokenizer::Bytes,
        };
        let sources: Vec<&Path> = ctx.inputs("documents").iter().map(|artifact| artifact.path.as_path()).collect();
        let description = build(&sources, &tokenizer, &params, ctx.output("index")?, ctx.threads(), |documents| {
            ctx.progress(documents, None, "documents");
            ctx.check_cancelled()
        })?;
        ctx.metric("index/documents", description.documents as f64);
        ctx.metric("index/tokens", description.tokens as f64);
        Ok(())
    }
}

/// Builds an index of all documents of `sources` in `dir`, tokenizing on `threads` threads. `watch` hears how many documents
/// are in and may stop the work.
///
/// # Errors
/// A source cannot be read, a text cannot be tokenized, the index cannot be written, or `watch` stops it.
pub fn build(
    sources: &[&Path],
    tokenizer: &CorpusTokenizer,
    params: &IndexParams,
    dir: &Path,
    threads: usize,
    mut watch: impl FnMut(u64) -> StageResult<()>,
) -> StageResult<Description> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| StageError::new(FailureClass::Infrastructure, format!("cannot start threads: {error}")))?;
    let options = BuildOptions {
        memory: params.memory_mib << 20,
        threads: params.sorters,
        tokenizer: Some(tokenizer.name()),
        ..BuildOptions::new(tokenizer.width())
    };
    let mut builder = IndexBuilder::create(dir, options).map_err(index_error)?;
    let (mut batch, mut size, mut done) = (Vec::new(), 0, 0);
    let mut index_batch = |batch: &mut Vec<String>, builder: &mut IndexBuilder| {
        let tokens: Vec<Vec<u32>> =
            pool.install(|| batch.par_iter().map(|text| tokenizer.encode(text)).collect::<StageResult<_>>())?;
        for tokens in &tokens {
            builder.push(tokens).map_err(index_error)?;
        }
        done += batch.len() as u64;
        batch.clear();
        watch(done)
    };
    for source in sources {
        for_each_document(source, params.format, &params.field, &mut |text| {
            size += text.len();
            batch.push(text);
            if size >= BATCH {
                size = 0;
                index_batch(&mut batch, &mut builder)?;
            }
            Ok(())
        })?;
    }
    index_batch(&mut batch, &mut builder)?;
    let description = builder.finish().map_err(index_error)?;
    tokenizer.save(dir)?;
    Ok(description)
}

/// How a failing index fails a stage.
pub(crate) fn index_error(error: IndexError) -> StageError {
    let class = if matches!(error, IndexError::Io { .. }) { FailureClass::Infrastructure } else { FailureClass::User };
    StageError::new(class, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Harness;
    use lsn_infinigram::{CorpusCounts, Index, TokenWidth};

    #[test]
    fn documents_of_all_formats_are_indexed_by_bytes() {
        let harness = Harness::new();
        let rows = harness.file("rows", "{\"text\": \"abc\"}\n{\"text\": \"äb\", \"n\": 1}\n");
        let plain = harness.file("plain", "abc\n\u{e4}b\n");
        for (path, format, documents) in
            [(&rows, DocumentFormat::Rows, 2), (&plain, DocumentFormat::Lines, 2), (&plain, DocumentFormat::Files, 1)]
        {
            let ctx = harness.context(&[("documents", &[path.as_path()])], &["index"]);
            let params = IndexParams { format, ..IndexParams::default() };
            CorpusIndex.run(params, &ctx).unwrap();
            let dir = ctx.output("index").unwrap();
            let index = Index::open(dir, None).unwrap();
            assert_eq!((index.width(), index.documents()), (TokenWidth::U8, documents));
            let tokenizer = CorpusTokenizer::of_index(dir, None).unwrap();
            let count = |text: &str| index.count(&tokenizer.encode(text).unwrap()).unwrap();
            assert_eq!([count("b"), count("ä"), count("bc"), count("ca")], [2, 1, 1, 0]);
            assert_eq!(tokenizer.decode(&index.document(0).unwrap().unwrap()).unwrap()[..3], *"abc");
        }
    }

    #[test]
    fn a_tokenizer_goes_with_its_index() {
        let harness = Harness::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/models/tiny");
        let rows = harness.file("rows", "{\"body\": \"the quick fox\"}\n{\"body\": \"the quick dog\"}\n");
        let ctx = harness.context(&[("documents", &[&rows]), ("tokenizer", &[&folder])], &["index"]);
        let params = IndexParams { field: "body".to_owned(), ..IndexParams::default() };
        CorpusIndex.run(params, &ctx).unwrap();
        let dir = ctx.output("index").unwrap();
        let tokenizer = CorpusTokenizer::of_index(dir, None).unwrap();
        let ids = tokenizer.encode("the quick").unwrap();
        assert_eq!(Index::open(dir, None).unwrap().count(&ids).unwrap(), 2);
        // Another tokenizer would give other ids: it is refused.
        std::fs::write(dir.join("tokenizer.json"), "{}").unwrap();
        let error = CorpusTokenizer::of_index(dir, None).err().unwrap();
        assert!(error.message.contains("tokenizer"), "{error}");
    }

    #[test]
    fn a_row_without_the_field_is_named() {
        let harness = Harness::new();
        let rows = harness.file("rows", "{\"text\": \"a\"}\n{\"body\": \"b\"}\n");
        let ctx = harness.context(&[("documents", &[rows.as_path()])], &["index"]);
        let error = CorpusIndex.run(IndexParams::default(), &ctx).unwrap_err();
        assert!(error.message.contains("row 2") && error.message.contains("`text`"), "{error}");
    }
}
