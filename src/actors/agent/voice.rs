//! Answers challenges: what the kernel and the notes say at the moment of the question.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::look::{Look, look};
use super::secret::SecretFile;
use super::staged::StagedVolumes;
use crate::agent::{Challenge, Report, seal};
use crate::host::Host;
use crate::logging::Chain;
use crate::volume::NodeName;

/// How long the kernel may take to say what it has. Who asks waits for two seconds.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// The voice of a node's agent.
#[derive(Clone)]
pub struct Voice {
    /// The driver's name.
    pub driver: String,
    /// The node.
    pub node: NodeName,
    /// The kernel.
    pub host: Arc<dyn Host>,
    /// The notes.
    pub volumes: Arc<dyn StagedVolumes>,
    /// Where the cluster Secret is.
    pub secret: SecretFile,
}

/// Why there is no answer, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mute {
    /// It is no challenge.
    Malformed(String),
    /// Nothing can be proven, or nothing is known.
    Unable(String),
}

impl Voice {
    /// The sealed answer to a challenge.
    ///
    /// # Errors
    /// Where it is none, or nothing can be proven at present.
    pub async fn answer(&self, challenge: &str) -> Result<Vec<u8>, Mute> {
        let challenge =
            Challenge::parse(challenge).map_err(|why| Mute::Malformed(why.to_string()))?;
        let keys = self.secret.keys().await.map_err(Mute::Unable)?;
        let boot_id = match timeout(LOOK_WITHIN, self.host.boot_id()).await {
            Ok(Ok(boot_id)) => boot_id,
            Ok(Err(error)) => return Err(Mute::Unable(Chain(&error).to_string())),
            Err(_) => return Err(Mute::Unable("the kernel does not tell its boot id".into())),
        };
        let host_nqn = self.secret.host_nqn(&self.node).await.map_err(Mute::Unable)?;
        let seen = look(&*self.host, &*self.volumes, Some(&host_nqn));
        // What cannot be seen is not left out: then nothing is said of volumes at all.
        let seen = timeout(LOOK_WITHIN, seen).await.ok().and_then(Result::ok);
        let report = Report {
            driver: self.driver.clone(),
            node: self.node.clone(),
            boot_id,
            volumes: seen.as_ref().and_then(Look::words),
        };
        seal(&report, &keys, &challenge).map_err(|why| Mute::Unable(why.to_string()))
    }
}
