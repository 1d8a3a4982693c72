//! How a disk must be exported for a record, and the names under which hosts connect.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::ledger::{Record, Sharing, State};
use super::static_form::Mode;
use crate::volume::{NodeName, Nqn, Refused, Slot, hex};

/// How a disk must be exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Is it exported?
    pub on: bool,
    /// Under which NQN.
    pub nqn: Nqn,
    /// Can the box be told the NQN? Else it names the export after the slot by itself.
    pub names: bool,
    /// For which host alone; `None` for a volume that two nodes may hold.
    pub allow_host: Option<Nqn>,
    /// On which TCP port.
    pub port: u16,
}

/// An export as the box shows it.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Is there one? `None` where the box did not say.
    pub on: Option<bool>,
    /// Under which NQN.
    pub nqn: &'a str,
    /// For which host alone; empty where all may connect.
    pub allow_host: &'a str,
    /// On which TCP port, where the box said it.
    pub port: Option<u16>,
}

/// Where the exports of a volume lie: the same for every record of it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The disk.
    pub slot: &'a Slot,
    /// What precedes `:<slot>` in every NQN.
    pub nqn_base: &'a str,
    /// The TCP port.
    pub port: u16,
    /// Whether the box can be told an NQN.
    pub mode: Mode,
}

/// Names hosts: HMAC of the cluster Secret over the node name. A pod cannot compute them, and
/// machines cloned from one image do not share them.
#[derive(Clone)]
pub struct Hosts {
    secret: Arc<[u8]>,
    /// Those that were named beforehand.
    known: Arc<HashMap<NodeName, Nqn, RandomState>>,
}

/// A host as NVMe knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Host NQN, of the form that the NVMe base specification gives for UUIDs (2.0, 4.5).
    pub nqn: Nqn,
    /// Host identifier: the same UUID.
    pub id: String,
}

impl Hosts {
    /// Hosts of the cluster that has this Secret.
    pub fn new(secret: Arc<[u8]>) -> Self {
        Self { secret, known: Arc::default() }
    }

    /// The same, with the hosts of these nodes named once instead of each time they are asked for.
    #[must_use]
    pub fn knowing<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeName>) -> Self {
        let nqn = |node: &NodeName| Some((node.clone(), self.host(node).ok()?.nqn));
        let known = nodes.into_iter().filter_map(nqn).collect();
        Self { secret: Arc::clone(&self.secret), known: Arc::new(known) }
    }

    /// Is this the NQN of the host that runs on this node?
    fn is_named(&self, node: &NodeName, nqn: &str) -> bool {
        match self.known.get(node) {
            Some(known) => known.as_str() == nqn,
            None => self.host(node).is_ok_and(|host| host.nqn.as_str() == nqn),
        }
    }

    /// The NQN of the host that runs on this node.
    ///
    /// # Errors
    /// Where the Secret is no key.
    pub fn nqn(&self, node: &NodeName) -> Result<Nqn, Refused> {
        match self.known.get(node) {
            Some(nqn) => Ok(nqn.clone()),
            None => Ok(self.host(node)?.nqn),
        }
    }

    /// The host that runs on this node.
    pub fn host(&self, node: &NodeName) -> Result<Host, Refused> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret)
            .map_err(|_| Refused("the cluster Secret is no HMAC key".into()))?;
        mac.update(b"nvme-host\0");
        mac.update(node.as_str().as_bytes());
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(to, from)| *to = from);
        // RFC 9562, version 8 (custom) and the usual variant.
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let digits = hex(&bytes);
        let id = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]]
            .join("-");
        Ok(Host { nqn: Nqn::parse(&format!("nqn.2014-08.org.nvmexpress:uuid:{id}"))?, id })
    }
}

/// How a disk must be exported while `record` is current. `holder` is the full name of the first
/// node of the record.
pub fn terms(
    record: &Record,
    place: Place<'_>,
    hosts: &Hosts,
    holder: Option<&NodeName>,
) -> Result<Terms, Refused> {
    let on = record.state == State::Attached;
    let allow_host = match (record.sharing, holder) {
        (Sharing::Single, Some(node)) if on => Some(hosts.nqn(node)?),
        (Sharing::Single, None) if on => {
            return Err(Refused("the name of the node that holds the volume is not known".into()));
        }
        _ => None,
    };
    let names = place.mode == Mode::Usual;
    if on && !names && !record.is_static() {
        return Err(Refused(
            "the volume is attached under an NQN that this RouterOS cannot set: detach it, or bring \
             back 7.21 or later"
                .into(),
        ));
    }
    let nqn = record.nqn(place.nqn_base, place.slot)?;
    Ok(Terms { on, nqn, names, allow_host, port: place.port })
}

