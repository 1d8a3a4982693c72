//! What we ask of a box: typed commands, typed rows, one error.
//!
//! A [`Command`] becomes one quoted RouterOS line in [`script`]; what the box prints becomes a
//! [`Reply`] in [`reply`]. Whoever needs the box holds an [`Rds`]; in the daemon that is a handle
//! to the connection actor, which owns the SSH sessions ([`ssh`]).

pub mod question;
pub mod reply;
pub mod script;
pub mod ssh;
pub mod version;

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::volume::turns::Turn;
use crate::volume::{ImagePath, Nqn, Slot, VolumePath};

/// One thing that we ask of the box; one exec, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Version and uptime: the cheapest exec that proves that the console works.
    Poll,
    /// Every file-backed disk, in few properties.
    Table,
    /// One disk with every property that the box has, its I/O counters among them.
    Show(Slot),
    /// The disk that mounts the pool of this directory: its size and what is free.
    Pool(VolumePath),
    /// Makes image and disk where neither the slot nor the image is taken.
    Create(NewDisk),
    /// Changes a disk if its comment still is what was judged, else nothing.
    Change(Change),
    /// Closes the export of a disk if its comment still is what was judged, and changes nothing
    /// else.
    Unexport {
        /// The disk.
        slot: Slot,
        /// The comment that was judged.
        expect: String,
    },
    /// Writes the comment `deleting`, removes disk and image, if comment and image still are what
    /// was judged. One exec.
    Delete {
        /// The disk.
        slot: Slot,
        /// The comment that was judged.
        expect: String,
        /// The comment that says `deleting`.
        deleting: String,
        /// The image that goes with it.
        image: ImagePath,
    },
    /// Removes an image to which no disk refers.
    RemoveImage {
        /// The slot, whose row is printed.
        slot: Slot,
        /// The image.
        image: ImagePath,
    },
    /// Changes a disk that has no record, if it still is the one that was judged, else nothing.
    Unrecorded(Unrecorded),
    /// Makes a disk for an image that is there: what is left after a configuration was lost.
    Rebuild(NewDisk),
    /// Makes image and disk anew where the disk has this comment and image, and the image is gone:
    /// what is left after the power went while it was made.
    Remake(NewDisk),
    /// An image: is it there, its size, and the disks that refer to it.
    Image(ImagePath),
}

/// A disk to be made, not exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDisk {
    /// Its slot.
    pub slot: Slot,
    /// Its image.
    pub image: ImagePath,
    /// The image's size in bytes.
    pub bytes: u64,
    /// Its first ledger record.
    pub comment: String,
}

/// What a disk shall be, if its comment still is `expect`. Properties that are `None` stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The disk.
    pub slot: Slot,
    /// The comment that was judged.
    pub expect: String,
    /// The new comment.
    pub comment: String,
    /// How it is exported; `None` leaves that as it is.
    pub export: Option<Export>,
    /// A new size in bytes (never a smaller one).
    pub grow_to: Option<u64>,
}

/// A disk without a record, and what is done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrecorded {
    /// The disk.
    pub slot: Slot,
    /// The image that it must have.
    pub image: ImagePath,
    /// The comment that was seen. It is compared where it is not empty: how the console compares a
    /// property that is not set is not documented.
    pub comment: String,
    /// The host that was seen, compared in the same way.
    pub allow_host: String,
    /// What is done.
    pub what: Treatment,
}

/// What is done to a disk without a record. Its comment stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// The export is closed; for whom it was stays there.
    Close,
    /// The export is closed, and from now on for this host.
    Leave(Nqn),
    /// The export is opened as it was.
    Reopen,
    /// It is exported so.
    Export(Export),
    /// It gets a new size in bytes (never a smaller one).
    Grow(u64),
    /// It is removed with its image.
    Remove,
}

/// How a disk is exported. Everything is set in one `set`, after `export=no`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Is it exported at all?
    pub on: bool,
    /// The NQN under which; `None` where the box has no such property.
    pub nqn: Option<Nqn>,
    /// The only host NQN that may connect; `None` lets every host connect that knows the NQN.
    pub allow_host: Option<Nqn>,
    /// The TCP port.
    pub port: u16,
}

