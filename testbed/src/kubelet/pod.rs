//! One pod: its network, its volumes, its containers, from the binding to a node to its end.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::container::{self, Place};
use super::probe::Probing;
use super::status::{self, Standing};
use super::volumes::Volumes;
use super::{Desk, environment, files};
use crate::Trouble;
use crate::network::PodNetwork;
use crate::process::Process;

/// How often a pod is looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// How often its ConfigMaps and Secrets are.
const REFRESH: Duration = Duration::from_secs(1);
/// Waits before a container is started again: none, then these. (kubelet: 10 s, doubled up to 5 min.)
const BACKOFF: [u64; 4] = [0, 1, 2, 4];

/// Everything of a running pod.
pub(super) struct Runner {
    desk: Desk,
    pod: Pod,
    name: String,
    folder: PathBuf,
    network: PodNetwork,
    volumes: Volumes,
    keys: environment::Keys,
    containers: Vec<Running>,
    told: Option<Vec<Standing>>,
    refreshed: Instant,
}

struct Running {
    spec: Container,
    process: Option<Process>,
    readiness: Option<Probing>,
    liveness: Option<Probing>,
    restarts: i32,
    due: Instant,
    why: String,
}

impl Runner {
    /// Makes network and volumes; starts nothing yet.
    pub async fn prepare(desk: Desk, pod: Pod) -> Result<Self, Trouble> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let folder = desk.folder.join("pods").join(&name);
        std::fs::create_dir_all(&folder)?;
        let network = desk.network.pod().await?;
        let volumes = Volumes::prepare(&folder.join("volumes"), &pod, &desk.api).await?;
        let keys = keys(&pod, &desk.api).await?;
        let specs = pod.spec.clone().unwrap_or_default();
        if specs.init_containers.is_some_and(|all| !all.is_empty()) {
            return Err("nobody plays init containers".into());
        }
        let containers = specs.containers.into_iter().map(Running::new).collect();
        let refreshed = Instant::now();
        Ok(Self {
            desk,
            pod,
            name,
            folder,
            network,
            volumes,
            keys,
            containers,
            told: None,
            refreshed,
        })
    }

    /// Runs until the pod is to end. One whose object is gone is dropped, and ends at once.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Trouble> {
        let node = self.pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let node = node.unwrap_or_default();
        while !stop.is_cancelled() || !self.desk.is_on(&node) {
            if self.desk.is_on(&node) {
                self.look().await?;
            } else {
                self.kill_all().await?;
            }
            sleep(GLANCE).await;
        }
        self.end().await
    }

    async fn look(&mut self) -> Result<(), Trouble> {
        let address = self.network.address.to_string();
        for at in 0..self.containers.len() {
            self.start_or_bury(at)?;
            let one = &mut self.containers[at];
            if one.process.is_none() {
                continue;
            }
            for probe in one.readiness.iter_mut().chain(one.liveness.iter_mut()) {
                probe.ask(&address).await;
            }
            if one.liveness.as_ref().is_some_and(|probe| !probe.holds)
                && let Some(mut process) = one.process.take()
            {
                process.stop(self.desk.grace).await?;
                one.ended("the liveness probe failed");
            }
        }
        self.register();
        if self.refreshed.elapsed() >= REFRESH {
            // An API server that is away is no reason to end: kubelet, too, goes on with what it has.
            let _ = self.volumes.refresh(&self.pod, &self.desk.api).await;
            self.refreshed = Instant::now();
        }
        self.tell(&address).await;
        Ok(())
    }

    fn start_or_bury(&mut self, at: usize) -> Result<(), Trouble> {
        let place = Place {
            pod: &self.pod,
            folder: &self.folder,
            logs: &self.desk.folder,
            volumes: &self.volumes,
            network: self.network.path(),
            address: self.network.address.to_string(),
            keys: &self.keys,
            cluster: &self.desk.cluster,
        };
        let one = &mut self.containers[at];
        if let Some(process) = &mut one.process
            && let Err(ended) = process.check()
        {
            one.process = None;
            one.ended(&ended.to_string());
        }
        if one.process.is_none() && Instant::now() >= one.due {
            one.process = Some(container::start(&place, &one.spec)?);
            one.probe()?;
        }
        Ok(())
    }

    /// Which processes a story may signal.
    fn register(&self) {
        let ids = self.containers.iter().filter_map(|one| {
            let id = one.process.as_ref().and_then(Process::id)?;
            Some((one.spec.name.clone(), id))
        });
        self.desk.register(&self.name, ids.collect());
    }

    /// Reports what has changed since the last report that arrived.
    async fn tell(&mut self, address: &str) {
        let standing: Vec<Standing> = self.containers.iter().map(Running::standing).collect();
        if self.told.as_ref() == Some(&standing) {
            return;
        }
        let status = json!({"status": status::of(&self.pod, address, &standing)});
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(status));
        if self.pods().patch_status(&self.name, &parameters, &patch).await.is_ok() {
            self.told = Some(standing);
        }
    }

    /// SIGTERM, the grace period, SIGKILL; then the pod's object goes.
    async fn end(&mut self) -> Result<(), Trouble> {
        let seconds = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let grace = Duration::from_secs(u64::try_from(seconds.unwrap_or(30))?);
        let ends = self.containers.iter_mut().filter_map(|one| one.process.as_mut());
        let ends: Vec<_> = ends.map(|process| process.stop(grace)).collect();
        for ended in futures::future::join_all(ends).await {
            ended?;
        }
        remove(&self.desk, &self.pod).await;
        Ok(())
    }

    async fn kill_all(&mut self) -> Result<(), Trouble> {
        for one in &mut self.containers {
            if let Some(mut process) = one.process.take() {
                process.kill().await?;
                one.ended("the machine is off");
            }
        }
        self.register();
        Ok(())
    }

    fn pods(&self) -> Api<Pod> {
        let namespace = self.pod.metadata.namespace.clone().unwrap_or_default();
        Api::namespaced(self.desk.api.clone(), &namespace)
    }
}

