//! Ports, subsystems, hosts and links below `/sys/kernel/config/nvmet`.
//!
//! The order of writes is the kernel's (drivers/nvme/target/configfs.c): a namespace is enabled last, a
//! subsystem that lets everybody in takes no host, and only what nobody links to can be removed.

use std::io;
use std::path::{Path, PathBuf};

use crate::routeros::Export;

/// What a subsystem of ours says of itself.
const MODEL: &str = "rds-sim";
/// The subsystem that keeps a port open while nothing else is exported there. Nobody may connect.
const KEEPER: &str = "nqn.2000-02.com.mikrotik:rds-sim-keeper";

/// A folder of the kernel's, as files.
pub trait Tree: Send + Sync {
    /// Makes an object.
    ///
    /// # Errors
    /// What the kernel said.
    fn make(&self, path: &str) -> io::Result<()>;
    /// Removes an object.
    ///
    /// # Errors
    /// What the kernel said.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Sets an attribute.
    ///
    /// # Errors
    /// What the kernel said.
    fn write(&self, path: &str, value: &str) -> io::Result<()>;
    /// Reads an attribute.
    ///
    /// # Errors
    /// What the kernel said.
    fn read(&self, path: &str) -> io::Result<String>;
    /// Links `path` to the object `to`.
    ///
    /// # Errors
    /// What the kernel said.
    fn link(&self, to: &str, path: &str) -> io::Result<()>;
    /// Takes a link away.
    ///
    /// # Errors
    /// What the kernel said.
    fn unlink(&self, path: &str) -> io::Result<()>;
    /// Names of what lies there; none where it is not.
    fn list(&self, path: &str) -> Vec<String>;
}

/// The kernel's own, below this folder.
impl Tree for PathBuf {
    fn make(&self, path: &str) -> io::Result<()> {
        std::fs::create_dir(self.join(path))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_dir(self.join(path))
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        std::fs::write(self.join(path), value)
    }

    fn read(&self, path: &str) -> io::Result<String> {
        std::fs::read_to_string(self.join(path))
    }

