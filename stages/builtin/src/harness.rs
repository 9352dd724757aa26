//! A stage context over a temporary directory, for tests.

use lsn_digest::Digest;
use lsn_stage::{
    Artifact, CancelToken, EventSink, NoEvents, NoMemo, RowMemo, StageContext, StageContextParts,
    dataset::{DataSetReader, DataSetWriter},
    record::Record,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files, data sets and contexts that live as long as this.
pub struct Harness {
    root: tempfile::TempDir,
}

impl Harness {
    pub fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub fn rows<R: Record>(&self, name: &str, rows: &[R]) -> PathBuf {
        let path = tempfile::tempdir_in(self.root.path()).unwrap().keep().join(name);
        let mut writer = DataSetWriter::create(&path).unwrap();
        for row in rows {
            writer.push(row).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    /// A context with its own, empty output directory.
    pub fn context(&self, inputs: &[(&str, &[&Path])], outputs: &[&str]) -> StageContext {
        self.context_with(inputs, outputs, Arc::new(NoMemo), Arc::new(NoEvents))
    }

    pub fn context_with(
        &self,
        inputs: &[(&str, &[&Path])],
        outputs: &[&str],
        memo: Arc<dyn RowMemo>,
        events: Arc<dyn EventSink>,
    ) -> StageContext {
        let work = tempfile::tempdir_in(self.root.path()).unwrap().keep();
        let artifact = |path: &&Path| Artifact {
            path: path.to_path_buf(),
            digest: Digest::of(path.as_os_str().as_encoded_bytes()),
        };
        let (out, scratch) = (work.join("out"), work.join("scratch"));
        fs::create_dir_all(&out).unwrap();
        fs::create_dir_all(&scratch).unwrap();
        StageContext::new(StageContextParts {
            inputs: inputs
                .iter()
                .map(|(name, paths)| ((*name).to_owned(), paths.iter().map(artifact).collect()))
                .collect(),
            outputs: outputs.iter().map(|name| ((*name).to_owned(), out.join(name))).collect(),
            scratch,
            threads: 1,
            gpus: vec![],
            events,
            memo,
            cancel: CancelToken::default(),
        })
    }
}

pub fn read<R: Record>(path: &Path) -> Vec<R> {
    DataSetReader::open(path).unwrap().rows().unwrap().map(Result::unwrap).collect()
}
