//! The [`Host`] that is Linux. Thin: each method names the place it works at and its deadline; the
//! work is in the files beside this one.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use slog::Logger;
use tokio::sync::watch;
use tokio::time::timeout;

use super::command::Programs;
use super::notes::Notes;
use super::stuck::Stuck;
use super::sysfs::Sysfs;
use super::{
    Connect, Controller, Device, Entry, Error, Host, Kind, Mount, Signature, Usage, blocking,
    fabrics, files, format, grow, module, mount, mountinfo, options, signature, uevent,
};
use crate::volume::Nqn;

/// Where this node's kernel is, and how long it may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// Where notes are kept; it must outlive the pod.
    pub notes: PathBuf,
    /// How long things may take.
    pub deadlines: Deadlines,
}

/// How long the kernel and programs may take.
#[derive(Debug, Clone)]
pub struct Deadlines {
    /// To look at something, or change something small.
    pub look: Duration,
    /// To accept or refuse a connection. The kernel itself gives up after 60 s.
    pub connect: Duration,
    /// To end a connection.
    pub disconnect: Duration,
    /// To mount, which may replay a journal, and to unmount, which writes what is dirty.
    pub mount: Duration,
    /// To make a file system, or let it grow.
    pub format: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(15),
            connect: Duration::from_secs(70),
            disconnect: Duration::from_secs(30),
            mount: Duration::from_secs(110),
            format: Duration::from_secs(600),
        }
    }
}

impl Settings {
    /// Of a real node, with notes in this directory.
    pub fn new(notes: PathBuf) -> Self {
        Self {
            sys: "/sys".into(),
            dev: "/dev".into(),
            proc: "/proc".into(),
            notes,
            deadlines: Deadlines::default(),
        }
    }
}

/// The kernel that this process runs on.
#[derive(Debug)]
pub struct Linux {
    settings: Settings,
    sysfs: Sysfs,
    notes: Notes,
    programs: Programs,
    stuck: Stuck,
    changes: watch::Receiver<u64>,
    log: Logger,
}

impl Linux {
    /// Begins to hear the kernel's events, on the runtime that this is called on.
    pub fn new(settings: Settings, log: Logger) -> Self {
        let stuck = Stuck::default();
        let (told, changes) = watch::channel(0);
        tokio::spawn(uevent::hear(told, log.clone()));
        Self {
            sysfs: Sysfs::new(settings.sys.clone(), settings.dev.clone()),
            notes: Notes::new(settings.notes.clone()),
            programs: Programs::on(stuck.clone()),
            stuck,
            changes,
            log,
            settings,
        }
    }

    /// What hangs in the kernel now, in words, oldest first.
    pub fn stuck(&self) -> Vec<String> {
        self.stuck.list()
    }

    /// Makes sure of `/dev/nvme-fabrics`, through which hosts connect.
    ///
    /// # Errors
    /// [`Kind::Missing`]: the module is not there and cannot be loaded from here.
    pub async fn fabrics(&self) -> Result<(), Error> {
        let fabrics = self.settings.dev.join("nvme-fabrics");
        module::ensure(&self.programs, &fabrics, self.settings.deadlines.look).await
    }

    /// Runs a call that may hang, at a place and with a deadline: see [`blocking::run`].
    ///
    /// # Errors
    /// As there.
    pub async fn call<T: Send + 'static>(
        &self,
        place: &Path,
        what: &str,
        deadline: Duration,
        call: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let what = format!("{what} {}", place.display());
        blocking::run(&self.stuck, place, &what, deadline, call).await
    }

    async fn look<T: Send + 'static>(
        &self,
        place: &Path,
        call: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let path = place.to_owned();
        self.call(place, "looking at", self.settings.deadlines.look, move || call(&path)).await
    }

    /// The device held open, so that its number and its name stay its own.
    async fn hold(&self, device: &Device) -> Result<std::fs::File, Error> {
        let own = device.clone();
        self.look(&device.path, move |_| files::open_device(&own)).await
    }

    async fn resolve(&self, wanted: &Connect) -> Result<SocketAddr, Error> {
        let Connect { address, port, .. } = wanted;
        let found = timeout(
            self.settings.deadlines.look,
            tokio::net::lookup_host((address.as_str(), *port)),
        );
        match found.await {
            Ok(Ok(mut found)) => found.next().ok_or_else(|| {
                Error::new(Kind::Failed, format!("the name {address} has no address"))
            }),
            Ok(Err(error)) => Err(Error::io(format!("cannot resolve {address}"), error)),
            Err(_) => {
                let what = format!("no answer in time to the name {address}");
                Err(Error::new(Kind::Deadline, what))
            }
        }
    }
}

