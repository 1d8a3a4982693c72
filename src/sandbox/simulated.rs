//! The world of the doubles: rds-sim behind SSH, the API server double behind HTTP, and the whole
//! controller between them, over real sockets on loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rds_sim::apiserver::attacher::Attacher;
use rds_sim::apiserver::{self, ApiServer, Listening, world as objects};
use rds_sim::routeros::{
    AuthorizedKeys, Connection, HostKey, Quirks, Reboot, RouterOs, Server, ServerSetup, Setup,
    UserKey, Version,
};
use slog::Logger;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::timeout;

use super::sidecars::Sidecars;
use super::world::{Answer, Patience, Provisioned, Trouble, World};
use crate::app::{App, Faults, Parts, over_ssh};
use crate::cluster::client::{Access, client};
use crate::config::Config;
use crate::config::source::Sources;
use crate::grpc::socket::Socket;
use crate::metrics::Metrics;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const POOL: &str = "storage-pool";
const NODES: [&str; 2] = ["node-a", "node-b"];

/// What the world is made of.
pub struct Plan {
    /// The box's RouterOS.
    pub version: Version,
    /// What of it nobody has proven.
    pub quirks: Quirks,
    /// What the box takes for one exec.
    pub latency: Duration,
    /// Lines of configuration beside the box itself; empty: the defaults.
    pub config: String,
    /// With which host key the box greets.
    pub host_key: HostKey,
    /// The seed of both doubles.
    pub seed: u64,
    /// Panics on demand.
    pub faults: Faults,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            version: Version::V7_24_4,
            quirks: Quirks::default(),
            latency: Duration::from_millis(60),
            config: String::new(),
            host_key: HostKey::Rsa,
            seed: 1,
            faults: Faults::default(),
        }
    }
}

impl Plan {
    /// Short intervals, for tests in real time. Printed by whoever uses them.
    pub fn quick(mut self) -> Self {
        self.config = "\
            [reconcile]\ngrace = \"1s\"\ncounter_interval = \"100ms\"\ndrain_time = \"1s\"\n\
            [backend_defaults]\npoll_interval = \"200ms\"\npoll_deadline = \"500ms\"\n\
            connect_deadline = \"1s\"\nbackoff_min = \"200ms\"\nbackoff_max = \"800ms\"\n"
            .into();
        self.latency = Duration::from_millis(2);
        self.host_key = HostKey::Ed25519;
        self
    }
}

/// The running world.
pub struct Simulated {
    /// The box.
    pub rds: RouterOs,
    /// The cluster.
    pub api: ApiServer,
    /// The sidecars.
    pub sidecars: Sidecars,
    server: Server,
    listening: Listening,
    _attacher: Attacher,
    app: AsyncMutex<Option<App>>,
    config: Arc<Config>,
    http: SocketAddr,
    socket: PathBuf,
    driver: String,
    connections: Mutex<BTreeMap<(String, String), Connection>>,
    changes: watch::Sender<Arc<Config>>,
}

impl Simulated {
    /// Starts everything; keys and the socket lie in `scratch`.
    pub async fn start(plan: Plan, scratch: &Path, log: Logger) -> Result<Self, Trouble> {
        let rds = RouterOs::with(Setup {
            version: plan.version,
            quirks: plan.quirks.clone(),
            seed: plan.seed,
            pool: POOL.into(),
            exec_latency: plan.latency,
            ..Setup::default()
        });
        let made = rds.exec(&format!("/file/add name={POOL}/volumes type=directory"));
        if !made.text().trim().is_empty() {
            return Err(format!("the box has no directory for volumes: {}", made.text()).into());
        }
        let user = UserKey::generate()?;
        let key = scratch.join("id_ed25519");
        std::fs::write(&key, &user.private)?;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
        let setup = ServerSetup {
            host_key: plan.host_key.clone(),
            authorized: AuthorizedKeys::These(vec![user.public.clone()]),
            ..ServerSetup::default()
        };
        let server = Server::start(rds.clone(), LOOPBACK, setup).await?;
        let api = ApiServer::with(apiserver::Options {
            seed: plan.seed,
            clock: apiserver::clock::machine(),
            ..apiserver::Options::default()
        });
        let listening = api.listen(LOOPBACK).await?;
        let text = configuration(&plan, &server, &key);
        let config = Arc::new(Config::parse(
            &Sources { file: None, environment: BTreeMap::new() },
            Some(&text),
        )?);
        cluster(&api, &config)?;
        let socket = scratch.join("csi.sock");
        let (changes, config_rx) = watch::channel(config.clone());
        let (app, http) =
            controller(&config, config_rx, &listening, &socket, log, plan.faults.clone()).await?;
        let sidecars = Sidecars::connect(&socket, api.clone()).await?;
        let driver = config.driver.name.clone();
        let attacher = Attacher::start(&api, &driver, Arc::new(sidecars.clone()))
            .map_err(|failure| format!("no attacher: {failure:?}"))?;
        let world = Self {
            rds,
            api,
            sidecars,
            server,
            listening,
            _attacher: attacher,
            app: AsyncMutex::new(Some(app)),
            config,
            http,
            socket,
            driver,
            connections: Mutex::default(),
            changes,
        };
        world.ready().await?;
        Ok(world)
    }

