//! What the drill asks of the kernel that it runs on, and the kernel's answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rustix::io::Errno;
use tokio::sync::watch;

use super::blocks::{Series, place};
use crate::host::blocks::{self, Blocks};
use crate::host::linux::Linux;
use crate::host::{Connect, Controller, Device, Error, Host, Kind, module};
use crate::logging::Chain;
use crate::volume::Nqn;

/// Longest wait for a device to be read.
const READ: Duration = Duration::from_secs(30);

/// Why this host is not connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Did the box say so? Else it could not be asked.
    pub by_box: bool,
    /// In words.
    pub why: String,
}

/// Why no drill can be begun here, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unready {
    /// What is wrong.
    pub why: String,
    /// What mends it.
    pub mend: String,
}

/// How far a writer is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Blocks that were acknowledged.
    pub acknowledged: u64,
    /// How it ended: with all that it was to write, or why not.
    pub ended: Option<Result<(), String>>,
}

/// A writer at work. Dropped, it begins no further block.
#[derive(Debug)]
pub struct Writing {
    progress: watch::Receiver<Progress>,
    stop: Arc<AtomicBool>,
}

impl Writing {
    /// Of whoever tells `progress` and ends at `stop`.
    pub fn new(progress: watch::Receiver<Progress>, stop: Arc<AtomicBool>) -> Self {
        Self { progress, stop }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until it is so; `None` where it did not come to that in time.
    pub async fn until(
        &mut self,
        within: Duration,
        is_so: impl FnMut(&Progress) -> bool,
    ) -> Option<Progress> {
        let reached = tokio::time::timeout(within, self.progress.wait_for(is_so)).await;
        reached.ok()?.ok().map(|progress| progress.clone())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// This node, as an NVMe/TCP host.
#[async_trait]
pub trait Initiator: Send + Sync {
    /// Can it connect at all? What it is, in words.
    async fn ready(&self) -> Result<String, Unready>;
    /// Connects. Ends when the box has let it in or refused it.
    async fn connect(&self, wanted: &Connect) -> Result<(), Denied>;
    /// All connections.
    async fn controllers(&self) -> Result<Vec<Controller>, String>;
    /// Ends a connection: what is queued on it fails.
    async fn disconnect(&self, controller: &Controller) -> Result<(), String>;
    /// The devices of a subsystem.
    async fn devices(&self, nqn: &Nqn) -> Result<Vec<Device>, String>;
    /// The first blocks of a device, past every cache.
    async fn read(&self, device: &Device, blocks: u64) -> Result<Vec<u8>, String>;
    /// Begins to write a series, one block at a time, each acknowledged before the next; `count` of
    /// them, or until it is dropped.
    fn write(&self, device: &Device, series: &Series, count: Option<u64>) -> Writing;
}

fn told(error: Error) -> String {
    Chain(&error).to_string()
}

#[async_trait]
impl Initiator for Linux {
    async fn ready(&self) -> Result<String, Unready> {
        if !rustix::process::geteuid().is_root() {
            return Err(Unready {
                why: "only root may connect NVMe and write devices".into(),
                mend: "sudo rds-csi doctor --drill".into(),
            });
        }
        match self.fabrics().await {
            Ok(()) => {
                let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
                Ok(release.unwrap_or_default().trim().to_owned())
            }
            Err(error) => Err(Unready { why: told(error), mend: module::LOAD.into() }),
        }
    }

    async fn connect(&self, wanted: &Connect) -> Result<(), Denied> {
        Host::connect(self, wanted).await.map_err(|error| {
            // Every status of NVMe itself is told as this (nvme_tcp_create_ctrl in Linux).
            let errno = error.source.as_ref().and_then(Errno::from_io_error);
            Denied { by_box: errno == Some(Errno::IO), why: told(error) }
        })
    }

    async fn controllers(&self) -> Result<Vec<Controller>, String> {
        Host::controllers(self).await.map_err(told)
    }

    async fn disconnect(&self, controller: &Controller) -> Result<(), String> {
        Host::disconnect(self, &controller.name, &controller.nqn).await.map_err(told)
    }

    async fn devices(&self, nqn: &Nqn) -> Result<Vec<Device>, String> {
        Host::devices(self, nqn).await.map_err(told)
    }

    async fn read(&self, device: &Device, count: u64) -> Result<Vec<u8>, String> {
        // Not at the device's own place: the writer may hang there, and that is no reason not to look.
        let place = device.path.join("drill");
        let own = device.clone();
        self.call(&place, "reading", READ, move || blocks::read(&own, count)).await.map_err(told)
    }

    fn write(&self, device: &Device, series: &Series, count: Option<u64>) -> Writing {
        let (tell, progress) = watch::channel(Progress::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (device, series, stopped) = (device.clone(), series.clone(), Arc::clone(&stop));
        let told_too = tell.clone();
        // A thread of its own: it hangs in the kernel for as long as its host is shut out.
        let work = move || {
            let ended = write(&device, &series, count, &stopped, &tell).map_err(told);
            tell.send_modify(|progress| progress.ended = Some(ended));
        };
        let started = std::thread::Builder::new().name("drill-writer".into()).spawn(work);
        if let Err(error) = started {
            let why = Err(format!("no thread could be started: {error}"));
            told_too.send_modify(|progress| progress.ended = Some(why));
        }
        Writing::new(progress, stop)
    }
}

fn write(
    device: &Device,
    series: &Series,
    count: Option<u64>,
    stop: &AtomicBool,
    tell: &watch::Sender<Progress>,
) -> Result<(), Error> {
    let mut out = Blocks::open(device)?;
    for number in 0..count.unwrap_or(u64::MAX) {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Failed, "the writer was stopped"));
        }
        let failed = |error| Error::io(format!("cannot write {}", device.path.display()), error);
        out.write(place(number), &series.block(number)).map_err(failed)?;
        tell.send_modify(|progress| progress.acknowledged = number + 1);
    }
    Ok(())
}
