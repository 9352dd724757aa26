//! Output contracts: what an artifact must be before it may be published, so that a sick worker poisons no cache.

use crate::{
    FailureClass, Port, PortKind, StageError, StageResult,
    dataset::{DataSetReader, Schema},
    record::{DiversityLabel, Generation, OverlapLabel, Prompt, QualityLabel, Record, ScoredRow, VerifiableLabel},
};
use std::{collections::BTreeSet, fs, os::unix::fs::FileTypeExt, path::Path};

/// More defective rows than this share (empty or failed generations) and the whole artifact is refused.
pub const MAX_DEFECT_RATE: f64 = 0.5;

/// Checks what a task left at `path` for its output `port`.
///
/// The path must exist (unless the port is optional) and be of the port's kind. A data set must hold exactly the files and the
/// rows that its `schema.json` says, sorted and in their shards, every row must parse as its record type (a NaN is written as
/// null and fails here), there must be a row (unless the port is optional), and at most [`MAX_DEFECT_RATE`] of the rows may be
/// defective.
///
/// # Errors
/// Of class [`FailureClass::Contract`], naming the output and what is wrong with it.
pub fn check(port: &Port, path: &Path) -> StageResult<()> {
    let broken = |what: String| StageError::new(FailureClass::Contract, format!("output `{}`: {what}", port.name));
    let kind = match fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if port.optional {
                return Ok(());
            }
            return Err(broken("the task did not write it".to_owned()));
        }
        Err(error) => return Err(StageError::io(format!("cannot look at output `{}`", port.name), &error)),
    };
    match &port.kind {
        PortKind::Any => Ok(()),
        PortKind::File if kind.is_file() => Ok(()),
        PortKind::File => Err(broken(format!("expected a file, found {}", called(kind)))),
        PortKind::Directory | PortKind::DataSet(_) if !kind.is_dir() => {
            Err(broken(format!("expected a directory, found {}", called(kind))))
        }
        PortKind::Directory => Ok(()),
        PortKind::DataSet(record) => {
            let schema = Schema::read(path).map_err(|error| broken(error.to_string()))?;
            if &schema.record != record {
                return Err(broken(format!("expected rows of type `{record}`, found `{}`", schema.record)));
            }
            check_files(&schema, path).map_err(&broken)?;
            let rows = match record.as_str() {
                Prompt::TYPE => check_rows::<Prompt>(path),
                Generation::TYPE => check_rows::<Generation>(path),
                QualityLabel::TYPE => check_rows::<QualityLabel>(path),
                DiversityLabel::TYPE => check_rows::<DiversityLabel>(path),
                OverlapLabel::TYPE => check_rows::<OverlapLabel>(path),
                VerifiableLabel::TYPE => check_rows::<VerifiableLabel>(path),
                ScoredRow::TYPE => check_rows::<ScoredRow>(path),
                _ => Ok(schema.rows),
            }
            .map_err(&broken)?;
            if rows == 0 && !port.optional {
                return Err(broken("it has no rows".to_owned()));
            }
            Ok(())
        }
    }
}

fn called(kind: fs::FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_file() => "a file",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

fn check_files(schema: &Schema, path: &Path) -> Result<(), String> {
    let mut expected: BTreeSet<String> = (0..schema.shards).map(|index| schema.shard_file(index)).collect();
    expected.insert(crate::dataset::SCHEMA_FILE.to_owned());
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(path).map_err(|error| error.to_string())? {
        found.insert(entry.map_err(|error| error.to_string())?.file_name().to_string_lossy().into_owned());
    }
    if let Some(missing) = expected.difference(&found).next() {
        return Err(format!("{missing} is missing"));
    }
    if let Some(stray) = found.difference(&expected).next() {
        return Err(format!("{stray} is no part of a data set of {} shards", schema.shards));
    }
    Ok(())
}

fn check_rows<R: Record>(path: &Path) -> Result<u64, String> {
    let reader = DataSetReader::<R>::open(path).map_err(|error| error.to_string())?;
    let (mut rows, mut defects, mut example) = (0_u64, 0_u64, "");
    for row in reader.rows().map_err(|error| error.to_string())? {
        rows += 1;
        if let Some(defect) = row.map_err(|error| error.to_string())?.defect() {
            defects += 1;
            example = defect;
        }
    }
    if defects as f64 > rows as f64 * MAX_DEFECT_RATE {
        return Err(format!("{defects} of {rows} rows are useless ({example})"));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::DataSetWriter;

    fn port() -> Port {
        Port::new("rows", PortKind::DataSet("prompt".into()), "")
    }

    fn write(path: &Path, texts: &[&str]) {
        let mut writer = DataSetWriter::create(path).unwrap();
        for text in texts {
            writer.push(&Prompt::new("d", *text, None)).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn a_sound_data_set_passes_and_each_damage_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("rows");
        let message = |port: &Port| check(port, &path).unwrap_err().message;
        assert!(message(&port()).contains("did not write it"));
        check(&port().optional(), &path).unwrap();

        write(&path, &["a", "b", "c"]);
        check(&port(), &path).unwrap();
        let other = Port::new("rows", PortKind::DataSet("generation".into()), "");
        assert!(message(&other).contains("expected rows of type `generation`"));

        fs::write(path.join("stray"), "").unwrap();
        assert!(message(&port()).contains("stray"));
        fs::remove_file(path.join("stray")).unwrap();

        let part = path.join("part-00000.jsonl");
        let text = fs::read_to_string(&part).unwrap();
        fs::write(&part, text.lines().take(2).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        assert!(message(&port()).contains("says 3 rows"));
        let mut lines: Vec<_> = text.lines().collect();
        lines.reverse();
        fs::write(&part, lines.join("\n")).unwrap();
        assert!(message(&port()).contains("out of order"));
        fs::write(&part, "{\n").unwrap();
        assert!(message(&port()).contains("part-00000.jsonl:1"));
        fs::remove_file(&part).unwrap();
        assert!(message(&port()).contains("missing"));
    }

    #[test]
    fn an_empty_or_useless_data_set_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let empty = root.path().join("empty");
        write(&empty, &[]);
        assert!(check(&port(), &empty).unwrap_err().message.contains("no rows"));
        check(&port().optional(), &empty).unwrap();
        let useless = root.path().join("useless");
        write(&useless, &[""]);
        assert!(check(&port(), &useless).unwrap_err().message.contains("useless"));
    }
}
