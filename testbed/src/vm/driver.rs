//! The controller between a box in a machine and an API server double, with its sidecars: what stands
//! between a claim and a node.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::grpc::csi::controller_client::ControllerClient;
use rds_csi::grpc::csi::identity_client::IdentityClient;
use rds_csi::grpc::csi::{
    CapacityRange, ControllerExpandVolumeRequest, ControllerPublishVolumeRequest,
    ControllerUnpublishVolumeRequest, CreateVolumeRequest, DeleteVolumeRequest, ProbeRequest,
    VolumeCapability,
};
use rds_sim::apiserver::attacher::{Attacher, Sidecar};
use rds_sim::apiserver::{self, ApiServer, Listening, world as objects};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use super::network::{Cable, Network};
use super::storage::{StorageVm, USER, VOLUMES};
use super::volume::{Kind, Volume};
use crate::process::Process;
use crate::{Trouble, parts, wait};

/// The driver's name.
pub const DRIVER: &str = "rds.csi.srvlab.io";
/// The driver's own namespace.
pub(super) const NAMESPACE: &str = "rds-csi";
/// Its configuration, in the story's folder.
const CONFIG: &str = "controller.toml";
/// Longest wait for one step of the controller.
const STEP: Duration = Duration::from_secs(60);

/// The controller, and who calls it.
pub struct Driver {
    /// The cluster.
    pub api: ApiServer,
    folder: PathBuf,
    config: String,
    socket: PathBuf,
    process: Process,
    channel: Channel,
    kinds: Kinds,
    _attacher: Attacher,
    _listening: Listening,
}

/// What each volume is, by its id: the attacher asks for that.
type Kinds = Arc<Mutex<BTreeMap<String, VolumeCapability>>>;

