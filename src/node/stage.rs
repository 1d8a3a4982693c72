//! NodeStageVolume: connect, wait for the device, make a file system where there never was one,
//! mount it where kubelet asks.

mod identity;
mod next;
mod superseded;

use std::path::PathBuf;

use slog::{info, warn};
use tokio::sync::watch;
use tokio::time::Instant;

use self::identity::changed_identity;
use self::next::{Known, Step, Wanted, next};
use self::superseded::{newer, older};
use super::context::Context;
use super::look::{Seen, is_of};
use super::staged::{Note, Use};
use super::{Faults, Happened, Node, Point, changed, hidden, is_final, shown};
use crate::host::{self, Controller, Device, Entry, Mount};
use crate::operations::{Error, Kind};
use crate::volume::Handle;
use crate::volume::capability::{Capability, Medium};

/// Most steps of one call; a healthy one takes seven.
const STEPS_MAX: usize = 64;

/// A volume to be staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Which.
    pub volume: Handle,
    /// What the controller said of it.
    pub context: Context,
    /// Where.
    pub staging: PathBuf,
    /// For which use.
    pub capability: Capability,
}

impl Node {
    /// Stages a volume.
    ///
    /// # Errors
    /// See [`Error`]; nothing is left behind where kubelet would not ask us to undo it.
    pub async fn stage(&self, wanted: Stage) -> Result<(), Error> {
        let _turn = self.turn(&wanted.volume)?;
        self.parts.faults.pass(Point::StageBegun)?;
        let outcome = self.bring(&wanted).await;
        self.remember(&wanted.volume, &outcome);
        outcome.map(drop)
    }

    /// Brings the volume to where it is wanted, whatever is there of it; returns its device. The
    /// caller has its turn.
    pub(super) async fn bring(&self, wanted: &Stage) -> Result<Device, Error> {
        let mut staging = Staging {
            node: self,
            wanted: Wanted::of(wanted),
            stage: wanted,
            known: Known::default(),
            by: Instant::now() + self.parts.deadlines.device,
            mounted: false,
            connected: false,
            is_vouched_for: false,
            changes: self.parts.host.changes(),
        };
        let outcome = staging.run().await;
        if let Err(error) = &outcome
            && is_final(error.kind)
        {
            staging.undo().await;
        }
        outcome
    }
}

/// One call under way.
struct Staging<'a> {
    node: &'a Node,
    wanted: Wanted<'a>,
    stage: &'a Stage,
    /// What this call has learned of the device.
    known: Known,
    /// The device must be there by then.
    by: Instant,
    /// Was it mounted by this call?
    mounted: bool,
    /// Was the connection made by this call?
    connected: bool,
    /// Does Kubernetes say that this attachment is current, whatever else is known here?
    is_vouched_for: bool,
    /// Tells of what happens between a look and a wait.
    changes: watch::Receiver<u64>,
}

