//! Parameters of a StorageClass.

use super::super::parameters::Parameters;
use super::*;
use crate::operations::CreateVolume;
use crate::volume::endpoint::endpoint;

fn parse(pairs: &[(&str, &str)]) -> Result<Parameters, Error> {
    Parameters::parse(&map(pairs), &places())
}

#[test]
fn without_parameters_it_is_the_first_directory_of_the_default_box() {
    let wanted: CreateVolume = read(create()).unwrap();
    assert_eq!(wanted.backend.as_str(), "main");
    assert_eq!(wanted.volume_path.as_str(), "pool/volumes");
    let context = [
        ("backend", "main"),
        ("fsType", "ext4"),
        ("nvmeAddress", "10.1.0.1"),
        ("nvmePort", "4420"),
        ("rdsAddress", "10.0.0.1"),
        ("volumePath", "/pool/volumes"),
    ];
    assert_eq!(wanted.context.into_iter().collect::<HashMap<_, _>>(), map(&context));
}

#[test]
fn a_class_of_the_first_driver_is_understood() {
    let request = pb::CreateVolumeRequest {
        parameters: map(&[
            ("rdsAddress", "10.0.0.2:2222"),
            ("nvmeAddress", "storage.lan"),
            ("nvmePort", "4421"),
            ("fsType", "xfs"),
            ("volumePath", "/tank"),
            ("nqnPrefix", "nqn.2000-02.com.mikrotik"),
            ("ctrlLossTmo", "-1"),
            ("reconnectDelay", "5"),
            ("keepAliveTmo", "0"),
            ("migrationTimeoutSeconds", "300"),
            ("csi.storage.k8s.io/pvc/name", "data"),
            ("csi.storage.k8s.io/whatever-comes", ""),
        ]),
        ..create()
    };
    let wanted: CreateVolume = read(request).unwrap();
    assert_eq!(wanted.backend.as_str(), "spare");
    let context = [
        ("backend", "spare"),
        ("rdsAddress", "10.0.0.2:2222"),
        ("nvmeAddress", "storage.lan"),
        ("nvmePort", "4421"),
        ("fsType", "xfs"),
        ("volumePath", "/tank"),
        ("ctrlLossTmo", "-1"),
        ("reconnectDelay", "5"),
        ("keepAliveTmo", "0"),
        ("migrationTimeoutSeconds", "300"),
    ];
    assert_eq!(wanted.context.into_iter().collect::<HashMap<_, _>>(), map(&context));
}

#[test]
fn a_box_is_chosen_by_name_or_by_its_own_address_and_never_by_another() {
    let chosen = [
        (vec![("backend", "spare")], "spare"),
        (vec![("rdsAddress", "10.0.0.1")], "main"),
        (vec![("rdsAddress", "10.0.0.1:22")], "main"),
        (vec![("backend", "main"), ("rdsAddress", "10.0.0.1")], "main"),
    ];
    for (pairs, backend) in chosen {
        assert_eq!(parse(&pairs).unwrap().backend.as_str(), backend, "{pairs:?}");
    }
    let refused = [
        vec![("backend", "other")],
        vec![("backend", "")],
        vec![("rdsAddress", "10.9.9.9")],
        vec![("rdsAddress", "")],
        vec![("rdsAddress", "10.0.0.2")],
        vec![("rdsAddress", "10.0.0.1:2222")],
        vec![("backend", "main"), ("rdsAddress", "10.0.0.2:2222")],
    ];
    for pairs in refused {
        let error = parse(&pairs).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid, "{pairs:?}");
        assert!(error.message.contains("main (10.0.0.1:22), spare (10.0.0.2:2222)"), "{error}");
    }
}

