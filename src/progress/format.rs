//! Numbers and sentences that the views share.

use crate::home::{RunEvent, Tally};
use lsn_stage::RowCounts;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

/// How much of the end of a log is shown with a failure.
const TAIL_LINES: usize = 12;
const TAIL_BYTES: i64 = 8 << 10;

/// A duration as people say it: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 0.0995 => format!("{:.0} ms", s * 1000.0),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 60.0 => format!("{s:.0} s"),
        s if s < 3600.0 => format!("{} min {} s", (s / 60.0) as u64, s as u64 % 60),
        s => format!("{} h {} min", (s / 3600.0) as u64, (s / 60.0) as u64 % 60),
    }
}

/// As [`duration`], from milliseconds.
#[must_use]
pub fn milliseconds(ms: u64) -> String {
    duration(Duration::from_millis(ms))
}

/// The numbers of a run in one line.
#[must_use]
pub fn tally(tally: &Tally) -> String {
    let mut parts = vec![format!("{} executed", tally.executed), format!("{} cached", tally.cached)];
    for (count, word) in
        [(tally.failed, "failed"), (tally.skipped, "skipped"), (tally.left, "left"), (tally.excluded, "not selected")]
    {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    parts.join(", ")
}

/// `1200 rows computed, 34 reused, 1 failed`; nothing where there are none.
#[must_use]
pub fn rows(rows: RowCounts) -> String {
    let mut parts = vec![format!("rows: {} computed", rows.computed), format!("{} reused", rows.reused)];
    if rows.failed > 0 {
        parts.push(format!("{} failed", rows.failed));
    }
    parts.join(", ")
}

/// The line about a task that is done.
#[must_use]
pub fn finished(event: &RunEvent) -> Option<String> {
    let RunEvent::TaskFinished { task, usage, rows: counts, published, .. } = event else { return None };
    let mut line = format!("{task}  {}", milliseconds(usage.wall_ms));
    if let Some(counts) = counts {
        line.push_str(&format!("  {}", rows(*counts)));
    }
    if !published {
        line.push_str("  (not kept)");
    }
    Some(line)
}

/// Longer lines of a log are cut where they are shown with a failure.
const LINE_CHARS: usize = 300;

/// A line that a program wrote, fit for a terminal: what was overwritten on it is left out, what would move the cursor,
/// sound the bell or turn the direction of writing is escaped, and a long one is cut.
fn harmless(line: &str) -> String {
    let visible = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let moves = |c: char| c.is_control() && c != '\t' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut text = String::new();
    for c in visible.chars().take(LINE_CHARS) {
        if moves(c) { text.extend(c.escape_unicode()) } else { text.push(c) }
    }
    if visible.chars().nth(LINE_CHARS).is_some() {
        text.push('…');
    }
    text
}

/// The last lines of a log, indented.
#[must_use]
pub fn log_tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = i64::try_from(file.metadata()?.len()).unwrap_or(i64::MAX);
        file.seek(SeekFrom::End(-length.min(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| format!("    {}\n", harmless(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let said = |ms| milliseconds(ms);
        assert_eq!(said(3), "3 ms");
        assert_eq!(said(400), "0.4 s");
        assert_eq!(said(12_400), "12 s");
        assert_eq!(said(185_000), "3 min 5 s");
        assert_eq!(said(7_800_000), "2 h 10 min");
    }

    #[test]
    fn the_end_of_a_log_does_nothing_to_the_terminal() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let long = "x".repeat(2 * LINE_CHARS);
        std::fs::write(&log, format!("10 %\r55 %\r100 %\r\n\x1b[2J\x1b]0;evil\x07\u{202e}\tok\n{long}\n")).unwrap();
        let expected = ["    100 %", "    \\u{1b}[2J\\u{1b}]0;evil\\u{7}\\u{202e}\tok"];
        let tail = log_tail(&log);
        let lines: Vec<_> = tail.lines().collect();
        assert_eq!(&lines[..2], expected);
        assert_eq!(lines[2].chars().count(), 4 + LINE_CHARS + 1);
    }

    #[test]
    fn a_tally_says_only_what_there_is() {
        assert_eq!(tally(&Tally { executed: 2, cached: 3, ..Tally::default() }), "2 executed, 3 cached");
        assert_eq!(tally(&Tally { failed: 1, left: 4, ..Tally::default() }), "0 executed, 0 cached, 1 failed, 4 left");
    }
}
