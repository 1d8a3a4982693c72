//! Every string field of every request, each with every hostile character at every place.

use proptest::prelude::*;

use super::*;
use crate::operations::{CreateVolume, Expand, Publish};

/// A call with one string put into one of its fields.
struct Field {
    /// What an error must start with.
    name: &'static str,
    call: fn(String) -> Result<(), Error>,
}

macro_rules! fields {
    ($($name:literal: $parsed:ty, $base:expr, |$r:ident, $text:ident| $put:expr;)*) => {
        [$(Field {
            name: $name,
            call: |$text| {
                let right = $base;
                let mut $r = right;
                $put;
                read::<$parsed, _>($r).map(drop)
            },
        }),*]
    };
}

fn with_mount(change: impl FnOnce(&mut MountVolume)) -> pb::VolumeCapability {
    let mut volume = MountVolume::default();
    change(&mut volume);
    capability(Mode::SingleNodeWriter, AccessType::Mount(volume))
}

fn one(key: impl Into<String>, value: impl Into<String>) -> HashMap<String, String> {
    HashMap::from([(key.into(), value.into())])
}

fn topology(segments: HashMap<String, String>) -> pb::Topology {
    pb::Topology { segments }
}

fn snapshot(snapshot_id: String) -> pb::VolumeContentSource {
    use pb::volume_content_source::{SnapshotSource, Type};
    pb::VolumeContentSource { r#type: Some(Type::Snapshot(SnapshotSource { snapshot_id })) }
}

fn clone(volume_id: String) -> pb::VolumeContentSource {
    use pb::volume_content_source::{Type, VolumeSource};
    pb::VolumeContentSource { r#type: Some(Type::Volume(VolumeSource { volume_id })) }
}

fn expand() -> pb::ControllerExpandVolumeRequest {
    pb::ControllerExpandVolumeRequest {
        volume_id: "pvc-1".into(),
        capacity_range: Some(pb::CapacityRange { required_bytes: 1 << 30, limit_bytes: 0 }),
        ..Default::default()
    }
}

fn validate() -> pb::ValidateVolumeCapabilitiesRequest {
    pb::ValidateVolumeCapabilitiesRequest {
        volume_id: "pvc-1".into(),
        volume_capabilities: vec![mount(Mode::SingleNodeWriter)],
        ..Default::default()
    }
}

fn unpublish() -> pb::ControllerUnpublishVolumeRequest {
    pb::ControllerUnpublishVolumeRequest { volume_id: "pvc-1".into(), ..Default::default() }
}

fn every_string_field() -> impl IntoIterator<Item = Field> {
    fields! {
        "name": CreateVolume, create(), |r, t| r.name = t;
        "parameters (a key)": CreateVolume, create(), |r, t| r.parameters = one(t, "");
        "parameters[csi.storage.k8s.io/pvc/name]": CreateVolume, create(),
            |r, t| r.parameters = one("csi.storage.k8s.io/pvc/name", t);
        "parameters[backend]": CreateVolume, create(), |r, t| r.parameters = one("backend", t);
        "parameters[rdsAddress]": CreateVolume, create(), |r, t| r.parameters = one("rdsAddress", t);
        "parameters[nvmeAddress]": CreateVolume, create(),
            |r, t| r.parameters = one("nvmeAddress", t);
        "parameters[nvmePort]": CreateVolume, create(), |r, t| r.parameters = one("nvmePort", t);
        "parameters[fsType]": CreateVolume, create(), |r, t| r.parameters = one("fsType", t);
        "parameters[volumePath]": CreateVolume, create(), |r, t| r.parameters = one("volumePath", t);
        "parameters[nqnPrefix]": CreateVolume, create(), |r, t| r.parameters = one("nqnPrefix", t);
        "parameters[ctrlLossTmo]": CreateVolume, create(),
            |r, t| r.parameters = one("ctrlLossTmo", t);
        "parameters[reconnectDelay]": CreateVolume, create(),
            |r, t| r.parameters = one("reconnectDelay", t);
        "parameters[keepAliveTmo]": CreateVolume, create(),
            |r, t| r.parameters = one("keepAliveTmo", t);
        "parameters[migrationTimeoutSeconds]": CreateVolume, create(),
            |r, t| r.parameters = one("migrationTimeoutSeconds", t);
        "mutable_parameters (a key)": CreateVolume, create(),
            |r, t| r.mutable_parameters = one(t, "");
        "mutable_parameters[iops]": CreateVolume, create(),
            |r, t| r.mutable_parameters = one("iops", t);
        "volume_content_source": CreateVolume, create(),
            |r, t| r.volume_content_source = Some(snapshot(t));
        "volume_content_source": CreateVolume, create(),
            |r, t| r.volume_content_source = Some(clone(t));
        "accessibility_requirements (a key)": CreateVolume, create(),
            |r, t| r.accessibility_requirements = Some(pb::TopologyRequirement {
                requisite: vec![topology(one(t, "x"))], preferred: vec![] });
        "accessibility_requirements[zone]": CreateVolume, create(),
            |r, t| r.accessibility_requirements = Some(pb::TopologyRequirement {
                requisite: vec![], preferred: vec![topology(one("zone", t))] });
        "volume_capabilities[0].mount.fs_type": CreateVolume, create(),
            |r, t| r.volume_capabilities = vec![with_mount(|m| m.fs_type = t)];
        "volume_capabilities[0].mount.volume_mount_group": CreateVolume, create(),
            |r, t| r.volume_capabilities = vec![with_mount(|m| m.volume_mount_group = t)];
        "volume_capabilities[0].mount.mount_flags": CreateVolume, create(),
            |r, t| r.volume_capabilities = vec![with_mount(|m| m.mount_flags = vec![t])];
        "volume_id": DeleteVolume, pb::DeleteVolumeRequest::default(), |r, t| r.volume_id = t;
        "volume_id": Publish, publish(), |r, t| r.volume_id = t;
        "node_id": Publish, publish(), |r, t| r.node_id = t;
        "volume_context (a key)": Publish, publish(), |r, t| r.volume_context = one(t, "");
        "volume_context[x]": Publish, publish(), |r, t| r.volume_context = one("x", t);
        "volume_capability.mount.fs_type": Publish, publish(),
            |r, t| r.volume_capability = Some(with_mount(|m| m.fs_type = t));
        "volume_capability.mount.mount_flags": Publish, publish(),
            |r, t| r.volume_capability = Some(with_mount(|m| m.mount_flags = vec![t]));
        "volume_id": Unpublish, unpublish(), |r, t| r.volume_id = t;
        "node_id": Unpublish, unpublish(), |r, t| r.node_id = t;
        "volume_id": Validate, validate(), |r, t| r.volume_id = t;
        "volume_context (a key)": Validate, validate(), |r, t| r.volume_context = one(t, "");
        "volume_context[x]": Validate, validate(), |r, t| r.volume_context = one("x", t);
        "parameters[fsType]": Validate, validate(), |r, t| r.parameters = one("fsType", t);
        "mutable_parameters[iops]": Validate, validate(),
            |r, t| r.mutable_parameters = one("iops", t);
        "volume_capabilities[0].mount.fs_type": Validate, validate(),
            |r, t| r.volume_capabilities = vec![with_mount(|m| m.fs_type = t)];
        "starting_token": ListVolumes, pb::ListVolumesRequest::default(),
            |r, t| r.starting_token = t;
        "parameters[backend]": CapacityQuery, pb::GetCapacityRequest::default(),
            |r, t| r.parameters = one("backend", t);
        "accessible_topology[zone]": CapacityQuery, pb::GetCapacityRequest::default(),
            |r, t| r.accessible_topology = Some(topology(one("zone", t)));
        "volume_capabilities[0].mount.fs_type": CapacityQuery, pb::GetCapacityRequest::default(),
            |r, t| r.volume_capabilities = vec![with_mount(|m| m.fs_type = t)];
        "volume_id": GetVolume, pb::ControllerGetVolumeRequest::default(), |r, t| r.volume_id = t;
        "volume_id": Expand, expand(), |r, t| r.volume_id = t;
        "volume_capability.mount.fs_type": Expand, expand(),
            |r, t| r.volume_capability = Some(with_mount(|m| m.fs_type = t));
    }
}

/// Refused as INVALID_ARGUMENT that names the field, in a message that is fit for a log line.
fn assert_refused(field: &Field, text: &str) {
    let error = (field.call)(text.to_owned()).expect_err(field.name);
    assert_eq!(error.kind, Kind::Invalid, "{}: {error}", field.name);
    assert!(error.message.starts_with(&format!("{}: ", field.name)), "{}: {error}", field.name);
    assert!(error.message.chars().count() < 600, "{}: {error}", field.name);
    assert!(!error.message.chars().any(char::is_control), "{}: {error}", field.name);
}

#[test]
fn hostile_characters_are_refused_in_every_field() {
    for field in every_string_field() {
        for bad in
            ["\0", "\n", "\r", "\t", "\x1b", "\x7f", "\u{85}", "\"", "'", "`", "$", ";", "\\"]
        {
            for text in [bad.to_owned(), format!("a{bad}"), format!("{bad}a"), format!("a{bad}a")] {
                assert_refused(&field, &text);
            }
        }
    }
}

#[test]
fn overlong_strings_are_refused_in_every_field() {
    for field in every_string_field() {
        let error = (field.call)("a".repeat(5000)).expect_err(field.name);
        assert_eq!(error.kind, Kind::Invalid, "{}: {error}", field.name);
        let map = field.name.split(['[', ' ']).next().unwrap();
        assert!(error.message.starts_with(map), "{}: {error}", field.name);
        assert!(error.message.chars().count() < 600, "{}: {error}", field.name);
    }
}

#[test]
fn secrets_are_bounded_and_never_shown() {
    type Call = fn(HashMap<String, String>) -> Result<(), Error>;
    let calls: [Call; 6] = [
        |secrets| {
            read::<CreateVolume, _>(pb::CreateVolumeRequest { secrets, ..create() }).map(drop)
        },
        |secrets| {
            let volume_id = "pvc-1".into();
            read::<DeleteVolume, _>(pb::DeleteVolumeRequest { volume_id, secrets }).map(drop)
        },
        |secrets| {
            read::<Publish, _>(pb::ControllerPublishVolumeRequest { secrets, ..publish() })
                .map(drop)
        },
        |secrets| {
            read::<Unpublish, _>(pb::ControllerUnpublishVolumeRequest { secrets, ..unpublish() })
                .map(drop)
        },
        |secrets| {
            read::<Validate, _>(pb::ValidateVolumeCapabilitiesRequest { secrets, ..validate() })
                .map(drop)
        },
        |secrets| {
            read::<Expand, _>(pb::ControllerExpandVolumeRequest { secrets, ..expand() }).map(drop)
        },
    ];
    for call in calls {
        assert_eq!(call(one("password", "p\"$;\\\nw")), Ok(()));
        let error = call(one("password", "hunter2".repeat(200_000))).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid);
        assert!(!error.message.contains("hunter2") && !error.message.contains("password"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_a_caller_sends_makes_a_request_fall_over(text in "\\PC{0,200}|(.|\n){0,200}") {
        for field in every_string_field() {
            if let Err(error) = (field.call)(text.clone()) {
                prop_assert!(matches!(
                    error.kind,
                    Kind::Invalid | Kind::NotFound | Kind::Precondition | Kind::Range
                ));
                prop_assert!(error.message.chars().count() < 600);
                prop_assert!(!error.message.chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn no_size_makes_a_request_fall_over(required_bytes: i64, limit_bytes: i64) {
        let range = Some(pb::CapacityRange { required_bytes, limit_bytes });
        let wanted = read::<CreateVolume, _>(pb::CreateVolumeRequest {
            capacity_range: range,
            ..create()
        });
        if let Ok(wanted) = wanted {
            prop_assert_eq!(wanted.required % GRANULE, 0);
            prop_assert!(wanted.required >= u64::try_from(required_bytes).unwrap());
            prop_assert!(wanted.limit.is_none_or(|limit| wanted.required <= limit));
        }
        let _ = read::<Expand, _>(pb::ControllerExpandVolumeRequest {
            capacity_range: range,
            ..expand()
        });
    }
}
