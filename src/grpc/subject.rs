//! What a call is about, for the log: names and ids, nothing else of a request.

use std::sync::{Arc, Mutex, PoisonError};

use crate::grpc::csi as pb;

/// Longest name that is logged, in characters; a request that passes validation has shorter ones.
const SHOWN_MAX: usize = 300;

/// Volume and node of a call; empty where it names none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The name of a volume to be made, or the id of one.
    pub volume: String,
    /// The node id.
    pub node: String,
}

impl Subject {
    fn volume(volume: &str) -> Self {
        Self::attached(volume, "")
    }

    fn attached(volume: &str, node: &str) -> Self {
        let shown = |text: &str| text.chars().take(SHOWN_MAX).collect();
        Self { volume: shown(volume), node: shown(node) }
    }
}

/// Tells what a request is about.
pub trait About {
    /// Its volume and node.
    fn subject(&self) -> Subject;
}

macro_rules! about {
    ($($request:ident => |$r:ident| $subject:expr;)*) => {
        $(impl About for pb::$request {
            fn subject(&self) -> Subject {
                let $r = self;
                $subject
            }
        })*
    };
}

about! {
    CreateVolumeRequest => |r| Subject::volume(&r.name);
    DeleteVolumeRequest => |r| Subject::volume(&r.volume_id);
    ControllerPublishVolumeRequest => |r| Subject::attached(&r.volume_id, &r.node_id);
    ControllerUnpublishVolumeRequest => |r| Subject::attached(&r.volume_id, &r.node_id);
    ValidateVolumeCapabilitiesRequest => |r| Subject::volume(&r.volume_id);
    ControllerGetVolumeRequest => |r| Subject::volume(&r.volume_id);
    ControllerExpandVolumeRequest => |r| Subject::volume(&r.volume_id);
    ListVolumesRequest => |_r| Subject::default();
    GetCapacityRequest => |_r| Subject::default();
    NodeStageVolumeRequest => |r| Subject::volume(&r.volume_id);
    NodeUnstageVolumeRequest => |r| Subject::volume(&r.volume_id);
    NodePublishVolumeRequest => |r| Subject::volume(&r.volume_id);
    NodeUnpublishVolumeRequest => |r| Subject::volume(&r.volume_id);
    NodeExpandVolumeRequest => |r| Subject::volume(&r.volume_id);
    NodeGetVolumeStatsRequest => |r| Subject::volume(&r.volume_id);
    NodeGetVolumeHealthRequest => |r| Subject::volume(&r.volume_id);
}

/// Where a service notes the subject of the call that it serves; the log reads it at the end.
#[derive(Debug, Clone, Default)]
pub struct Note(Arc<Mutex<Subject>>);

impl Note {
    /// Notes it.
    pub fn set(&self, subject: Subject) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = subject;
    }

    /// What has been noted so far.
    pub fn get(&self) -> Subject {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
