//! What nobody has proven about RouterOS, as switches.
//!
//! Every field is a fact of which public material says nothing, or contradicts itself, and on which
//! a client leans. The default is the likeliest reading; [`Quirks::all_switches`] turns one fact at
//! a time into its opposite, so that a story can be run once per switch. Grades: A the manual, B a
//! published transcript, C one author's word, D inference.

mod switches;
mod texts;

use std::time::Duration;

pub use switches::Switch;
pub use texts::ErrorTexts;

/// When the channel carries an exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0, also after an error.
    AlwaysZero,
    /// 0, and 1 after an error.
    OneOnError,
    /// Never sent: the channel just closes.
    Never,
}

/// How `:serialize` writes a boolean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonBool {
    /// `true`
    Literal,
    /// `"true"`
    TrueText,
    /// `"yes"`
    YesText,
}

/// What `/disk/add file-size=` does where the file exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExistingFile {
    /// The disk takes the file with the size it has, and its data.
    Attach,
    /// The command fails.
    Refuse,
    /// The file gets the new size and loses its data.
    Truncate,
}

/// What happens to a second channel while the first is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondChannel {
    /// It works.
    Serve,
    /// The box refuses to open it.
    Refuse,
    /// The box never answers.
    Stall,
}

/// What happens to a comment that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LongComment {
    /// The end is cut off without a word.
    Truncate,
    /// The command fails.
    Refuse,
}

/// The facts a box may have either way. See [`Quirks::all_switches`] for sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quirks {
    /// When the channel carries an exit status.
    pub exit_status: ExitStatus,
    /// Error texts go to the error stream instead of the output.
    pub errors_on_stderr: bool,
    /// Lines end with CR LF.
    pub crlf: bool,
    /// Columns at which `print` wraps; 0 never.
    pub wrap_width: usize,
    /// `print` fills lines with blanks up to the width.
    pub pad_lines: bool,
    /// A line break stands between the rows of a JSON list.
    pub json_rows_on_lines: bool,
    /// How `:serialize` writes a boolean.
    pub json_bool: JsonBool,
    /// `:serialize` writes numbers as strings.
    pub json_numbers_as_text: bool,
    /// `as-value` returns `yes` and `no` for exports instead of booleans.
    pub export_as_word: bool,
    /// `file-path` is printed with a leading slash.
    pub path_slash: bool,
    /// Rows carry the I/O counters. Without, `monitor-traffic` still does.
    pub counters_in_rows: bool,
    /// Neither rows nor `monitor-traffic` know I/O counters.
    pub no_counters: bool,
    /// Flags that are not set are in `as-value` rows as `false`.
    pub false_flags: bool,
    /// Unset properties are in `as-value` rows as empty strings.
    pub missing_as_empty: bool,
    /// `as-value` without `detail` returns only the columns of the brief table.
    pub as_value_needs_detail: bool,
    /// NQN, port and host of a disk that is not exported are not shown.
    pub unexported_hides_server: bool,
    /// What `add` does where the file exists.
    pub existing_file: ExistingFile,
    /// `add` makes missing folders.
    pub makes_folders: bool,
    /// Two disks may have one slot name.
    pub duplicate_slot: bool,
    /// Two exports may have one NQN.
    pub duplicate_nqn: bool,
    /// Images take no room before they are written.
    pub sparse_images: bool,
    /// `set file-size` may make an image smaller.
    pub shrinks: bool,
    /// `set file-size` is refused while the disk is exported.
    pub grow_needs_unexport: bool,
    /// NQN and port cannot be changed while the disk is exported.
    pub nqn_needs_unexport: bool,
    /// A disk with a connected host cannot be removed.
    pub busy_disk_stays: bool,
    /// A file that a disk uses cannot be removed.
    pub attached_file_stays: bool,
    /// The longest comment.
    pub comment_limit: usize,
    /// What happens to a longer one.
    pub long_comment: LongComment,
    /// `nvme-tcp-export=no` leaves connected hosts connected.
    pub unexport_keeps_hosts: bool,
    /// A change of the NQN leaves connected hosts connected.
    pub new_nqn_keeps_hosts: bool,
    /// A change of the allowed host disconnects others.
    pub acl_change_cuts: bool,
    /// Item ids change at a reboot.
    pub reboot_renumbers: bool,
    /// How long after the ports are open `start-time=startup` runs; zero: before.
    pub startup_delay: Duration,
    /// Commands of two sessions interleave between any two commands of a line.
    pub interleave: bool,
    /// SSH sessions at once.
    pub max_sessions: usize,
    /// Characters in one line.
    pub max_line: usize,
    /// What happens to a second channel on one connection.
    pub second_channel: SecondChannel,
    /// `keepalive@openssh.com` gets no answer until the next command.
    pub keepalive_unanswered: bool,
    /// An unknown argument is `expected end of command` instead of `bad parameter`.
    pub terse_parse_errors: bool,
    /// What errors say.
    pub texts: ErrorTexts,
}

impl Default for Quirks {
    fn default() -> Self {
        Quirks {
            exit_status: ExitStatus::AlwaysZero,
            errors_on_stderr: false,
            crlf: true,
            wrap_width: 80,
            pad_lines: true,
            json_rows_on_lines: false,
            json_bool: JsonBool::Literal,
            json_numbers_as_text: false,
            export_as_word: false,
            path_slash: true,
            counters_in_rows: true,
            no_counters: false,
            false_flags: false,
            missing_as_empty: false,
            as_value_needs_detail: true,
            unexported_hides_server: false,
            existing_file: ExistingFile::Attach,
            makes_folders: false,
            duplicate_slot: false,
            duplicate_nqn: true,
            sparse_images: false,
            shrinks: false,
            grow_needs_unexport: false,
            nqn_needs_unexport: false,
            busy_disk_stays: false,
            attached_file_stays: false,
            comment_limit: 65_535,
            long_comment: LongComment::Truncate,
            unexport_keeps_hosts: false,
            new_nqn_keeps_hosts: false,
            acl_change_cuts: false,
            reboot_renumbers: false,
            startup_delay: Duration::ZERO,
            interleave: false,
            max_sessions: 20,
            max_line: 65_535,
            second_channel: SecondChannel::Refuse,
            keepalive_unanswered: false,
            terse_parse_errors: false,
            texts: ErrorTexts::default(),
        }
    }
}
