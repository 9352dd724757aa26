//! Answers of a server, kept for good.

use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

/// What a server said about an n-gram.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub count: u64,
    /// The n-gram in the server's tokens, where they were wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_ids: Vec<u32>,
}

/// Keeps answers by question. A question is a text that says all that decides the answer.
pub trait CountCache: Send + Sync {
    /// # Errors
    /// The cache cannot be read. An answer that does not read is not an error but none.
    fn get(&self, question: &str) -> io::Result<Option<Answer>>;

    /// # Errors
    /// The cache cannot be written.
    fn put(&self, question: &str, answer: &Answer) -> io::Result<()>;
}

/// Keeps nothing.
pub struct NoCache;

impl CountCache for NoCache {
    fn get(&self, _question: &str) -> io::Result<Option<Answer>> {
        Ok(None)
    }

    fn put(&self, _question: &str, _answer: &Answer) -> io::Result<()> {
        Ok(())
    }
}

/// A file that only grows, one JSON object a line; all of it is in memory while it is open. Several processes may add to one
/// file. A line that does not read, such as the last one of a process that was killed, is passed over.
pub struct CacheFile {
    state: Mutex<State>,
}

struct State {
    file: File,
    answers: HashMap<String, Answer>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    question: String,
    #[serde(flatten)]
    answer: Answer,
}

impl CacheFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// The file cannot be read or made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut answers = HashMap::new();
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if let Ok(Line { question, answer }) = serde_json::from_slice(&line) {
                answers.insert(question, answer);
            }
            line.clear();
        }
        // After a torn line, the next answer begins a line of its own.
        if file.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(Self { state: Mutex::new(State { file, answers }) })
    }
}

impl CountCache for CacheFile {
    fn get(&self, question: &str) -> io::Result<Option<Answer>> {
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner).answers.get(question).cloned())
    }

    fn put(&self, question: &str, answer: &Answer) -> io::Result<()> {
        let line = Line { question: question.to_owned(), answer: answer.clone() };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // One write: appended as a whole beside what other processes append.
        state.file.write_all(&text)?;
        state.answers.insert(line.question, line.answer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn answers_outlive_the_process_and_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counts.jsonl");
        let answer = Answer { count: 3, token_ids: vec![1, 2] };
        CacheFile::open(&path).unwrap().put("a", &answer).unwrap();
        let mut torn = fs::read(&path).unwrap();
        torn.extend_from_slice(br#"{"question":"b","cou"#);
        fs::write(&path, torn).unwrap();
        let cache = CacheFile::open(&path).unwrap();
        assert_eq!(cache.get("a").unwrap(), Some(answer));
        assert_eq!(cache.get("b").unwrap(), None);
        cache.put("b", &Answer { count: 0, token_ids: Vec::new() }).unwrap();
        let again = CacheFile::open(&path).unwrap();
        assert_eq!(again.get("b").unwrap(), Some(Answer::default()));
        assert!(again.get("a").unwrap().is_some());
    }
}
