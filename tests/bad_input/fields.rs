//! Every string field of every Controller request, but secrets, which are opaque to us.

use std::collections::HashMap;

use prost::Message as _;
use rds_csi::grpc::csi as pb;
use rds_csi::grpc::csi::volume_capability::{AccessType, MountVolume};
use rds_csi::grpc::csi::volume_content_source::{SnapshotSource, Type, VolumeSource};

use crate::csi::{self, file_system};

/// A call with one string put into one of its fields.
pub struct Field {
    /// What an error must name.
    pub name: &'static str,
    /// Of the Controller service.
    pub method: &'static str,
    /// The message.
    pub encode: fn(&str) -> Vec<u8>,
}

fn create() -> pb::CreateVolumeRequest {
    csi::create("pvc-9", &[])
}

fn delete() -> pb::DeleteVolumeRequest {
    pb::DeleteVolumeRequest::default()
}

pub fn publish() -> pb::ControllerPublishVolumeRequest {
    pb::ControllerPublishVolumeRequest {
        volume_id: "pvc-1".into(),
        node_id: "node-a".into(),
        volume_capability: Some(file_system()),
        ..Default::default()
    }
}

fn unpublish() -> pb::ControllerUnpublishVolumeRequest {
    pb::ControllerUnpublishVolumeRequest { volume_id: "pvc-1".into(), ..Default::default() }
}

pub fn validate() -> pb::ValidateVolumeCapabilitiesRequest {
    pb::ValidateVolumeCapabilitiesRequest {
        volume_id: "pvc-1".into(),
        volume_capabilities: vec![file_system()],
        ..Default::default()
    }
}

pub fn expand() -> pb::ControllerExpandVolumeRequest {
    pb::ControllerExpandVolumeRequest {
        volume_id: "pvc-1".into(),
        capacity_range: Some(pb::CapacityRange { required_bytes: 2 << 30, limit_bytes: 0 }),
        ..Default::default()
    }
}

fn list() -> pb::ListVolumesRequest {
    pb::ListVolumesRequest::default()
}

fn capacity() -> pb::GetCapacityRequest {
    pb::GetCapacityRequest::default()
}

fn get() -> pb::ControllerGetVolumeRequest {
    pb::ControllerGetVolumeRequest::default()
}

fn one(key: &str, value: &str) -> HashMap<String, String> {
    HashMap::from([(key.to_owned(), value.to_owned())])
}

fn zone(value: &str) -> pb::Topology {
    pb::Topology { segments: one("zone", value) }
}

fn mounted(change: impl FnOnce(&mut MountVolume)) -> pb::VolumeCapability {
    let mut capability = file_system();
    if let Some(AccessType::Mount(mount)) = &mut capability.access_type {
        change(mount);
    }
    capability
}

macro_rules! fields {
    ($($method:literal, $name:literal, $base:expr, |$r:ident, $t:ident| $put:expr;)*) => {
        vec![$(Field {
            name: $name,
            method: $method,
            encode: |$t| {
                let mut $r = $base;
                $put;
                $r.encode_to_vec()
            },
        }),*]
    };
}

pub fn every_string_field() -> Vec<Field> {
    let mut fields = of_create();
    fields.extend(of_the_others());
    fields
}

