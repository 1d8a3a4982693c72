//! The list of switches: name, what it turns on, how sure anyone is of the default.

use std::time::Duration;

use super::{ErrorTexts, ExistingFile, ExitStatus, JsonBool, LongComment, Quirks, SecondChannel};

/// One fact turned into its opposite.
#[derive(Debug, Clone, Copy)]
pub struct Switch {
    /// What a person types: `exit-status-one`.
    pub name: &'static str,
    /// What the box does with it on.
    pub doc: &'static str,
    /// How sure the default is: A to D, and where from.
    pub grade: &'static str,
    /// Turns it on.
    pub turn_on: fn(&mut Quirks),
}

const fn switch(
    name: &'static str,
    grade: &'static str,
    doc: &'static str,
    turn_on: fn(&mut Quirks),
) -> Switch {
    Switch { name, doc, grade, turn_on }
}

impl Quirks {
    /// Every switch. Each alone makes a box that may be real.
    pub fn all_switches() -> &'static [Switch] {
        SWITCHES
    }

    /// Turns on the switch of that name; says whether there is one.
    pub fn turn_on(&mut self, name: &str) -> bool {
        match SWITCHES.iter().find(|switch| switch.name == name) {
            Some(switch) => {
                (switch.turn_on)(self);
                true
            }
            None => false,
        }
    }
}