    /// Waits until the controller has connected for the first time.
    async fn ready(&self) -> Result<(), Trouble> {
        let up = async {
            while self.probe().await != Some(true) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), up)
            .await
            .map_err(|_| "the driver did not become ready")?;
        Ok(())
    }

    /// Changes the configuration while the controller runs. Only live keys take effect.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Config)) {
        self.changes.send_modify(|config| change(Arc::make_mut(config)));
    }

    /// The ordered stop.
    pub async fn stop(self) {
        if let Some(app) = self.app.lock().await.take() {
            app.shutdown().await;
        }
    }

    fn hosts(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attachment_of(&self, volume: &Provisioned, node: &str) -> String {
        format!("csi-{}-{node}", volume.name)
    }
}

fn configuration(plan: &Plan, server: &Server, key: &Path) -> String {
    format!(
        "{}\n[backends.main]\naddress = \"{}\"\nuser = \"rds-csi\"\nkey_path = \"{}\"\n\
         host_key = [\"{}\"]\nvolume_paths = [\"{POOL}/volumes\"]\nnvme_address = \"127.0.0.1\"\n",
        plan.config,
        server.address(),
        key.display(),
        server.fingerprint(),
    )
}

/// What the cluster holds before anything happens.
fn cluster(api: &ApiServer, config: &Config) -> Result<(), Trouble> {
    let failed = |failure: apiserver::Failure| format!("{failure:?}");
    let namespace = &config.driver.namespace;
    let namespace = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
    });
    api.create(namespace).map_err(failed)?;
    for node in NODES {
        api.create(objects::node(node).ready("True").build()).map_err(failed)?;
    }
    Ok(())
}

async fn controller(
    config: &Config,
    config_rx: watch::Receiver<Arc<Config>>,
    listening: &Listening,
    socket: &Path,
    log: Logger,
    faults: Faults,
) -> Result<(App, SocketAddr), Trouble> {
    let http = TcpListener::bind(LOOPBACK).await?;
    let address = http.local_addr()?;
    let kube = client(&Access::Url(listening.url.clone()), config.cluster.request_deadline).await?;
    let parts = Parts {
        config: config_rx,
        kube,
        pod: None,
        connector: over_ssh(),
        http,
        socket: Socket::bind(&socket.display().to_string(), None)?,
        rejected: watch::channel(None).1,
        metrics: Metrics::new(prometheus::Registry::new())?,
        log,
        faults,
    };
    Ok((App::start(parts).await?, address))
}

#[async_trait]
impl World for Simulated {
    fn describe(&self) -> Vec<String> {
        vec![
            format!("simulated box: RouterOS {} at {}", self.rds.version(), self.server.address()),
            format!("simulated cluster at {}", self.listening.url),
            format!("metrics and health at http://{}/metrics", self.http),
            format!("CSI at {}", self.socket.display()),
        ]
    }

    async fn provision(&self, claim: &str, bytes: u64) -> Result<Provisioned, Trouble> {
        let name = format!("pvc-{claim}");
        let made = self.sidecars.create(&name, bytes, &[]).await;
        let made = made.map_err(|(code, text)| format!("CreateVolume: {code}: {text}"))?;
        let mut volume = objects::volume(&name, &self.driver)
            .handle(&made.volume_id)
            .size(&made.capacity_bytes.to_string())
            .bound_to("default", claim, None);
        for (key, value) in &made.volume_context {
            volume = volume.attribute(key, value);
        }
        let failed = |failure: apiserver::Failure| format!("{failure:?}");
        self.api.create(objects::claim("default", claim, "rds", &name)).map_err(failed)?;
        self.api.create(volume.build()).map_err(failed)?;
        Ok(Provisioned { name, handle: made.volume_id })
    }

