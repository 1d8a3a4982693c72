//! A kernel of one node, as an NVMe/TCP host of the simulated box: its connections, what is written
//! and read over them, and what can be wrong with a box beyond its switches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::agent::volume_name;
use rds_csi::doctor::drill::blocks::{Series, place};
use rds_csi::doctor::drill::initiator::{Denied, Initiator, Progress, Unready, Writing};
use rds_csi::host::{Connect, Controller, ControllerState, Device, DeviceNumber};
use rds_csi::volume::Nqn;
use rds_sim::routeros::{Connection, Refusal, RouterOs};
use tokio::sync::watch;
use tokio::time::sleep;

const BLOCK: usize = 4096;
const BYTES: u64 = 16 << 20;
/// Time between two writes, and between two attempts to come back.
const TICK: Duration = Duration::from_millis(1);

/// What is wrong with the box.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flaw {
    #[default]
    None,
    /// It lets hosts in that are not on the list.
    LetsOthersIn,
    /// It lets hosts in under names that a disk had.
    KeepsOldNames,
    /// The same, but not those that it cut off.
    KeepsOldNamesForNewcomers,
    /// A host that was cut off once is not let in under that name again.
    NeverForgives,
    /// Writes are not counted.
    CountsNothing,
    /// What a host that was cut off has queued lands all the same.
    LandsLate,
    /// Of what was acknowledged, something is lost when the export is closed.
    LosesWrites,
    /// Nobody is let in.
    Deaf,
}

/// The kernel.
#[derive(Clone)]
pub struct Kernel {
    os: RouterOs,
    pub flaw: Flaw,
    /// Does it give up at the first refusal, as Linux 6.12 does?
    gives_up: bool,
    unready: bool,
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    links: BTreeMap<u32, Link>,
    made: u32,
    /// Names under which somebody was cut off.
    cut: BTreeSet<String>,
    images: BTreeMap<String, Vec<u8>>,
    /// Connections that were ever made, by the NQN.
    entered: Vec<String>,
}

struct Link {
    wanted: Connect,
    connection: Option<Connection>,
}

/// The slot behind a name.
fn slot(nqn: &Nqn) -> String {
    volume_name(nqn.as_str()).rsplit(':').next().unwrap().to_owned()
}

impl Kernel {
    pub fn new(os: &RouterOs, flaw: Flaw) -> Self {
        let world = Arc::default();
        Self { os: os.clone(), flaw, gives_up: false, unready: false, world }
    }

    pub fn that_gives_up(self) -> Self {
        Self { gives_up: true, ..self }
    }

    pub fn without_module(self) -> Self {
        Self { unready: true, ..self }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Nothing is connected.
    pub fn is_clean(&self) -> bool {
        self.world().links.is_empty()
    }

    /// How often somebody was let in.
    pub fn entries(&self) -> usize {
        self.world().entered.len()
    }

    fn enter(&self, wanted: &Connect, is_new: bool) -> Result<Connection, Refusal> {
        let name = wanted.nqn.as_str();
        let property = |what: &str| {
            let line = format!(":put [/disk/get {} {what}]", slot(&wanted.nqn));
            self.os.exec(&line).text().trim().to_owned()
        };
        let mut as_host = wanted.host_nqn.to_string();
        let mut at = name.to_owned();
        match self.flaw {
            Flaw::Deaf => return Err(Refusal::InvalidSubsystem),
            Flaw::NeverForgives if self.world().cut.contains(name) => {
                return Err(Refusal::InvalidSubsystem);
            }
            Flaw::LetsOthersIn => as_host = property("nvme-tcp-server-allow-host-name"),
            Flaw::KeepsOldNames | Flaw::KeepsOldNamesForNewcomers
                if is_new || self.flaw == Flaw::KeepsOldNames =>
            {
                let current = property("nvme-tcp-server-nqn");
                if current != name {
                    as_host = property("nvme-tcp-server-allow-host-name");
                    at = current;
                }
            }
            _ => {}
        }
        self.os.connect_host(&as_host, &at, wanted.port)
    }

    /// Keeps a connection: cut off, it tries again, until it is let in or gives up.
    async fn keep(self, number: u32) {
        loop {
            sleep(TICK * 20).await;
            let wanted = {
                let mut world = self.world();
                let Some(link) = world.links.get_mut(&number) else { return };
                if link.connection.as_ref().is_some_and(Connection::is_live) {
                    continue;
                }
                link.connection = None;
                let wanted = link.wanted.clone();
                world.cut.insert(wanted.nqn.to_string());
                wanted
            };
            let came = self.enter(&wanted, false);
            let mut world = self.world();
            match came {
                Ok(connection) => {
                    world.entered.push(wanted.nqn.to_string());
                    if let Some(link) = world.links.get_mut(&number) {
                        link.connection = Some(connection);
                    }
                }
                Err(_) if self.gives_up => drop(world.links.remove(&number)),
                Err(_) => {}
            }
        }
    }

    /// The box writes what came over a connection that was cut, once the disk is exported again.
    fn lands_late(&self, slot: &str) -> bool {
        let property = |what: &str| {
            let line = format!(":put [/disk/get {slot} {what}]");
            self.os.exec(&line).text().trim().to_owned()
        };
        let host = property("nvme-tcp-server-allow-host-name");
        let port = property("nvme-tcp-server-port").parse().unwrap_or(0);
        let nqn = property("nvme-tcp-server-nqn");
        let Ok(sneaking) = self.os.connect_host(&host, &nqn, port) else { return false };
        let landed = sneaking.write(BLOCK as u64).is_ok();
        sneaking.disconnect();
        landed
    }

    /// One write of a link; `None`: it waits.
    fn write_one(&self, number: u32, at: u64, block: &[u8]) -> Option<Result<(), String>> {
        let mut world = self.world();
        let Some(link) = world.links.get(&number) else { return Some(Err("EIO".into())) };
        let image = slot(&link.wanted.nqn);
        let live = link.connection.clone().filter(Connection::is_live);
        let lands = match &live {
            Some(_) if self.flaw == Flaw::CountsNothing => true,
            Some(connection) => connection.write(block.len() as u64).is_ok(),
            None => false,
        };
        let late = live.is_none() && self.flaw == Flaw::LandsLate && self.lands_late(&image);
        if lands || late {
            let bytes = world.images.entry(image).or_insert_with(|| vec![0; BLOCK * 256]);
            let begin = usize::try_from(at).unwrap() * BLOCK;
            bytes[begin..begin + BLOCK].copy_from_slice(block);
        }
        lands.then_some(Ok(()))
    }
}

#[async_trait]
impl Initiator for Kernel {
    async fn ready(&self) -> Result<String, Unready> {
        match self.unready {
            false => Ok("double".into()),
            true => Err(Unready { why: "no module".into(), mend: "modprobe nvme-tcp".into() }),
        }
    }

