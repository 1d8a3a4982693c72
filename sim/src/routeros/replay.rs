//! Plays what a real box answered: a capture of `rds-csi doctor --capture`.
//!
//! The format is JSON lines. The first one describes the box; every other one is an exec:
//!
//! ```json
//! {"capture":"rds-csi doctor","format":1,"version":"7.24.4 (stable)","algorithms":{"kex":["…"],"host_key":["…"],"ciphers":["…"],"macs":["…"]}}
//! {"line":":put \"t1 end\"","fresh":["t1"],"version":null,"encoding":"utf-8","stdout":"t1 end\r\n","stderr":"","exit_status":0,"ended":"answered","millis":61}
//! ```
//!
//! `fresh` lists the words of the line that are random, of letters and digits only. A line that arrives is answered as the first
//! recorded one that differs from it in those words only; the words of the arriving line then stand
//! in the answer, too. Equal lines are answered in the order in which they were recorded, the last
//! one again and again. A line that was not recorded is answered with a sentence that says so, and
//! runs nothing. `encoding` is `utf-8`, or `latin-1` where the bytes were none: then each character
//! is a byte. `ended` is `answered`, `closed` (the connection ended) or `deadline` (no answer came).

use serde::Deserialize;

use super::machine::ExecResult;
use super::server::Offer;

/// What a line that was not recorded is answered with.
const UNRECORDED: &str = "rds-sim: this line was not recorded";

/// Why a capture cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// Not a line of that format.
    #[error("line {line} of the capture: {reason}")]
    Line {
        /// Counts from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Not a capture, or of a format of the future.
    #[error("no capture of format 1: {0}")]
    Format(String),
}

/// What a box once answered.
#[derive(Debug, Clone)]
pub struct Recording {
    header: Header,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
struct Header {
    capture: String,
    format: u32,
    #[serde(default)]
    algorithms: Algorithms,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Algorithms {
    #[serde(default)]
    kex: Vec<String>,
    #[serde(default)]
    ciphers: Vec<String>,
    #[serde(default)]
    macs: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    line: String,
    #[serde(default)]
    fresh: Vec<String>,
    #[serde(default)]
    encoding: Encoding,
    stdout: String,
    stderr: String,
    exit_status: Option<u32>,
    ended: Ended,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "latin-1")]
    Latin1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ended {
    Answered,
    Closed,
    Deadline,
}

impl Recording {
    /// Reads a capture.
    ///
    /// # Errors
    /// [`RecordingError`]: which line, and why.
    pub fn parse(text: &str) -> Result<Self, RecordingError> {
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let (_, first) =
            lines.next().ok_or_else(|| RecordingError::Format("it is empty".to_owned()))?;
        let header: Header = serde_json::from_str(first)
            .map_err(|error| RecordingError::Format(error.to_string()))?;
        if header.format != 1 {
            let what = format!("{} of format {}", header.capture, header.format);
            return Err(RecordingError::Format(what));
        }
        let entry = |(line, text): (usize, &str)| {
            serde_json::from_str(text)
                .map_err(|error| RecordingError::Line { line, reason: error.to_string() })
        };
        Ok(Self { header, entries: lines.map(entry).collect::<Result<_, _>>()? })
    }

    /// The algorithms that the recorded box offered, as far as this server has them; the default
    /// where none were recorded.
    pub fn offer(&self) -> Offer {
        let Algorithms { kex, ciphers, macs } = &self.header.algorithms;
        Offer { kex: kex.clone(), ciphers: ciphers.clone(), macs: macs.clone() }.known()
    }

    /// How many execs were recorded.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What becomes of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Replayed {
    /// It is answered.
    Answer(ExecResult),
    /// No answer comes.
    Silence,
    /// The connection ends.
    Cut,
}

/// A recording that is being played.
#[derive(Debug)]
pub(crate) struct Replay {
    entries: Vec<Entry>,
    played: Vec<bool>,
}

impl Replay {
    pub(crate) fn new(recording: Recording) -> Self {
        let played = vec![false; recording.entries.len()];
        Self { entries: recording.entries, played }
    }