#[test]
fn two_spellings_of_one_endpoint_are_equal() {
    let table = [
        ("10.0.0.1", ("10.0.0.1", 22)),
        ("10.0.0.1:22", ("10.0.0.1", 22)),
        ("10.0.0.1:2222", ("10.0.0.1", 2222)),
        ("fd00::22", ("fd00::22", 22)),
        ("[fd00::22]", ("fd00::22", 22)),
        ("[FD00:0::22]:22", ("fd00::22", 22)),
        ("Box.lan", ("box.lan", 22)),
        ("box.lan:22", ("box.lan", 22)),
        ("box.lan:port", ("box.lan:port", 22)),
    ];
    for (address, (host, port)) in table {
        assert_eq!(endpoint(address), (host.to_owned(), port), "{address}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_key_and_the_way_out() {
    let table = [
        (("volumePath", "/pool/elsewhere"), "pool/volumes, pool/other"),
        (("volumePath", "/tank"), "pool/volumes, pool/other"),
        (("volumePath", "/pool/../etc"), "is no path"),
        (("nqnPrefix", "nqn.2014-08.org.other"), "nqn.2000-02.com.mikrotik"),
        (("nvmeAddress", "10.0.0.256"), "neither an IP address nor a host name"),
        (("nvmeAddress", "10.1.0.1:4420"), "parameter of its own"),
        (("nvmeAddress", "-x"), "neither"),
        (("nvmeAddress", ""), "neither"),
        (("nvmePort", "0"), "from 1 to 65535"),
        (("nvmePort", "65536"), "from 1 to 65535"),
        (("nvmePort", "x"), "from 1 to 65535"),
        (("ctrlLossTmo", "-2"), "from -1 to"),
        (("reconnectDelay", "0"), "from 1 to 3600"),
        (("keepAliveTmo", "-1"), "from 0 to 3600"),
        (("migrationTimeoutSeconds", "29"), "from 30 to 3600"),
        (("migrationTimeoutSeconds", "99999999999999999999"), "from 30 to 3600"),
    ];
    for ((key, value), way_out) in table {
        let error = parse(&[(key, value)]).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid, "{key}={value}");
        assert!(error.message.starts_with(&format!("parameters[{key}]: ")), "{error}");
        assert!(error.message.contains(way_out), "{error}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_all_that_are_known() {
    let error = parse(&[("volumepath", "/tank")]).unwrap_err();
    assert_eq!(error.kind, Kind::Invalid);
    for named in ["\"volumepath\"", "volumePath", "backend", "csi.storage.k8s.io/"] {
        assert!(error.message.contains(named), "{error}");
    }
}

#[test]
fn the_file_system_comes_from_the_capability_then_from_the_class() {
    let fs_type = |asked: &str, pairs: &[(&str, &str)]| {
        let mut request = create();
        request.parameters = map(pairs);
        request.volume_capabilities = vec![capability(
            Mode::SingleNodeWriter,
            AccessType::Mount(MountVolume { fs_type: asked.into(), ..Default::default() }),
        )];
        read::<CreateVolume, _>(request).map(|wanted| wanted.context["fsType"].clone())
    };
    let theirs = ("csi.storage.k8s.io/fstype", "xfs");
    assert_eq!(fs_type("", &[]).unwrap(), "ext4");
    assert_eq!(fs_type("btrfs", &[]).unwrap(), "btrfs");
    assert_eq!(fs_type("", &[theirs]).unwrap(), "xfs");
    assert_eq!(fs_type("", &[("fsType", "xfs")]).unwrap(), "xfs");
    assert_eq!(fs_type("xfs", &[theirs, ("fsType", "xfs")]).unwrap(), "xfs");
    for (asked, pairs) in [
        ("ext4", vec![("fsType", "xfs")]),
        ("", vec![theirs, ("fsType", "ext4")]),
        ("ntfs", vec![]),
        ("", vec![("fsType", "ext2")]),
    ] {
        assert_eq!(fs_type(asked, &pairs).unwrap_err().kind, Kind::Invalid, "{asked} {pairs:?}");
    }
}

#[test]
fn capacity_is_asked_of_the_directory_that_the_class_names() {
    let request = pb::GetCapacityRequest {
        parameters: map(&[("volumePath", "/pool/other")]),
        volume_capabilities: vec![mount(Mode::MultiNodeMultiWriter)],
        ..Default::default()
    };
    let query: CapacityQuery = read(request).unwrap();
    assert_eq!((query.backend.as_str(), query.volume_path.as_str()), ("main", "pool/other"));
    assert!(!query.serviceable);
    let query: CapacityQuery = read(pb::GetCapacityRequest::default()).unwrap();
    assert_eq!(query.volume_path.as_str(), "pool/volumes");
    assert!(query.serviceable);
}
