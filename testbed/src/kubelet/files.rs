//! Where the files of a volume come from: ConfigMaps, Secrets, tokens, fields of the pod.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, KeyToPath, Pod, ProjectedVolumeSource, Secret,
    SecretVolumeSource, ServiceAccount,
};
use kube::api::{Api, PostParams};
use serde_json::json;

use super::environment;
use super::layout::{File, Files};
use crate::Trouble;

/// One place.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Keys of a ConfigMap.
    ConfigMap(Keys),
    /// Keys of a Secret.
    Secret(Keys),
    /// A token of the pod's service account, at this path.
    Token(String),
    /// A field of the pod, at this path.
    Field(String, String),
}

/// Which keys, as which files.
#[derive(Debug, Clone, PartialEq)]
pub struct Keys {
    name: String,
    items: Option<Vec<KeyToPath>>,
    optional: bool,
    mode: u32,
}

const DEFAULT_MODE: i32 = 0o644;

impl Source {
    /// What a volume of this kind shows.
    pub fn of_secret(volume: &SecretVolumeSource) -> Self {
        Self::Secret(Keys {
            name: volume.secret_name.clone().unwrap_or_default(),
            items: volume.items.clone(),
            optional: volume.optional == Some(true),
            mode: mode(volume.default_mode),
        })
    }

    /// What a volume of this kind shows.
    pub fn of_config_map(volume: &ConfigMapVolumeSource) -> Self {
        Self::ConfigMap(Keys {
            name: volume.name.clone(),
            items: volume.items.clone(),
            optional: volume.optional == Some(true),
            mode: mode(volume.default_mode),
        })
    }

    /// What a volume of this kind shows, one after the other.
    ///
    /// # Errors
    /// When a source is of a kind that nobody plays.
    pub fn of_projected(volume: &ProjectedVolumeSource) -> Result<Vec<Self>, Trouble> {
        let mode = mode(volume.default_mode);
        let mut all = Vec::new();
        for source in volume.sources.iter().flatten() {
            if let Some(token) = &source.service_account_token {
                all.push(Self::Token(token.path.clone()));
            } else if let Some(map) = &source.config_map {
                let optional = map.optional == Some(true);
                let (name, items) = (map.name.clone(), map.items.clone());
                all.push(Self::ConfigMap(Keys { name, items, optional, mode }));
            } else if let Some(secret) = &source.secret {
                let optional = secret.optional == Some(true);
                let (name, items) = (secret.name.clone(), secret.items.clone());
                all.push(Self::Secret(Keys { name, items, optional, mode }));
            } else if let Some(fields) = &source.downward_api {
                for item in fields.items.iter().flatten() {
                    let field = item.field_ref.clone().ok_or("nobody plays resourceFieldRef")?;
                    all.push(Self::Field(item.path.clone(), field.field_path));
                }
            } else {
                return Err("nobody plays a source of a projected volume".into());
            }
        }
        Ok(all)
    }

    /// Tokens last longer than any test, and asking again would be another one.
    pub fn lasts(&self) -> bool {
        matches!(self, Self::Token(_))
    }
}

fn mode(given: Option<i32>) -> u32 {
    u32::try_from(given.unwrap_or(DEFAULT_MODE)).unwrap_or(0o644)
}

/// What all sources hold now.
///
/// # Errors
/// When one that is not optional is not there.
pub async fn read(sources: &[Source], pod: &Pod, api: &kube::Client) -> Result<Files, Trouble> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let mut files = Files::new();
    for source in sources {
        match source {
            Source::ConfigMap(keys) => {
                files.extend(chosen(config_map(api, &namespace, &keys.name).await?, keys)?);
            }
            Source::Secret(keys) => {
                files.extend(chosen(secret(api, &namespace, &keys.name).await?, keys)?);
            }
            Source::Token(path) => {
                let content = token(pod, api, &namespace).await?.into_bytes();
                files.insert(path.clone(), File { content, mode: 0o644 });
            }
            Source::Field(path, field) => {
                let content = environment::field(pod, field, "")?.into_bytes();
                files.insert(path.clone(), File { content, mode: 0o644 });
            }
        }
    }
    Ok(files)
}

/// All keys of a ConfigMap; `None` where it is not there.
///
/// # Errors
/// When the API server does not say.
pub async fn config_map(
    api: &kube::Client,
    namespace: &str,
    name: &str,
) -> Result<Option<BTreeMap<String, Vec<u8>>>, Trouble> {
    let maps: Api<ConfigMap> = Api::namespaced(api.clone(), namespace);
    let Some(map) = maps.get_opt(name).await? else { return Ok(None) };
    let texts = map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
    let bytes = map.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0));
    Ok(Some(texts.chain(bytes).collect()))
}

/// All keys of a Secret; `None` where it is not there.
///
/// # Errors
/// When the API server does not say.
pub async fn secret(
    api: &kube::Client,
    namespace: &str,
    name: &str,
) -> Result<Option<BTreeMap<String, Vec<u8>>>, Trouble> {
    let secrets: Api<Secret> = Api::namespaced(api.clone(), namespace);
    let Some(secret) = secrets.get_opt(name).await? else { return Ok(None) };
    Ok(Some(secret.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0)).collect()))
}

fn chosen(content: Option<BTreeMap<String, Vec<u8>>>, keys: &Keys) -> Result<Files, Trouble> {
    let Some(content) = content else {
        if keys.optional {
            return Ok(Files::new());
        }
        return Err(format!("{} is not there", keys.name).into());
    };
    let Some(items) = &keys.items else {
        let all = content.into_iter();
        return Ok(all.map(|(key, content)| (key, File { content, mode: keys.mode })).collect());
    };
    let mut files = Files::new();
    for item in items {
        let Some(content) = content.get(&item.key).cloned() else {
            if keys.optional {
                continue;
            }
            return Err(format!("{} has no key {}", keys.name, item.key).into());
        };
        let mode = item.mode.map_or(keys.mode, |given| mode(Some(given)));
        files.insert(item.path.clone(), File { content, mode });
    }
    Ok(files)
}

/// A token of the pod's account, bound to the pod, as kubelet asks for it.
async fn token(pod: &Pod, api: &kube::Client, namespace: &str) -> Result<String, Trouble> {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    let request: TokenRequest = serde_json::from_value(json!({
        "spec": {
            "audiences": [], "expirationSeconds": 3607,
            "boundObjectRef": {
                "apiVersion": "v1", "kind": "Pod",
                "name": pod.metadata.name, "uid": pod.metadata.uid,
            },
        },
    }))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(api.clone(), namespace);
    let account = account.ok_or("the pod names no service account")?;
    let made = accounts.create_token_request(&account, &PostParams::default(), &request).await?;
    let token = made.status.and_then(|status| status.token);
    Ok(token.ok_or("the API server gave no token")?)
}