    async fn attach(
        &self,
        volume: &Provisioned,
        node: &str,
        within: Duration,
    ) -> Result<Option<BTreeMap<String, String>>, Trouble> {
        let name = self.attachment_of(volume, node);
        let wanted = objects::attachment(&name, &self.driver, node, &volume.name);
        self.api.create(wanted).map_err(|failure| format!("{failure:?}"))?;
        let attached =
            self.api.wait_for("volumeattachments", &name, |va| va["status"]["attached"] == true);
        let Ok(attached) = timeout(within, attached).await else { return Ok(None) };
        let attached = attached.map_err(|failure| format!("{failure:?}"))?;
        let context = attached["status"]["attachmentMetadata"].clone();
        Ok(Some(serde_json::from_value(context)?))
    }

    async fn publish(&self, volume: &Provisioned, node: &str) -> Answer<BTreeMap<String, String>> {
        self.sidecars.publish(&volume.handle, node).await
    }

    async fn has_attachment(&self, volume: &Provisioned, node: &str) -> bool {
        self.api.get("volumeattachments", &self.attachment_of(volume, node)).is_some()
    }

    async fn connect_and_write(
        &self,
        node: &str,
        context: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let get = |key: &str| context.get(key).cloned().ok_or(format!("no {key} in the context"));
        let (host, nqn) = (get("hostNqn")?, get("nqn")?);
        let port = get("nvmePort")?.parse().map_err(|_| "nvmePort is no port")?;
        let connection =
            self.rds.connect_host(&host, &nqn, port).map_err(|refusal| refusal.to_string())?;
        connection.write(4096).map_err(|cut| cut.to_string())?;
        self.hosts().insert((node.to_owned(), nqn), connection);
        Ok(())
    }

    async fn write_on(&self, node: &str, context: &BTreeMap<String, String>) -> Result<(), String> {
        let nqn = context.get("nqn").cloned().unwrap_or_default();
        let connection = self.hosts().get(&(node.to_owned(), nqn)).cloned();
        let connection = connection.ok_or("no connection")?;
        connection.write(4096).map_err(|cut| cut.to_string())
    }

    async fn crash_box(&self) {
        self.rds.set_half_open(true);
    }

    async fn revive_box(&self) {
        self.rds.set_half_open(false);
        self.rds.reboot(Reboot::KeepEverything, Duration::ZERO);
    }

    async fn delete_node(&self, node: &str) -> Result<(), Trouble> {
        self.api.delete("nodes", node).map_err(|failure| format!("{failure:?}"))?;
        Ok(())
    }

    async fn probe(&self) -> Option<bool> {
        timeout(Duration::from_secs(2), self.sidecars.probe()).await.ok().flatten()
    }

    async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let text = scrape(self.http).await.ok()?;
        let of_it = |line: &&str| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            let (ends, wanted) = (rest.starts_with(['{', ' ']), |(key, value): &(&str, &str)| {
                line.contains(&format!("{key}=\"{value}\""))
            });
            ends && labels.iter().all(wanted)
        };
        let values = text
            .lines()
            .filter(of_it)
            .filter_map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()));
        values.fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or(0.0) + value))
    }

    async fn events(&self, reason: &str) -> usize {
        let events = self.api.list("events");
        events.iter().filter(|event| event["reason"] == reason).count()
    }

    async fn second_writers(&self) -> usize {
        let mut last: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for write in self.rds.writes() {
            let hosts = last.entry(write.image).or_default();
            if hosts.last() != Some(&write.host_nqn) {
                hosts.push(write.host_nqn);
            }
        }
        let returned = |hosts: &Vec<String>| {
            let mut seen = hosts.clone();
            seen.sort();
            seen.dedup();
            hosts.len() - seen.len()
        };
        last.values().map(returned).sum()
    }

    fn patience(&self) -> Patience {
        let config = &self.config;
        let backend = config.backends.values().next();
        let poll = backend.map_or(Duration::ZERO, |b| b.poll_interval + b.poll_deadline * 2);
        let retry = backend.map_or(Duration::ZERO, |b| b.backoff_max * 2 + b.connect_deadline * 2);
        let slack = Duration::from_secs(5);
        Patience {
            detect: poll + slack,
            reconnect: retry + slack,
            recover: config.reconcile.grace + Duration::from_secs(20),
        }
    }
}

/// One look at the metrics endpoint.
async fn scrape(address: SocketAddr) -> Result<String, Trouble> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let read = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: sandbox\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    Ok(timeout(Duration::from_secs(5), read).await??)
}