impl Terms {
    /// Is the disk exported just so? What the box did not say proves nothing, but for the port:
    /// a box may leave out the usual one.
    pub fn hold(&self, shown: Shown<'_>) -> bool {
        if !self.on {
            return shown.on == Some(false);
        }
        let host = self.allow_host.as_ref().map_or("", |host| host.as_str());
        let is_named = shown.nqn == self.nqn.as_str() || !self.names && shown.nqn.is_empty();
        shown.on == Some(true)
            && is_named
            && shown.allow_host == host
            && shown.port.is_none_or(|port| port == self.port)
    }
}

/// Is the disk exported just as the [`terms`] of `record` say? None of them is made for that: a pass
/// asks for every volume.
pub fn is_exported(
    record: &Record,
    place: Place<'_>,
    hosts: &Hosts,
    holder: Option<&NodeName>,
    shown: Shown<'_>,
) -> bool {
    if record.state != State::Attached {
        return terms(record, place, hosts, holder).is_ok_and(|terms| terms.hold(shown));
    }
    let is_for_holder = match (record.sharing, holder) {
        (Sharing::Single, Some(node)) => hosts.is_named(node, shown.allow_host),
        (Sharing::Single, None) => false,
        (Sharing::Multi, _) => shown.allow_host.is_empty(),
    };
    let names = place.mode == Mode::Usual;
    let is_unnamed = !names && record.is_static() && shown.nqn.is_empty();
    shown.on == Some(true)
        && is_for_holder
        && (names || record.is_static())
        && shown.port.is_none_or(|port| port == place.port)
        && (is_unnamed || record.has_nqn(shown.nqn, place.nqn_base, place.slot))
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;
    use crate::attachment::ledger::{ClusterTag, NodeTag, Nonce};

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    #[test]
    fn a_host_is_the_same_again_and_another_for_each_node_and_cluster() {
        let hosts = Hosts::new((*b"one cluster's secret of 32 bytes").into());
        let others = Hosts::new((*b"two cluster's secret of 32 bytes").into());
        let host = hosts.host(&node("n1")).unwrap();
        assert_eq!(hosts.host(&node("n1")).unwrap(), host);
        assert_ne!(hosts.host(&node("n2")).unwrap(), host);
        assert_ne!(others.host(&node("n1")).unwrap(), host);
        assert!(host.nqn.as_str().ends_with(&host.id) && host.id.len() == 36, "{host:?}");
        let knowing = hosts.knowing([&node("n2")]);
        for name in ["n1", "n2"] {
            assert_eq!(knowing.nqn(&node(name)), Ok(hosts.host(&node(name)).unwrap().nqn));
        }
    }

    fn place(slot: &Slot) -> Place<'_> {
        Place { slot, nqn_base: "nqn.x", port: 4420, mode: Mode::Usual }
    }

    fn shown<'a>(
        on: Option<bool>,
        nqn: &'a str,
        allow_host: &'a str,
        port: Option<u16>,
    ) -> Shown<'a> {
        Shown { on, nqn, allow_host, port }
    }

    #[test]
    fn an_attached_volume_is_exported_for_its_holder_alone_and_a_shared_one_for_all() {
        let hosts = Hosts::new((*b"one cluster's secret of 32 bytes").into());
        let slot = Slot::parse("v").unwrap();
        let tag = NodeTag::of("c", &node("n1"));
        let created = Record::created(ClusterTag::of("c"));
        let nonce = Nonce::random();
        let single = created.attach(tag, Sharing::Single, 0, nonce);
        let held = terms(&single, place(&slot), &hosts, Some(&node("n1"))).unwrap();
        let host = hosts.host(&node("n1")).unwrap().nqn;
        let (nqn, host) = (held.nqn.as_str(), host.as_str());
        assert!(held.hold(shown(Some(true), nqn, host, Some(4420))));
        assert!(held.hold(shown(Some(true), nqn, host, None)));
        assert!(!held.hold(shown(Some(true), nqn, host, Some(4421))), "nobody finds it there");
        assert!(!held.hold(shown(Some(true), nqn, "", Some(4420))), "anybody may connect");
        assert!(!held.hold(shown(Some(true), "nqn.x:v.g0-000000000000", host, Some(4420))));
        assert!(!held.hold(shown(Some(false), nqn, host, Some(4420))));
        assert!(terms(&single, place(&slot), &hosts, None).is_err(), "never for anybody");
        let multi = created.attach(tag, Sharing::Multi, 0, nonce);
        assert_eq!(terms(&multi, place(&slot), &hosts, None).unwrap().allow_host, None);
    }

    #[test]
    fn an_export_in_the_static_form_is_named_after_its_slot_and_says_so_only_where_it_can() {
        let hosts = Hosts::new((*b"one cluster's secret of 32 bytes").into());
        let slot = Slot::parse("v").unwrap();
        let n1 = node("n1");
        let created = Record::created(ClusterTag::of("c"));
        let attached = |nonce| created.attach(NodeTag::of("c", &n1), Sharing::Single, 0, nonce);
        let host = hosts.host(&n1).unwrap().nqn;
        let terms =
            |record, mode| super::terms(record, Place { mode, ..place(&slot) }, &hosts, Some(&n1));
        let fixed = attached(Nonce::ZERO);
        let named = |nqn| shown(Some(true), nqn, host.as_str(), Some(4420));
        let old = terms(&fixed, Mode::Static).unwrap();
        assert!(old.hold(named("")) && old.hold(named("v")) && !old.hold(named("nqn.x:w")));
        assert!(!old.names);
        // After an upgrade the box may show any name: what the host waits for is put back.
        let upgraded = terms(&fixed, Mode::Usual).unwrap();
        assert_eq!((upgraded.nqn.as_str(), upgraded.names), ("v", true));
        assert!(upgraded.hold(named("v")) && !upgraded.hold(named("")));
        // After a downgrade there is no way to export what the host waits for.
        let usual = attached(Nonce::random());
        assert!(terms(&usual, Mode::Static).is_err());
        assert!(terms(&usual.detach(), Mode::Static).is_ok(), "closing needs no name");
    }

    #[test]
    fn what_the_box_did_not_say_is_not_taken_for_closed() {
        let hosts = Hosts::new((*b"one cluster's secret of 32 bytes").into());
        let created = Record::created(ClusterTag::of("c"));
        let slot = Slot::parse("v").unwrap();
        let closed = terms(&created, place(&slot), &hosts, None).unwrap();
        assert!(closed.hold(shown(Some(false), "", "", None)));
        assert!(!closed.hold(shown(None, "", "", None)));
    }

    /// All records that matter for an export, and some that differ in little.
    fn records() -> Vec<Record> {
        let created = Record::created(ClusterTag::of("c"));
        let tag = NodeTag::of("c", &node("n1"));
        let nonce = Nonce::random();
        let attached =
            [(Sharing::Single, nonce), (Sharing::Multi, nonce), (Sharing::Single, Nonce::ZERO)]
                .map(|(sharing, nonce)| created.attach(tag, sharing, 0, nonce));
        let later = Record { generation: 10, ..attached[0].clone() };
        let fenced = [attached[0].fence(0, Nonce::random()), attached[2].fence(0, nonce)];
        let closed = [created, attached[0].detach(), attached[0].delete()];
        attached.into_iter().chain([later]).chain(fenced).chain(closed).collect()
    }

    proptest! {
        #[test]
        fn a_disk_is_exported_as_recorded_exactly_where_the_terms_hold(
            judged in 0..9usize, seen in 0..9usize, base in 0..5usize, on in any::<Option<bool>>(),
            nqn in 0..6usize, host in 0..4usize, port in 0..3usize, usual in any::<bool>(),
            holder in 0..3usize, known in any::<bool>(),
        ) {
            let long = format!("nqn.{}", "x".repeat(200));
            let base = ["nqn.x", "nqn.x", "x", "nqn.x y", &long][base];
            let (records, slot) = (records(), Slot::parse("v").unwrap());
            let mode = if usual { Mode::Usual } else { Mode::Static };
            let place = Place { nqn_base: base, mode, ..place(&slot) };
            let mut hosts = Hosts::new((*b"one cluster's secret of 32 bytes").into());
            if known {
                hosts = hosts.knowing([&node("n1")]);
            }
            let record = &records[judged];
            let of_it = |record: &Record| {
                format!("{base}:v.g{}-{}", record.generation, record.nonce)
            };
            let own = of_it(record);
            let nqn = match nqn {
                0 | 1 => own.clone(),
                2 => of_it(&records[seen]),
                3 => String::new(),
                4 => "v".to_owned(),
                _ => format!("{own}0"),
            };
            let host = match host {
                0 | 1 => hosts.host(&node("n1")).unwrap().nqn.to_string(),
                2 => hosts.host(&node("n2")).unwrap().nqn.to_string(),
                _ => String::new(),
            };
            let shown = shown(on, &nqn, &host, [None, Some(4420), Some(4421)][port]);
            let holder = [Some(node("n1")), Some(node("n2")), None][holder].clone();
            let terms = terms(record, place, &hosts, holder.as_ref());
            let expected = terms.is_ok_and(|terms| terms.hold(shown));
            prop_assert_eq!(is_exported(record, place, &hosts, holder.as_ref(), shown), expected);
        }
    }
}
