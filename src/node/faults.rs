//! The named points at which a flow may be cut off, so that tests can show that the next call goes
//! on from each of them.

use std::fmt;
use std::sync::Arc;

use crate::operations::{Error, Kind};

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $label:literal,)+) => {
        /// A point: what was just done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Point {
            $($(#[$doc])* $point,)+
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point),+];

            /// Its name.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$point => $label,)+
                }
            }
        }
    };
}

points! {
    /// NodeStage has begun.
    StageBegun = "stage-begun",
    /// A connection of another generation was ended.
    OldDisconnected = "old-disconnected",
    /// A mount of a device that is not the volume's any more was taken away.
    StaleUnmounted = "stale-unmounted",
    /// The note says what is going to be staged.
    StageNoted = "stage-noted",
    /// The kernel is connected.
    Connected = "connected",
    /// The note says what the box calls a device that is used as it is.
    DeviceNoted = "device-noted",
    /// The note says that a file system is going to be made.
    FormatNoted = "format-noted",
    /// It was made.
    Formatted = "formatted",
    /// The note says which file system is there.
    FileSystemNoted = "file-system-noted",
    /// The file system is mounted at the staging path.
    Mounted = "mounted",
    /// NodePublish has begun, and the volume is staged.
    PublishBegun = "publish-begun",
    /// The note names the target.
    TargetNoted = "target-noted",
    /// The target exists.
    TargetMade = "target-made",
    /// The volume is to be seen at the target.
    Bound = "bound",
    /// NodeUnpublish has taken one mount away.
    TargetUnmounted = "target-unmounted",
    /// The target is removed.
    TargetRemoved = "target-removed",
    /// The note does not name the target any more.
    TargetForgotten = "target-forgotten",
    /// NodeUnstage has noted what it found mounted without a note.
    FoundNoted = "found-noted",
    /// NodeUnstage has taken one mount away.
    Unmounted = "unmounted",
    /// A connection was ended.
    Disconnected = "disconnected",
    /// The note is gone.
    Forgotten = "forgotten",
}

/// Who may cut flows off.
type Judge = Arc<dyn Fn(Point) -> bool + Send + Sync>;

/// Cuts flows off at points; the default never does.
#[derive(Clone, Default)]
pub struct Faults(Option<Judge>);

impl Faults {
    /// Cuts a flow off wherever `judge` says so.
    pub fn at(judge: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(judge)))
    }

    /// Goes on, or ends the flow as if the process had been killed: nothing is undone.
    pub(super) fn pass(&self, point: Point) -> Result<(), Error> {
        match &self.0 {
            Some(judge) if judge(point) => {
                Err(Error::new(Kind::Unknown, format!("cut off at {}", point.label())))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faults({})", if self.0.is_some() { "some" } else { "none" })
    }
}
