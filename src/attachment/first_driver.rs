//! Volumes of the first driver (Go, rds-csi v0.11): a disk without a record, found by its PV.
//!
//! It exported every volume when it made it, to whoever knows the NQN `<prefix>:<slot>`, and left it
//! so. Such a volume is served in the static form: its NQN never changes, what it is exported to says
//! who may connect, and VolumeAttachments say who does. It is never fenced, never an orphan, and gets
//! neither a record nor an annotation. What its PV does not name exactly is not touched.

pub mod publish;
pub mod unpublish;

use std::collections::BTreeMap;

use super::export::Hosts;
use crate::volume::endpoint::endpoint;
use crate::volume::{ImagePath, NodeName, Nqn, Refused, Slot, VolumePath};

/// What a PV of the first driver names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The NQN of the export.
    pub nqn: Nqn,
    /// The image.
    pub image: ImagePath,
}

/// Reads the volume attributes of a PV whose handle names `slot` on the box at `address`. `None` for
/// a PV that is not in the first driver's form: ours has `backend` and no `nqn`.
///
/// # Errors
/// When it is in that form and names another slot or box, or nothing that could be one.
pub fn claim(
    attributes: &BTreeMap<String, String>,
    slot: &Slot,
    address: &str,
) -> Option<Result<Claim, Refused>> {
    if attributes.contains_key("backend") {
        return None;
    }
    let (nqn, path) = (attributes.get("nqn")?, attributes.get("volumePath")?);
    let named = || {
        let nqn = Nqn::parse(nqn)?;
        if nqn.as_str().rsplit_once(':').is_none_or(|(_, end)| end != slot.as_str()) {
            let what = format!("of the PV is not the NQN of the slot {slot}");
            return Err(Refused::value(nqn.as_str(), what));
        }
        match attributes.get("rdsAddress") {
            Some(other) if endpoint(other) != endpoint(address) => {
                Err(Refused::value(other, format!("of the PV is not the box at {address}")))
            }
            _ => Ok(Claim { nqn, image: VolumePath::parse(path)?.image(slot) }),
        }
    };
    Some(named())
}

impl Claim {
    /// Is this the disk that the PV names?
    ///
    /// # Errors
    /// When its image is another one, or none.
    pub fn check(&self, image: Option<&ImagePath>) -> Result<(), Refused> {
        match image {
            Some(image) if *image == self.image => Ok(()),
            Some(other) => {
                Err(Refused(format!("the PV names the image {}, the disk has {other}", self.image)))
            }
            None => {
                Err(Refused(format!("the PV names the image {}, the disk has none", self.image)))
            }
        }
    }
}

/// For whom a disk is exported or, where it is closed, was exported last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// For everybody, or the box does not say.
    All,
    /// For the node in question.
    Asking,
    /// For nobody: it was taken from a node that had let go.
    Nobody,
    /// For another node of this cluster.
    Node(NodeName),
    /// For a host that no node of this cluster has.
    Stranger,
}

/// The host for which a volume is that nobody holds: the nil UUID, which no host has.
const NOBODY: &str = "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-0000-0000-000000000000";

/// The name of a host that there is not.
///
/// # Errors
/// Never: the name is an NQN.
pub fn nobody() -> Result<Nqn, Refused> {
    Nqn::parse(NOBODY)
}

/// Who may connect to a disk, seen from the nodes that ask.
pub fn allowed<'a>(
    allow_host: &str,
    asking: &[NodeName],
    nodes: impl IntoIterator<Item = &'a NodeName>,
    hosts: &Hosts,
) -> Allowed {
    let is_its =
        |node: &&NodeName| hosts.host(node).is_ok_and(|host| host.nqn.as_str() == allow_host);
    if allow_host.is_empty() {
        return Allowed::All;
    }
    if allow_host == NOBODY {
        return Allowed::Nobody;
    }
    if asking.iter().any(|node| is_its(&node)) {
        return Allowed::Asking;
    }
    nodes.into_iter().find(is_its).map_or(Allowed::Stranger, |node| Allowed::Node(node.clone()))
}

