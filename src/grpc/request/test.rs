//! Every request against tables of good and bad ones, and every string field of every request
//! against hostile characters.

mod fields;
mod ids;
mod parameters;
mod sizes;
mod uses;

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::grpc::csi as pb;
use crate::grpc::csi::volume_capability::access_mode::Mode;
use crate::grpc::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use crate::volume::{BackendName, VolumePath};

/// Two boxes: `main`, the default, whose ids are bare, and `spare`.
pub fn places() -> Places {
    let place = |address: &str, paths: &[&str]| Place {
        address: address.into(),
        nvme_address: "10.1.0.1".into(),
        nvme_port: 4420,
        volume_paths: paths.iter().map(|p| VolumePath::parse(p).unwrap()).collect(),
        nqn_base: "nqn.2000-02.com.mikrotik".into(),
    };
    let main = BackendName::parse("main").unwrap();
    Places {
        by_name: BTreeMap::from([
            (main.clone(), place("10.0.0.1:22", &["/pool/volumes", "/pool/other"])),
            (BackendName::parse("spare").unwrap(), place("10.0.0.2:2222", &["/tank"])),
        ]),
        bare_ids: main.clone(),
        default: main,
    }
}

/// Reads `request` against [`places`].
fn read<T, M>(request: M) -> Result<T, Error>
where
    T: for<'a> TryFrom<Incoming<'a, M>, Error = Error>,
{
    T::try_from(Incoming { request, places: &places() })
}

fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn capability(mode: Mode, access: AccessType) -> pb::VolumeCapability {
    pb::VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(access),
    }
}

fn mount(mode: Mode) -> pb::VolumeCapability {
    capability(mode, AccessType::Mount(MountVolume::default()))
}

fn block(mode: Mode) -> pb::VolumeCapability {
    capability(mode, AccessType::Block(BlockVolume {}))
}

/// A request that is right.
fn create() -> pb::CreateVolumeRequest {
    pb::CreateVolumeRequest {
        name: "pvc-1".into(),
        volume_capabilities: vec![mount(Mode::SingleNodeWriter)],
        ..Default::default()
    }
}

/// A request that is right.
fn publish() -> pb::ControllerPublishVolumeRequest {
    pb::ControllerPublishVolumeRequest {
        volume_id: "pvc-1".into(),
        node_id: "node-1".into(),
        volume_capability: Some(mount(Mode::SingleNodeWriter)),
        ..Default::default()
    }
}
