//! The release binary as a process of its own, and what stands around it: a simulated box over SSH,
//! the API server double over HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rds_csi::grpc::csi as pb;
use rds_csi::grpc::csi::controller_client::ControllerClient;
use rds_csi::grpc::csi::identity_client::IdentityClient;
use rds_csi::grpc::csi::volume_capability::access_mode::Mode;
use rds_csi::grpc::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use rds_sim::apiserver::{ApiServer, Listening};
use rds_sim::routeros::{AuthorizedKeys, HostKey, RouterOs, Server, ServerSetup, UserKey};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::clock::{Failure, PATIENCE};
use crate::domain::FOLDER;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Pause between two looks whether something is there.
const LOOK: Duration = Duration::from_millis(1);

/// The box, as far as the driver gets.
pub enum StorageBox {
    /// A box that answers.
    Up,
    /// Nobody listens.
    Down,
    /// Connections are accepted, and then nothing is said.
    Silent,
}

/// Everything around one controller.
pub struct Surroundings {
    binary: PathBuf,
    scratch: TempDir,
    listening: Listening,
    box_address: SocketAddr,
    fingerprint: String,
    // Kept alive.
    _server: Option<Server>,
    _silent: Option<TcpListener>,
}

impl Surroundings {
    /// This box and this cluster, for this binary.
    ///
    /// # Errors
    /// What the system says.
    pub async fn new(
        binary: &Path,
        os: &RouterOs,
        api: &ApiServer,
        storage: StorageBox,
    ) -> Result<Self, Failure> {
        let scratch = tempfile::tempdir()?;
        let user = UserKey::generate()?;
        let setup = ServerSetup {
            host_key: HostKey::Ed25519,
            authorized: AuthorizedKeys::These(vec![user.public.clone()]),
            ..ServerSetup::default()
        };
        let server = Server::start(os.clone(), LOOPBACK, setup).await?;
        let fingerprint = server.fingerprint().to_string();
        let listener = TcpListener::bind(LOOPBACK).await?;
        let (box_address, server, silent) = match storage {
            StorageBox::Up => (server.address(), Some(server), None),
            // The kernel accepts, and nobody ever reads.
            StorageBox::Silent => (listener.local_addr()?, None, Some(listener)),
            StorageBox::Down => (listener.local_addr()?, None, None),
        };
        let listening = api.listen(LOOPBACK).await?;
        let new = Self {
            binary: binary.to_owned(),
            scratch,
            listening,
            box_address,
            fingerprint,
            _server: server,
            _silent: silent,
        };
        std::fs::write(new.path("key"), &user.private)?;
        std::fs::set_permissions(new.path("key"), std::fs::Permissions::from_mode(0o600))?;
        std::fs::write(new.path("kubeconfig"), new.kubeconfig())?;
        Ok(new)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn kubeconfig(&self) -> String {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.listening.url}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        });
        kubeconfig.to_string()
    }

    fn config(&self, http: SocketAddr) -> String {
        let path = |name| self.path(name).display().to_string();
        format!(
            "[driver]\nendpoint = \"unix://{}\"\n[http]\nlisten = \"{http}\"\n\
             [cluster]\nkubeconfig = \"{}\"\n[backends.main]\naddress = \"{}\"\n\
             user = \"rds-csi\"\nkey_path = \"{}\"\nhost_key = [\"{}\"]\n\
             volume_paths = [\"{FOLDER}\"]\n",
            path("csi.sock"),
            path("kubeconfig"),
            self.box_address,
            path("key"),
            self.fingerprint,
        )
    }

    /// Starts the controller, which is given nothing of our environment.
    ///
    /// # Errors
    /// What the system says.
    pub async fn start(&self) -> Result<Daemon, Failure> {
        // Somebody else may take the port in between; then the process ends and we say so.
        let http = TcpListener::bind(LOOPBACK).await?.local_addr()?;
        std::fs::write(self.path("rds.toml"), self.config(http))?;
        let log = std::fs::File::create(self.path("log"))?;
        let began = Instant::now();
        let child = Command::new(&self.binary)
            .arg("controller")
            .arg("--config")
            .arg(self.path("rds.toml"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let (socket, log) = (self.path("csi.sock"), self.path("log"));
        Ok(Daemon { child, began, http, socket, log })
    }
}

/// The running process. It is killed when this is dropped.
pub struct Daemon {
    child: Child,
    began: Instant,
    http: SocketAddr,
    socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// When it was started.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Kills it and waits for its end: as long as it is there, its socket takes connections.
    ///
    /// # Errors
    /// What the system says.
    pub async fn end(mut self) -> Result<(), Failure> {
        Ok(self.child.kill().await?)
    }

    fn gave_up(&mut self, what: &str) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let ended = self.child.try_wait().ok().flatten();
        format!("{what}; the process ended: {ended:?}; it said:\n{log}").into()
    }

    /// A connection to its socket, once somebody listens.
    ///
    /// # Errors
    /// When nobody does.
    pub async fn connect(&mut self) -> Result<Csi, Failure> {
        let endpoint = Endpoint::try_from(format!("unix://{}", self.socket.display()))?;
        let connect = async {
            loop {
                match endpoint.connect().await {
                    Ok(channel) => return Csi { channel },
                    Err(_) => sleep(LOOK).await,
                }
            }
        };
        match timeout(PATIENCE, connect).await {
            Ok(csi) => Ok(csi),
            Err(_) => Err(self.gave_up("nobody listens on the socket")),
        }
    }

    /// Waits until Probe says that it is ready.
    ///
    /// # Errors
    /// When it never is.
    pub async fn ready(&mut self) -> Result<Csi, Failure> {
        let csi = self.connect().await?;
        let ready = async {
            while !csi.probe().await? {
                sleep(Duration::from_millis(20)).await;
            }
            Ok::<_, Failure>(())
        };
        match timeout(PATIENCE, ready).await {
            Ok(ready) => ready.map(|()| csi),
            Err(_) => Err(self.gave_up("it is never ready")),
        }
    }

    /// Waits until `/livez` says that it lives.
    ///
    /// # Errors
    /// When it never does.
    pub async fn lives(&mut self) -> Result<(), Failure> {
        let http = self.http;
        let lives = async {
            while !matches!(livez(http).await, Ok(true)) {
                sleep(LOOK).await;
            }
        };
        match timeout(PATIENCE, lives).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.gave_up("/livez is never ok")),
        }
    }

    /// Its resident memory.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub async fn resident(&self) -> Result<Resident, Failure> {
        let id = self.child.id().ok_or("the process has ended")?;
        let maps = tokio::fs::read_to_string(format!("/proc/{id}/smaps")).await?;
        let binary = tokio::fs::read_link(format!("/proc/{id}/exe")).await?;
        Resident::read(&maps, &binary.to_string_lossy())
    }
}