#[cfg(test)]
mod test {
    use super::*;

    fn attributes(changed: &[(&str, Option<&str>)]) -> BTreeMap<String, String> {
        let usual = [
            ("rdsAddress", "10.0.0.1"),
            ("nvmeAddress", "10.0.1.1"),
            ("nvmePort", "4420"),
            ("nqn", "nqn.2000-02.com.mikrotik:pvc-1"),
            ("volumePath", "/pool/volumes"),
        ];
        let mut all: BTreeMap<String, String> =
            usual.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        for (key, value) in changed {
            match value {
                Some(value) => all.insert((*key).into(), (*value).into()),
                None => all.remove(*key),
            };
        }
        all
    }

    fn claimed(changed: &[(&str, Option<&str>)]) -> Option<Result<Claim, Refused>> {
        let slot = Slot::parse("pvc-1").unwrap();
        claim(&attributes(changed), &slot, "10.0.0.1:22")
    }

    #[test]
    fn a_pv_claims_a_disk_only_where_it_names_slot_path_and_box() {
        let good = claimed(&[]).unwrap().unwrap();
        assert_eq!(good.image.as_str(), "pool/volumes/pvc-1.img");
        for fine in [("rdsAddress", None), ("rdsAddress", Some("10.0.0.1:22"))] {
            assert_eq!(claimed(&[fine]), Some(Ok(good.clone())), "{fine:?}");
        }
        let prefix = claimed(&[("nqn", Some("nqn.2020-01.org.example:a:pvc-1"))]);
        assert!(prefix.unwrap().is_ok(), "any prefix of nqnPrefix");
        for (changed, part) in [
            (("nqn", Some("nqn.2000-02.com.mikrotik:pvc-2")), "slot pvc-1"),
            (("nqn", Some("nqn.2000-02.com.mikrotik:xpvc-1")), "slot pvc-1"),
            (("nqn", Some("pvc-1")), "no NQN"),
            (("rdsAddress", Some("10.0.0.2")), "10.0.0.1:22"),
            (("rdsAddress", Some("10.0.0.1:2222")), "10.0.0.1:22"),
            (("volumePath", Some("../etc")), "no path"),
        ] {
            let refused = claimed(&[changed]).unwrap().unwrap_err();
            assert!(refused.0.contains(part), "{changed:?}: {refused}");
        }
        for ours in [("backend", Some("main")), ("nqn", None), ("volumePath", None)] {
            assert_eq!(claimed(&[ours]), None, "{ours:?}");
        }
    }

    #[test]
    fn a_disk_with_another_image_or_none_is_not_the_one() {
        let claim = claimed(&[]).unwrap().unwrap();
        let image = |path| ImagePath::parse(path).unwrap();
        assert_eq!(claim.check(Some(&image("/pool/volumes/pvc-1.img"))), Ok(()));
        assert!(claim.check(Some(&image("pool/other/pvc-1.img"))).is_err());
        assert!(claim.check(None).is_err());
    }

    #[test]
    fn who_is_allowed_is_found_by_the_host_nqn() {
        let hosts = Hosts::new((*b"one cluster's secret of 32 bytes").into());
        let nodes = ["n1", "n2"].map(|name| NodeName::parse(name).unwrap());
        let of = |node: &NodeName| hosts.host(node).unwrap().nqn;
        let ask = |host: &str| allowed(host, &nodes[..1], &nodes, &hosts);
        assert_eq!(ask(""), Allowed::All);
        assert_eq!(ask(nobody().unwrap().as_str()), Allowed::Nobody);
        assert_eq!(ask(of(&nodes[0]).as_str()), Allowed::Asking);
        assert_eq!(ask(of(&nodes[1]).as_str()), Allowed::Node(nodes[1].clone()));
        assert_eq!(ask("nqn.2014-08.org.nvmexpress:uuid:somebody"), Allowed::Stranger);
    }
}
