//! What the node plugin has staged, as the agent asks for it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::agent::Formatting;
use crate::host::Connect;
use crate::node::{self, Node, Unreadable};
use crate::volume::Handle;
use crate::volume::turns::Turn;

/// The notes of the node plugin.
#[async_trait]
pub trait StagedVolumes: Send + Sync {
    /// What the notes say.
    ///
    /// # Errors
    /// When none of them can be read, in words.
    async fn noted(&self) -> Result<Noted, String>;

    /// Takes the turn of a volume, so that no RPC works on it meanwhile. `None` while one does.
    fn turn(&self, volume: &Handle) -> Option<Turn>;

    /// Nobody has to hear any more of the file system on a volume that was unstaged here.
    async fn forget(&self, volume: &Handle);
}

/// All notes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noted {
    /// Every volume of which something was begun here and not undone, and every volume on which a
    /// file system was begun here under an NQN that is not known to be over, staged or not: of
    /// others the agent says that none was begun.
    pub volumes: Vec<StagedVolume>,
    /// Those that cannot be read: nobody knows what was begun there.
    pub unreadable: Vec<Unreadable>,
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
    /// Is it staged? Else only its file system is to be told of.
    pub is_staged: bool,
}

impl StagedVolume {
    /// Where it is to be seen.
    pub fn places(&self) -> impl Iterator<Item = &PathBuf> {
        let is_staged = |_: &&PathBuf| self.is_staged;
        self.targets.iter().chain([&self.staging]).filter(is_staged)
    }

    fn of(note: node::Staged) -> Option<Self> {
        let formatting = match note.formatting {
            node::Formatting::None => Formatting::None,
            node::Formatting::Begun { .. } => Formatting::Begun,
            node::Formatting::Done => Formatting::Done,
        };
        Some(Self {
            volume: Handle::parse(&note.volume).ok()?,
            connect: note.connect,
            staging: note.staging,
            targets: note.targets,
            file_system: note.file_system,
            uuid: note.uuid,
            formatting,
            is_staged: !note.is_left,
        })
    }
}

#[async_trait]
impl StagedVolumes for Node {
    async fn noted(&self) -> Result<Noted, String> {
        let (staged, unreadable) = Self::noted(self).await.map_err(|error| error.to_string())?;
        let volumes = staged.into_iter().filter_map(StagedVolume::of).collect();
        Ok(Noted { volumes, unreadable })
    }

    fn turn(&self, volume: &Handle) -> Option<Turn> {
        Self::turn(self, volume).ok()
    }

    async fn forget(&self, volume: &Handle) {
        // What is not forgotten now is so in the next round.
        let _ = self.forget_left(volume).await;
    }
}
