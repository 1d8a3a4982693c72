//! What stands around one controller: simulated boxes over SSH, the API server double over HTTP, a
//! private key and a kubeconfig in a directory of the test's own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rds_sim::apiserver::{self, ApiServer, Listening, world as objects};
use rds_sim::routeros::{
    AuthorizedKeys, HostKey, Quirks, RouterOs, Server, ServerSetup, Setup, UserKey, Version,
};
use serde_json::json;
use tempfile::TempDir;

use crate::csi::Csi;
use crate::daemon::{ConfigMap, Daemon};

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
pub const DRIVER: &str = "rds.csi.srvlab.io";
/// Stands in the kubeconfig. The double asks nobody who they are.
pub const TOKEN: &str = "bearer-6f1c2d";
const POOL: &str = "storage-pool";

/// Short intervals, so that tests in real time are short.
const QUICK: &str = "\
    [reconcile]\ngrace = \"1s\"\ncounter_interval = \"200ms\"\ndrain_time = \"1s\"\n\
    [backend_defaults]\npoll_interval = \"200ms\"\npoll_deadline = \"500ms\"\n\
    connect_deadline = \"2s\"\nbackoff_min = \"100ms\"\nbackoff_max = \"400ms\"\n";

/// One simulated box.
pub struct StorageBox {
    pub rds: RouterOs,
    server: Server,
}

impl StorageBox {
    async fn start(user: &UserKey) -> Self {
        let rds = RouterOs::with(Setup {
            version: Version::V7_24_4,
            quirks: Quirks::default(),
            pool: POOL.into(),
            exec_latency: Duration::from_millis(2),
            ..Setup::default()
        });
        let made = rds.exec(&format!("/file/add name={POOL}/volumes type=directory"));
        assert_eq!(made.text().trim(), "");
        let setup = ServerSetup {
            host_key: HostKey::Ed25519,
            authorized: AuthorizedKeys::These(vec![user.public.clone()]),
            ..ServerSetup::default()
        };
        let server = Server::start(rds.clone(), LOOPBACK, setup).await.unwrap();
        Self { rds, server }
    }

    /// `host:port` of its SSH service.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// How many lines came that are no polls: they ask for the version, and nothing about disks.
    pub fn commands(&self) -> Vec<String> {
        let lines = self.rds.journal().into_iter().map(|entry| entry.line);
        lines.filter(|line| line.contains("/disk") || line.contains("/file")).collect()
    }
}

/// Everything around one controller.
pub struct Surroundings {
    pub scratch: TempDir,
    pub user: UserKey,
    pub boxes: BTreeMap<String, StorageBox>,
    pub api: ApiServer,
    pub listening: Listening,
    /// Lines of configuration before every table.
    pub top: String,
    /// Tables of configuration.
    pub tables: String,
    /// Longest wait for one answer of the API server.
    pub request_deadline: String,
}

impl Surroundings {
    /// Boxes of these names, and a cluster of two nodes.
    pub async fn start(boxes: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let user = UserKey::generate().unwrap();
        let mut started = BTreeMap::new();
        for name in boxes {
            started.insert((*name).to_owned(), StorageBox::start(&user).await);
        }
        let clock = apiserver::clock::machine();
        let api = ApiServer::with(apiserver::Options { clock, ..apiserver::Options::default() });
        let listening = api.listen(LOOPBACK).await.unwrap();
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rds-csi"},
        });
        api.create(namespace).unwrap();
        for node in ["node-a", "node-b"] {
            api.create(objects::node(node).ready("True").build()).unwrap();
        }
        let new = Self {
            scratch,
            user,
            boxes: started,
            api,
            listening,
            top: String::new(),
            tables: QUICK.to_owned(),
            request_deadline: "2s".into(),
        };
        std::fs::write(new.key_path(), &new.user.private).unwrap();
        new.chmod_key(0o600);
        std::fs::write(new.path("kubeconfig"), new.kubeconfig()).unwrap();
        new
    }

    /// A path in the directory of this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Where the private key lies.
    pub fn key_path(&self) -> PathBuf {
        self.path("id_ed25519")
    }

    /// Changes the mode of the private key.
    pub fn chmod_key(&self, mode: u32) {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.key_path(), mode).unwrap();
    }

    /// Where CSI is served.
    pub fn socket(&self) -> PathBuf {
        self.path("csi.sock")
    }

    /// The first box.
    pub fn main(&self) -> &StorageBox {
        &self.boxes["main"]
    }

    fn kubeconfig(&self) -> String {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.listening.url}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
        });
        kubeconfig.to_string()
    }

    /// The configuration file.
    pub fn config(&self) -> String {
        let mut text = format!(
            "{}\n{}\n[driver]\nendpoint = \"unix://{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [cluster]\nkubeconfig = \"{}\"\nrequest_deadline = \"{}\"\n",
            self.top,
            self.tables,
            self.socket().display(),
            self.path("kubeconfig").display(),
            self.request_deadline,
        );
        for (name, of) in &self.boxes {
            text += &format!(
                "[backends.{name}]\naddress = \"{}\"\nuser = \"rds-csi\"\nkey_path = \"{}\"\n\
                 host_key = [\"{}\"]\nvolume_paths = [\"{POOL}/volumes\"]\n",
                of.address(),
                self.key_path().display(),
                of.server.fingerprint(),
            );
        }
        text
    }

    /// Writes the configuration as a ConfigMap.
    pub fn config_map(&self) -> ConfigMap {
        ConfigMap::new(self.path("config"), &self.config())
    }

    /// Starts the controller.
    pub fn daemon(&self) -> Daemon {
        Daemon::start(&self.config_map().file())
    }

    /// Starts the controller and waits until it is ready and connected to every box.
    pub async fn ready(&self) -> (Daemon, Csi) {
        let daemon = self.daemon();
        for name in self.boxes.keys() {
            daemon.logged("box is connected", |record| record["backend"] == name.as_str()).await;
        }
        daemon.ready(true).await;
        (daemon, self.csi().await)
    }

    /// A client of the controller, once its socket is there.
    pub async fn csi(&self) -> Csi {
        Csi::connect(&self.socket()).await
    }

    /// Makes a volume and its PV, as the external-provisioner does. Returns the handle.
    pub async fn provision(&self, csi: &Csi, name: &str, parameters: &[(&str, &str)]) -> String {
        let made = csi.create(name, parameters).await.unwrap();
        let mut volume = objects::volume(name, DRIVER)
            .handle(&made.volume_id)
            .size(&made.capacity_bytes.to_string());
        for (key, value) in &made.volume_context {
            volume = volume.attribute(key, value);
        }
        self.api.create(volume.build()).unwrap();
        made.volume_id
    }
}
