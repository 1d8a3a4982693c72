//! Looking: one volume, all volumes, what is free.

use std::collections::BTreeMap;

use super::first_driver::{attached_nodes, known_nodes};
use super::{Backend, Capacity, Error, Kind, Operations, Page, VolumeInfo};
use crate::attachment::export::Hosts;
use crate::attachment::first_driver::{Allowed, allowed, claim};
use crate::attachment::ledger::{ClusterTag, NodeTag, Record, State, Unreadable};
use crate::cluster::{CopyState, Identity, View, Volume};
use crate::rds::{Command, Disk};
use crate::volume::{BackendName, NodeName, Slot, VolumeId, VolumePath};

impl Operations {
    /// Finds one volume.
    pub async fn get(&self, id: VolumeId) -> Result<VolumeInfo, Error> {
        let identity = self.known_cluster().await?;
        let backend = self.backend(&id.backend)?;
        let reply = backend.rds.execute(Command::Show(id.slot.clone()), None).await?;
        let lister = Lister::new(self, &identity);
        let found = reply.disks.iter().find_map(|disk| lister.info(backend, disk));
        found.ok_or_else(|| Error::new(Kind::NotFound, format!("volume {id} does not exist")))
    }

    /// Lists our volumes on all backends; the whole truth or an error: the external-attacher takes
    /// a volume that is missing for detached. `max` 0 means no bound.
    pub async fn list(&self, token: &str, max: usize) -> Result<Page, Error> {
        let identity = self.known_cluster().await?;
        let lister = Lister::new(self, &identity);
        let after = if token.is_empty() { None } else { Some(self.position(token)?) };
        let mut volumes: BTreeMap<VolumeId, VolumeInfo> = BTreeMap::new();
        for backend in self.backends.by_name.values() {
            let reply = backend.rds.execute(Command::Table, None).await?;
            let found = reply.disks.iter().filter_map(|disk| lister.info(backend, disk));
            volumes.extend(found.map(|info| (info.id.clone(), info)));
        }
        if let Some(after) = after {
            volumes.retain(|id, _| *id > after);
        }
        let wanted = if max == 0 { usize::MAX } else { max };
        let more = volumes.len() > wanted;
        let volumes: Vec<VolumeInfo> = volumes.into_values().take(wanted).collect();
        let last = volumes.last().filter(|_| more).map(|info| info.id.to_string());
        Ok(Page { volumes, next: last.unwrap_or_default() })
    }

    /// A token is the last volume of the page before, so that it stays valid whatever comes and
    /// goes in between.
    fn position(&self, token: &str) -> Result<VolumeId, Error> {
        let parsed = token.split_once('/').and_then(|(backend, slot)| {
            let backend = BackendName::parse(backend).ok()?;
            Some(VolumeId { backend, slot: Slot::parse(slot).ok()? })
        });
        let known = parsed.filter(|id| self.backends.by_name.contains_key(&id.backend));
        known.ok_or_else(|| {
            Error::new(Kind::Token, "starting_token is none that this driver has given out")
        })
    }

    /// What is free in a directory of a backend.
    pub async fn capacity(&self, name: &BackendName, path: &VolumePath) -> Result<Capacity, Error> {
        let backend = self.backend(name)?;
        let reply = backend.rds.execute(Command::Pool(path.clone()), None).await?;
        let mounted = |disk: &&Disk| disk.mount_point.as_deref() == Some(path.pool());
        let named = |disk: &&Disk| disk.slot == path.pool();
        let pool = reply.disks.iter().find(mounted).or(reply.disks.iter().find(named));
        match pool.and_then(|pool| pool.free) {
            Some(available) => Ok(Capacity { available }),
            None => {
                let pool = path.pool();
                let message = format!(
                    "{} has no mounted disk {pool} that tells what is free",
                    backend.address
                );
                Err(Error::new(Kind::Refused, message))
            }
        }
    }
}

/// Makes volumes out of rows.
struct Lister<'a> {
    operations: &'a Operations,
    cluster: ClusterTag,
    hosts: Hosts,
    view: View,
    nodes: BTreeMap<NodeTag, NodeName>,
    /// PV name by volume handle.
    names: BTreeMap<String, String>,
}

impl<'a> Lister<'a> {
    fn new(operations: &'a Operations, identity: &Identity) -> Self {
        let view = operations.cluster.view();
        let copied = view.volumes.values().filter_map(|volume| match &volume.copy {
            CopyState::Present(copy) => Some(&copy.nodes),
            _ => None,
        });
        let known = view.nodes.keys().chain(copied.flatten());
        let tagged = known.map(|node| (NodeTag::of(&identity.cluster_id, node), node.clone()));
        Self {
            operations,
            cluster: ClusterTag::of(&identity.cluster_id),
            hosts: Hosts::new(identity.secret.clone()),
            nodes: tagged.collect(),
            names: view.volumes.values().map(|pv| (pv.handle.clone(), pv.name.clone())).collect(),
            view,
        }
    }

    /// The volume behind a row; `None` for what is not ours, or going.
    fn info(&self, backend: &Backend, disk: &Disk) -> Option<VolumeInfo> {
        let slot = Slot::parse(&disk.slot).ok()?;
        let id = VolumeId { backend: backend.name.clone(), slot };
        let handle = id.handle(&self.operations.backends.bare_ids);
        let volume = self.names.get(&handle).and_then(|name| self.view.volumes.get(name));
        let record = match Record::parse(&disk.comment) {
            Ok(record) => record,
            Err(Unreadable::Absent) => return self.adopted(backend, id, disk, volume?),
            Err(Unreadable::Damaged(_)) => return None,
        };
        if record.cluster != self.cluster || record.state == State::Deleting {
            return None;
        }
        // Nobody can connect to what somebody has closed behind our back. The external-attacher
        // publishes again what it finds missing here, which opens it.
        let held = record.state == State::Attached && disk.exported != Some(false);
        let nodes = record.nodes.iter().filter(|_| held);
        Some(VolumeInfo {
            bytes: disk.bytes.or(volume.map(|volume| volume.bytes)).unwrap_or(0),
            context: volume.map(|volume| volume.attributes.clone()).unwrap_or_default(),
            published: nodes.filter_map(|tag| self.nodes.get(tag).cloned()).collect(),
            id,
        })
    }
    /// A volume of the first driver, held by whom its export and the VolumeAttachments name. One that
    /// is closed is held by nobody: the external-attacher then publishes it again.
    fn adopted(
        &self,
        backend: &Backend,
        id: VolumeId,
        disk: &Disk,
        volume: &Volume,
    ) -> Option<VolumeInfo> {
        let is_new = volume.copy == CopyState::Absent;
        let claim = claim(&volume.attributes, &id.slot, &backend.address).filter(|_| is_new)?;
        claim.and_then(|claim| claim.check(disk.image.as_ref())).ok()?;
        let holders = match allowed(&disk.allow_host, &[], known_nodes(&self.view), &self.hosts) {
            _ if disk.exported != Some(true) => Vec::new(),
            Allowed::All => attached_nodes(volume, &self.view),
            Allowed::Node(node) => vec![node],
            Allowed::Nobody | Allowed::Asking | Allowed::Stranger => Vec::new(),
        };
        Some(VolumeInfo {
            bytes: disk.bytes.unwrap_or(volume.bytes),
            context: volume.attributes.clone(),
            published: holders,
            id,
        })
    }
}
