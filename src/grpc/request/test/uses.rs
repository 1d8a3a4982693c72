//! Capabilities, in every call that takes them.

use super::*;
use crate::operations::{CreateVolume, Publish, VolumeInfo};
use crate::volume::VolumeId;

fn created_for(capabilities: Vec<pb::VolumeCapability>) -> Result<CreateVolume, Error> {
    read(pb::CreateVolumeRequest { volume_capabilities: capabilities, ..create() })
}

fn published_for(capability: pb::VolumeCapability, readonly: bool) -> Result<Publish, Error> {
    read(pb::ControllerPublishVolumeRequest {
        volume_capability: Some(capability),
        readonly,
        ..publish()
    })
}

fn validate() -> pb::ValidateVolumeCapabilitiesRequest {
    pb::ValidateVolumeCapabilitiesRequest {
        volume_id: "pvc-1".into(),
        volume_capabilities: vec![mount(Mode::SingleNodeWriter)],
        ..Default::default()
    }
}

/// What Validate answers for a volume on `main` in `/pool/volumes`.
fn answer(
    request: pb::ValidateVolumeCapabilitiesRequest,
) -> pb::ValidateVolumeCapabilitiesResponse {
    let question: Validate = read(request).unwrap();
    let volume = VolumeInfo {
        id: VolumeId::parse("pvc-1", &places().bare_ids).unwrap(),
        bytes: 1 << 30,
        context: BTreeMap::from([
            ("volumePath".to_owned(), "/pool/volumes".to_owned()),
            ("nvmePort".to_owned(), "4420".to_owned()),
        ]),
        published: Vec::new(),
    };
    question.answer(&volume)
}

#[test]
fn a_capability_must_be_whole() {
    let without_mode = pb::VolumeCapability { access_mode: None, ..block(Mode::SingleNodeWriter) };
    let mut of_the_future = block(Mode::SingleNodeWriter);
    of_the_future.access_mode = Some(AccessMode { mode: 99 });
    let without_access =
        pb::VolumeCapability { access_type: None, ..block(Mode::SingleNodeWriter) };
    let table = [
        (vec![], "must not be empty"),
        (vec![without_mode], "[0].access_mode: is missing"),
        (vec![block(Mode::Unknown)], "UNKNOWN"),
        (vec![of_the_future], "99 is no access mode"),
        (vec![block(Mode::SingleNodeWriter), without_access], "[1]: names neither"),
        (vec![block(Mode::SingleNodeWriter); 33], "33 entries"),
    ];
    for (capabilities, named) in table {
        let validate = pb::ValidateVolumeCapabilitiesRequest {
            volume_capabilities: capabilities.clone(),
            ..validate()
        };
        for error in
            [created_for(capabilities).unwrap_err(), read::<Validate, _>(validate).unwrap_err()]
        {
            assert_eq!(error.kind, Kind::Invalid);
            assert!(error.message.starts_with("volume_capabilities"), "{error}");
            assert!(error.message.contains(named), "{error}");
        }
    }
    let request = pb::ControllerPublishVolumeRequest { volume_capability: None, ..publish() };
    let error = read::<Publish, _>(request).unwrap_err();
    assert_eq!(
        (error.kind, error.message.starts_with("volume_capability: ")),
        (Kind::Invalid, true)
    );
}

#[test]
fn a_file_system_that_several_nodes_write_is_refused_everywhere_and_a_block_device_nowhere() {
    for mode in [Mode::MultiNodeMultiWriter, Mode::MultiNodeSingleWriter] {
        assert_eq!(created_for(vec![mount(mode)]).unwrap_err().kind, Kind::Invalid);
        assert_eq!(published_for(mount(mode), false).unwrap_err().kind, Kind::Invalid);
        let refused = answer(pb::ValidateVolumeCapabilitiesRequest {
            volume_capabilities: vec![block(mode), mount(mode)],
            ..validate()
        });
        assert_eq!(refused.confirmed, None);
        assert!(refused.message.contains("several nodes"), "{}", refused.message);

        assert!(published_for(mount(mode), true).unwrap().read_only);
        assert!(created_for(vec![block(mode)]).is_ok());
        assert!(!published_for(block(mode), false).unwrap().read_only);
    }
    assert!(created_for(vec![mount(Mode::MultiNodeReaderOnly)]).is_ok());
    assert!(published_for(mount(Mode::MultiNodeReaderOnly), false).unwrap().read_only);
}

