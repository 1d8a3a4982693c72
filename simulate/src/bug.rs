//! Bugs on purpose, to prove that the simulation finds some: each rewrites what the driver says, or
//! answers for it.

use rds_csi::attachment::ledger::{Nonce, Record};

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Bug {
    /// A repair exports the volume under a new NQN, instead of exactly the recorded one.
    RepairTakesNewNqn,
    /// Unpublish is answered before the box has closed the export.
    UnpublishAnswersEarly,
    /// A changing line does not look at the comment that was judged.
    CompareRemoved,
    /// A delete leaves the image behind and says that it is gone.
    DeleteLeavesImage,
    /// The record is written and its copy is not, while the driver believes it was.
    CopyNotWritten,
    /// The next generation is counted from what the box says, and the copy is not asked: after the
    /// box went back in time every copy says what the box says.
    GenerationFromTheBoxAlone,
}

impl Bug {
    /// What is sent instead of `line`.
    pub fn rewrite(self, line: &str) -> String {
        match self {
            Self::RepairTakesNewNqn => repair_with_new_nqn(line).unwrap_or_else(|| line.into()),
            Self::CompareRemoved => without_compare(line),
            Self::DeleteLeavesImage => without_image_removal(line).unwrap_or_else(|| line.into()),
            Self::UnpublishAnswersEarly
            | Self::CopyNotWritten
            | Self::GenerationFromTheBoxAlone => line.to_owned(),
        }
    }
}

/// The copy as it were if the box were always right; none where one of both is unreadable.
pub fn copy_after_the_box(copy: &str, comment: &str) -> Option<String> {
    let mut copy: serde_json::Value = serde_json::from_str(copy).ok()?;
    Record::parse(comment).ok()?;
    copy["record"] = comment.into();
    Some(copy.to_string())
}

/// The text between `before` and the next quote behind it.
fn quoted<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    let from = line.find(before)? + before.len();
    line[from..].split('"').next()
}

/// A line that exports, and whose record has no newer generation than the one that it expects, puts
/// an export back.
fn repair_with_new_nqn(line: &str) -> Option<String> {
    let expected = Record::parse(quoted(line, "and comment=\"")?).ok()?;
    let text = quoted(line, "/disk/set $csiItem comment=\"")?;
    let written = Record::parse(text).ok()?;
    if written.generation > expected.generation || !line.contains(" nvme-tcp-export=yes") {
        return None;
    }
    let generation = expected.generation.max(written.generation) + 1;
    let next = Record { generation, nonce: Nonce::random(), ..written.clone() };
    let nqn = |record: &Record| format!(".g{}-{}\"", record.generation, record.nonce);
    let set = |text: &str| format!("/disk/set $csiItem comment=\"{text}\"");
    let line = line.replace(&set(text), &set(&next.text()));
    Some(line.replace(&nqn(&written), &nqn(&next)))
}

fn without_compare(line: &str) -> String {
    // Where several commands share a line, a variable stands for what each of them expects.
    let line = line.replace(" and comment=$csiE", "");
    let Some(expected) = quoted(&line, " and comment=\"") else {
        return line;
    };
    line.replacen(&format!(" and comment=\"{expected}\""), "", 1)
}

/// Neither removes the image nor counts it afterwards.
fn without_image_removal(line: &str) -> Option<String> {
    let from = line.find("; :if ([:len [/disk/find where file-path=")?;
    let to = line[from..].find("\"] }").map(|at| from + at)?;
    line.find("/disk/remove $csiItem")?;
    let line = format!("{}{}", &line[..from], &line[to + "\"] }".len()..]);
    let from = line.find("[:len [/file/find")?;
    let to = line[from..].find("]]").map(|at| from + at + 2)?;
    Some(format!("{}0{}", &line[..from], &line[to..]))
}
