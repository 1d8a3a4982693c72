//! The script that the box itself runs when it starts: it closes every export of this driver.
//!
//! A box that comes back with an old configuration (a restored backup, a power cut before the
//! configuration was saved) exports what it exported then, and a host that was shut out since may
//! be let in again before the driver has connected. The driver unexports every mismatch in its
//! first exec; this shortens the gap before that to the seconds until the box's scheduler runs. It
//! does not close it: restore with the storage port down.

use crate::attachment::ledger::PREFIX;
use crate::rds::script::quote;

/// The name of script and scheduler on the box.
const NAME: &str = "rds-csi-unexport";

/// What the box runs. One item that cannot be changed does not keep the others open.
pub fn body() -> String {
    format!(
        ":foreach csiItem in=[/disk/find where comment~{}] do={{ \
         :do {{ /disk/set $csiItem nvme-tcp-export=no }} on-error={{ \
         :log error \"{NAME}: a disk stays exported\" }} }}",
        quote(&format!("^{PREFIX}"))
    )
}

/// The commands that install it, for a person to read and to paste.
pub fn commands() -> String {
    format!(
        "\
# Why: after a restored backup, or a power cut before the configuration was saved, this box exports
# what it exported then. A node that was shut out of a volume since could write to it again, until
# the driver has connected and unexported what is not current. With this script the box unexports
# every disk of the driver (its comment begins with \"{prefix}\") by itself when it starts; the driver
# then exports again exactly what is attached, and waiting nodes reconnect.
# It runs some seconds after the start, and a backup from before it was installed comes back without
# it: restore backups with the storage port down all the same.
# Paste these two lines into the console of the box, as a user with the policies read,write,policy,test.
/system/script/add name={NAME} policy=read,write,test source={source}
/system/scheduler/add name={NAME} start-time=startup interval=0s policy=read,write,test on-event={event}
# To take it away again:
# /system/scheduler/remove [/system/scheduler/find where name=\"{NAME}\"]
# /system/script/remove [/system/script/find where name=\"{NAME}\"]
",
        prefix = PREFIX.trim_end(),
        source = quote(&body()),
        event = quote(&format!("/system/script/run {NAME}")),
    )
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_one_command_in_plain_ascii() {
        let text = commands();
        let commands: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(commands.len(), 2, "{text}");
        assert!(commands.iter().all(|line| line.starts_with("/system/s")), "{text}");
        assert!(text.is_ascii(), "a console takes nothing else");
        assert!(commands[0].contains("\\$csiItem"), "the variable is not expanded while pasting");
    }
}