impl Running {
    fn new(spec: Container) -> Self {
        Self {
            spec,
            process: None,
            readiness: None,
            liveness: None,
            restarts: -1,
            due: Instant::now(),
            why: String::new(),
        }
    }

    fn probe(&mut self) -> Result<(), Trouble> {
        self.restarts += 1;
        let spec = &self.spec;
        let probing = |probe: &Option<_>, at_first| {
            probe.as_ref().map(|probe| Probing::new(spec, probe, at_first)).transpose()
        };
        self.readiness = probing(&spec.readiness_probe, false)?;
        self.liveness = probing(&spec.liveness_probe, true)?;
        Ok(())
    }

    fn ended(&mut self, why: &str) {
        let restarts = usize::try_from(self.restarts).unwrap_or(0);
        let pause = BACKOFF[restarts.min(BACKOFF.len() - 1)];
        self.due = Instant::now() + Duration::from_secs(pause);
        self.why = why.to_owned();
        self.readiness = None;
        self.liveness = None;
    }

    fn standing(&self) -> Standing {
        let runs = self.process.is_some();
        Standing {
            name: self.spec.name.clone(),
            runs,
            ready: runs && self.readiness.as_ref().is_none_or(|probe| probe.holds),
            restarts: self.restarts.max(0),
            why: self.why.clone(),
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.desk.forget(&self.name);
    }
}

/// A pod has ended: its object goes.
pub(super) async fn remove(desk: &Desk, pod: &Pod) {
    let (meta, mut last) = (pod.metadata.clone(), Instant::now());
    let pods: Api<Pod> =
        Api::namespaced(desk.api.clone(), &meta.namespace.clone().unwrap_or_default());
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: meta.uid, resource_version: None }),
        ..DeleteParams::default()
    };
    let name = meta.name.unwrap_or_default();
    // Gone already, or another pod of that name: either way this one is no more. An API server that
    // is away is asked again.
    while let Err(error) = pods.delete(&name, &now).await {
        if matches!(error, kube::Error::Api(_)) {
            return;
        }
        last += Duration::from_secs(1);
        tokio::time::sleep_until(last).await;
    }
}

/// Keys that variables name.
async fn keys(pod: &Pod, api: &kube::Client) -> Result<environment::Keys, Trouble> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let (maps, secrets) = environment::sources(pod);
    let mut keys = environment::Keys::new();
    for name in maps {
        for (key, value) in files::config_map(api, &namespace, &name).await?.into_iter().flatten() {
            keys.insert(format!("{name}/{key}"), String::from_utf8(value)?);
        }
    }
    for name in secrets {
        for (key, value) in files::secret(api, &namespace, &name).await?.into_iter().flatten() {
            keys.insert(format!("{name}/{key}"), String::from_utf8(value)?);
        }
    }
    Ok(keys)
}