    fn link(&self, to: &str, path: &str) -> io::Result<()> {
        std::os::unix::fs::symlink(self.join(to), self.join(path))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.join(path))
    }

    fn list(&self, path: &str) -> Vec<String> {
        let found = std::fs::read_dir(self.join(path)).into_iter().flatten().flatten();
        found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

/// The target.
pub struct Configfs<T>(T);

impl<T: Tree> Configfs<T> {
    pub(super) fn new(tree: T) -> Self {
        Self(tree)
    }

    /// Removes everything of ours that is there.
    pub(super) fn clear(&self) -> Result<(), String> {
        let is_ours = |nqn: &String| {
            let model = self.0.read(&format!("subsystems/{nqn}/attr_model"));
            model.is_ok_and(|model| model.trim() == MODEL)
        };
        let ours: Vec<String> = self.0.list("subsystems").into_iter().filter(is_ours).collect();
        for port in self.0.list("ports") {
            let linked = self.0.list(&format!("ports/{port}/subsystems"));
            for nqn in linked.iter().filter(|nqn| ours.contains(nqn)) {
                self.unlink(&format!("ports/{port}/subsystems/{nqn}"))?;
            }
            if linked.iter().all(|nqn| ours.contains(nqn)) {
                self.remove(&format!("ports/{port}"))?;
            }
        }
        ours.iter().try_for_each(|nqn| self.dismantle(nqn))
    }

    /// Listens on a port of every address.
    pub(super) fn open(&self, port: u16) -> Result<(), String> {
        let folder = format!("ports/{port}");
        self.make(&folder)?;
        self.write(&format!("{folder}/addr_trtype"), "tcp")?;
        self.write(&format!("{folder}/addr_adrfam"), "ipv4")?;
        self.write(&format!("{folder}/addr_traddr"), "0.0.0.0")?;
        self.write(&format!("{folder}/addr_trsvcid"), &port.to_string())?;
        let keeper = keeper(port);
        self.subsystem(&keeper)?;
        self.write(&format!("subsystems/{keeper}/attr_allow_any_host"), "0")?;
        // The kernel listens from the first link on.
        self.link(&format!("subsystems/{keeper}"), &format!("{folder}/subsystems/{keeper}"))
    }

    /// Listens there no more.
    pub(super) fn close(&self, port: u16) -> Result<(), String> {
        let keeper = keeper(port);
        self.unlink(&format!("ports/{port}/subsystems/{keeper}"))?;
        self.remove(&format!("ports/{port}"))?;
        self.dismantle(&keeper)
    }

    /// Lets hosts reach a device.
    pub(super) fn export(
        &self,
        export: &Export,
        device: &Path,
        identity: u128,
    ) -> Result<(), String> {
        let Export { nqn, port, host, .. } = export;
        if !self.0.list(&format!("subsystems/{nqn}")).is_empty() {
            return Err(format!("{nqn} is exported already"));
        }
        self.subsystem(nqn)?;
        self.write(&format!("subsystems/{nqn}/attr_serial"), &format!("{:016x}", identity >> 64))?;
        self.write(&format!("subsystems/{nqn}/attr_allow_any_host"), "0")?;
        self.allow(nqn, Some(""), host.as_deref())?;
        let namespace = format!("subsystems/{nqn}/namespaces/1");
        self.make(&namespace)?;
        self.write(&format!("{namespace}/device_path"), &device.to_string_lossy())?;
        self.write(&format!("{namespace}/device_uuid"), &uuid(identity))?;
        self.write(&format!("{namespace}/enable"), "1")?;
        self.link(&format!("subsystems/{nqn}"), &format!("ports/{port}/subsystems/{nqn}"))
    }

    /// Cuts off whoever is connected, and lets nobody in.
    pub(super) fn unexport(&self, export: &Export) -> Result<(), String> {
        let Export { nqn, port, .. } = export;
        self.unlink(&format!("ports/{port}/subsystems/{nqn}"))?;
        self.dismantle(nqn)
    }

    /// Lets another host in; none is everybody. The empty name is nobody.
    pub(super) fn allow(
        &self,
        nqn: &str,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<(), String> {
        let any = format!("subsystems/{nqn}/attr_allow_any_host");
        let link = |host: &str| format!("subsystems/{nqn}/allowed_hosts/{host}");
        match before {
            Some("") => {}
            Some(host) => {
                self.unlink(&link(host))?;
                // It stays where another subsystem lets it in.
                let _ = self.0.remove(&format!("hosts/{host}"));
            }
            None => self.write(&any, "0")?,
        }
        let Some(host) = after else { return self.write(&any, "1") };
        let object = format!("hosts/{host}");
        match self.0.make(&object) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(format!("{object}: {error}"));
            }
            _ => {}
        }
        self.link(&object, &link(host))
    }

    fn subsystem(&self, nqn: &str) -> Result<(), String> {
        self.make(&format!("subsystems/{nqn}"))?;
        self.write(&format!("subsystems/{nqn}/attr_model"), MODEL)
    }

    fn dismantle(&self, nqn: &str) -> Result<(), String> {
        let folder = format!("subsystems/{nqn}");
        for namespace in self.0.list(&format!("{folder}/namespaces")) {
            self.remove(&format!("{folder}/namespaces/{namespace}"))?;
        }
        for host in self.0.list(&format!("{folder}/allowed_hosts")) {
            self.unlink(&format!("{folder}/allowed_hosts/{host}"))?;
            // It stays where another subsystem lets it in.
            let _ = self.0.remove(&format!("hosts/{host}"));
        }
        self.remove(&folder)
    }

    fn make(&self, path: &str) -> Result<(), String> {
        self.0.make(path).map_err(|error| format!("{path}: {error}"))
    }

    fn remove(&self, path: &str) -> Result<(), String> {
        self.0.remove(path).map_err(|error| format!("{path} stays: {error}"))
    }

    fn write(&self, path: &str, value: &str) -> Result<(), String> {
        self.0.write(path, value).map_err(|error| format!("{path} is not {value:?}: {error}"))
    }

    fn link(&self, to: &str, path: &str) -> Result<(), String> {
        self.0.link(to, path).map_err(|error| format!("{path}: {error}"))
    }

    fn unlink(&self, path: &str) -> Result<(), String> {
        self.0.unlink(path).map_err(|error| format!("{path} stays: {error}"))
    }
}

fn keeper(port: u16) -> String {
    format!("{KEEPER}-{port}")
}

fn uuid(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
