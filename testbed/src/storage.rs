//! The box: rds-sim behind SSH, in this process, so that a story may break it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rds_sim::routeros::{
    AuthorizedKeys, Entry, HostKey, RouterOs, Server, ServerSetup, Setup, UserKey,
};

use serde_json::{Value, json};

use crate::Trouble;
use crate::cluster::Backend;

/// Slot of the pool.
pub const POOL: &str = "storage-pool";
/// Where the images lie.
pub const VOLUMES: &str = "storage-pool/volumes";
/// The user of the driver.
pub const USER: &str = "rds-csi";
/// Where a box listens; the address is the network's own.
const SSH: u16 = 22;
/// What one exec takes, as seen on a real box (50 to 100 ms).
const EXEC: Duration = Duration::from_millis(60);

/// A simulated box that listens.
pub struct StorageBox {
    /// The box.
    pub rds: RouterOs,
    /// Who may log in.
    pub key: UserKey,
    server: Server,
}

impl StorageBox {
    /// Starts it at this address.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(address: Ipv4Addr) -> Result<Self, Trouble> {
        let rds =
            RouterOs::with(Setup { pool: POOL.into(), exec_latency: EXEC, ..Setup::default() });
        rds.declare_user(USER, "csi", Some("ssh,read,write,test"));
        let made = rds.exec(&format!("/file/add name={VOLUMES} type=directory"));
        if !made.text().trim().is_empty() {
            return Err(format!("the box has no directory: {}", made.text()).into());
        }
        let key = UserKey::generate()?;
        let setup = ServerSetup {
            host_key: HostKey::Ed25519,
            authorized: AuthorizedKeys::These(vec![key.public.clone()]),
            ..ServerSetup::default()
        };
        let address = SocketAddr::new(IpAddr::V4(address), SSH);
        let server = Server::start(rds.clone(), address, setup).await?;
        Ok(Self { rds, key, server })
    }

    /// Where its SSH service is.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its host key, as `SHA256:…`.
    pub fn fingerprint(&self) -> &str {
        self.server.fingerprint()
    }

    /// Slots of the volumes, sorted.
    pub fn slots(&self) -> Vec<String> {
        self.words(":foreach d in=[/disk find where type=file] do={:put [/disk get $d slot]}")
    }

    /// Names of the images, sorted.
    pub fn images(&self) -> Vec<String> {
        let all = self.words(":foreach f in=[/file find] do={:put [/file get $f name]}");
        all.into_iter().filter(|name| name.ends_with(".img")).collect()
    }

    /// A property of the disk in a slot; empty where it has none.
    pub fn property(&self, slot: &str, name: &str) -> String {
        let line = format!(":put [/disk get [find slot=\"{slot}\"] {name}]");
        self.rds.exec(&line).text().trim().to_owned()
    }

    /// May anybody connect to the disk in a slot?
    pub fn exported(&self, slot: &str) -> bool {
        self.property(slot, "nvme-tcp-export") == "true"
    }

    fn words(&self, line: &str) -> Vec<String> {
        let text = self.rds.exec(line).text();
        let mut words: Vec<String> =
            text.lines().map(|word| word.trim().to_owned()).filter(|w| !w.is_empty()).collect();
        words.sort();
        words
    }

    /// Lines that may have changed a disk since the `from`-th.
    pub fn changes_since(&self, from: u64) -> Vec<String> {
        let changes =
            ["/disk/set", "/disk set", "/disk add", "/disk/add", "/disk remove", "/disk/remove"];
        let all = self.work_since(from).into_iter().map(|entry| entry.line);
        all.filter(|line| changes.iter().any(|change| line.contains(change))).collect()
    }

    /// Lines that asked or changed something about disks and files since the `from`-th; polls are
    /// none of them.
    pub fn work_since(&self, from: u64) -> Vec<Entry> {
        let of_work = |entry: &Entry| {
            entry.number > from && (entry.line.contains("/disk") || entry.line.contains("/file"))
        };
        self.rds.journal().into_iter().filter(of_work).filter(|entry| entry.session != 0).collect()
    }
}

impl Backend for StorageBox {
    fn values(&self) -> Value {
        json!({
            "address": self.address().to_string(),
            "user": USER,
            "host_key": [self.fingerprint()],
            "volume_paths": [VOLUMES],
            "private_key": {"value": self.key.private},
        })
    }
}
