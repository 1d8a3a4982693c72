//! NodePublishVolume and NodeUnpublishVolume's requests; publishing itself: the staged volume is to
//! be seen at one more path.

mod next;

use std::path::PathBuf;

use self::next::{Step, Target, Wanted, next};
use super::look::{Seen, is_of};
use super::{Node, Point, Stage, hidden, shown};
use crate::host::{Device, Entry};
use crate::operations::{Error, Kind};
use crate::volume::Handle;
use crate::volume::capability::{AccessMode, Medium};

/// Most steps of one call.
const STEPS_MAX: usize = 64;

/// A volume to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Which, and how it is (or must be) staged.
    pub stage: Stage,
    /// Where it shall be seen.
    pub target: PathBuf,
    /// Read-only there?
    pub read_only: bool,
}

/// A volume to be taken away from a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpublish {
    /// Which.
    pub volume: Handle,
    /// From where.
    pub target: PathBuf,
}

impl Node {
    /// Publishes a volume. kubelet does not stage again what it believes to be mounted: where the
    /// NQN under the staging path is not the one in the publish context, it is staged anew here.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn publish(&self, wanted: Publish) -> Result<(), Error> {
        let volume = wanted.stage.volume.clone();
        let _turn = self.turn(&volume)?;
        let outcome = async {
            let device = self.bring(&wanted.stage).await?;
            self.parts.faults.pass(Point::PublishBegun)?;
            self.show(&wanted, &device).await
        };
        let outcome = outcome.await;
        self.remember(&volume, &outcome);
        outcome
    }

    async fn show(&self, wanted: &Publish, device: &Device) -> Result<(), Error> {
        let (host, volume) = (&self.parts.host, &wanted.stage.volume);
        let capability = &wanted.stage.capability;
        let asked = Wanted {
            volume,
            staging: &wanted.stage.staging,
            target: &wanted.target,
            block: capability.medium == Medium::Block,
            read_only: wanted.read_only || capability.is_read_only(),
            alone: capability.mode == AccessMode::SingleNodeSingleWriter,
            device,
        };
        let mut bound = false;
        for _ in 0..STEPS_MAX {
            let seen = self.look(volume, Some(&device.nqn)).await?;
            let entry = host.entry(&wanted.target).await?;
            let published = self.published(&seen).await?;
            let target = Target { entry, published: &published };
            let (done, point) = match next(&asked, &seen, target)? {
                Step::Done => return Ok(()),
                Step::Unmount(target) => {
                    let unmounted = host.unmount(&target).await;
                    self.count_mount("unmount", unmounted.is_ok());
                    (unmounted.map_err(Error::from), Point::StaleUnmounted)
                }
                Step::Note(note) => (self.write(volume, &note).await, Point::TargetNoted),
                Step::MakeDirectory => {
                    let made = host.make_directory(&wanted.target).await;
                    (made.map_err(Error::from), Point::TargetMade)
                }
                Step::MakeFile => {
                    let made = host.make_file(&wanted.target).await;
                    (made.map_err(Error::from), Point::TargetMade)
                }
                Step::Bind(_) if bound => {
                    let outcome = host.unmount(&wanted.target).await;
                    self.count_mount("unmount", outcome.is_ok());
                    return Err(hidden(&wanted.target, outcome));
                }
                Step::Bind(source) => {
                    bound = true;
                    let bound = host.bind(&source, &wanted.target, asked.read_only).await;
                    self.count_mount("bind", bound.is_ok());
                    (bound.map_err(Error::from), Point::Bound)
                }
            };
            done?;
            self.parts.faults.pass(point)?;
        }
        let what = format!("volume {} did not settle in {STEPS_MAX} steps", shown(volume));
        Err(Error::new(Kind::Unavailable, what))
    }

    /// The targets of the note at which the volume is to be seen still.
    pub(super) async fn published(&self, seen: &Seen) -> Result<Vec<PathBuf>, Error> {
        let mut published = Vec::new();
        for target in seen.note.iter().flat_map(|note| note.targets.keys()) {
            let Some(mount) = seen.topmost(target) else { continue };
            // A device shows as what it was bound from, so that only its number tells.
            let is_here = match self.parts.host.entry(target).await? {
                Entry::Block(number) => seen.devices.iter().any(|one| one.number == number),
                _ => seen.devices.iter().any(|one| is_of(mount, one)),
            };
            if is_here {
                published.push(target.clone());
            }
        }
        Ok(published)
    }
}
