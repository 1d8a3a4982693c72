use proptest::prelude::*;

use super::*;
use crate::routeros::{Quirks, RouterOs};

fn image(size: u64, content: u64) -> Image {
    Image { size, content }
}

fn export(nqn: &str, host: Option<&str>) -> Export {
    let (nqn, slot) = (nqn.to_owned(), "slot".to_owned());
    Export { nqn, port: 4420, host: host.map(Into::into), slot }
}

fn outside(nqn: Option<&str>, host: Option<&str>, size: u64, content: u64) -> Outside {
    let mut outside = Outside::default();
    outside.images.insert("pool/a.img".into(), image(size, content));
    outside.devices.insert(7, "pool/a.img".into());
    if let Some(nqn) = nqn {
        outside.exports.insert(7, export(nqn, host));
        outside.ports.insert(4420);
    }
    outside
}

#[test]
fn a_new_name_closes_the_old_one_first_and_other_hosts_alone_cut_nobody_off() {
    let before = outside(Some("g1"), Some("a"), 10, 1);
    assert_eq!(
        plan(&before, &outside(Some("g2"), Some("b"), 10, 1)),
        [Step::Unexport(7), Step::Export(7, export("g2", Some("b")))]
    );
    assert_eq!(
        plan(&before, &outside(Some("g1"), Some("b"), 10, 1)),
        [Step::Allow(7, export("g1", Some("b")))]
    );
}

#[test]
fn an_image_grows_under_its_device_and_one_that_is_made_anew_takes_it_away() {
    let before = outside(Some("g1"), None, 10, 1);
    let name = || "pool/a.img".to_owned();
    assert_eq!(
        plan(&before, &outside(Some("g1"), None, 20, 1)),
        [Step::SizeImage(name(), image(20, 1)), Step::Resize(7)]
    );
    assert_eq!(
        plan(&before, &outside(Some("g1"), None, 20, 2)),
        [
            Step::Unexport(7),
            Step::Detach(7),
            Step::MakeImage(name(), image(20, 2)),
            Step::Attach(7, name()),
            Step::Export(7, export("g1", None)),
        ]
    );
}

#[test]
fn a_box_that_is_off_keeps_nothing_but_its_images() {
    let before = outside(Some("g1"), None, 10, 1);
    assert_eq!(
        plan(&before, &before.off()),
        [Step::Unexport(7), Step::ClosePort(4420), Step::Detach(7)]
    );
}

fn any_outside() -> impl Strategy<Value = Outside> {
    let images = prop::collection::btree_map(0..4_u32, (1..3_u64, 1..3_u64), 0..4);
    let exports = prop::collection::btree_map(0..4_u32, (0..3_u8, 0..2_u16, 0..3_u8), 0..4);
    (images, exports, prop::collection::btree_set(1..3_u16, 0..2)).prop_map(
        |(images, exports, ports)| {
            let mut outside = Outside { ports, ..Outside::default() };
            for (id, (size, content)) in images {
                outside.images.insert(format!("{id}"), image(size, content));
                outside.devices.insert(id, format!("{id}"));
            }
            for (id, (nqn, port, host)) in exports {
                if outside.devices.contains_key(&id) {
                    let host = (host > 0).then(|| format!("{host}"));
                    let (nqn, slot) = (format!("{id}-{nqn}"), format!("{id}"));
                    outside.ports.insert(port + 1);
                    outside.exports.insert(id, Export { nqn, port: port + 1, host, slot });
                }
            }
            outside
        },
    )
}

proptest! {
    #[test]
    fn the_steps_lead_there_and_none_acts_on_what_is_not_there(
        before in any_outside(), after in any_outside()
    ) {
        let mut now = before.clone();
        for step in plan(&before, &after) {
            match &step {
                Step::Detach(id) => prop_assert!(!now.exports.contains_key(id)),
                Step::Attach(_, image) => prop_assert!(now.images.contains_key(image)),
                Step::RemoveImage(name) => prop_assert!(!now.devices.values().any(|i| i == name)),
                Step::Export(id, export) => {
                    prop_assert!(now.devices.contains_key(id) && !now.exports.contains_key(id));
                    prop_assert!(now.ports.contains(&export.port));
                }
                _ => {}
            }
            now.take(&step);
        }
        prop_assert_eq!(&now, &after);
        prop_assert_eq!(plan(&now, &after), []);
    }
}

#[test]
fn what_is_to_be_seen_follows_the_console() {
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    os.exec("/disk/add type=file slot=a file-path=storage-pool/a.img file-size=1M");
    let seen = |os: &RouterOs| os.outside();
    let closed = seen(&os);
    assert_eq!(closed.images["storage-pool/a.img"].size, 1 << 20);
    assert_eq!((closed.devices.len(), closed.exports.len(), closed.ports.len()), (1, 0, 0));

    os.exec("/disk/set a nvme-tcp-export=yes nvme-tcp-server-nqn=n nvme-tcp-server-port=4421");
    os.exec("/disk/set a nvme-tcp-server-allow-host-name=h");
    let open = seen(&os);
    let export = open.exports.values().next().unwrap();
    assert_eq!((export.nqn.as_str(), export.port), ("n", 4421));
    assert_eq!((export.host.as_deref(), export.slot.as_str()), (Some("h"), "a"));
    assert_eq!(open.ports, BTreeSet::from([4421]));

    os.set_target(Target::Bare).unwrap();
    assert_eq!((seen(&os).exports.len(), seen(&os).ports.len()), (0, 1));
    os.set_target(Target::Closed).unwrap();
    assert_eq!((seen(&os).exports.len(), seen(&os).ports.len()), (0, 0));
    os.set_target(Target::Serving).unwrap();
    assert_eq!(seen(&os), open);
    os.exec("/file/remove storage-pool/a.img");
    assert_eq!(seen(&os), Outside::default(), "a disk whose image is gone is no device");
}
