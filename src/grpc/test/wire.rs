//! Bytes as another implementation of the contract writes them.

use prost::Message as _;

use super::csi;
use super::csi::volume_capability::AccessType;

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    [&[number << 3 | 2, length], content].concat()
}

/// A varint field.
fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value.as_bytes())].concat()
}

/// A mounted xfs, MULTI_NODE_MULTI_WRITER.
fn capability() -> Vec<u8> {
    let mount = [field(1, b"xfs"), field(2, b"ro"), field(3, b"group")].concat();
    [field(2, &mount), field(3, &number(1, 5))].concat()
}

#[test]
fn a_create_request_is_read_by_the_numbers_of_its_fields() {
    let bytes = [
        field(1, b"name"),
        field(2, &[number(1, 7), number(2, 9)].concat()),
        field(3, &capability()),
        field(4, &entry("parameter", "p")),
        field(5, &entry("secret", "s")),
        field(6, &field(1, &field(1, b"snapshot"))),
        field(7, &field(2, &field(1, &entry("zone", "z")))),
        field(8, &entry("mutable", "m")),
    ];
    let read = csi::CreateVolumeRequest::decode(&bytes.concat()[..]).unwrap();
    assert_eq!(read.name, "name");
    let range = read.capacity_range.unwrap();
    assert_eq!((range.required_bytes, range.limit_bytes), (7, 9));
    let [one] = &read.volume_capabilities[..] else { panic!("one capability") };
    assert_eq!(one.access_mode.unwrap().mode, 5);
    let Some(AccessType::Mount(mount)) = &one.access_type else { panic!("a mount") };
    assert_eq!((mount.fs_type.as_str(), mount.volume_mount_group.as_str()), ("xfs", "group"));
    assert_eq!(mount.mount_flags, ["ro"]);
    assert_eq!((&read.parameters["parameter"][..], &read.secrets["secret"][..]), ("p", "s"));
    assert_eq!(read.mutable_parameters["mutable"], "m");
    let preferred = read.accessibility_requirements.unwrap().preferred;
    assert_eq!(preferred[0].segments["zone"], "z");
    let Some(csi::volume_content_source::Type::Snapshot(source)) =
        read.volume_content_source.unwrap().r#type
    else {
        panic!("a snapshot")
    };
    assert_eq!(source.snapshot_id, "snapshot");
}

#[test]
fn a_publish_request_is_read_by_the_numbers_of_its_fields() {
    let bytes = [
        field(1, b"volume"),
        field(2, b"node"),
        field(3, &capability()),
        number(4, 1),
        field(5, &entry("secret", "s")),
        field(6, &entry("context", "c")),
    ];
    let read = csi::ControllerPublishVolumeRequest::decode(&bytes.concat()[..]).unwrap();
    assert_eq!((read.volume_id.as_str(), read.node_id.as_str()), ("volume", "node"));
    assert!(read.readonly && read.volume_capability.is_some());
    assert_eq!((&read.secrets["secret"][..], &read.volume_context["context"][..]), ("s", "c"));
}

#[test]
fn a_listing_is_written_by_the_numbers_of_its_fields() {
    use csi::list_volumes_response::{Entry, VolumeStatus};

    let written = csi::ListVolumesResponse {
        entries: vec![Entry {
            volume: Some(csi::Volume {
                capacity_bytes: 7,
                volume_id: "volume".into(),
                volume_context: [("context".to_owned(), "c".to_owned())].into(),
                ..Default::default()
            }),
            status: Some(VolumeStatus { published_node_ids: vec!["node".into()] }),
        }],
        next_token: "next".into(),
    };
    let context = field(3, &entry("context", "c"));
    let volume = [number(1, 7), field(2, b"volume"), context].concat();
    let status = field(1, b"node");
    let entry = [field(1, &volume), field(2, &status)].concat();
    let bytes = [field(1, &entry), field(2, b"next")].concat();
    assert_eq!(written.encode_to_vec(), bytes);
}
