//! NodeUnstageVolume: unmount, then end exactly this volume's connection.

mod next;

use std::path::PathBuf;

use slog::{info, warn};

use self::next::{Step, Wanted, next};
use super::look::Seen;
use super::{Node, Point, shown};
use crate::host::{self, Controller};
use crate::operations::{Error, Kind};
use crate::volume::{Handle, Nqn};

/// Most steps of one call.
const STEPS_MAX: usize = 64;

/// A volume to be unstaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unstage {
    /// Which.
    pub volume: Handle,
    /// Where it was staged.
    pub staging: PathBuf,
}

impl Node {
    /// Unstages a volume; what is undone already is no error.
    ///
    /// # Errors
    /// While it is published still, or cannot be unmounted.
    pub async fn unstage(&self, wanted: Unstage) -> Result<(), Error> {
        let _turn = self.turn(&wanted.volume)?;
        let (volume, host) = (&wanted.volume, &self.parts.host);
        for _ in 0..STEPS_MAX {
            let mut seen = self.look(volume, None).await?;
            let published = self.published(&seen).await?;
            let stranger = self.stranger_at(&seen, &wanted.staging).await?;
            if seen.note.is_none()
                && let Some(found) = seen.to_be_ended(volume)
            {
                // Whoever else uses its device keeps it.
                seen.devices = host.devices(&found.nqn).await?;
            }
            let asked = Wanted {
                volume,
                staging: &wanted.staging,
                stranger: stranger.as_ref(),
                published: &published,
            };
            let (point, done) = match next(&asked, &seen)? {
                Step::Done => {
                    self.forget_failure(volume);
                    return Ok(());
                }
                Step::Note(note, point) => {
                    warn!(self.parts.log, "a volume that is mounted has no note";
                        "volume" => shown(volume), "nqn" => %note.nqn);
                    (point, self.write(volume, &note).await)
                }
                Step::Unmount(target) => {
                    let unmounted = host.unmount(&target).await;
                    self.count_mount("unmount", unmounted.is_ok());
                    let nqn = seen.note.as_ref().map(|note| &note.nqn);
                    match (unmounted, nqn) {
                        (Err(error), Some(nqn)) if is_waiting(&error) && !seen.is_live(nqn) => {
                            (Point::Disconnected, self.give_up(volume, nqn, error).await)
                        }
                        (unmounted, _) => (Point::Unmounted, unmounted.map_err(Error::from)),
                    }
                }
                Step::Disconnect(controller) => {
                    (Point::Disconnected, self.end(volume, &controller, &seen).await)
                }
                Step::Forget => {
                    let done = match &seen.note {
                        Some(note) => self.put_away(volume, note).await,
                        None => Ok(()),
                    };
                    (Point::Forgotten, done)
                }
            };
            done?;
            self.parts.faults.pass(point)?;
        }
        let what = format!("volume {} did not settle in {STEPS_MAX} steps", shown(volume));
        Err(Error::new(Kind::Unavailable, what))
    }

    /// Ends a connection from which nothing is mounted any more, once all is written.
    async fn end(&self, volume: &Handle, of: &Controller, seen: &Seen) -> Result<(), Error> {
        let nqn = &of.nqn;
        let ended = match self.settled(nqn).await {
            Err(error) if is_waiting(&error) && !seen.is_live(nqn) => {
                self.give_up(volume, nqn, error).await
            }
            Err(error) => Err(error.into()),
            Ok(()) => Ok(self.parts.host.disconnect(&of.name, nqn).await?),
        };
        info!(self.parts.log, "disconnected"; "volume" => shown(volume), "nqn" => %nqn,
            "ok" => ended.is_ok());
        ended
    }

    /// Is everything written that file systems had for the devices behind this NQN? One whose unmount
    /// passed its deadline is mounted nowhere any more, and may go on writing.
    pub(super) async fn settled(&self, nqn: &Nqn) -> Result<(), host::Error> {
        for device in self.parts.host.devices(nqn).await? {
            if self.parts.host.is_claimed(&device).await? {
                let what = format!(
                    "{} is held by a file system that is being unmounted, or by a program: what was \
                     written may not be on the box yet",
                    device.path.display()
                );
                return Err(host::Error::new(host::Kind::Stuck, what));
            }
        }
        Ok(())
    }

    /// The unmount waits for data to be written to a box that is away. Where nothing written under
    /// this NQN can arrive any more, the connection is ended, which fails what is queued; else the
    /// data are waited for.
    async fn give_up(&self, volume: &Handle, nqn: &Nqn, why: host::Error) -> Result<(), Error> {
        if !self.parts.generations.is_over(volume, nqn).await {
            return Err(why.into());
        }
        warn!(self.parts.log, "ending a connection whose generation is over";
            "volume" => shown(volume), "nqn" => %nqn);
        for controller in self.parts.host.controllers().await? {
            if controller.nqn == *nqn {
                self.parts.host.disconnect(&controller.name, nqn).await?;
            }
        }
        Ok(())
    }
}

/// Does the kernel wait for the box?
fn is_waiting(error: &host::Error) -> bool {
    matches!(error.kind, host::Kind::Stuck | host::Kind::Deadline)
}
