//! Who we are: the cluster id and the cluster Secret.
//!
//! Both are asked for once and remembered. The Secret is made by the first controller that finds
//! none; when two do at once, one creates it and both read it. It is never logged, and its bytes
//! never pass through code that logs what it cannot parse.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use kube::api::PostParams;
use kube::core::request::Request;
use rand::TryRngCore as _;
use slog::{Logger, info};
use tokio::sync::OnceCell;

use super::request::{Requests, exists_already, meaning};
use super::{ClusterError, Identity};

/// The namespace whose UID is the id of the cluster.
const KUBE_SYSTEM: &str = "kube-system";
/// The key of the Secret.
const KEY: &str = "key";
/// Bytes of the secret; fewer are refused.
const KEY_BYTES: usize = 32;

/// Asks once, remembers.
pub struct Identities {
    requests: Requests,
    cluster_id: Option<String>,
    namespace: String,
    secret: String,
    known: OnceCell<Identity>,
    log: Logger,
}

impl Identities {
    /// The id is `cluster_id` where given; the Secret is `namespace`/`secret`.
    pub fn new(
        requests: Requests,
        cluster_id: Option<String>,
        namespace: String,
        secret: String,
        log: Logger,
    ) -> Self {
        Self { requests, cluster_id, namespace, secret, known: OnceCell::new(), log }
    }

    /// Who we are.
    ///
    /// # Errors
    /// When the API server does not say, or the Secret is unusable. The next call asks again.
    pub async fn get(&self) -> Result<Identity, ClusterError> {
        self.known.get_or_try_init(|| self.ask()).await.cloned()
    }

    async fn ask(&self) -> Result<Identity, ClusterError> {
        let cluster_id = match &self.cluster_id {
            Some(given) => given.clone(),
            None => self.namespace_uid().await?,
        };
        let secret = match self.read().await? {
            Some(secret) => secret,
            None => self.make().await?,
        };
        info!(self.log, "cluster identity known"; "cluster" => &cluster_id);
        Ok(Identity { cluster_id, secret })
    }

    async fn namespace_uid(&self) -> Result<String, ClusterError> {
        let what = format!("Namespace {KUBE_SYSTEM}");
        let api = self.requests.all::<core::Namespace>();
        let namespace = self.requests.run(&what, api.get(KUBE_SYSTEM)).await?;
        let uid = namespace.metadata.uid.filter(|uid| !uid.is_empty());
        uid.ok_or_else(|| ClusterError::Refused(format!("{what} has no uid")))
    }

    /// There is none, and we could not make one: the chart grants no right to do so, because it
    /// makes the Secret itself.
    fn missing(&self, error: ClusterError) -> ClusterError {
        let ClusterError::Refused(why) = error else { return error };
        let (what, namespace, secret) = (self.what(), &self.namespace, &self.secret);
        ClusterError::Refused(format!(
            "{what} does not exist and may not be made here ({why}); make it: head -c {KEY_BYTES} \
             /dev/urandom | kubectl --namespace {namespace} create secret generic {secret} \
             --from-file={KEY}=/dev/stdin"
        ))
    }

    fn what(&self) -> String {
        format!("Secret {}/{}", self.namespace, self.secret)
    }

    async fn read(&self) -> Result<Option<Arc<[u8]>>, ClusterError> {
        let what = self.what();
        let url = format!("/api/v1/namespaces/{}/secrets", self.namespace);
        let request = Request::new(url)
            .get(&self.secret, &Default::default())
            .map_err(|e| ClusterError::Refused(format!("{what}: {e}")))?;
        let client = self.requests.client();
        // As text: the client logs answers that it cannot parse, and this one is secret.
        let text = match self.requests.run(&what, client.request_text(request)).await {
            Err(ClusterError::NotFound(_)) => return Ok(None),
            other => other?,
        };
        let secret: core::Secret = serde_json::from_str(&text)
            .map_err(|_| ClusterError::Unreachable(format!("{what} cannot be parsed")))?;
        self.key_of(secret).map(Some)
    }

    fn key_of(&self, secret: core::Secret) -> Result<Arc<[u8]>, ClusterError> {
        let what = self.what();
        let mut data = secret.data.unwrap_or_default();
        let Some(ByteString(key)) = data.remove(KEY) else {
            return Err(ClusterError::Refused(format!("{what} has no key \"{KEY}\"")));
        };
        if key.len() < KEY_BYTES {
            let why = format!("\"{KEY}\" has {} bytes, it takes {KEY_BYTES}", key.len());
            return Err(ClusterError::Refused(format!("{what}: {why}")));
        }
        Ok(key.into())
    }

    async fn make(&self) -> Result<Arc<[u8]>, ClusterError> {
        let what = self.what();
        let mut key = vec![0; KEY_BYTES];
        rand::rngs::OsRng
            .try_fill_bytes(&mut key)
            .map_err(|e| ClusterError::Refused(format!("{what}: no random bytes: {e}")))?;
        let mut secret = core::Secret::default();
        secret.metadata.name = Some(self.secret.clone());
        secret.metadata.namespace = Some(self.namespace.clone());
        // Host NQNs are derived from it: a changed one would shut every node out.
        secret.immutable = Some(true);
        secret.type_ = Some("Opaque".into());
        secret.data = Some(BTreeMap::from([(KEY.to_owned(), ByteString(key))]));
        let body = serde_json::to_vec(&secret)
            .map_err(|_| ClusterError::Refused(format!("{what} cannot be printed")))?;
        let url = format!("/api/v1/namespaces/{}/secrets", self.namespace);
        let request = Request::new(url)
            .create(&PostParams::default(), body)
            .map_err(|e| ClusterError::Refused(format!("{what}: {e}")))?;
        let client = self.requests.client();
        let create = async {
            match client.request_text(request).await {
                Ok(_) => Ok(true),
                Err(error) if exists_already(&error) => Ok(false),
                Err(error) => Err(self.missing(meaning(&what, &error))),
            }
        };
        if self.requests.bounded(&what, create).await? {
            info!(self.log, "cluster secret made"; "secret" => &what);
        }
        // What lies there counts, whoever made it.
        self.read().await?.ok_or(ClusterError::NotFound(what))
    }
}

#[cfg(test)]
mod test;