    /// What becomes of that line.
    pub(crate) fn answer(&mut self, line: &str) -> Replayed {
        let fitting = self.entries.iter().enumerate().filter_map(|(at, entry)| {
            let words = entry.words_in(line)?;
            Some((at, words))
        });
        let fitting: Vec<_> = fitting.collect();
        let first = fitting.iter().find(|(at, _)| !self.played[*at]).or(fitting.last());
        let Some((at, words)) = first else {
            let stdout = format!("{UNRECORDED}\r\n").into_bytes();
            return Replayed::Answer(ExecResult { stdout, ..ExecResult::default() });
        };
        self.played[*at] = true;
        let entry = &self.entries[*at];
        match entry.ended {
            Ended::Answered => Replayed::Answer(entry.result(words)),
            Ended::Closed => Replayed::Cut,
            Ended::Deadline => Replayed::Silence,
        }
    }
}

impl Entry {
    /// The words of `line` that stand where this entry's line has its fresh ones, in the order of
    /// `fresh`. None where anything else differs.
    fn words_in<'a>(&self, line: &'a str) -> Option<Vec<&'a str>> {
        let mut words: Vec<Option<&str>> = vec![None; self.fresh.len()];
        let (mut recorded, mut arrived) = (self.line.as_str(), line);
        loop {
            let next = self.next_fresh(recorded);
            let (literal, rest) = recorded.split_at(next.map_or(recorded.len(), |(at, _)| at));
            arrived = arrived.strip_prefix(literal)?;
            let Some((_, which)) = next else { break };
            let word_ends = |c: char| !c.is_ascii_alphanumeric();
            let end = arrived.find(word_ends).unwrap_or(arrived.len());
            let (word, after) = arrived.split_at(end);
            match words[which] {
                None if word.is_empty() => return None,
                None => words[which] = Some(word),
                Some(known) if known == word => {}
                Some(_) => return None,
            }
            recorded = rest.strip_prefix(self.fresh[which].as_str())?;
            arrived = after;
        }
        arrived.is_empty().then_some(())?;
        // A fresh word that does not occur stands for itself.
        let all = words.into_iter().map(|word| word.unwrap_or_default()).collect();
        Some(all)
    }

    /// Where the next fresh word begins, and which it is.
    fn next_fresh(&self, text: &str) -> Option<(usize, usize)> {
        let places = self.fresh.iter().enumerate();
        let places = places.filter(|(_, word)| !word.is_empty());
        places.filter_map(|(which, word)| Some((text.find(word.as_str())?, which))).min()
    }

    fn result(&self, words: &[&str]) -> ExecResult {
        let bytes = |text: &str| {
            let mut text = text.to_owned();
            for (fresh, word) in self.fresh.iter().zip(words) {
                if !word.is_empty() && !fresh.is_empty() {
                    text = text.replace(fresh.as_str(), word);
                }
            }
            match self.encoding {
                Encoding::Utf8 => text.into_bytes(),
                Encoding::Latin1 => text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect(),
            }
        };
        ExecResult {
            stdout: bytes(&self.stdout),
            stderr: bytes(&self.stderr),
            exit_status: self.exit_status,
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    const HEADER: &str = r#"{"capture":"rds-csi doctor","format":1}"#;

    fn replay(entries: &[&str]) -> Replay {
        let text = format!("{HEADER}\n{}\n", entries.join("\n"));
        Replay::new(Recording::parse(&text).unwrap())
    }

    fn entry(line: &str, fresh: &str, stdout: &str) -> String {
        serde_json::json!({
            "line": line, "fresh": [fresh], "version": null, "encoding": "utf-8", "stdout": stdout,
            "stderr": "", "exit_status": 0, "ended": "answered", "millis": 1,
        })
        .to_string()
    }

    fn text(replayed: Replayed) -> String {
        match replayed {
            Replayed::Answer(result) => result.text(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_line_is_answered_with_its_own_fresh_words() {
        let mut replay =
            replay(&[&entry(r#":put "t1 a"; :put "t1 end""#, "t1", "t1 a\r\nt1 end\r\n")]);
        assert_eq!(text(replay.answer(r#":put "u77 a"; :put "u77 end""#)), "u77 a\r\nu77 end\r\n");
        // Used in two ways at once it is another line.
        for other in [r#":put "u a"; :put "v end""#, r#":put "u b"; :put "u end""#, ""] {
            assert!(text(replay.answer(other)).contains("not recorded"), "{other}");
        }
    }

    #[test]
    fn equal_lines_are_answered_in_their_order_and_the_last_one_again() {
        let (one, two) = (entry(":put x", "t", "1"), entry(":put x", "t", "2"));
        let mut replay = replay(&[&one, &two]);
        let answers: Vec<String> = (0..3).map(|_| text(replay.answer(":put x"))).collect();
        assert_eq!(answers, ["1", "2", "2"]);
    }

    #[test]
    fn bytes_that_are_no_text_and_silences_come_back() {
        let bytes = r#"{"line":"a","encoding":"latin-1","stdout":"ÿ","stderr":"","exit_status":null,"ended":"answered"}"#;
        let silence =
            r#"{"line":"b","stdout":"","stderr":"","exit_status":null,"ended":"deadline"}"#;
        let mut replay = replay(&[bytes, silence]);
        let Replayed::Answer(result) = replay.answer("a") else { panic!() };
        assert_eq!((result.stdout, result.exit_status), (vec![0xff], None));
        assert_eq!(replay.answer("b"), Replayed::Silence);
    }

    #[test]
    fn what_is_no_capture_is_refused_with_its_line() {
        for (text, part) in [
            ("", "empty"),
            ("{}", "missing field"),
            (r#"{"capture":"x","format":2}"#, "format 2"),
            (&format!("{HEADER}\n\nnonsense"), "line 3"),
        ] {
            let error = Recording::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