const SWITCHES: &[Switch] = &[
    switch(
        "exit-status-one",
        "C, three authors say 0, one 1",
        "exit status 1 after an error",
        |q| {
            q.exit_status = ExitStatus::OneOnError;
        },
    ),
    switch("exit-status-missing", "B, seen now and then", "no exit status is ever sent", |q| {
        q.exit_status = ExitStatus::Never;
    }),
    switch("errors-on-stderr", "B, stdout in every transcript", "errors go to stderr", |q| {
        q.errors_on_stderr = true;
    }),
    switch("lf-lines", "B, CRLF in transcripts", "lines end with LF alone", |q| q.crlf = false),
    switch("no-wrap", "B, contradicted by one author", "print does not wrap at 80 columns", |q| {
        q.wrap_width = 0;
    }),
    switch("no-padding", "B, two transcripts", "print leaves out the blanks at line ends", |q| {
        q.pad_lines = false;
    }),
    switch("json-rows-on-lines", "D", "CR LF between the rows of a JSON list", |q| {
        q.json_rows_on_lines = true;
    }),
    switch("json-true-text", "D, REST does so", "JSON booleans are \"true\" and \"false\"", |q| {
        q.json_bool = JsonBool::TrueText;
    }),
    switch("json-yes-text", "D", "JSON booleans are \"yes\" and \"no\"", |q| {
        q.json_bool = JsonBool::YesText;
    }),
    switch("json-numbers-as-text", "D, REST does so", "JSON numbers are strings", |q| {
        q.json_numbers_as_text = true;
    }),
    switch("export-as-word", "B, one transcript compares = true", "exports are yes and no", |q| {
        q.export_as_word = true;
    }),
    switch(
        "path-without-slash",
        "B, two transcripts with",
        "file-path has no leading slash",
        |q| {
            q.path_slash = false;
        },
    ),
    switch(
        "counters-only-in-monitor",
        "D",
        "rows have no I/O counters, monitor-traffic does",
        |q| {
            q.counters_in_rows = false;
        },
    ),
    switch("no-counters", "D", "no I/O counters anywhere", |q| {
        q.counters_in_rows = false;
        q.no_counters = true;
    }),
    switch("false-flags", "C", "as-value rows carry flags that are not set as false", |q| {
        q.false_flags = true;
    }),
    switch("missing-as-empty", "C", "unset properties are empty strings instead of absent", |q| {
        q.missing_as_empty = true;
    }),
    switch("as-value-is-detailed", "D", "as-value returns everything without detail, too", |q| {
        q.as_value_needs_detail = false;
    }),
    switch("unexported-hides-server", "D", "NQN, port and host show only while exported", |q| {
        q.unexported_hides_server = true;
    }),
    switch("existing-file-refused", "D", "add with file-size fails where the file exists", |q| {
        q.existing_file = ExistingFile::Refuse;
    }),
    switch("existing-file-truncated", "D", "add with file-size empties an existing file", |q| {
        q.existing_file = ExistingFile::Truncate;
    }),
    switch("makes-folders", "C", "add makes missing folders", |q| q.makes_folders = true),
    switch("duplicate-slot", "D", "two disks may have one slot name", |q| q.duplicate_slot = true),
    switch("duplicate-nqn-refused", "D", "a second export of one NQN fails", |q| {
        q.duplicate_nqn = false;
    }),
    switch("sparse-images", "D, one capacity figure", "images take no room", |q| {
        q.sparse_images = true;
    }),
    switch("shrinks", "D", "set file-size makes images smaller", |q| q.shrinks = true),
    switch("grow-needs-unexport", "D", "set file-size fails while exported", |q| {
        q.grow_needs_unexport = true;
    }),
    switch("nqn-needs-unexport", "D", "NQN and port are fixed while exported", |q| {
        q.nqn_needs_unexport = true;
    }),
    switch("busy-disk-stays", "D", "remove fails while a host is connected", |q| {
        q.busy_disk_stays = true;
    }),
    switch("attached-file-stays", "D", "/file/remove fails while a disk uses the file", |q| {
        q.attached_file_stays = true;
    }),
    switch("comment-truncated", "D", "comments are cut off after 100 bytes", |q| {
        q.comment_limit = 100;
        q.long_comment = LongComment::Truncate;
    }),
    switch("comment-refused", "D", "comments over 100 bytes are refused", |q| {
        q.comment_limit = 100;
        q.long_comment = LongComment::Refuse;
    }),
    switch("unexport-keeps-hosts", "D, measured on Linux 6.1", "export=no cuts nobody off", |q| {
        q.unexport_keeps_hosts = true;
    }),
    switch("new-nqn-keeps-hosts", "D", "a new NQN leaves connected hosts connected", |q| {
        q.new_nqn_keeps_hosts = true;
    }),
    switch(
        "acl-change-cuts",
        "D, measured on Linux 6.1",
        "a new allowed host cuts others off",
        |q| {
            q.acl_change_cuts = true;
        },
    ),
    switch("reboot-renumbers", "D", "item ids change at a reboot", |q| q.reboot_renumbers = true),
    switch(
        "late-startup-scripts",
        "D",
        "start-time=startup runs 5 s after the ports are open",
        |q| {
            q.startup_delay = Duration::from_secs(5);
        },
    ),
    switch("interleave", "D", "lines of two sessions mix between any two commands", |q| {
        q.interleave = true;
    }),
    switch("two-sessions", "A, 20 by default", "max-sessions is 2", |q| q.max_sessions = 2),
    switch("short-lines", "C, one author", "lines over 4096 characters are refused", |q| {
        q.max_line = 4096;
    }),
    switch(
        "second-channel-served",
        "C, contradicted",
        "several channels per connection work",
        |q| {
            q.second_channel = SecondChannel::Serve;
        },
    ),
    switch("second-channel-stalls", "B, one driver's fix", "a second channel never opens", |q| {
        q.second_channel = SecondChannel::Stall;
    }),
    switch("keepalive-unanswered", "B, one driver's fix", "SSH keepalives get no answer", |q| {
        q.keepalive_unanswered = true;
    }),
    switch("terse-parse-errors", "C", "unknown arguments: expected end of command", |q| {
        q.terse_parse_errors = true;
    }),
    switch("foreign-error-texts", "D", "every runtime error says failure: Fehler 7", |q| {
        q.texts = ErrorTexts::all_the_same("failure: Fehler 7");
    }),
];

#[cfg(test)]
mod test {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_switch_has_its_own_name_and_changes_something() {
        let names: BTreeSet<_> = SWITCHES.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), SWITCHES.len());
        for switch in SWITCHES {
            let mut quirks = Quirks::default();
            assert!(quirks.turn_on(switch.name));
            assert_ne!(quirks, Quirks::default(), "{} changes nothing", switch.name);
        }
        assert!(!Quirks::default().turn_on("no-such-switch"));
    }
}
