//! What the kernel says of a volume's connection, device and mounts, and of the boxes behind them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::look::{Seen, is_of};
use super::staged::{Note, Use};
use super::{Node, shown};
use crate::host::{Controller, ControllerState, Entry};
use crate::operations::{Error, Kind};
use crate::volume::Handle;

/// Whose health is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthQuery {
    /// Which volume.
    pub volume: Handle,
    /// Where it is published, where the caller says so.
    pub target: Option<PathBuf>,
}

/// How bad it is, for this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It works, with a restriction.
    Degraded,
    /// Nothing can be read or written at present.
    Inaccessible,
}

/// What is wrong with a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ailment {
    /// How bad.
    pub severity: Severity,
    /// In one word, CamelCase.
    pub reason: &'static str,
    /// In words for a person.
    pub message: String,
}

/// What is wrong with a box, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxAilment {
    /// Does no connection to it work?
    pub unreachable: bool,
    /// In words for a person.
    pub message: String,
}

impl Node {
    /// What is wrong with a volume; nothing for a healthy one.
    ///
    /// # Errors
    /// `NotFound` for a volume that is neither staged nor was tried.
    pub async fn volume_health(&self, wanted: HealthQuery) -> Result<Vec<Ailment>, Error> {
        let seen = self.look(&wanted.volume, None).await?;
        let failure = self.failure(&wanted.volume);
        if seen.note.is_none() && failure.is_none() {
            let what = format!("volume {} is not staged on this node", shown(&wanted.volume));
            return Err(Error::new(Kind::NotFound, what));
        }
        let mut found: Vec<Ailment> = failure
            .into_iter()
            .map(|error| ailment(Severity::Inaccessible, "NotMounted", error.message))
            .collect();
        if let Some(note) = &seen.note {
            found.extend(connection(note, &seen));
            found.extend(mounts(note, &seen));
            if let Some(target) = &wanted.target {
                let entry = self.parts.host.entry(target).await?;
                found.extend(at_target(note, &seen, target, entry));
            }
        }
        Ok(found)
    }

    /// What is wrong with the boxes of the volumes that are staged here.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn storage_health(&self) -> Result<Vec<BoxAilment>, Error> {
        let notes = self.notes().await?;
        let controllers = self.parts.host.controllers().await?;
        Ok(boxes(notes.values(), &controllers))
    }
}

fn ailment(severity: Severity, reason: &'static str, message: impl Into<String>) -> Ailment {
    Ailment { severity, reason, message: message.into() }
}

fn connection(note: &Note, seen: &Seen) -> Option<Ailment> {
    let nqn = &note.nqn;
    let bad = |reason, message: String| Some(ailment(Severity::Inaccessible, reason, message));
    if seen.to(nqn).next().is_none() {
        return bad("Disconnected", format!("this node has no connection to {nqn}"));
    }
    if !seen.is_live(nqn) {
        return bad("Connecting", format!("this node is trying to connect to {nqn}; I/O waits"));
    }
    if seen.devices.is_empty() {
        return bad("DeviceMissing", format!("{nqn} is connected and shows no device"));
    }
    None
}

fn mounts(note: &Note, seen: &Seen) -> Option<Ailment> {
    let Use::Mount { read_only, .. } = &note.used else { return None };
    let (mount, device) = (seen.topmost(&note.staging)?, seen.devices.first()?);
    let place = note.staging.display();
    if !is_of(mount, device) {
        let message = format!("what is mounted at {place} is a device that is gone");
        return Some(ailment(Severity::Inaccessible, "StaleMount", message));
    }
    if (mount.read_only || mount.file_system_read_only) && !read_only {
        let message = format!("{place} has become read-only");
        return Some(ailment(Severity::Degraded, "ReadOnly", message));
    }
    None
}

fn at_target(note: &Note, seen: &Seen, target: &PathBuf, entry: Entry) -> Option<Ailment> {
    let place = target.display();
    let Some(mount) = seen.topmost(target) else {
        let message = format!("nothing is mounted at {place}");
        return note
            .targets
            .contains_key(target)
            .then(|| ailment(Severity::Inaccessible, "Unmounted", message));
    };
    let device = seen.devices.first()?;
    let is_here = match entry {
        Entry::Block(number) => number == device.number,
        _ => is_of(mount, device),
    };
    let message = format!("what is to be seen at {place} is a device that is gone");
    (!is_here).then(|| ailment(Severity::Inaccessible, "StaleTarget", message))
}

/// By address: how many of the volumes behind it have a connection that works.
fn boxes<'a>(notes: impl Iterator<Item = &'a Note>, controllers: &[Controller]) -> Vec<BoxAilment> {
    let mut by_address: BTreeMap<(String, u16), (usize, usize)> = BTreeMap::new();
    for note in notes {
        let connect = note.connect();
        let (works, all) = by_address.entry((connect.address, connect.port)).or_default();
        let is_live = |one: &&Controller| one.nqn == note.nqn && one.state == ControllerState::Live;
        *works += usize::from(controllers.iter().any(|one| is_live(&one)));
        *all += 1;
    }
    let bad = by_address.into_iter().filter(|(_, (works, all))| works < all);
    bad.map(|((address, port), (works, all))| BoxAilment {
        unreachable: works == 0,
        message: format!("{works} of {all} volumes on {address}:{port} are connected"),
    })
    .collect()
}

#[cfg(test)]
mod test {
    use super::*;
    use std::path::Path;
    use std::time::Duration;

    use crate::host::{Connect, Timing};
    use crate::volume::Nqn;

    fn note(slot: &str, address: &str) -> Note {
        let nqn = Nqn::parse(&format!("nqn.x:{slot}.g1-0123456789ab")).unwrap();
        let timing = Timing {
            ctrl_loss: None,
            reconnect_delay: Duration::from_secs(10),
            keep_alive: Duration::from_secs(5),
            fast_io_fail: None,
            io_queues: None,
        };
        let connect = Connect {
            nqn,
            address: address.into(),
            port: 4420,
            host_nqn: Nqn::parse("nqn.host").unwrap(),
            host_id: String::new(),
            timing,
        };
        let volume = Handle::parse(slot).unwrap();
        Note::new(&volume, &connect, "boot", Path::new("/s"), Use::Block)
    }

    fn controller(note: &Note, state: ControllerState) -> Controller {
        let (nqn, address) = (note.nqn.clone(), String::new());
        Controller { name: "nvme0".into(), nqn, host_nqn: None, address, state }
    }

    #[test]
    fn a_box_is_unreachable_when_no_volume_of_it_works_and_degraded_when_some_do() {
        let notes = [note("a", "10.0.0.1"), note("b", "10.0.0.1"), note("c", "10.0.0.2")];
        let live = notes.each_ref().map(|note| controller(note, ControllerState::Live));
        assert_eq!(boxes(notes.iter(), &live), []);
        let found = boxes(notes.iter(), &live[1..2]);
        let shown: Vec<_> = found.iter().map(|one| (one.unreachable, &*one.message)).collect();
        let wanted = [
            (false, "1 of 2 volumes on 10.0.0.1:4420 are connected"),
            (true, "0 of 1 volumes on 10.0.0.2:4420 are connected"),
        ];
        assert_eq!(shown, wanted);
        let waiting = [controller(&notes[2], ControllerState::Connecting)];
        assert!(boxes(notes[2..].iter(), &waiting)[0].unreachable);
    }
}
