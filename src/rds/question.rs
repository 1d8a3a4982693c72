//! Free questions to the console, for a person's diagnosis: expressions in, texts out.
//!
//! The driver itself asks with [`super::Command`]; this is for what is asked once, such as the
//! policies of a group. The frame is that of [`super::script`]: tagged lines and a sentinel. Each
//! part is caught by itself, so that one that is refused does not take the others with it.

use std::collections::BTreeMap;

use super::reply::{complaint, marked};
use super::script::say;
use super::ssh::ExecOutput;

/// The start of the name of an answer that is an error text.
const REFUSED: &str = "refused-";

/// What came back, by the names that were asked for: the value, or what the box said instead.
pub type Answers = BTreeMap<String, Result<String, String>>;

/// The line that asks for these expressions, each under its name (of `[a-z]`).
pub fn line(parts: &[(&str, &str)], tag: &str) -> String {
    let ask = |(name, expression): &(&str, &str)| {
        format!(
            ":onerror csiError in={{ {} }} do={{ {} }}; ",
            say(tag, name, expression),
            say(tag, &format!("{REFUSED}{name}"), "$csiError")
        )
    };
    let asked: String = parts.iter().map(ask).collect();
    format!("{asked}:put \"{tag} end\"")
}

/// An expression for the rows of a menu command as JSON.
pub fn rows(query: &str) -> String {
    json(&format!("[{query}]"))
}

/// An expression for a value as JSON.
pub fn json(value: &str) -> String {
    format!("[:serialize to=json options=json.no-string-conversion value={value}]")
}

/// Reads the answers. `Err` holds what the box printed where the line was not run to its end.
pub fn read(output: &ExecOutput, tag: &str) -> Result<Answers, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut answers = Answers::new();
    for (name, value) in marked(&text, tag) {
        match name.strip_prefix(REFUSED) {
            _ if name == "end" => return Ok(answers),
            Some(name) => answers.insert(name.to_owned(), Err(value)),
            None => answers.insert(name.to_owned(), Ok(value)),
        };
    }
    Err(complaint(output))
}

#[cfg(test)]
mod test {
    use super::*;

    fn output(stdout: &str) -> ExecOutput {
        ExecOutput { stdout: stdout.as_bytes().to_vec(), ..ExecOutput::default() }
    }

    #[test]
    fn every_part_is_asked_by_itself_and_the_sentinel_comes_last() {
        let line = line(&[("a", "[/x]"), ("b", "1")], "t1");
        assert_eq!(
            line,
            ":onerror csiError in={ :put (\"t1 a \" . [/x]) } \
             do={ :put (\"t1 refused-a \" . $csiError) }; \
             :onerror csiError in={ :put (\"t1 b \" . 1) } \
             do={ :put (\"t1 refused-b \" . $csiError) }; :put \"t1 end\""
        );
    }

    #[test]
    fn answers_are_read_over_several_lines_and_refusals_are_kept() {
        let printed = "t1 a [\r\n1]\r\nt1 refused-b no such item\r\nt1 end\r\n";
        let answers = read(&output(printed), "t1").unwrap();
        assert_eq!(answers["a"], Ok("[\n1]".to_owned()));
        assert_eq!(answers["b"], Err("no such item".to_owned()));
    }

    #[test]
    fn without_the_sentinel_there_is_no_answer() {
        let error = read(&output("t1 a 1\r\nfailure: no\r\n"), "t1").unwrap_err();
        assert!(error.contains("failure: no"), "{error}");
    }
}