#[async_trait]
impl Host for Linux {
    async fn boot_id(&self) -> Result<String, Error> {
        let file = self.settings.proc.join("sys/kernel/random/boot_id");
        let text = self.look(&file, read).await?;
        Ok(text.trim().to_owned())
    }

    async fn controllers(&self) -> Result<Vec<Controller>, Error> {
        let sysfs = self.sysfs.clone();
        self.look(&self.settings.sys.join("class/nvme"), move |_| sysfs.controllers()).await
    }

    async fn connect(&self, wanted: &Connect) -> Result<(), Error> {
        let fabrics = self.settings.dev.join("nvme-fabrics");
        let deadlines = &self.settings.deadlines;
        self.fabrics().await?;
        let text = fabrics::options(wanted, self.resolve(wanted).await?)?;
        // Of its own for each subsystem: one that does not answer is not in the way of others.
        let place = fabrics.join(wanted.nqn.as_str());
        let (wanted, sysfs) = (wanted.clone(), self.sysfs.clone());
        slog::debug!(self.log, "connecting"; "nqn" => %wanted.nqn, "options" => &text);
        let connected = self
            .call(&place, "connecting through", deadlines.connect, move || {
                match write_options(&fabrics, &text) {
                    Ok(answer) => Ok(fabrics::controller(&answer)),
                    Err(error) => match fabrics::refusal(&wanted, error, sysfs.has_tcp()) {
                        Some(refusal) => Err(refusal),
                        None => Ok(None),
                    },
                }
            })
            .await?;
        slog::debug!(self.log, "connected"; "controller" => connected.as_deref().unwrap_or("known"));
        Ok(())
    }

    async fn disconnect(&self, controller: &str, nqn: &Nqn) -> Result<(), Error> {
        let place = self.settings.sys.join("class/nvme").join(controller);
        let (sysfs, name, own) = (self.sysfs.clone(), controller.to_owned(), nqn.clone());
        let deadline = self.settings.deadlines.disconnect;
        let delete = move || sysfs.delete_controller(&name, &own);
        let deleted = self.call(&place, "deleting the controller", deadline, delete).await?;
        slog::debug!(self.log, "disconnected"; "controller" => controller, "nqn" => %nqn,
            "deleted" => deleted);
        Ok(())
    }

    async fn devices(&self, nqn: &Nqn) -> Result<Vec<Device>, Error> {
        let (sysfs, nqn) = (self.sysfs.clone(), nqn.clone());
        let place = self.settings.sys.join("class/nvme-subsystem");
        self.look(&place, move |_| sysfs.devices(&nqn)).await
    }

