//! Files of rows: finding them, finding out their format from their content, and streaming their rows.

use lsn_stage::{StageError, StageResult};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::{
    fmt,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// A row, or its raw text and what is wrong with it.
pub(crate) type Parsed = Result<Map<String, Value>, (Vec<u8>, String)>;
/// Takes a row's line (in a JSON array or a Parquet file: its number, from 1) and the row.
pub(crate) type Each<'a> = &'a mut dyn FnMut(u64, Parsed) -> StageResult<()>;

const PARQUET_MAGIC: &[u8] = b"PAR1";
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const BUFFER: usize = 1 << 16;

fn io(path: &Path) -> impl Fn(std::io::Error) -> StageError {
    move |error| StageError::io(format!("cannot read {}", path.display()), &error)
}

/// The files of a source in sorted order; hidden ones and the description of a data set are none.
pub(crate) fn files(path: &Path) -> StageResult<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(io(path))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && name != lsn_stage::dataset::SCHEMA_FILE {
            found.extend(files(&entry.path())?);
        }
    }
    Ok(found)
}

/// Gives every row of the file to `each`.
///
/// # Errors
/// The file cannot be read, is in no known format, or `each` fails.
pub(crate) fn stream(path: &Path, each: Each<'_>) -> StageResult<()> {
    let mut file = BufReader::with_capacity(BUFFER, File::open(path).map_err(io(path))?);
    let head = file.fill_buf().map_err(io(path))?;
    if head.starts_with(PARQUET_MAGIC) {
        return parquet(path, each);
    }
    if head.starts_with(ZSTD_MAGIC) {
        let decoder = zstd::Decoder::with_buffer(file).map_err(io(path))?;
        return text(path, BufReader::with_capacity(BUFFER, decoder), each);
    }
    text(path, file, each)
}

#[cfg(feature = "parquet")]
fn parquet(path: &Path, each: Each<'_>) -> StageResult<()> {
    super::parquet_rows::stream(path, each)
}

#[cfg(not(feature = "parquet"))]
fn parquet(path: &Path, _each: Each<'_>) -> StageResult<()> {
    Err(StageError::user(format!("{} is a Parquet file, and this lsn was built without Parquet", path.display()))
        .hint("build with `--features parquet`, or convert the file to JSONL"))
}

fn text(path: &Path, mut file: impl BufRead, each: Each<'_>) -> StageResult<()> {
    if file.fill_buf().map_err(io(path))?.starts_with(BYTE_ORDER_MARK) {
        file.consume(BYTE_ORDER_MARK.len());
    }
    let mut head = Vec::new();
    let mut lines = 0;
    while head.iter().all(u8::is_ascii_whitespace) {
        if file.read_until(b'\n', &mut head).map_err(io(path))? == 0 {
            return Ok(());
        }
        lines += 1;
    }
    let first = head.trim_ascii();
    match first.first() {
        Some(b'[') => json_array(path, head.chain(file), each),
        Some(b'{') if serde_json::from_slice::<IgnoredAny>(first).is_ok() || !first.ends_with(b"{") => {
            json_lines(path, head.chain(file), each)
        }
        Some(b'{') => json_object(path, head.chain(file), each),
        _ if head.contains(&0) || std::str::from_utf8(&head).is_err() => {
            Err(StageError::user(format!("{} is in no known format", path.display()))
                .hint("sources are JSONL, JSON, CSV or Parquet files, or JSONL compressed with zstd"))
        }
        _ => csv_table(path, head.chain(file), lines - 1, each),
    }
}

trait Chained: Sized {
    fn chain<R: BufRead>(self, rest: R) -> std::io::Chain<std::io::Cursor<Vec<u8>>, R>;
}

impl Chained for Vec<u8> {
    fn chain<R: BufRead>(self, rest: R) -> std::io::Chain<std::io::Cursor<Vec<u8>>, R> {
        std::io::Cursor::new(self).chain(rest)
    }
}

fn object(value: Value) -> Parsed {
    match value {
        Value::Object(object) => Ok(object),
        other => Err((other.to_string().into_bytes(), "expected an object".to_owned())),
    }
}

fn json_lines(path: &Path, mut file: impl BufRead, each: Each<'_>) -> StageResult<()> {
    let mut buffer = Vec::new();
    let mut line = 0;
    loop {
        buffer.clear();
        if file.read_until(b'\n', &mut buffer).map_err(io(path))? == 0 {
            return Ok(());
        }
        line += 1;
        let row = buffer.trim_ascii();
        if row.is_empty() {
            continue;
        }
        let parsed = serde_json::from_slice::<Value>(row).map_err(|error| (row.to_vec(), error.to_string()));
        each(line, parsed.and_then(object))?;
    }
}

/// A whole document: rows under its only list, or one row.
fn json_object(path: &Path, file: impl Read, each: Each<'_>) -> StageResult<()> {
    let document: Map<String, Value> = serde_json::from_reader(file)
        .map_err(|error| StageError::user(format!("{} is not JSON: {error}", path.display())))?;
    let is_list = |value: &&Value| value.as_array().is_some_and(|rows| rows.iter().any(Value::is_object));
    if document.values().filter(is_list).count() == 1 {
        let rows = document.into_iter().find_map(|(_, value)| if is_list(&&value) { Some(value) } else { None });
        if let Some(Value::Array(rows)) = rows {
            for (index, row) in rows.into_iter().enumerate() {
                each(index as u64 + 1, object(row))?;
            }
        }
        return Ok(());
    }
    each(1, Ok(document))
}

/// An array of rows, read one at a time.
fn json_array(path: &Path, file: impl Read, each: Each<'_>) -> StageResult<()> {
    struct Elements<'a, 'b> {
        each: Each<'a>,
        failed: &'b mut Option<StageError>,
    }

    impl<'de> DeserializeSeed<'de> for Elements<'_, '_> {
        type Value = ();

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_seq(self)
        }
    }

    impl<'de> Visitor<'de> for Elements<'_, '_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of objects")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
            let mut number = 0;
            while let Some(value) = elements.next_element::<Value>()? {
                number += 1;
                if let Err(error) = (self.each)(number, object(value)) {
                    *self.failed = Some(error);
                    return Err(serde::de::Error::custom("stopped"));
                }
            }
            Ok(())
        }
    }

    let mut failed = None;
    let mut deserializer = serde_json::Deserializer::from_reader(file);
    let outcome = Elements { each, failed: &mut failed }.deserialize(&mut deserializer);
    match (failed, outcome) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(StageError::user(format!("{} is not JSON: {error}", path.display()))),
        (None, Ok(())) => Ok(()),
    }
}

fn csv_table(path: &Path, mut file: impl BufRead, skipped: u64, each: Each<'_>) -> StageResult<()> {
    let head = file.fill_buf().map_err(io(path))?;
    let header = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let delimiter = if header.contains(&b'\t') && !header.contains(&b',') { b'\t' } else { b',' };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(file);
    let headers = reader
        .headers()
        .map_err(|error| StageError::user(format!("{} is not a CSV table: {error}", path.display())))?
        .clone();
    let mut record = csv::StringRecord::new();
    loop {
        let line = reader.position().line() + skipped;
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let fields = headers.iter().zip(&record);
                each(line, Ok(fields.map(|(key, value)| (key.to_owned(), Value::from(value))).collect()))?;
            }
            Err(error) if error.is_io_error() => {
                return Err(StageError::user(format!("cannot read {}: {error}", path.display())));
            }
            Err(error) => each(line, Err((Vec::new(), error.to_string())))?,
        }
    }
}
