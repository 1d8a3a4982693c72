//! What the node plugin has staged, as the agent asks for it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::agent::Formatting;
use crate::host::Connect;
use crate::volume::Handle;
use crate::volume::turns::Turn;

/// The notes of the node plugin.
#[async_trait]
pub trait StagedVolumes: Send + Sync {
    /// Every volume of which something was begun here and not undone, and every volume on which a
    /// file system was begun here under an NQN that is not known to be over, staged or not: of
    /// others the agent says that none was begun.
    ///
    /// # Errors
    /// When the notes cannot be read, in words.
    async fn staged(&self) -> Result<Vec<StagedVolume>, String>;

    /// Takes the turn of a volume, so that no RPC works on it meanwhile. `None` while one does.
    fn turn(&self, volume: &Handle) -> Option<Turn>;
}

/// One note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedVolume {
    /// Which volume.
    pub volume: Handle,
    /// How it is connected to, and under which NQN.
    pub connect: Connect,
    /// Where it is staged.
    pub staging: PathBuf,
    /// Where it is published.
    pub targets: BTreeSet<PathBuf>,
    /// The kind of its file system; `None` for a raw device.
    pub file_system: Option<String>,
    /// UUID of the file system, where it is known.
    pub uuid: Option<String>,
    /// How far a file system was made here.
    pub formatting: Formatting,
}

impl StagedVolume {
    /// Where it is to be seen.
    pub fn places(&self) -> impl Iterator<Item = &PathBuf> {
        self.targets.iter().chain([&self.staging])
    }
}