fn of_create() -> Vec<Field> {
    fields! {
        "CreateVolume", "name", create(), |r, t| r.name = t.into();
        "CreateVolume", "parameters (a key)", create(), |r, t| r.parameters = one(t, "");
        "CreateVolume", "parameters[csi.storage.k8s.io/pvc/name]", create(),
            |r, t| r.parameters = one("csi.storage.k8s.io/pvc/name", t);
        "CreateVolume", "parameters[backend]", create(), |r, t| r.parameters = one("backend", t);
        "CreateVolume", "parameters[rdsAddress]", create(),
            |r, t| r.parameters = one("rdsAddress", t);
        "CreateVolume", "parameters[nvmeAddress]", create(),
            |r, t| r.parameters = one("nvmeAddress", t);
        "CreateVolume", "parameters[nvmePort]", create(), |r, t| r.parameters = one("nvmePort", t);
        "CreateVolume", "parameters[fsType]", create(), |r, t| r.parameters = one("fsType", t);
        "CreateVolume", "parameters[volumePath]", create(),
            |r, t| r.parameters = one("volumePath", t);
        "CreateVolume", "parameters[nqnPrefix]", create(),
            |r, t| r.parameters = one("nqnPrefix", t);
        "CreateVolume", "parameters[ctrlLossTmo]", create(),
            |r, t| r.parameters = one("ctrlLossTmo", t);
        "CreateVolume", "parameters[reconnectDelay]", create(),
            |r, t| r.parameters = one("reconnectDelay", t);
        "CreateVolume", "parameters[keepAliveTmo]", create(),
            |r, t| r.parameters = one("keepAliveTmo", t);
        "CreateVolume", "parameters[migrationTimeoutSeconds]", create(),
            |r, t| r.parameters = one("migrationTimeoutSeconds", t);
        "CreateVolume", "mutable_parameters (a key)", create(),
            |r, t| r.mutable_parameters = one(t, "");
        "CreateVolume", "mutable_parameters[iops]", create(),
            |r, t| r.mutable_parameters = one("iops", t);
        "CreateVolume", "volume_content_source", create(), |r, t| {
            let source = Type::Snapshot(SnapshotSource { snapshot_id: t.into() });
            r.volume_content_source = Some(pb::VolumeContentSource { r#type: Some(source) });
        };
        "CreateVolume", "volume_content_source", create(), |r, t| {
            let source = Type::Volume(VolumeSource { volume_id: t.into() });
            r.volume_content_source = Some(pb::VolumeContentSource { r#type: Some(source) });
        };
        "CreateVolume", "accessibility_requirements[zone]", create(),
            |r, t| r.accessibility_requirements = Some(pb::TopologyRequirement {
                requisite: vec![zone(t)], preferred: vec![] });
        "CreateVolume", "accessibility_requirements[zone]", create(),
            |r, t| r.accessibility_requirements = Some(pb::TopologyRequirement {
                requisite: vec![], preferred: vec![zone(t)] });
        "CreateVolume", "volume_capabilities[0].mount.fs_type", create(),
            |r, t| r.volume_capabilities = vec![mounted(|m| m.fs_type = t.into())];
        "CreateVolume", "volume_capabilities[0].mount.volume_mount_group", create(),
            |r, t| r.volume_capabilities = vec![mounted(|m| m.volume_mount_group = t.into())];
        "CreateVolume", "volume_capabilities[0].mount.mount_flags", create(),
            |r, t| r.volume_capabilities = vec![mounted(|m| m.mount_flags = vec![t.into()])];
    }
}

fn of_the_others() -> Vec<Field> {
    fields! {
        "DeleteVolume", "volume_id", delete(), |r, t| r.volume_id = t.into();
        "ControllerPublishVolume", "volume_id", publish(), |r, t| r.volume_id = t.into();
        "ControllerPublishVolume", "node_id", publish(), |r, t| r.node_id = t.into();
        "ControllerPublishVolume", "volume_context (a key)", publish(),
            |r, t| r.volume_context = one(t, "");
        "ControllerPublishVolume", "volume_context[x]", publish(),
            |r, t| r.volume_context = one("x", t);
        "ControllerPublishVolume", "volume_capability.mount.fs_type", publish(),
            |r, t| r.volume_capability = Some(mounted(|m| m.fs_type = t.into()));
        "ControllerPublishVolume", "volume_capability.mount.mount_flags", publish(),
            |r, t| r.volume_capability = Some(mounted(|m| m.mount_flags = vec![t.into()]));
        "ControllerUnpublishVolume", "volume_id", unpublish(), |r, t| r.volume_id = t.into();
        "ControllerUnpublishVolume", "node_id", unpublish(), |r, t| r.node_id = t.into();
        "ValidateVolumeCapabilities", "volume_id", validate(), |r, t| r.volume_id = t.into();
        "ValidateVolumeCapabilities", "volume_context[x]", validate(),
            |r, t| r.volume_context = one("x", t);
        "ValidateVolumeCapabilities", "parameters[fsType]", validate(),
            |r, t| r.parameters = one("fsType", t);
        "ValidateVolumeCapabilities", "mutable_parameters[iops]", validate(),
            |r, t| r.mutable_parameters = one("iops", t);
        "ValidateVolumeCapabilities", "volume_capabilities[0].mount.fs_type", validate(),
            |r, t| r.volume_capabilities = vec![mounted(|m| m.fs_type = t.into())];
        "ListVolumes", "starting_token", list(), |r, t| r.starting_token = t.into();
        "GetCapacity", "parameters[backend]", capacity(), |r, t| r.parameters = one("backend", t);
        "GetCapacity", "accessible_topology[zone]", capacity(),
            |r, t| r.accessible_topology = Some(zone(t));
        "GetCapacity", "volume_capabilities[0].mount.fs_type", capacity(),
            |r, t| r.volume_capabilities = vec![mounted(|m| m.fs_type = t.into())];
        "ControllerGetVolume", "volume_id", get(), |r, t| r.volume_id = t.into();
        "ControllerExpandVolume", "volume_id", expand(), |r, t| r.volume_id = t.into();
        "ControllerExpandVolume", "volume_capability.mount.fs_type", expand(),
            |r, t| r.volume_capability = Some(mounted(|m| m.fs_type = t.into()));
    }
}