#[test]
fn a_volume_has_one_file_system() {
    let of = |fs_type: &str| {
        capability(
            Mode::SingleNodeWriter,
            AccessType::Mount(MountVolume { fs_type: fs_type.into(), ..Default::default() }),
        )
    };
    assert!(created_for(vec![of("xfs"), of("xfs"), block(Mode::SingleNodeWriter)]).is_ok());
    let error = created_for(vec![of("xfs"), of("btrfs")]).unwrap_err();
    assert!(error.message.contains("both xfs and btrfs"), "{error}");
    assert_eq!(created_for(vec![of("ntfs")]).unwrap_err().kind, Kind::Invalid);
    assert!(
        !created_for(vec![block(Mode::SingleNodeWriter)]).unwrap().context.contains_key("fsType")
    );
}

#[test]
fn mount_options_are_bounded_and_cannot_become_arguments() {
    let with = |flags: Vec<String>| {
        created_for(vec![capability(
            Mode::SingleNodeWriter,
            AccessType::Mount(MountVolume { mount_flags: flags, ..Default::default() }),
        )])
    };
    for good in ["noatime", "discard", "nouuid", "errors=remount-ro", "a=1,b=2"] {
        assert!(with(vec![good.into()]).is_ok(), "{good}");
    }
    let long = "x".repeat(4097);
    for bad in ["", "-o", "a b", "a\"b", "$x", "a;b", "ä", long.as_str()] {
        let error = with(vec![bad.into()]).unwrap_err();
        assert!(error.message.contains("mount_flags: "), "{error}");
        assert!(error.message.len() < 400, "{error}");
    }
    assert!(with(vec!["a".into(); 65]).is_err());
}

#[test]
fn what_we_do_not_serve_is_refused_and_said() {
    use pb::volume_content_source::{SnapshotSource, Type, VolumeSource};

    let snapshot = Type::Snapshot(SnapshotSource::default());
    let clone = Type::Volume(VolumeSource::default());
    for (source, named) in [(snapshot, "snapshots"), (clone, "cloning")] {
        let request = pb::CreateVolumeRequest {
            volume_content_source: Some(pb::VolumeContentSource { r#type: Some(source) }),
            ..create()
        };
        let error = read::<CreateVolume, _>(request).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid);
        assert!(error.message.contains(named), "{error}");
    }
    let request =
        pb::CreateVolumeRequest { mutable_parameters: map(&[("iops", "100")]), ..create() };
    let error = read::<CreateVolume, _>(request).unwrap_err();
    assert!(error.message.starts_with("mutable_parameters: "), "{error}");
    let group = MountVolume { volume_mount_group: "1000".into(), ..Default::default() };
    let grouped = capability(Mode::SingleNodeWriter, AccessType::Mount(group));
    assert!(created_for(vec![grouped]).unwrap_err().message.contains("volume_mount_group"));
}

#[test]
fn validate_confirms_what_holds_and_says_what_does_not() {
    let right = pb::ValidateVolumeCapabilitiesRequest {
        volume_context: map(&[
            ("volumePath", "/pool/volumes"),
            ("storage.kubernetes.io/csiProvisionerIdentity", "1-2-rds"),
        ]),
        parameters: map(&[("volumePath", "pool/volumes")]),
        ..validate()
    };
    let confirmed = answer(right.clone()).confirmed.unwrap();
    assert_eq!(confirmed.volume_capabilities, right.volume_capabilities);
    assert_eq!(confirmed.volume_context, right.volume_context);
    assert_eq!(confirmed.parameters, right.parameters);

    let context = map(&[("nvmePort", "4421")]);
    let directory = map(&[("volumePath", "/pool/other")]);
    let backend = map(&[("backend", "spare")]);
    let wrong = [
        (
            pb::ValidateVolumeCapabilitiesRequest { volume_context: context, ..validate() },
            "nvmePort",
        ),
        (
            pb::ValidateVolumeCapabilitiesRequest { parameters: directory, ..validate() },
            "pool/other",
        ),
        (pb::ValidateVolumeCapabilitiesRequest { parameters: backend, ..validate() }, "spare"),
    ];
    for (request, named) in wrong {
        let refused = answer(request);
        assert_eq!(refused.confirmed, None);
        assert!(refused.message.contains(named), "{}", refused.message);
    }
}

#[test]
fn a_publish_without_a_file_system_takes_the_one_the_volume_was_made_with() {
    let request = pb::ControllerPublishVolumeRequest {
        volume_context: map(&[("fsType", "xfs")]),
        ..publish()
    };
    let wanted: Publish = read(request).unwrap();
    let crate::volume::capability::Medium::FileSystem { fs_type, .. } = wanted.capability.medium
    else {
        panic!("a file system was asked for");
    };
    assert_eq!(fs_type, "xfs");
}