    async fn connect(&self, wanted: &Connect) -> Result<(), Denied> {
        let known = |link: &Link| {
            (&link.wanted.nqn, &link.wanted.host_nqn) == (&wanted.nqn, &wanted.host_nqn)
        };
        // As the kernel does: exactly this connection exists.
        if self.world().links.values().any(known) {
            return Ok(());
        }
        // The port is open, whatever is exported there.
        let denied = |refusal: Refusal| Denied { by_box: true, why: refusal.to_string() };
        let connection = self.enter(wanted, true).map_err(denied)?;
        let mut world = self.world();
        if self.flaw == Flaw::LosesWrites
            && let Some(bytes) = world.images.get_mut(&slot(&wanted.nqn))
        {
            bytes[7 * BLOCK..8 * BLOCK].fill(0);
        }
        world.made += 1;
        let number = world.made;
        let link = Link { wanted: wanted.clone(), connection: Some(connection) };
        world.links.insert(number, link);
        world.entered.push(wanted.nqn.to_string());
        drop(world);
        tokio::spawn(self.clone().keep(number));
        Ok(())
    }

    async fn controllers(&self) -> Result<Vec<Controller>, String> {
        let shown = |(number, link): (&u32, &Link)| {
            let live = link.connection.as_ref().is_some_and(Connection::is_live);
            Controller {
                name: format!("nvme{number}"),
                nqn: link.wanted.nqn.clone(),
                host_nqn: Some(link.wanted.host_nqn.to_string()),
                address: String::new(),
                state: if live { ControllerState::Live } else { ControllerState::Connecting },
            }
        };
        Ok(self.world().links.iter().map(shown).collect())
    }

    async fn disconnect(&self, controller: &Controller) -> Result<(), String> {
        let number: u32 = controller.name.strip_prefix("nvme").unwrap().parse().unwrap();
        if let Some(Link { connection: Some(connection), .. }) = self.world().links.remove(&number)
        {
            connection.disconnect();
        }
        Ok(())
    }

    async fn devices(&self, nqn: &Nqn) -> Result<Vec<Device>, String> {
        let world = self.world();
        let of_nqn = world.links.iter().filter(|(_, link)| link.wanted.nqn == *nqn);
        let device = |(number, link): (&u32, &Link)| Device {
            nqn: link.wanted.nqn.clone(),
            path: format!("/dev/nvme{number}n1").into(),
            number: DeviceNumber { major: 259, minor: *number },
            namespace: 1,
            identity: None,
            bytes: BYTES,
            read_only: false,
        };
        Ok(of_nqn.map(device).collect())
    }

    async fn read(&self, device: &Device, blocks: u64) -> Result<Vec<u8>, String> {
        let length = usize::try_from(blocks).unwrap() * BLOCK;
        let world = self.world();
        let link = world.links.get(&device.number.minor).ok_or("EIO")?;
        if !link.connection.as_ref().is_some_and(Connection::is_live) {
            return Err("it waits for the box".into());
        }
        let written = world.images.get(&slot(&device.nqn)).cloned();
        Ok(written.unwrap_or_else(|| vec![0; length]))
    }

    fn write(&self, device: &Device, series: &Series, count: Option<u64>) -> Writing {
        let (tell, progress) = watch::channel(Progress::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (kernel, series, stopped) = (self.clone(), series.clone(), Arc::clone(&stop));
        let number = device.number.minor;
        tokio::spawn(async move {
            let mut done = 0;
            let ended = loop {
                if count == Some(done) {
                    break Ok(());
                }
                if stopped.load(Ordering::Relaxed) {
                    break Err("stopped".to_owned());
                }
                match kernel.write_one(number, place(done), &series.block(done)) {
                    Some(Ok(())) => {
                        done += 1;
                        tell.send_modify(|progress| progress.acknowledged = done);
                    }
                    Some(Err(why)) => break Err(why),
                    None => sleep(TICK).await,
                }
                if done % 16 == 0 {
                    sleep(TICK).await;
                }
            };
            tell.send_modify(|progress| progress.ended = Some(ended));
        });
        Writing::new(progress, stop)
    }
}
