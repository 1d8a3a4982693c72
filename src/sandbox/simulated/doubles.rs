//! What a controller talks to: rds-sim behind SSH and the API server double behind HTTP, on
//! loopback. They know nothing of the controller, and outlive it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rds_sim::apiserver::{self, ApiServer, Listening, world as objects};
use rds_sim::routeros::{AuthorizedKeys, RouterOs, Server, ServerSetup, Setup, UserKey};

use super::{Machines, Plan};
use crate::app::Faults;
use crate::config::Config;
use crate::config::source::Sources;
use crate::sandbox::world::Trouble;

/// Any free port of this machine.
pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// The pod in which the controller runs, as the cluster knows it.
pub const POD: &str = "rds-csi-controller-0";
/// The nodes at the beginning.
pub const NODES: [&str; 2] = ["node-a", "node-b"];
const POOL: &str = "storage-pool";

/// The simulated box and cluster, and how a controller finds them.
pub struct Doubles {
    /// The box.
    pub rds: RouterOs,
    /// The cluster.
    pub api: ApiServer,
    /// What a controller between them is configured with.
    pub config: Arc<Config>,
    /// Where a controller between them panics on demand.
    pub faults: Faults,
    /// The machines of its nodes.
    pub machines: Machines,
    server: Server,
    listening: Listening,
    socket: PathBuf,
}

impl Doubles {
    /// Starts both; keys and the socket of the controller lie in `scratch`.
    pub async fn start(plan: &Plan, scratch: &Path) -> Result<Self, Trouble> {
        let rds = rds(plan)?;
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
        let sources = Sources { file: None, environment: BTreeMap::new() };
        let config = Config::parse(&sources, Some(&configuration(plan, &server, &key)))?;
        furnish(&api, &config)?;
        Ok(Self {
            rds,
            api,
            config: Arc::new(config),
            faults: plan.faults.clone(),
            machines: Machines::default(),
            server,
            listening,
            socket: scratch.join("csi.sock"),
        })
    }

    /// Where the box listens, as the driver's metrics name it.
    pub fn box_address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where the API server listens.
    pub fn cluster_url(&self) -> &str {
        &self.listening.url
    }

    /// Where a controller serves CSI.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

fn rds(plan: &Plan) -> Result<RouterOs, Trouble> {
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
    Ok(rds)
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
fn furnish(api: &ApiServer, config: &Config) -> Result<(), Trouble> {
    let failed = |failure: apiserver::Failure| format!("{failure:?}");
    let namespace = &config.driver.namespace;
    let own = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
    });
    api.create(own).map_err(failed)?;
    for node in NODES {
        api.create(objects::node(node).ready("True").build()).map_err(failed)?;
    }
    api.create(objects::pod(namespace, POD, NODES[1], &[])).map_err(failed)?;
    Ok(())
}
