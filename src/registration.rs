//! Registration with kubelet: a socket in its folder `plugins_registry`, on which kubelet asks what
//! we are and tells whether it took us.
//!
//! kubelet looks for sockets when it starts and whenever one appears. So ours is there for as long as
//! we are, and is made anew when somebody emptied the folder. Nothing is asked of kubelet.

mod authority;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use slog::{Logger, info, o, warn};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use self::authority::Localhost;
use self::wire::registration_server::{Registration, RegistrationServer};
use crate::grpc::socket::{Socket, SocketError};
use crate::logging::Chain;

/// kubelet's contract, generated from `proto/pluginregistration.proto`.
#[allow(missing_docs, reason = "generated from the contract")]
pub mod wire {
    tonic::include_proto!("pluginregistration");
}

/// What kubelet calls plugins of our kind.
const KIND: &str = "CSIPlugin";
/// The version of CSI as kubelet writes it: all of 1.x.
const VERSION: &str = "1.0.0";
/// How often it is looked whether the socket is still there.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Pause after a socket could not be made.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What is registered.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The driver's name.
    pub name: String,
    /// Path of its CSI socket, on the node.
    pub endpoint: PathBuf,
    /// kubelet's own directory.
    pub kubelet: PathBuf,
}

/// What kubelet thinks of us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Known {
    /// It has not asked yet.
    #[default]
    Unasked,
    /// It took us.
    Registered,
    /// It did not, for this reason.
    Refused(String),
}

impl Plugin {
    /// Where kubelet finds us.
    pub fn socket(&self) -> PathBuf {
        self.kubelet.join("plugins_registry").join(format!("{}-reg.sock", self.name))
    }
}

/// Offers the plugin until `stop`. A folder that is missing or cannot be written is said once, and
/// tried again.
pub async fn offer(
    plugin: Plugin,
    known: watch::Sender<Known>,
    log: &Logger,
    stop: CancellationToken,
) {
    let log = log.new(o!("component" => "registration"));
    let (known, mut failing) = (Arc::new(known), false);
    while !stop.is_cancelled() {
        let socket = match bind(&plugin).await {
            Ok(socket) => socket,
            Err(error) => {
                if !failing {
                    warn!(log, "cannot register with kubelet"; "error" => %Chain(&error));
                }
                failing = true;
                tokio::select! {
                    () = sleep(RETRY_PAUSE) => continue,
                    () = stop.cancelled() => break,
                }
            }
        };
        failing = false;
        info!(log, "offered to kubelet"; "socket" => %socket.path().display());
        let path = socket.path().to_owned();
        let answers = Answers { plugin: plugin.clone(), known: known.clone(), log: log.clone() };
        let (ended, identity) = (CancellationToken::new(), identity(&path));
        let until = ended.clone();
        let server = Server::builder()
            .add_service(RegistrationServer::new(answers))
            .serve_with_incoming_shutdown(socket.map_ok(Localhost::new), until.cancelled_owned());
        let vanished = async {
            // None where it vanished before it was looked at.
            while identity.is_some() && self::identity(&path) == identity {
                sleep(LOOK_PERIOD).await;
            }
        };
        tokio::select! {
            served = server => if let Err(error) = served {
                warn!(log, "registration is no longer served"; "error" => %Chain(&error));
                sleep(RETRY_PAUSE).await;
            },
            () = vanished => info!(log, "the socket is gone, offering anew"),
            () = stop.cancelled() => {}
        }
        ended.cancel();
    }
}

async fn bind(plugin: &Plugin) -> Result<Socket, SocketError> {
    let path = plugin.socket();
    if let Some(folder) = path.parent() {
        // What is wrong with it, binding says.
        let _ = tokio::fs::create_dir_all(folder).await;
    }
    Socket::bind(&path.display().to_string(), None)
}

/// Device and inode of what is under a path.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

struct Answers {
    plugin: Plugin,
    known: Arc<watch::Sender<Known>>,
    log: Logger,
}

#[tonic::async_trait]
impl Registration for Answers {
    async fn get_info(
        &self,
        _: Request<wire::InfoRequest>,
    ) -> Result<Response<wire::PluginInfo>, Status> {
        Ok(Response::new(wire::PluginInfo {
            r#type: KIND.into(),
            name: self.plugin.name.clone(),
            endpoint: self.plugin.endpoint.display().to_string(),
            supported_versions: vec![VERSION.into()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<wire::RegistrationStatus>,
    ) -> Result<Response<wire::RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        let told = if status.plugin_registered {
            info!(self.log, "registered with kubelet");
            Known::Registered
        } else {
            let error: String = status.error.chars().take(1000).collect();
            warn!(self.log, "refused by kubelet"; "error" => &error);
            Known::Refused(error)
        };
        self.known.send_replace(told);
        Ok(Response::new(wire::RegistrationStatusResponse {}))
    }
}

#[cfg(test)]
mod test;
