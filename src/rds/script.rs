//! Typed command -> one quoted RouterOS line.
//!
//! A line is one exec. It looks, compares, acts and prints what is there afterwards, so that a CSI
//! call costs one exec and the rows decide what happened:
//!
//! ```text
//! :onerror csiError in={ <act> } do={ :put ("TAG error " . $csiError) };
//! :put ("TAG disks " . <rows as JSON>); :put "TAG end"
//! ```
//!
//! Variable names are odd on purpose: one that is called like a property shadows it (RouterOS
//! manual, Scripting, reserved variable names). The console parses the whole line before it runs
//! any of it, and an error that nobody catches ends it, so `end` is printed only when all was run.

pub mod action;
pub mod batch;

use self::action::{Action, Field};
use super::Command;
use crate::volume::{ImagePath, VolumePath};

/// What the table needs; `detail` with every property would be about a KiB a row.
const TABLE_PROPERTIES: &str = ".id,slot,type,file-path,file-size,size,comment,disabled,\
     nvme-tcp-export,nvme-tcp-server-port,nvme-tcp-server-nqn,nvme-tcp-server-allow-host-name";

/// The line that runs `command`. `tag` marks what belongs to the answer; it is fresh for every
/// exec and takes `[a-z0-9]` only.
pub fn line(command: &Command, tag: &str) -> String {
    let tag = Tag::Text(tag);
    let mut said = match Action::of(command) {
        None => whole(command, tag),
        Some(action) => {
            let say = |field| action::literal(command, field).unwrap_or_default();
            let mut said = guarded(tag, &action.act(&say));
            said.push(disk(tag, &say(Field::Slot)));
            if action::image(command).is_some() {
                said.push(images(tag, &say(Field::Image)));
            }
            said
        }
    };
    said.push(end(tag));
    said.join("; ")
}

/// What stands before everything that belongs to one command.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tag<'a> {
    /// This.
    Text(&'a str),
    /// What the variable `csiT` holds, blank included.
    Variable,
}

/// What is printed about the box as a whole.
fn whole(command: &Command, tag: Tag<'_>) -> Vec<String> {
    match command {
        Command::Poll => system(tag),
        Command::Table => {
            let query = format!("/disk/print detail as-value proplist={}", quote(TABLE_PROPERTIES));
            let mut shown = system(tag);
            shown.push(disks(tag, &format!("{query} where type=file")));
            shown
        }
        Command::Pool(path) => vec![disks(tag, &pool(path))],
        Command::Image(image) => whole_image(image, tag),
        _ => Vec::new(),
    }
}

/// Does `act`, where there is something to do, and says what went wrong.
fn guarded(tag: Tag<'_>, act: &str) -> Vec<String> {
    if act.is_empty() {
        return Vec::new();
    }
    let said = say(tag, "error", "$csiError");
    vec![format!(":onerror csiError in={{ {act} }} do={{ {said} }}")]
}

fn pool(path: &VolumePath) -> String {
    let pool = quote(path.pool());
    format!("/disk/print detail as-value where mount-point={pool} or slot={pool}")
}

fn whole_image(image: &ImagePath, tag: Tag<'_>) -> Vec<String> {
    let (name, rooted) = (quote(image.as_str()), quote(&format!("/{image}")));
    let query = format!("/disk/print detail as-value where file-path={name} or file-path={rooted}");
    let size = say(tag, "image-bytes", "[/file/get $csiItem size]");
    vec![
        disks(tag, &query),
        images(tag, &name),
        format!(":foreach csiItem in=[/file/find where name={name}] do={{ {size} }}"),
    ]
}

fn system(tag: Tag<'_>) -> Vec<String> {
    vec![
        say(tag, "version", "[/system/resource/get version]"),
        say(tag, "uptime", "[:tostr [/system/resource/get uptime]]"),
    ]
}

fn disk(tag: Tag<'_>, slot: &str) -> String {
    disks(tag, &format!("/disk/print detail as-value where slot={slot}"))
}

fn disks(tag: Tag<'_>, query: &str) -> String {
    let json = format!("[:serialize to=json options=json.no-string-conversion value=[{query}]]");
    say(tag, "disks", &json)
}

fn images(tag: Tag<'_>, image: &str) -> String {
    say(tag, "images", &format!("[:len [/file/find where name={image}]]"))
}

pub(super) fn say(tag: Tag<'_>, what: &str, value: &str) -> String {
    match tag {
        Tag::Text(tag) => format!(":put (\"{tag} {what} \" . {value})"),
        Tag::Variable => format!(":put ($csiT . \"{what} \" . {value})"),
    }
}

/// Only a command that was run to its end says this.
fn end(tag: Tag<'_>) -> String {
    match tag {
        Tag::Text(tag) => format!(":put \"{tag} end\""),
        Tag::Variable => ":put ($csiT . \"end\")".to_owned(),
    }
}

/// A RouterOS string that means exactly `text`. Whatever is not plain ASCII is written as `\XX`,
/// so that no byte can end the string, start an expression or end the line (RouterOS manual,
/// Scripting, constant escape sequences; anything else behind a backslash is a syntax error).
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | b'$' | b'?' => {
                quoted.push('\\');
                quoted.push(char::from(byte));
            }
            b'\n' => quoted.push_str("\\n"),
            b'\r' => quoted.push_str("\\r"),
            b'\t' => quoted.push_str("\\t"),
            0x20..=0x7e => quoted.push(char::from(byte)),
            other => quoted.push_str(&format!("\\{other:02X}")),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod test;