/// Resident memory by what it is, in MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Resident {
    /// What was asked for, and pages of files that were written to.
    pub anonymous: f64,
    /// Other pages of the driver's own file.
    pub driver: f64,
    /// Other pages of shared libraries.
    pub libraries: f64,
}

impl Resident {
    /// All of it.
    pub fn all(self) -> f64 {
        self.anonymous + self.driver + self.libraries
    }

    /// From what the kernel says of each mapping (Linux, Documentation/filesystems/proc.rst, 1.1).
    fn read(maps: &str, binary: &str) -> Result<Self, Failure> {
        let (mut resident, mut is_driver) = (Self::default(), false);
        for line in maps.lines() {
            let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
            if !key.ends_with(':') {
                is_driver = rest.ends_with(binary);
                continue;
            }
            let pages = if is_driver { &mut resident.driver } else { &mut resident.libraries };
            let mebibytes = || -> Result<f64, Failure> {
                Ok(rest.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
            };
            match key {
                "Rss:" => *pages += mebibytes()?,
                "Anonymous:" => {
                    *pages -= mebibytes()?;
                    resident.anonymous += mebibytes()?;
                }
                _ => {}
            }
        }
        Ok(resident)
    }
}

async fn livez(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// A client that calls as the sidecars do.
pub struct Csi {
    channel: Channel,
}

impl Csi {
    /// What Probe says.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn probe(&self) -> Result<bool, Failure> {
        let mut identity = IdentityClient::new(self.channel.clone());
        let answer = identity.probe(pb::ProbeRequest {}).await?;
        Ok(answer.into_inner().ready.unwrap_or_default())
    }

    /// CreateVolume, 1 GiB; the volume id.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn create(&self, name: &str) -> Result<String, Failure> {
        let mount = MountVolume { fs_type: "ext4".into(), ..MountVolume::default() };
        let capability = pb::VolumeCapability {
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
            access_type: Some(AccessType::Mount(mount)),
        };
        let request = pb::CreateVolumeRequest {
            name: name.to_owned(),
            capacity_range: Some(pb::CapacityRange { required_bytes: 1 << 30, limit_bytes: 0 }),
            volume_capabilities: vec![capability],
            ..pb::CreateVolumeRequest::default()
        };
        let answer = ControllerClient::new(self.channel.clone()).create_volume(request).await?;
        Ok(answer.into_inner().volume.ok_or("no volume")?.volume_id)
    }

    /// DeleteVolume.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn delete(&self, volume_id: String) -> Result<(), Failure> {
        let request = pb::DeleteVolumeRequest { volume_id, ..pb::DeleteVolumeRequest::default() };
        ControllerClient::new(self.channel.clone()).delete_volume(request).await?;
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn pages_that_were_written_to_are_no_pages_of_a_file() {
        let maps = "5500-5600 r-xp 0000 fe:00 7 /opt/rds-csi\nSize: 9 kB\nRss:  2048 kB\n\
                    Anonymous:   0 kB\n5600-5700 rw-p 0000 fe:00 7 /opt/rds-csi\nRss: 1024 kB\n\
                    Anonymous: 512 kB\n7f00-7f10 r-xp 0000 fe:00 8 /lib/libc.so.6\nRss: 256 kB\n\
                    Anonymous: 0 kB\n7f10-7f20 rw-p 0000 00:00 0\nRss: 768 kB\nAnonymous: 768 kB\n\
                    VmFlags: rd wr mr\n";
        let resident = Resident::read(maps, "/opt/rds-csi").unwrap();
        let expected = Resident { anonymous: 1.25, driver: 2.5, libraries: 0.25 };
        assert_eq!((resident, resident.all()), (expected, 4.0));
    }
}
