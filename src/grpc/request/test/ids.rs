//! Volume ids, node ids and names.

use std::sync::Arc;

use super::*;
use crate::operations::{Backend, Backends, CreateVolume, Expand, Publish};
use crate::rds::{Command, Failure, Link, Rds, Reply};
use crate::volume::turns::Turn;

/// A box that nobody asks anything.
struct Silent;

#[async_trait::async_trait]
impl Rds for Silent {
    async fn execute(&self, _: Command, _: Option<Turn>) -> Result<Reply, Failure> {
        Ok(Reply::default())
    }
    fn link(&self) -> Link {
        Link::Down { since: tokio::time::Instant::now(), next: None, why: String::new() }
    }
}

#[test]
fn the_places_of_requests_are_the_boxes_of_the_operations() {
    let wanted = places();
    let backend = |(name, place): (&BackendName, &Place)| Backend {
        name: name.clone(),
        address: place.address.clone(),
        nvme_address: place.nvme_address.clone(),
        nvme_port: place.nvme_port,
        volume_paths: place.volume_paths.clone(),
        nqn_base: place.nqn_base.clone(),
        rds: Arc::new(Silent),
    };
    let boxes = wanted.by_name.iter().map(backend);
    let backends = Backends {
        by_name: boxes.map(|one| (one.name.clone(), one)).collect(),
        bare_ids: wanted.bare_ids.clone(),
        default: wanted.default.clone(),
    };
    assert_eq!(Places::from(&backends), wanted);
}

fn delete(id: &str) -> Result<DeleteVolume, Error> {
    read(pb::DeleteVolumeRequest { volume_id: id.into(), ..Default::default() })
}

fn get(id: &str) -> Result<GetVolume, Error> {
    read(pb::ControllerGetVolumeRequest { volume_id: id.into() })
}

fn unpublish(id: &str, node: &str) -> Result<Unpublish, Error> {
    read(pb::ControllerUnpublishVolumeRequest {
        volume_id: id.into(),
        node_id: node.into(),
        ..Default::default()
    })
}

/// The kind of failure of every call that needs a volume.
fn kinds_of_calls_that_need(id: &str) -> Vec<Option<Kind>> {
    let publish = pb::ControllerPublishVolumeRequest { volume_id: id.into(), ..publish() };
    let validate = pb::ValidateVolumeCapabilitiesRequest {
        volume_id: id.into(),
        volume_capabilities: vec![mount(Mode::SingleNodeWriter)],
        ..Default::default()
    };
    let expand = pb::ControllerExpandVolumeRequest {
        volume_id: id.into(),
        capacity_range: Some(pb::CapacityRange { required_bytes: 1 << 30, limit_bytes: 0 }),
        ..Default::default()
    };
    vec![
        get(id).err().map(|e| e.kind),
        read::<Publish, _>(publish).err().map(|e| e.kind),
        read::<Validate, _>(validate).err().map(|e| e.kind),
        read::<Expand, _>(expand).err().map(|e| e.kind),
    ]
}

#[test]
fn ids_of_our_making_are_read() {
    for (id, backend, slot) in [("pvc-1", "main", "pvc-1"), ("spare/pvc-1", "spare", "pvc-1")] {
        let found = get(id).unwrap().id;
        assert_eq!((found.backend.as_str(), found.slot.as_str()), (backend, slot));
        assert_eq!(delete(id).unwrap().id, Some(found));
        assert_eq!(kinds_of_calls_that_need(id), [None; 4]);
    }
}

#[test]
fn a_harmless_id_that_we_cannot_have_made_is_gone_already() {
    for id in ["Upper-Case", "9starts-with-a-digit", "a/b/c", "with.dot", &"a".repeat(64), "ä"] {
        assert_eq!(delete(id), Ok(DeleteVolume { id: None }), "{id}");
        assert_eq!(unpublish(id, "").unwrap().id, None, "{id}");
        assert_eq!(kinds_of_calls_that_need(id), [Some(Kind::NotFound); 4], "{id}");
    }
}

#[test]
fn an_id_on_a_box_that_is_not_configured_is_never_taken_for_gone() {
    // The second may stem from a time when bare_ids named another backend.
    for id in ["gone/pvc-1", "main/pvc-1"] {
        for error in [delete(id).unwrap_err(), unpublish(id, "").unwrap_err()] {
            assert_eq!(error.kind, Kind::Precondition, "{error}");
        }
        assert_eq!(kinds_of_calls_that_need(id), [Some(Kind::NotFound); 4], "{id}");
    }
    let why = delete("gone/pvc-1").unwrap_err().message;
    assert!(why.contains("main (10.0.0.1:22), spare (10.0.0.2:2222)"), "{why}");
}

#[test]
fn empty_hostile_and_overlong_ids_are_refused_by_every_call() {
    let long = "a".repeat(300);
    for id in ["", "a\0", "a;b", "a\nb", "$a", "a\"", long.as_str()] {
        for error in [delete(id).unwrap_err(), unpublish(id, "").unwrap_err()] {
            assert_eq!(error.kind, Kind::Invalid, "{error}");
            assert!(error.message.starts_with("volume_id: "), "{error}");
            assert!(error.message.len() < 300, "{error}");
        }
        assert_eq!(kinds_of_calls_that_need(id), [Some(Kind::Invalid); 4], "{id:?}");
    }
}

#[test]
fn a_node_id_must_be_given_to_publish_and_means_all_nodes_where_it_is_missing_in_unpublish() {
    for node_id in ["", "Upper", "-a", "a..b", "a b", "a;b"] {
        let request = pb::ControllerPublishVolumeRequest { node_id: node_id.into(), ..publish() };
        let error = read::<Publish, _>(request).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid);
        assert!(error.message.starts_with("node_id: "), "{error}");
    }
    assert_eq!(read::<Publish, _>(publish()).unwrap().node.as_str(), "node-1");
    assert_eq!(unpublish("pvc-1", "").unwrap().node, None);
    assert_eq!(unpublish("pvc-1", "node-1").unwrap().node.unwrap().as_str(), "node-1");
    assert_eq!(unpublish("pvc-1", "Upper").unwrap_err().kind, Kind::Invalid);
}

#[test]
fn any_harmless_name_up_to_128_bytes_gets_a_slot() {
    let slot = |name: &str| {
        let request = pb::CreateVolumeRequest { name: name.into(), ..create() };
        read::<CreateVolume, _>(request).map(|wanted| wanted.slot.to_string())
    };
    assert_eq!(slot("pvc-1").unwrap(), "pvc-1");
    for name in ["Sanity-A1B2", &"a".repeat(128), "with space", "größe"] {
        assert!(slot(name).unwrap().starts_with("h-"), "{name}");
    }
    for name in ["", &"a".repeat(129), "a\"b", "a\tb"] {
        let error = slot(name).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid);
        assert!(error.message.starts_with("name: "), "{error}");
    }
}

#[test]
fn a_listing_takes_any_token_and_no_negative_bound() {
    let list = |max_entries, token: &str| {
        read::<ListVolumes, _>(pb::ListVolumesRequest { max_entries, starting_token: token.into() })
    };
    assert_eq!(list(7, "t").unwrap(), ListVolumes { token: "t".into(), max: 7 });
    for unbounded in [0, i32::MAX] {
        assert_eq!(list(unbounded, "").unwrap().max, ENTRIES_MAX);
    }
    assert!(list(-1, "").unwrap_err().message.starts_with("max_entries: -1"));
    assert!(list(0, &"t".repeat(1025)).unwrap_err().message.starts_with("starting_token: "));
}
