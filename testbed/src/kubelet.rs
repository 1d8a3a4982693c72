//! Plays kubelet for the pods of one namespace: the driver's own.
//!
//! Each container is a process, made from the pod's spec as the API server has it: arguments,
//! variables, user and groups, volumes (laid out and kept fresh as kubelet does), probes, restarts,
//! the ordered end. What it does not play it refuses by name: init containers, `command`, subPath,
//! host paths, privileges. Seccomp profiles and resource limits are not applied. Pods in the network of
//! their node are left alone, and stay pending: they need a machine with a kernel of its own.

mod container;
mod environment;
mod files;
mod images;
mod layout;
mod pod;
mod probe;
mod status;
mod user;
mod volumes;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::pod::Runner;
use crate::network::Network;
use crate::{Trouble, control_plane, process};

/// Says whether the machine of a node is on; `None` of a node that has a kubelet of its own.
pub type Power = Arc<dyn Fn(&str) -> Option<bool> + Send + Sync>;

/// What every runner of a pod needs.
#[derive(Clone)]
struct Desk {
    api: kube::Client,
    network: Arc<Network>,
    folder: PathBuf,
    /// Variables by which a pod finds the API server.
    cluster: Arc<[(String, String)]>,
    power: Power,
    /// From SIGTERM to SIGKILL when a liveness probe fails.
    grace: Duration,
    /// Processes by pod and container.
    processes: Arc<Mutex<BTreeMap<String, BTreeMap<String, u32>>>>,
    /// What went wrong with playing kubelet itself.
    troubles: Arc<Mutex<Vec<String>>>,
}

/// The kubelet of one namespace. Dropping it ends every container.
pub struct Kubelet {
    desk: Desk,
    _watching: AbortOnDropHandle<()>,
}

impl Kubelet {
    /// Watches the pods of this namespace and runs those that are bound to a node which is on.
    pub fn start(
        namespace: &str,
        api: kube::Client,
        network: Arc<Network>,
        apiserver: Ipv4Addr,
        folder: PathBuf,
        power: Power,
    ) -> Self {
        let cluster = [
            ("KUBERNETES_SERVICE_HOST".to_owned(), apiserver.to_string()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), control_plane::PORT.to_string()),
            ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), control_plane::PORT.to_string()),
        ];
        let desk = Desk {
            api: api.clone(),
            network,
            folder,
            cluster: Arc::new(cluster),
            power,
            grace: Duration::from_secs(30),
            processes: Arc::default(),
            troubles: Arc::default(),
        };
        let pods = Api::namespaced(api, namespace);
        let watching = AbortOnDropHandle::new(tokio::spawn(watch(desk.clone(), pods)));
        Self { desk, _watching: watching }
    }

    /// Names of the pods that run, and their containers' process ids.
    pub fn processes(&self) -> BTreeMap<String, BTreeMap<String, u32>> {
        lock(&self.desk.processes).clone()
    }

    /// Sends a signal to a container.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, pod: &str, container: &str, signal: Signal) -> Result<(), Trouble> {
        let id = lock(&self.desk.processes).get(pod).and_then(|all| all.get(container).copied());
        let id = id.ok_or_else(|| format!("{pod} has no running container {container}"))?;
        process::send(id, signal)
    }

    /// Where a volume of a pod lies.
    pub fn volume(&self, pod: &str, volume: &str) -> PathBuf {
        self.desk.folder.join("pods").join(pod).join("volumes").join(volume)
    }

    /// What could not be played so far.
    pub fn troubles(&self) -> Vec<String> {
        lock(&self.desk.troubles).clone()
    }
}

impl Desk {
    fn is_on(&self, node: &str) -> bool {
        (self.power)(node) == Some(true)
    }

    fn register(&self, pod: &str, containers: BTreeMap<String, u32>) {
        lock(&self.processes).insert(pod.to_owned(), containers);
    }

    fn forget(&self, pod: &str) {
        lock(&self.processes).remove(pod);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pod that runs: what ends it in order, and its task. Dropping it ends it at once.
struct Running {
    stop: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

async fn watch(desk: Desk, pods: Api<Pod>) {
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    let mut listed: Vec<String> = Vec::new();
    let mut events = watcher(pods, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => {
                listed.extend(pod.metadata.uid.clone());
                apply(&desk, &mut running, pod);
            }
            Ok(Event::InitDone) => running.retain(|uid, _| listed.contains(uid)),
            Ok(Event::Apply(pod)) => apply(&desk, &mut running, pod),
            Ok(Event::Delete(pod)) => {
                running.remove(&pod.metadata.uid.unwrap_or_default());
            }
            // The API server is away; the watcher comes back by itself.
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn apply(desk: &Desk, running: &mut BTreeMap<String, Running>, pod: Pod) {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let ends = pod.metadata.deletion_timestamp.is_some();
    if let Some(one) = running.get(&uid) {
        if ends {
            one.stop.cancel();
        }
        return;
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    if node.is_none_or(|node| (desk.power)(node).is_none()) {
        return;
    }
    if pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)) {
        if ends {
            // Somebody must say that nothing of it is left.
            let desk = desk.clone();
            tokio::spawn(async move { pod::remove(&desk, &pod).await });
        }
        return;
    }
    let stop = CancellationToken::new();
    if ends {
        stop.cancel();
    }
    let task = tokio::spawn(run(desk.clone(), pod, stop.clone()));
    running.insert(uid, Running { stop, _task: AbortOnDropHandle::new(task) });
}

async fn run(desk: Desk, pod: Pod, stop: CancellationToken) {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let troubles = desk.troubles.clone();
    // What the pod names may not be there yet; kubelet, too, tries again.
    let prepared = async {
        loop {
            match Runner::prepare(desk.clone(), pod.clone()).await {
                Ok(runner) => return runner,
                Err(trouble) => lock(&troubles).push(format!("{name}: {trouble}")),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let runner = tokio::select! {
        runner = prepared => runner,
        () = stop.cancelled() => return pod::remove(&desk, &pod).await,
    };
    if let Err(trouble) = runner.run(stop).await {
        lock(&troubles).push(format!("{name}: {trouble}"));
    }
}
