//! Typed command -> one quoted RouterOS line.

use super::Command;

/// The line that runs `command`. `tag` marks what belongs to the answer; it is fresh for every
/// exec and takes `[a-z0-9]` only.
pub fn line(command: &Command, tag: &str) -> String {
    let _ = command;
    tag.to_owned()
}
