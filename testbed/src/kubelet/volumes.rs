//! The volumes of a pod as folders of this machine.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, Volume};
use rustix::fs::{Gid, chown};

use super::files::{self, Source};
use super::layout::Layout;
use crate::Trouble;

/// The folders of a pod's volumes.
pub struct Volumes {
    root: PathBuf,
    laid_out: BTreeMap<String, (Layout, Vec<Source>)>,
}

impl Volumes {
    /// Makes them below `root`.
    ///
    /// # Errors
    /// When one comes from a place that is not there, or is of a kind that nobody plays.
    pub async fn prepare(root: &Path, pod: &Pod, api: &kube::Client) -> Result<Self, Trouble> {
        let mut volumes = Self { root: root.to_owned(), laid_out: BTreeMap::new() };
        let spec = pod.spec.clone().unwrap_or_default();
        let group = spec.security_context.and_then(|context| context.fs_group);
        let group = group.map(u32::try_from).transpose()?;
        for volume in spec.volumes.unwrap_or_default() {
            let folder = volumes.folder(&volume.name);
            if volume.empty_dir.is_some() {
                empty(&folder, group)?;
                continue;
            }
            let sources = sources(&volume)?;
            let content = files::read(&sources, pod, api).await?;
            let layout = Layout::new(&folder, group, content)?;
            volumes.laid_out.insert(volume.name, (layout, sources));
        }
        Ok(volumes)
    }

    /// Where a volume lies.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Brings in what has changed in ConfigMaps and Secrets since. Says whether anything did.
    ///
    /// # Errors
    /// When one cannot be read now.
    pub async fn refresh(&mut self, pod: &Pod, api: &kube::Client) -> Result<bool, Trouble> {
        let mut changed = false;
        for (layout, sources) in self.laid_out.values_mut() {
            if sources.iter().any(Source::lasts) {
                continue;
            }
            changed |= layout.swap(files::read(sources, pod, api).await?)?;
        }
        Ok(changed)
    }
}

/// As kubelet makes an emptyDir: for everybody, or for the group.
fn empty(folder: &Path, group: Option<u32>) -> Result<(), Trouble> {
    std::fs::create_dir_all(folder)?;
    let mode = match group {
        Some(group) => {
            chown(folder, None, Some(Gid::from_raw(group)))?;
            0o2777
        }
        None => 0o777,
    };
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn sources(volume: &Volume) -> Result<Vec<Source>, Trouble> {
    if let Some(secret) = &volume.secret {
        return Ok(vec![Source::of_secret(secret)]);
    }
    if let Some(map) = &volume.config_map {
        return Ok(vec![Source::of_config_map(map)]);
    }
    if let Some(projected) = &volume.projected {
        return Source::of_projected(projected);
    }
    Err(format!("nobody plays the kind of the volume {}", volume.name).into())
}