/// What the box answered to one command.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// What the box said when it refused. It classifies nothing; the rows decide.
    pub complaint: Option<String>,
    /// The disks that it printed after the command.
    pub disks: Vec<Disk>,
    /// Is the image there? Asked by commands that name an image.
    pub image: Option<bool>,
    /// The size of the image in bytes, asked by [`Command::Image`].
    pub image_bytes: Option<u64>,
    /// Version and uptime, asked by [`Command::Poll`] and [`Command::Table`].
    pub system: Option<System>,
}

/// A row of `/disk`, typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The slot as printed; rows of other kinds have names that are no [`Slot`].
    pub slot: String,
    /// The ledger record, or whatever somebody wrote there.
    pub comment: String,
    /// The image, where the disk has one.
    pub image: Option<ImagePath>,
    /// Exact size in bytes, where the box printed one.
    pub bytes: Option<u64>,
    /// Free bytes, of a pool.
    pub free: Option<u64>,
    /// Where it is mounted, of a pool.
    pub mount_point: Option<String>,
    /// Is it exported over NVMe/TCP? `None` where the box did not say, which proves nothing.
    pub exported: Option<bool>,
    /// The NQN under which.
    pub nqn: String,
    /// The host that may connect; empty where all may.
    pub allow_host: String,
    /// The TCP port.
    pub port: Option<u16>,
    /// Is the item disabled by somebody?
    pub disabled: bool,
    /// I/O counters, where the box has them.
    pub counters: Option<Counters>,
}

/// I/O counters of one disk since the box started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Completed writes.
    pub writes: u64,
    /// Completed reads, where the box counts them.
    pub reads: u64,
    /// Operations that have begun and not ended.
    pub in_flight: u64,
}

/// What the box says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Such as `7.24.4 (stable)`.
    pub version: String,
    /// Time since it started, in whole seconds, where that could be read.
    pub uptime: Option<Duration>,
}

/// Why a command has no [`Reply`]. The one question that matters to a caller: could it have run,
/// or be running still? See [`Failure::may_have_run`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no connection. Nothing was sent.
    #[error("{address} is not connected ({why}); next attempt in {} s", next_attempt.as_secs())]
    NotConnected {
        /// `host:port` of the box.
        address: String,
        /// Why the last attempt failed or the connection ended.
        why: String,
        /// Time until the next attempt.
        next_attempt: Duration,
    },
    /// Too many commands wait. Nothing was sent.
    #[error("{waiting} commands wait for {address} already")]
    Busy {
        /// `host:port` of the box.
        address: String,
        /// How many wait.
        waiting: usize,
    },
    /// The daemon stops, or the actor was restarted before the command was sent.
    #[error("the connection to {address} is being restarted")]
    Stopping {
        /// `host:port` of the box.
        address: String,
    },
    /// Another replica reconciles by now. Nothing was sent.
    #[error("another replica reconciles; nothing was sent to {address}")]
    NotLeading {
        /// `host:port` of the box.
        address: String,
    },
    /// It was sent, and no answer came: connection lost or deadline passed.
    #[error("{address} gave no answer: {why}")]
    Unanswered {
        /// `host:port` of the box.
        address: String,
        /// What happened instead.
        why: String,
    },
    /// It was answered without the sentinel, so it ended somewhere in the middle.
    #[error("{address} did not finish the command: {said}")]
    Unfinished {
        /// `host:port` of the box.
        address: String,
        /// What the box printed, shortened.
        said: String,
    },
}

impl Failure {
    /// Could the command have run, or be running still?
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::NotConnected { .. }
            | Self::Busy { .. }
            | Self::Stopping { .. }
            | Self::NotLeading { .. } => false,
            Self::Unanswered { .. } | Self::Unfinished { .. } => true,
        }
    }
}

/// The state of the connection to one box. Published by the connection actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// No session answers.
    Down {
        /// Since when.
        since: Instant,
        /// When the next attempt starts, or `None` while one is running.
        next: Option<Instant>,
        /// Why, in words.
        why: String,
    },
    /// The last poll was answered.
    Up {
        /// Since when.
        since: Instant,
        /// Counts the times that the link came up; 1 is the first.
        epoch: u64,
        /// What the box said of itself when it came up.
        system: System,
    },
}

impl Link {
    /// Is the box connected?
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }
}

/// One box.
#[async_trait]
pub trait Rds: Send + Sync {
    /// Runs one command. `turn` is the right to change the volume; it is released when the command
    /// has ended on the box, which may be later than this answer.
    async fn execute(&self, command: Command, turn: Option<Turn>) -> Result<Reply, Failure>;

    /// The state of the connection, without I/O.
    fn link(&self) -> Link;
}