impl Driver {
    /// Starts the controller and waits until it is ready. Nodes of the cluster are those named.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(
        network: &Network,
        storage: &StorageVm,
        nodes: &[&str],
    ) -> Result<Self, Trouble> {
        Self::start_with(network, storage, nodes, "").await
    }

    /// Like [`Driver::start`], with more lines of `[reconcile]`.
    ///
    /// # Errors
    /// As there.
    pub async fn start_with(
        network: &Network,
        storage: &StorageVm,
        nodes: &[&str],
        reconcile: &str,
    ) -> Result<Self, Trouble> {
        let folder = network.folder();
        let api = ApiServer::with(apiserver::Options {
            clock: apiserver::clock::machine(),
            ..apiserver::Options::default()
        });
        let gateway = IpAddr::V4(network.gateway(Cable::Control));
        let listening = api.listen(SocketAddr::new(gateway, 0)).await?;
        furnish(&api, nodes)?;
        let socket = folder.join("csi.sock");
        let config = configuration(storage, folder, &socket, (&listening.url, reconcile))?;
        std::fs::write(folder.join(CONFIG), &config)?;
        let mut process = started(folder)?;
        let channel = ready(&mut process, &socket).await?;
        let kinds = Kinds::default();
        let attaching = Attaching {
            controller: ControllerClient::new(channel.clone()),
            api: api.clone(),
            kinds: Arc::clone(&kinds),
        };
        let attacher = Attacher::start(&api, DRIVER, Arc::new(attaching)).map_err(failed)?;
        Ok(Self {
            api,
            folder: folder.to_owned(),
            config,
            socket,
            process,
            channel,
            kinds,
            _attacher: attacher,
            _listening: listening,
        })
    }

    /// Its configuration; a node takes the same.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Its CSI socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its services.
    pub fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
    }

    /// Its name and state.
    pub fn identity(&self) -> IdentityClient<Channel> {
        IdentityClient::new(self.channel.clone())
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// When it does not; with the end of its log.
    pub fn check(&mut self) -> Result<(), Trouble> {
        self.process.check()
    }

    /// A claim is made, and bound to a volume that the driver provisions.
    ///
    /// # Errors
    /// What CreateVolume answers.
    pub async fn provision(&self, claim: &str, kind: Kind, bytes: u64) -> Result<Volume, Trouble> {
        let name = format!("pvc-{claim}");
        let request = CreateVolumeRequest {
            name: name.clone(),
            capacity_range: Some(range(bytes)?),
            volume_capabilities: vec![kind.capability()],
            ..CreateVolumeRequest::default()
        };
        let made = timeout(STEP, self.controller().create_volume(request)).await??.into_inner();
        let made = made.volume.ok_or("CreateVolume answered without a volume")?;
        let bound = self.api.create(objects::claim("default", claim, "rds", &name));
        let uid = bound.map_err(failed)?["metadata"]["uid"].as_str().map(str::to_owned);
        let mut object = objects::volume(&name, DRIVER)
            .handle(&made.volume_id)
            .size(&made.capacity_bytes.to_string())
            .bound_to("default", claim, uid.as_deref());
        for (key, value) in &made.volume_context {
            object = object.attribute(key, value);
        }
        if kind.is_block() {
            object = object.block();
        }
        self.api.create(object.build()).map_err(failed)?;
        self.kinds().insert(made.volume_id.clone(), kind.capability());
        let context = made.volume_context.into_iter().collect();
        Ok(Volume { name, handle: made.volume_id, kind, context })
    }

    /// A pod wants it on a node: returns the publish context once it is attached.
    ///
    /// # Errors
    /// When it is not attached in time; with what the attacher was told.
    pub async fn attach(
        &self,
        volume: &Volume,
        node: &str,
    ) -> Result<HashMap<String, String>, Trouble> {
        let name = attachment(volume, node);
        let wanted = objects::attachment(&name, DRIVER, node, &volume.name);
        self.api.create(wanted).map_err(failed)?;
        let attached = self
            .api
            .wait_for("volumeattachments", &name, |object| object["status"]["attached"] == true);
        match timeout(STEP, attached).await {
            Ok(attached) => {
                let context = attached.map_err(failed)?["status"]["attachmentMetadata"].clone();
                Ok(serde_json::from_value(context)?)
            }
            Err(_) => {
                let object = self.api.get("volumeattachments", &name);
                Err(format!("not attached within {STEP:?}: {object:?}").into())
            }
        }
    }

    /// A pod wants it on a node that is not to have it: returns what the attacher was told, and wants
    /// it no more.
    ///
    /// # Errors
    /// When nothing was refused.
    pub async fn attach_refused(&self, volume: &Volume, node: &str) -> Result<String, Trouble> {
        let name = attachment(volume, node);
        let wanted = objects::attachment(&name, DRIVER, node, &volume.name);
        self.api.create(wanted).map_err(failed)?;
        let why = |object: &Value| object["status"]["attachError"]["message"].clone();
        let answered = self.api.wait_for("volumeattachments", &name, |object| {
            object["status"]["attached"] == true || why(object).is_string()
        });
        let object = timeout(STEP, answered).await?.map_err(failed)?;
        self.detach(volume, node).await?;
        why(&object).as_str().map(str::to_owned).ok_or_else(|| format!("{node} has it").into())
    }

    /// No pod wants it there any more: returns once it is detached.
    ///
    /// # Errors
    /// When it is not detached in time.
    pub async fn detach(&self, volume: &Volume, node: &str) -> Result<(), Trouble> {
        let name = attachment(volume, node);
        self.api.delete("volumeattachments", &name).map_err(failed)?;
        let gone = timeout(STEP, self.api.wait_gone("volumeattachments", &name)).await;
        gone.map_err(|_| {
            let object = self.api.get("volumeattachments", &name);
            format!("not detached within {STEP:?}: {object:?}")
        })?
        .map_err(|failure| failed(failure).into())
    }

    /// Makes it larger, and returns whether the node must make its part larger.
    ///
    /// # Errors
    /// What ControllerExpandVolume answers.
    pub async fn expand(&self, volume: &Volume, bytes: u64) -> Result<bool, Trouble> {
        let request = ControllerExpandVolumeRequest {
            volume_id: volume.handle.clone(),
            capacity_range: Some(range(bytes)?),
            volume_capability: Some(volume.kind.capability()),
            ..ControllerExpandVolumeRequest::default()
        };
        let grown = timeout(STEP, self.controller().controller_expand_volume(request)).await??;
        Ok(grown.into_inner().node_expansion_required)
    }

    /// The claim is deleted, and its volume with it.
    ///
    /// # Errors
    /// What DeleteVolume answers.
    pub async fn delete(&self, volume: &Volume) -> Result<(), Trouble> {
        self.api
            .modify("persistentvolumes", &volume.name, |object| {
                object["status"]["phase"] = "Released".into();
            })
            .map_err(failed)?;
        let request = DeleteVolumeRequest {
            volume_id: volume.handle.clone(),
            ..DeleteVolumeRequest::default()
        };
        timeout(STEP, self.controller().delete_volume(request)).await??;
        self.kinds().remove(&volume.handle);
        let claim = format!("default/{}", volume.name.trim_start_matches("pvc-"));
        for (kind, name) in
            [("persistentvolumes", &volume.name), ("persistentvolumeclaims", &claim)]
        {
            // Nobody uses it any more, says who protects it.
            self.api
                .modify(kind, name, |object| object["metadata"]["finalizers"] = json!([]))
                .map_err(failed)?;
            self.api.delete(kind, name).map_err(failed)?;
        }
        Ok(())
    }

    /// The controller is killed, and started again: all that it had in memory is gone.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<(), Trouble> {
        self.process.kill().await?;
        self.process = started(&self.folder)?;
        // The channel connects anew by itself.
        ready(&mut self.process, &self.socket).await.map(drop)
    }

    /// All that it said, since its first start.
    pub fn said(&self) -> String {
        let log = std::fs::read(self.folder.join("controller.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn kinds(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, VolumeCapability>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The external-attacher's calls.
struct Attaching {
    controller: ControllerClient<Channel>,
    api: ApiServer,
    kinds: Kinds,
}

impl Attaching {
    /// Id, attributes, capability and node.
    fn parties(
        &self,
        attachment: &Value,
    ) -> Option<(String, HashMap<String, String>, VolumeCapability, String)> {
        let spec = &attachment["spec"];
        let node = spec["nodeName"].as_str()?.to_owned();
        let name = spec["source"]["persistentVolumeName"].as_str()?;
        let volume = self.api.get("persistentvolumes", name)?;
        let csi = &volume["spec"]["csi"];
        let handle = csi["volumeHandle"].as_str()?.to_owned();
        let attributes = serde_json::from_value(csi["volumeAttributes"].clone()).ok()?;
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let capability = kinds.get(&handle)?.clone();
        Some((handle, attributes, capability, node))
    }
}

#[async_trait]
impl Sidecar for Attaching {
    async fn publish(&self, attachment: &Value) -> Result<BTreeMap<String, String>, String> {
        let parties = self.parties(attachment).ok_or("the attachment names nothing known")?;
        let (volume_id, volume_context, capability, node_id) = parties;
        let request = ControllerPublishVolumeRequest {
            volume_id,
            node_id,
            volume_capability: Some(capability),
            volume_context,
            ..ControllerPublishVolumeRequest::default()
        };
        let answer = self.controller.clone().controller_publish_volume(request).await;
        let answer = answer.map_err(|status| status.to_string())?;
        Ok(answer.into_inner().publish_context.into_iter().collect())
    }

    async fn unpublish(&self, attachment: &Value) -> Result<(), String> {
        let parties = self.parties(attachment).ok_or("the attachment names nothing known")?;
        let (volume_id, _, _, node_id) = parties;
        let request = ControllerUnpublishVolumeRequest {
            volume_id,
            node_id,
            ..ControllerUnpublishVolumeRequest::default()
        };
        let answer = self.controller.clone().controller_unpublish_volume(request).await;
        answer.map(drop).map_err(|status| status.to_string())
    }
}

pub(super) fn failed(failure: apiserver::Failure) -> String {
    format!("the API server: {failure:?}")
}

/// As the attach/detach controller names it, so that nodes find it.
fn attachment(volume: &Volume, node: &str) -> String {
    let digest = Sha256::digest(format!("{}{DRIVER}{node}", volume.handle).as_bytes());
    digest.iter().fold("csi-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

fn range(bytes: u64) -> Result<CapacityRange, Trouble> {
    Ok(CapacityRange { required_bytes: i64::try_from(bytes)?, limit_bytes: 0 })
}

/// What the cluster holds before anything happens.
fn furnish(api: &ApiServer, nodes: &[&str]) -> Result<(), Trouble> {
    let own = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    api.create(own).map_err(failed)?;
    for node in nodes {
        api.create(objects::node(node).ready("True").build()).map_err(failed)?;
    }
    Ok(())
}

/// Writes key and kubeconfig; an emulated box may take its time to answer.
fn configuration(
    storage: &StorageVm,
    folder: &Path,
    socket: &Path,
    (cluster, reconcile): (&str, &str),
) -> Result<String, Trouble> {
    let key = folder.join("id_ed25519");
    std::fs::write(&key, &storage.key.private)?;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
    let kubeconfig = folder.join("kubeconfig.json");
    let access = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "double",
        "clusters": [{"name": "double", "cluster": {"server": cluster}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "double", "context": {"cluster": "double", "user": "nobody"}}],
    });
    std::fs::write(&kubeconfig, access.to_string())?;
    Ok(format!(
        "[driver]\nendpoint = \"unix://{}\"\n\n[http]\nlisten = \"127.0.0.1:0\"\n\n\
         [cluster]\nkubeconfig = \"{}\"\n\n[reconcile]\ngrace = \"2s\"\n{reconcile}\n\
         [backends.main]\naddress = \"{}\"\nuser = \"{USER}\"\nkey_path = \"{}\"\n\
         host_key = [\"{}\"]\nvolume_paths = [\"{VOLUMES}\"]\nnvme_address = \"{}\"\n\
         nvme_port = {}\n\n[backend_defaults]\npoll_deadline = \"15s\"\n",
        socket.display(),
        kubeconfig.display(),
        storage.console(),
        key.display(),
        storage.host_key(),
        storage.target().ip(),
        storage.target().port(),
    ))
}

fn started(folder: &Path) -> Result<Process, Trouble> {
    let file = folder.join(CONFIG).display().to_string();
    let arguments = ["controller", "--config", &file].map(str::to_owned);
    Process::start("controller", folder, &parts::driver()?, &arguments)
}

/// Waits until the controller says that it is ready.
async fn ready(process: &mut Process, socket: &Path) -> Result<Channel, Trouble> {
    let endpoint = Endpoint::try_from(format!("unix://{}", socket.display()))?;
    let channel = endpoint.connect_lazy();
    let end = tokio::time::Instant::now() + STEP;
    loop {
        process.check()?;
        let probe = IdentityClient::new(channel.clone()).probe(ProbeRequest {}).await;
        if probe.as_ref().is_ok_and(|answer| answer.get_ref().ready == Some(true)) {
            return Ok(channel);
        }
        if tokio::time::Instant::now() > end {
            return Err(format!("the controller is not ready within {STEP:?}: {probe:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until nothing of ours is left on the box.
///
/// # Errors
/// When something is; with what it is.
pub async fn nothing_left(storage: &StorageVm) -> Result<(), Trouble> {
    wait::until("nothing is left on the box", STEP, async || {
        let left =
            async { Ok::<_, Trouble>((storage.subsystems().await?, storage.images().await?)) };
        match left.await {
            Ok((subsystems, images)) if subsystems.is_empty() && images.is_empty() => Ok(()),
            Ok(left) => Err(format!("{left:?}")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}
