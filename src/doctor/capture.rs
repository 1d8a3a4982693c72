//! Writes down what a box answers, so that a simulated box can play it.
//!
//! JSON lines. The first one describes the box:
//!
//! ```json
//! {"capture":"rds-csi doctor","format":1,"driver":"0.1.0","banner":"SSH-2.0-ROSSSH","algorithms":{"kex":[],"host_key":[],"ciphers":[],"macs":[]}}
//! ```
//!
//! Each other one is an exec: the sent `line`; `fresh`, the words in it that are random; the
//! RouterOS `version` once it is known; `encoding` (`utf-8`, or `latin-1` where the bytes were no
//! UTF-8: then each character is a byte); `stdout` and `stderr` as they came, line ends and blanks
//! included, but for what [`super::redact`] takes out; `exit_status`, or null where none was sent;
//! `ended` (`answered`, `closed`, `deadline`); `millis`, how long it took. Addresses of the box and
//! key material are never in it.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::rds::ssh::ExecOutput;
use crate::rds::ssh::survey::Survey;

use super::redact::redact;

/// How an exec ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// With an answer.
    Answered,
    /// With the connection.
    Closed,
    /// Not within its deadline.
    Deadline,
}

/// One exec.
#[derive(Debug)]
pub struct Exec<'a> {
    /// What was sent.
    pub line: &'a str,
    /// What of it is random.
    pub fresh: &'a [String],
    /// The box's RouterOS, where it is known by now.
    pub version: Option<&'a str>,
    /// What came back; empty where nothing did.
    pub output: &'a ExecOutput,
    /// How it ended.
    pub ended: Ended,
    /// How long it took.
    pub took: Duration,
}

/// Where a capture goes.
pub struct Capture {
    out: Box<dyn Write + Send>,
    /// Every line so far: what stands in it is our own.
    sent: String,
    /// The first error; nothing is written after it.
    failed: Option<io::Error>,
}

impl Capture {
    /// Writes to `out`, line by line.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, sent: String::new(), failed: None }
    }

    /// Describes the box; `None` where it showed nothing. Comes first.
    pub fn begin(&mut self, survey: Option<&Survey>) {
        let algorithms = survey.map(|survey| {
            serde_json::json!({
                "kex": survey.kex, "host_key": survey.host_key,
                "ciphers": survey.ciphers, "macs": survey.macs,
            })
        });
        let header = serde_json::json!({
            "capture": "rds-csi doctor",
            "format": 1,
            "driver": env!("CARGO_PKG_VERSION"),
            "banner": survey.map(|survey| &survey.banner),
            "algorithms": algorithms.unwrap_or(serde_json::json!({})),
        });
        self.write(&header);
    }

    /// Adds one exec.
    pub fn add(&mut self, exec: &Exec<'_>) {
        #[derive(Serialize)]
        struct Line<'a> {
            line: &'a str,
            fresh: &'a [String],
            version: Option<&'a str>,
            encoding: &'static str,
            stdout: String,
            stderr: String,
            exit_status: Option<u32>,
            ended: Ended,
            millis: u64,
        }
        self.sent.push_str(exec.line);
        self.sent.push('\n');
        let ExecOutput { stdout, stderr, exit_status } = exec.output;
        let is_text = [stdout, stderr].iter().all(|bytes| std::str::from_utf8(bytes).is_ok());
        let text = |bytes: &[u8]| {
            let text = match is_text {
                true => String::from_utf8_lossy(bytes).into_owned(),
                false => bytes.iter().map(|byte| char::from(*byte)).collect(),
            };
            redact(&text, &self.sent)
        };
        self.write(&Line {
            line: exec.line,
            fresh: exec.fresh,
            version: exec.version,
            encoding: if is_text { "utf-8" } else { "latin-1" },
            stdout: text(stdout),
            stderr: text(stderr),
            exit_status: *exit_status,
            ended: exec.ended,
            millis: u64::try_from(exec.took.as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// Whether everything was written.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub fn finish(self) -> io::Result<()> {
        self.failed.map_or(Ok(()), Err)
    }

    fn write(&mut self, value: &impl Serialize) {
        if self.failed.is_some() {
            return;
        }
        let written = serde_json::to_string(value)
            .map_err(io::Error::from)
            .and_then(|text| writeln!(self.out, "{text}"))
            .and_then(|()| self.out.flush());
        self.failed = written.err();
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::page::Page;

    #[test]
    fn bytes_are_kept_and_secrets_are_not() {
        let page = Page::default();
        let mut capture = Capture::new(Box::new(page.clone()));
        capture.begin(None);
        let output = ExecOutput {
            stdout: b"serial=DD56419883891 \xfcber  \r\n".to_vec(),
            stderr: Vec::new(),
            exit_status: None,
        };
        capture.add(&Exec {
            line: ":put 1",
            fresh: &["t1".to_owned()],
            version: Some("7.24"),
            output: &output,
            ended: Ended::Answered,
            took: Duration::from_millis(61),
        });
        capture.finish().unwrap();
        let text = page.text();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["format"], 1);
        assert_eq!(lines[1]["stdout"], "serial=REDACTED \u{fc}ber  \r\n");
        assert_eq!(lines[1]["encoding"], "latin-1");
        assert_eq!(lines[1]["exit_status"], serde_json::Value::Null);
        assert_eq!((&lines[1]["ended"], &lines[1]["millis"]), (&"answered".into(), &61.into()));
    }

    #[test]
    fn the_first_error_is_kept() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("full"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut capture = Capture::new(Box::new(Full));
        capture.begin(None);
        assert_eq!(capture.finish().unwrap_err().to_string(), "full");
    }
}
