//! A simulated box over SSH, and the doctor's configuration for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use rds_csi::app::over_ssh;
use rds_csi::config::{BackendConfig, Config, Sources};
use rds_csi::doctor::capture::Capture;
use rds_csi::doctor::examination::{Examination, Options};
use rds_csi::doctor::row::Report;
use rds_sim::routeros::{
    AuthorizedKeys, HostKey, Offer, Quirks, RouterOs, Server, ServerSetup, UserKey, Version,
};
use slog::{Discard, Logger, o};
use tempfile::TempDir;

const LOOPBACK: &str = "127.0.0.1:0";
const POLICIES: &str = "ssh,read,write,test";

/// A box, a user of it with a key, and how the doctor is configured for it.
pub struct Clinic {
    pub os: RouterOs,
    pub server: Server,
    pub user: UserKey,
    pub scratch: TempDir,
    /// Lines of `[backends.main]` beside those that every box has; each key once.
    pub keys: BTreeMap<&'static str, String>,
}

impl Clinic {
    pub async fn open() -> Self {
        Self::with(Version::V7_24_4, |_| {}, Offer::default()).await
    }

    pub async fn with(version: Version, change: impl FnOnce(&mut Quirks), offer: Offer) -> Self {
        let mut quirks = Quirks::default();
        change(&mut quirks);
        let os = RouterOs::new(version, quirks);
        os.exec("/file/add name=storage-pool/volumes type=directory");
        os.declare_user("csi", "drivers", Some(POLICIES));
        let user = UserKey::generate().unwrap();
        let server = serve(&os, HostKey::Ed25519, &user, offer).await;
        let scratch = tempfile::tempdir().unwrap();
        let key = scratch.path().join("key");
        std::fs::write(&key, &user.private).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let keys = BTreeMap::from([
            ("address", quoted(&server.address().to_string())),
            ("user", quoted("csi")),
            ("key_path", quoted(key.to_str().unwrap())),
            ("host_key", quoted(server.fingerprint())),
            ("volume_paths", quoted("storage-pool/volumes")),
            ("command_deadline", quoted("10s")),
        ]);
        Self { os, server, user, scratch, keys }
    }

    pub fn set(&mut self, key: &'static str, value: &str) {
        self.keys.insert(key, quoted(value));
    }

    pub fn backend(&self) -> (Config, BackendConfig) {
        let mut text = "[backends.main]\n".to_owned();
        for (key, value) in &self.keys {
            writeln!(text, "{key} = {value}").unwrap();
        }
        let sources = Sources { file: None, environment: BTreeMap::new() };
        let config = Config::parse(&sources, Some(&text)).unwrap();
        let backend = config.backends.values().next().unwrap().clone();
        (config, backend)
    }

    pub fn examination(&self, write: bool, capture: Option<Capture>) -> Examination {
        self.with_options(Options { write, capture, drill: None })
    }

    pub fn with_options(&self, options: Options) -> Examination {
        let (config, backend) = self.backend();
        let name = config.backends.keys().next().unwrap().clone();
        let connect = over_ssh()(&backend, &Logger::root(Discard, o!())).unwrap();
        Examination::new(name, backend, connect, options)
    }

    pub async fn examine(&self, write: bool) -> Report {
        self.examination(write, None).run(std::future::pending()).await.0
    }

    /// Nothing of a scratch disk is left.
    pub fn is_clean(&self) -> bool {
        let left = ":put ([:len [/disk/find where slot~\"doctor\"]] + \
                    [:len [/file/find where name~\"doctor\"]])";
        self.os.exec(left).text().trim() == "0"
    }
}

pub async fn serve(os: &RouterOs, host_key: HostKey, user: &UserKey, offer: Offer) -> Server {
    let authorized = AuthorizedKeys::These(vec![user.public.clone()]);
    let address: SocketAddr = LOOPBACK.parse().unwrap();
    Server::start(os.clone(), address, ServerSetup { host_key, authorized, offer }).await.unwrap()
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
