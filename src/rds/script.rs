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

use super::{Change, Command, Export, NewDisk};
use crate::volume::{ImagePath, Slot, VolumePath};

/// What the table needs; `detail` with every property would be about a KiB a row.
const TABLE_PROPERTIES: &str = ".id,slot,type,file-path,file-size,size,comment,disabled,\
     nvme-tcp-export,nvme-tcp-server-port,nvme-tcp-server-nqn,nvme-tcp-server-allow-host-name";

/// The line that runs `command`. `tag` marks what belongs to the answer; it is fresh for every
/// exec and takes `[a-z0-9]` only.
pub fn line(command: &Command, tag: &str) -> String {
    let act = act(command);
    let guarded = if act.is_empty() {
        String::new()
    } else {
        format!(":onerror csiError in={{ {act} }} do={{ {} }}; ", say(tag, "error", "$csiError"))
    };
    let shown: Vec<String> = show(command, tag);
    format!("{guarded}{}; :put \"{tag} end\"", shown.join("; "))
}

/// What the command does to the box; nothing for one that only looks.
fn act(command: &Command) -> String {
    match command {
        Command::Poll | Command::Table | Command::Show(_) | Command::Pool(_) => String::new(),
        Command::Create(disk) => create(disk),
        Command::Rebuild(disk) => rebuild(disk),
        Command::Change(change) => self::change(change),
        Command::Unexport { slot, expect } => format!(
            "{}; :if ([:len $csiItem]=1) do={{ /disk/set $csiItem nvme-tcp-export=no }}",
            judged(slot, expect)
        ),
        Command::Delete { slot, expect, deleting, image } => delete(slot, expect, deleting, image),
        Command::RemoveImage { image, .. } => {
            format!(":local csiFile {}; {}", quote(image.as_str()), remove_file())
        }
    }
}

/// What is printed afterwards.
fn show(command: &Command, tag: &str) -> Vec<String> {
    match command {
        Command::Poll => system(tag),
        Command::Table => {
            let query = format!("/disk/print detail as-value proplist={}", quote(TABLE_PROPERTIES));
            let mut shown = system(tag);
            shown.push(disks(tag, &format!("{query} where type=file")));
            shown
        }
        Command::Pool(path) => vec![disks(tag, &pool(path))],
        Command::Show(slot)
        | Command::Change(Change { slot, .. })
        | Command::Unexport { slot, .. } => vec![disk(tag, slot)],
        Command::Create(NewDisk { slot, image, .. })
        | Command::Rebuild(NewDisk { slot, image, .. })
        | Command::Delete { slot, image, .. }
        | Command::RemoveImage { slot, image } => vec![disk(tag, slot), files(tag, image)],
    }
}

fn create(disk: &NewDisk) -> String {
    format!(
        ":if ([:len [/disk/find where slot={slot}]]=0) do={{ \
         :if ([:len [/file/find where name={image}]]>0) do={{ :error \"image exists\" }}; \
         /disk/add type=file slot={slot} file-path={image} file-size={bytes} mount-filesystem=no \
         nvme-tcp-export=no comment={comment} }}",
        slot = quote(disk.slot.as_str()),
        image = quote(disk.image.as_str()),
        bytes = disk.bytes,
        comment = quote(&disk.comment),
    )
}

fn rebuild(disk: &NewDisk) -> String {
    format!(
        ":if ([:len [/disk/find where slot={slot}]]=0) do={{ \
         :if ([:len [/file/find where name={image}]]=0) do={{ :error \"no image\" }}; \
         /disk/add type=file slot={slot} file-path={image} mount-filesystem=no \
         nvme-tcp-export=no comment={comment} }}",
        slot = quote(disk.slot.as_str()),
        image = quote(disk.image.as_str()),
        comment = quote(&disk.comment),
    )
}

/// `export=no` comes first and alone: it is the step that shuts hosts out. All that belongs
/// together then changes in one `set`, so that no power cut leaves half of it.
fn change(change: &Change) -> String {
    let mut set = format!("comment={}", quote(&change.comment));
    let mut first = "";
    if let Some(export) = &change.export {
        first = "/disk/set $csiItem nvme-tcp-export=no; ";
        set.push(' ');
        set.push_str(&properties(export));
    }
    if let Some(bytes) = change.grow_to {
        set.push_str(&format!(" file-size={bytes}"));
    }
    format!(
        "{}; :if ([:len $csiItem]=1) do={{ {first}/disk/set $csiItem {set} }}",
        judged(&change.slot, &change.expect)
    )
}

fn properties(export: &Export) -> String {
    format!(
        "nvme-tcp-server-nqn={} nvme-tcp-server-port={} nvme-tcp-server-allow-host-name={} \
         nvme-tcp-export={}",
        quote(export.nqn.as_str()),
        export.port,
        quote(export.allow_host.as_ref().map_or("", |host| host.as_str())),
        if export.on { "yes" } else { "no" },
    )
}

/// Binds the item if its comment still is what was judged.
fn judged(slot: &Slot, expect: &str) -> String {
    let slot = quote(slot.as_str());
    format!(":local csiItem [/disk/find where slot={slot} and comment={}]", quote(expect))
}

/// Compares the image, too: that of another disk must not go with this one.
fn delete(slot: &Slot, expect: &str, deleting: &str, image: &ImagePath) -> String {
    format!(
        ":local csiFile {}; :local csiItem [/disk/find where slot={} and comment={} and \
         ({REFERS})]; :if ([:len $csiItem]=1) do={{ /disk/set $csiItem nvme-tcp-export=no; \
         /disk/set $csiItem comment={}; /disk/remove $csiItem; {} }}",
        quote(image.as_str()),
        quote(slot.as_str()),
        quote(expect),
        quote(deleting),
        remove_file(),
    )
}

/// Refers a disk to the image in `$csiFile`? `/disk` prints paths with a leading slash, `/file`
/// without (observed on the RDS), so both spellings are looked for.
const REFERS: &str = "file-path=$csiFile or file-path=(\"/\" . $csiFile)";

/// Removes the image in `$csiFile` unless a disk refers to it.
fn remove_file() -> String {
    format!(
        ":if ([:len [/disk/find where {REFERS}]]=0) do={{ \
         /file/remove [/file/find where name=$csiFile] }}"
    )
}

fn pool(path: &VolumePath) -> String {
    let pool = quote(path.pool());
    format!("/disk/print detail as-value where mount-point={pool} or slot={pool}")
}

fn system(tag: &str) -> Vec<String> {
    vec![
        say(tag, "version", "[/system/resource/get version]"),
        say(tag, "uptime", "[:tostr [/system/resource/get uptime]]"),
    ]
}

fn disk(tag: &str, slot: &Slot) -> String {
    disks(tag, &format!("/disk/print detail as-value where slot={}", quote(slot.as_str())))
}

fn disks(tag: &str, query: &str) -> String {
    let json = format!("[:serialize to=json options=json.no-string-conversion value=[{query}]]");
    say(tag, "disks", &json)
}

fn files(tag: &str, image: &ImagePath) -> String {
    let count = format!("[:len [/file/find where name={}]]", quote(image.as_str()));
    say(tag, "images", &count)
}

fn say(tag: &str, what: &str, value: &str) -> String {
    format!(":put (\"{tag} {what} \" . {value})")
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