    async fn rescan(&self, controller: &str) -> Result<(), Error> {
        let place = self.settings.sys.join("class/nvme").join(controller);
        let (sysfs, name) = (self.sysfs.clone(), controller.to_owned());
        self.look(&place, move |_| sysfs.rescan(&name)).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    async fn signature(&self, device: &Device) -> Result<Signature, Error> {
        let own = device.clone();
        self.look(&device.path, move |path| {
            let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
            let mut file = files::open_device(&own)?;
            let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
            signature::of(&signature::Direct::new(file, bytes)).map_err(failed)
        })
        .await
    }

    async fn is_claimed(&self, device: &Device) -> Result<bool, Error> {
        let own = device.clone();
        self.look(&device.path, move |_| files::is_claimed(&own)).await
    }

    async fn format(&self, device: &Device, kind: &str) -> Result<(), Error> {
        let _held = self.hold(device).await?;
        slog::debug!(self.log, "making a file system"; "device" => %device.path.display(),
            "nqn" => %device.nqn, "kind" => kind);
        format::format(&self.programs, device, kind, self.settings.deadlines.format).await
    }

    async fn grow(&self, device: &Device, kind: &str, mounted_at: &Path) -> Result<(), Error> {
        let _held = self.hold(device).await?;
        let deadline = self.settings.deadlines.format;
        grow::grow(&self.programs, device, kind, mounted_at, deadline).await
    }

    async fn mounts(&self) -> Result<Vec<Mount>, Error> {
        let sysfs = self.sysfs.clone();
        self.look(&self.settings.proc.join("self/mountinfo"), move |file| {
            let text = std::fs::read(file)
                .map_err(|error| Error::io(format!("cannot read {}", file.display()), error))?;
            let mut mounts =
                mountinfo::parse(&text).map_err(|line| Error::new(Kind::Failed, line))?;
            for mount in mounts.iter_mut().filter(|mount| mount.kind == "btrfs") {
                let name = mount.source.rsplit('/').next().unwrap_or_default();
                mount.number = sysfs.number_of(name).unwrap_or(mount.number);
            }
            Ok(mounts)
        })
        .await
    }

    async fn mount(
        &self,
        device: &Device,
        target: &Path,
        kind: &str,
        options: &[String],
    ) -> Result<(), Error> {
        let options = options::sort(options)?;
        let held = self.hold(device).await?;
        let (own, at, kind) = (device.clone(), target.to_owned(), kind.to_owned());
        let deadline = self.settings.deadlines.mount;
        self.call(&device.path, "mounting", deadline, move || {
            let mounted = mount::mount(&own, &at, &kind, &options);
            drop(held);
            mounted
        })
        .await
    }

    async fn bind(&self, source: &Path, target: &Path, read_only: bool) -> Result<(), Error> {
        let (source, at) = (source.to_owned(), target.to_owned());
        let bind = move || mount::bind(&source, &at, read_only);
        self.call(target, "mounting at", self.settings.deadlines.look, bind).await
    }

    async fn unmount(&self, target: &Path) -> Result<(), Error> {
        let at = target.to_owned();
        let take_away = move || mount::take_away(&at).map(drop);
        self.call(target, "unmounting", self.settings.deadlines.mount, take_away).await
    }

    async fn entry(&self, path: &Path) -> Result<Entry, Error> {
        self.look(path, files::entry).await
    }

    async fn make_directory(&self, path: &Path) -> Result<(), Error> {
        self.look(path, files::make_directory).await
    }

    async fn make_file(&self, path: &Path) -> Result<(), Error> {
        self.look(path, files::make_file).await
    }

    async fn remove(&self, path: &Path) -> Result<(), Error> {
        self.look(path, files::remove).await
    }

    async fn usage(&self, path: &Path) -> Result<Usage, Error> {
        self.look(path, files::usage).await
    }

    async fn notes(&self) -> Result<BTreeMap<String, Result<String, Error>>, Error> {
        let notes = self.notes.clone();
        self.look(self.notes.folder(), move |_| notes.all()).await
    }

    async fn write_note(&self, name: &str, text: &str) -> Result<(), Error> {
        let (notes, name, text) = (self.notes.clone(), name.to_owned(), text.to_owned());
        self.look(self.notes.folder(), move |_| notes.write(&name, &text)).await
    }

    async fn remove_note(&self, name: &str) -> Result<(), Error> {
        let (notes, name) = (self.notes.clone(), name.to_owned());
        self.look(self.notes.folder(), move |_| notes.remove(&name)).await
    }
}

fn read(file: &Path) -> Result<String, Error> {
    std::fs::read_to_string(file)
        .map_err(|error| Error::io(format!("cannot read {}", file.display()), error))
}

/// One write, one read, of one open file: the answer belongs to what was written through it.
fn write_options(fabrics: &Path, text: &str) -> std::io::Result<String> {
    let mut file = std::fs::File::options().read(true).write(true).open(fabrics)?;
    if file.write(text.as_bytes())? != text.len() {
        return Err(std::io::ErrorKind::WriteZero.into());
    }
    let mut answer = [0; 256];
    let length = file.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}
