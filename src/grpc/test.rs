//! The services over a connection in memory, with the generated client and operations of our own.

mod calls;
mod records;
mod stop;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use slog::{Drain, Logger, o};
use tokio::io::DuplexStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::controller::Volumes;
use super::csi::controller_client::ControllerClient;
use super::csi::identity_client::IdentityClient;
use super::identity::{ProbeSource, Readiness};
use super::log::RpcMetrics;
use super::request::{Place, Places};
use super::runs::Runs;
use super::*;
use crate::operations::{
    Capacity, CreateVolume, Error, Expand, Expanded, Kind, Page, Publish, VolumeInfo,
};
use crate::volume::{BackendName, NodeName, Slot, VolumeId, VolumePath};

/// Operations that record how they are called and answer as told.
#[derive(Default)]
struct Fake {
    /// Every call, as text.
    calls: Mutex<Vec<String>>,
    /// What every call answers instead of succeeding.
    fails: Mutex<Option<Error>>,
    /// With it, `create` says that it has begun, and waits to be let go.
    gate: Option<Gate>,
}

#[derive(Default)]
struct Gate {
    begun: Notify,
    go: Notify,
    ended: Notify,
}

impl Fake {
    fn called(&self, call: String) -> Result<(), Error> {
        self.calls.lock().unwrap().push(call);
        self.fails.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

fn volume(id: VolumeId) -> VolumeInfo {
    VolumeInfo {
        id,
        bytes: 3 << 30,
        context: BTreeMap::from([("volumePath".to_owned(), "/pool/volumes".to_owned())]),
        published: vec![NodeName::parse("node-1").unwrap()],
    }
}

#[async_trait]
impl Volumes for Fake {
    async fn create(&self, wanted: CreateVolume) -> Result<VolumeInfo, Error> {
        if let Some(gate) = &self.gate {
            gate.begun.notify_one();
            gate.go.notified().await;
            gate.ended.notify_one();
        }
        let CreateVolume { backend, slot, required, limit, .. } = wanted;
        self.called(format!("create {backend}/{slot} {required} {limit:?}"))?;
        Ok(volume(VolumeId { backend, slot }))
    }
    async fn delete(&self, id: VolumeId) -> Result<(), Error> {
        self.called(format!("delete {id}"))
    }
    async fn publish(&self, wanted: Publish) -> Result<BTreeMap<String, String>, Error> {
        let Publish { id, node, read_only, .. } = wanted;
        self.called(format!("publish {id} {node} {read_only}"))?;
        Ok(BTreeMap::from([("nqn".to_owned(), "nqn.x:1".to_owned())]))
    }
    async fn unpublish(&self, id: VolumeId, node: Option<NodeName>) -> Result<(), Error> {
        self.called(format!("unpublish {id} {node:?}"))
    }
    async fn get(&self, id: VolumeId) -> Result<VolumeInfo, Error> {
        self.called(format!("get {id}"))?;
        Ok(volume(id))
    }
    async fn list(&self, token: &str, max: usize) -> Result<Page, Error> {
        self.called(format!("list {token} {max}"))?;
        let id = |backend: &str| VolumeId {
            backend: BackendName::parse(backend).unwrap(),
            slot: Slot::parse("pvc-1").unwrap(),
        };
        Ok(Page { volumes: vec![volume(id("main")), volume(id("spare"))], next: "next".into() })
    }
    async fn capacity(&self, name: &BackendName, path: &VolumePath) -> Result<Capacity, Error> {
        self.called(format!("capacity {name} {path}"))?;
        Ok(Capacity { available: 1 << 40 })
    }
    async fn expand(&self, wanted: Expand) -> Result<Expanded, Error> {
        self.called(format!("expand {} {}", wanted.id, wanted.required))?;
        Ok(Expanded { bytes: wanted.required })
    }
}

/// A probe that says what it is told to.
struct Told(Mutex<Readiness>);

#[async_trait]
impl ProbeSource for Told {
    async fn probe(&self) -> Readiness {
        self.0.lock().unwrap().clone()
    }
}

/// Everything logged, as lines of JSON.
#[derive(Clone, Default)]
struct Records(crate::page::Page);

impl Records {
    fn text(&self) -> String {
        self.0.text()
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn logger(&self) -> Logger {
        let drain = slog_json::Json::default(self.0.clone());
        Logger::root(Mutex::new(drain).fuse(), o!())
    }
}

/// Every measurement.
#[derive(Default)]
struct Measured {
    calls: Mutex<Vec<(String, &'static str)>>,
    one_more: Notify,
}

impl RpcMetrics for Measured {
    fn answered(&self, method: &str, code: &'static str, _: Duration) {
        self.calls.lock().unwrap().push((method.to_owned(), code));
        self.one_more.notify_one();
    }
}

/// A server and a way to it.
struct Harness {
    fake: Arc<Fake>,
    told: Arc<Told>,
    records: Records,
    measured: Arc<Measured>,
    stop: CancellationToken,
    connections: mpsc::UnboundedSender<DuplexStream>,
    server: JoinHandle<Result<Drained, ServeError>>,
}

/// How long the server of a [`Harness`] drains.
const DRAIN: Duration = Duration::from_secs(5);

impl Harness {
    fn start(fake: Fake) -> Self {
        let (connections, accepted) = mpsc::unbounded_channel();
        let incoming = UnboundedReceiverStream::new(accepted).map(Ok::<_, io::Error>);
        let stop = CancellationToken::new();
        let parts = parts(fake);
        Self {
            server: tokio::spawn(serve(incoming, parts.services, stop.clone(), DRAIN)),
            fake: parts.fake,
            told: parts.told,
            records: parts.records,
            measured: parts.measured,
            stop,
            connections,
        }
    }

    /// A connection that nobody speaks on.
    fn dial(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        self.connections.send(theirs).unwrap();
        ours
    }

    async fn channel(&self) -> Channel {
        let mut stream = Some(self.dial());
        let connector = tower::service_fn(move |_| {
            let stream = stream.take().map(TokioIo::new);
            async move { stream.ok_or_else(|| io::Error::other("connected once already")) }
        });
        let endpoint = Endpoint::from_static("http://memory");
        endpoint.connect_with_connector(connector).await.unwrap()
    }

    /// Tells the server to stop and waits for it, though not for ever.
    async fn stopped(self) -> Drained {
        self.stop.cancel();
        let ended = timeout(Duration::from_secs(600), self.server).await;
        ended.expect("the server must stop").unwrap().unwrap()
    }

    async fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel().await)
    }

    async fn identity(&self) -> IdentityClient<Channel> {
        IdentityClient::new(self.channel().await)
    }
}

struct Parts {
    fake: Arc<Fake>,
    told: Arc<Told>,
    records: Records,
    measured: Arc<Measured>,
    services: Services,
}

fn parts(fake: Fake) -> Parts {
    let (fake, records) = (Arc::new(fake), Records::default());
    let (told, measured) =
        (Arc::new(Told(Mutex::new(Readiness::Ready))), Arc::<Measured>::default());
    let log = records.logger();
    let runs = Runs::new(8, Duration::from_secs(60), log.clone());
    Parts {
        services: Services {
            identity: Identity::new("rds.csi.srvlab.io", told.clone(), log.clone()),
            controller: Some(Controller::new(fake.clone(), places(), runs)),
            node: None,
            log: RequestLog::new(log, measured.clone()),
        },
        fake,
        told,
        records,
        measured,
    }
}

fn places() -> Places {
    let place = || Place {
        address: "10.0.0.1:22".into(),
        nvme_address: "10.0.0.1".into(),
        nvme_port: 4420,
        volume_paths: vec![VolumePath::parse("/pool/volumes").unwrap()],
        nqn_base: "nqn.2000-02.com.mikrotik".into(),
    };
    let main = BackendName::parse("main").unwrap();
    Places {
        by_name: BTreeMap::from([
            (main.clone(), place()),
            (BackendName::parse("spare").unwrap(), place()),
        ]),
        bare_ids: main.clone(),
        default: main,
    }
}

/// A block device for one node.
fn capability() -> csi::VolumeCapability {
    use csi::volume_capability::{AccessMode, AccessType, BlockVolume, access_mode::Mode};
    csi::VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Block(BlockVolume {})),
    }
}

/// A request that is right.
fn create(name: &str) -> csi::CreateVolumeRequest {
    csi::CreateVolumeRequest {
        name: name.into(),
        volume_capabilities: vec![capability()],
        ..Default::default()
    }
}
