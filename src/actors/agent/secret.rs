//! The cluster Secret, as it is mounted into the node's pod.

use std::io;
use std::path::PathBuf;

use tokio::io::AsyncReadExt as _;

use crate::agent::Keys;
use crate::attachment::export::Hosts;
use crate::logging::Chain;
use crate::volume::{NodeName, Nqn};

/// Longest Secret that is read, in bytes.
const LENGTH_MAX: u64 = 4096;

/// Where it lies. Read anew for each use: kubelet replaces the file when the Secret comes later.
#[derive(Debug, Clone)]
pub struct SecretFile(pub PathBuf);

impl SecretFile {
    /// The keys of agents.
    ///
    /// # Errors
    /// When the file cannot be read or is no Secret, in words.
    pub async fn keys(&self) -> Result<Keys, String> {
        let bytes = self.read().await?;
        Keys::of(&bytes).map_err(|refused| format!("{}: {refused}", self.0.display()))
    }

    /// As which host this node connects.
    ///
    /// # Errors
    /// As [`SecretFile::keys`].
    pub async fn host_nqn(&self, node: &NodeName) -> Result<Nqn, String> {
        let bytes = self.read().await?;
        let nqn = Hosts::new(bytes.into()).nqn(node);
        nqn.map_err(|refused| format!("{}: {refused}", self.0.display()))
    }

    async fn read(&self) -> Result<Vec<u8>, String> {
        let failed =
            |error: io::Error| format!("cannot read {}: {}", self.0.display(), Chain(&error));
        let file = tokio::fs::File::open(&self.0).await.map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(LENGTH_MAX).read_to_end(&mut bytes).await.map_err(failed)?;
        Ok(bytes)
    }
}