impl Staging<'_> {
    async fn run(&mut self) -> Result<Device, Error> {
        let (volume, nqn) = (&self.stage.volume, &self.stage.context.connect.nqn);
        let mut steps = 0;
        while steps < STEPS_MAX {
            self.changes.mark_unchanged();
            let seen = self.node.look(volume, Some(nqn)).await?;
            if let Some(newer) = newer(&self.wanted, &seen).filter(|_| !self.is_vouched_for) {
                if !self.node.parts.generations.is_current(volume, nqn).await {
                    return Err(older(&self.wanted, newer));
                }
                self.is_vouched_for = true;
            }
            match next(&self.wanted, &seen, &self.known)? {
                Step::Done(device) => {
                    if self.mounted {
                        self.grow(&device).await?;
                    }
                    return Ok(device);
                }
                // Waiting has its own end.
                Step::Wait(what) => self.wait(&what).await?,
                step => {
                    self.tell_changed_identity(&seen);
                    steps += 1;
                    self.step(step).await?;
                }
            }
        }
        let what = format!("volume {} did not settle in {STEPS_MAX} steps", shown(volume));
        Err(Error::new(Kind::Unavailable, what))
    }

    fn faults(&self) -> &Faults {
        &self.node.parts.faults
    }

    async fn step(&mut self, step: Step) -> Result<(), Error> {
        let (node, volume) = (self.node, &self.stage.volume);
        let kernel = &node.parts.host;
        match step {
            Step::Disconnect(controller) => {
                self.end(&controller).await?;
                self.faults().pass(Point::OldDisconnected)
            }
            Step::Unmount(mount) => {
                self.unmount_stale(&mount).await?;
                self.faults().pass(Point::StaleUnmounted)
            }
            Step::Note(note, point) => {
                node.write(volume, &note).await?;
                self.faults().pass(point)
            }
            Step::Connect => {
                self.connect().await?;
                self.faults().pass(Point::Connected)
            }
            Step::Rescan(controllers) => {
                self.known.rescanned = true;
                for controller in controllers {
                    kernel.rescan(&controller).await?;
                }
                Ok(())
            }
            Step::ReadSignature(device) => {
                self.known.signature = Some(kernel.signature(&device).await?);
                Ok(())
            }
            Step::Format(device, kind) => {
                info!(node.parts.log, "making a file system";
                    "volume" => shown(volume), "kind" => &kind, "device" => %device.path.display());
                kernel.format(&device, &kind).await?;
                (self.known.signature, self.known.formatted) = (None, true);
                self.faults().pass(Point::Formatted)
            }
            // The path leads to it, although it is shown elsewhere.
            Step::Mount(..) if self.mounted => {
                let outcome = kernel.unmount(&self.stage.staging).await;
                node.count_mount("unmount", outcome.is_ok());
                Err(hidden(&self.stage.staging, outcome))
            }
            Step::Mount(device, kind, options) => {
                if kernel.entry(&self.stage.staging).await? != Entry::Directory {
                    kernel.make_directory(&self.stage.staging).await?;
                }
                let mounted = kernel.mount(&device, &self.stage.staging, &kind, &options).await;
                node.count_mount("mount", mounted.is_ok());
                mounted?;
                self.mounted = true;
                self.faults().pass(Point::Mounted)
            }
            Step::Wait(_) | Step::Done(_) => Ok(()),
        }
    }

    /// Says once in a call that the box calls the device otherwise than before.
    fn tell_changed_identity(&mut self, seen: &Seen) {
        let (Some(note), [device]) = (&seen.note, &seen.devices[..]) else { return };
        let Some((was, is)) = changed_identity(note, device) else { return };
        if !std::mem::replace(&mut self.known.is_renamed, true) {
            warn!(self.node.parts.log, "the box calls a device otherwise than before";
                "volume" => shown(&self.stage.volume), "nqn" => %device.nqn, "was" => was,
                "is" => is);
            self.node.parts.observer.happened(Happened::IdentityChanged);
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let connect = &self.stage.context.connect;
        let (parts, began) = (&self.node.parts, Instant::now());
        self.connected = true;
        let outcome = parts.host.connect(connect).await;
        let (ok, took) = (outcome.is_ok(), began.elapsed());
        parts.observer.happened(Happened::Connected { ok, took });
        outcome?;
        // The kernel may have taken a minute for it.
        self.by = Instant::now() + parts.deadlines.device;
        info!(parts.log, "connected"; "volume" => shown(&self.stage.volume),
            "nqn" => %connect.nqn, "address" => &connect.address);
        Ok(())
    }

    async fn end(&self, controller: &Controller) -> Result<(), Error> {
        warn!(self.node.parts.log, "ending a connection of another generation";
            "volume" => shown(&self.stage.volume), "nqn" => %controller.nqn);
        Ok(self.node.parts.host.disconnect(&controller.name, &controller.nqn).await?)
    }

    async fn unmount_stale(&mut self, mount: &Mount) -> Result<(), Error> {
        let parts = &self.node.parts;
        warn!(parts.log, "taking away a mount of another device";
            "volume" => shown(&self.stage.volume), "at" => %mount.target.display(),
            "device" => %mount.number);
        parts.observer.happened(Happened::StaleMount);
        let outcome = parts.host.unmount(&mount.target).await;
        parts.observer.happened(Happened::StaleRecovered { ok: outcome.is_ok() });
        self.node.count_mount("unmount", outcome.is_ok());
        match outcome {
            // A pod that is on its way out must not keep the next one from starting.
            Err(error) if error.kind == host::Kind::Busy && mount.target != self.stage.staging => {
                warn!(parts.log, "a mount of another device is in use";
                    "volume" => shown(&self.stage.volume), "at" => %mount.target.display());
                self.known.busy.push(mount.target.clone());
                Ok(())
            }
            outcome => Ok(outcome?),
        }
    }

    async fn wait(&mut self, what: &str) -> Result<(), Error> {
        let left = self.by.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let connect = &self.stage.context.connect;
            let what = format!(
                "{what} within {:?} (NQN {}, {}:{})",
                self.node.parts.deadlines.device, connect.nqn, connect.address, connect.port
            );
            return Err(Error::new(Kind::Unavailable, what));
        }
        changed(&mut self.changes, left).await;
        Ok(())
    }

    /// A file system that fills much less than its device is one that was restored or cloned into a
    /// larger volume, or one whose growth was lost. Otherwise kubelet asks by NodeExpandVolume.
    async fn grow(&self, device: &Device) -> Result<(), Error> {
        let Use::Mount { kind, read_only: false } = &self.wanted.used else { return Ok(()) };
        let (host, at) = (&self.node.parts.host, &self.stage.staging);
        let usage = host.usage(at).await?;
        if usage.bytes < device.bytes / 10 * 7 {
            host.grow(device, kind, at).await?;
        }
        Ok(())
    }

    /// Kubelet takes this failure for the end and never asks to unstage: what this call connected is
    /// let go again, unless it is mounted. What is known of a file system stays in the note.
    async fn undo(&self) {
        let (node, volume) = (self.node, &self.stage.volume);
        let nqn = &self.stage.context.connect.nqn;
        let undone = async {
            let seen = node.look(volume, Some(nqn)).await?;
            let is_shown = |mount: &Mount| seen.devices.iter().any(|device| is_of(mount, device));
            // A device is staged without being mounted.
            let is_staged = self.wanted.used == Use::Block && !self.connected;
            // Another volume's connection is not ours to end.
            let is_others = seen.claimed_by_another(volume, nqn).is_some();
            // Another generation's note stands: this call was refused before it began.
            let is_others = is_others || seen.note.as_ref().is_some_and(|note| note.nqn != *nqn);
            if is_staged || is_others || seen.mounts.iter().any(is_shown) {
                return Ok(());
            }
            node.settled(nqn).await?;
            for controller in seen.to(nqn) {
                node.parts.host.disconnect(&controller.name, nqn).await?;
            }
            // What says which device it was, and where it is to be seen, is not forgotten for one refusal.
            let keeps = |note: Note| {
                note.keeps_formatting() || note.identity.is_some() || !note.targets.is_empty()
            };
            let keeps = seen.note.is_some_and(keeps);
            if keeps { Ok(()) } else { node.forget(volume).await }
        };
        let undone: Result<(), Error> = undone.await;
        if let Err(error) = undone {
            warn!(node.parts.log, "a connection is left behind"; "volume" => shown(volume),
                "error" => %error);
        }
    }
}

impl Node {
    pub(super) fn count_mount(&self, operation: &'static str, ok: bool) {
        self.parts.observer.happened(Happened::Mounted { operation, ok });
    }
}

impl<'a> Wanted<'a> {
    fn of(stage: &'a Stage) -> Self {
        let (used, options) = match &stage.capability.medium {
            Medium::Block => (Use::Block, &[][..]),
            Medium::FileSystem { fs_type, mount_flags } => {
                let read_only = stage.capability.is_read_only();
                (Use::Mount { kind: fs_type.clone(), read_only }, &mount_flags[..])
            }
        };
        Self {
            volume: &stage.volume,
            context: &stage.context,
            staging: &stage.staging,
            used,
            options,
        }
    }
}
