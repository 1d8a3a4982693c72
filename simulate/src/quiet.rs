//! What must be so once nothing goes wrong any more.

use rds_csi::attachment::ledger::{COPY_ANNOTATION, Record, State};
use serde_json::Value;

use crate::controller::{IMAGES, NAMESPACE, RELEASE};
use crate::ledger::{Known, Stage};
use crate::sidecars::{ATTACHMENTS, parties};
use crate::world::World;

impl World {
    /// What is not yet as it must be; empty when all is well.
    pub fn unsettled(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if !self.hosts.port_is_up() {
            wrong.push("the storage port is down".into());
        }
        let attachments = self.api.list(ATTACHMENTS);
        let held_back = self.held_back(&attachments);
        for (name, known) in self.ledger.all().iter() {
            match known.stage {
                Stage::Making => wrong.push(format!("{name} is not made")),
                Stage::Going => wrong.push(format!("{name} is not deleted")),
                Stage::Gone => {}
                Stage::There if held_back.contains(name) => {}
                Stage::There => {
                    let of_it = |va: &&Value| parties(va).is_some_and(|(of, _)| of == *name);
                    let held = attachments.iter().filter(of_it).count();
                    wrong.extend(self.volume_unsettled(name, known, held));
                }
            }
        }
        let counts =
            |va: &&Value| !parties(va).is_some_and(|(volume, _)| held_back.contains(&volume));
        for va in attachments.iter().filter(counts) {
            wrong.extend(self.attachment_unsettled(va, &attachments));
        }
        wrong.extend(self.orphans());
        let deleting = self.api.get("configmaps", &format!("{NAMESPACE}/{RELEASE}-deleting"));
        let left = deleting.as_ref().and_then(|map| map["data"].as_object()).map_or(0, |d| d.len());
        if left > 0 {
            wrong.push(format!("{left} entries are left in the list of deletions"));
        }
        wrong
    }

    /// Volumes of two nodes of which one is gone: it cannot be shut out alone, so nothing is done
    /// and a person is told.
    fn held_back(&self, attachments: &[Value]) -> Vec<String> {
        let multi = |name: &String| self.ledger.with(name, |known| known.multi) == Some(true);
        let held = attachments.iter().filter_map(parties);
        let gone = held.filter(|(_, node)| self.api.get("nodes", node).is_none());
        gone.map(|(volume, _)| volume).filter(multi).collect()
    }

    /// The copy on a PV; null where there is none.
    pub fn copy(&self, name: &str) -> Value {
        let pv = self.api.get("persistentvolumes", name).unwrap_or_default();
        let copy = pv["metadata"]["annotations"][COPY_ANNOTATION].as_str().unwrap_or_default();
        serde_json::from_str(copy).unwrap_or_default()
    }

    /// One property of a disk, as the box prints it.
    pub(crate) fn disk(&self, name: &str, property: &str) -> String {
        let line = format!(":put [/disk/get [/disk/find where slot=\"{name}\"] {property}]");
        self.rds.exec(&line).text().trim().to_owned()
    }

    fn volume_unsettled(&self, name: &str, known: &Known, attachments: usize) -> Option<String> {
        let comment = self.disk(name, "comment");
        let Ok(record) = Record::parse(&comment) else {
            return Some(format!("the disk of {name} has no record: {comment}"));
        };
        let copy = self.copy(name);
        if copy["record"] != comment.as_str() {
            return Some(format!("record and copy of {name} differ: {comment} and {copy}"));
        }
        let size = self.disk(name, "file-size").replace(' ', "");
        if copy["bytes"].as_u64().unwrap_or(0) < known.bytes {
            return Some(format!("{name} has {size}, the copy {copy}, wanted {}", known.bytes));
        }
        if record.state == State::Attached && attachments == 0 {
            return Some(format!("{name} is attached, and has no VolumeAttachment: {comment}"));
        }
        let exported = matches!(self.disk(name, "nvme-tcp-export").as_str(), "true" | "yes");
        (exported != (record.state == State::Attached))
            .then(|| format!("{name} is exported: {exported}, and its record is {comment}"))
    }

    fn attachment_unsettled(&self, va: &Value, all: &[Value]) -> Option<String> {
        let name = &va["metadata"]["name"];
        let (volume, node) = parties(va)?;
        let of_it = |va: &&Value| parties(va).is_some_and(|(of, _)| of == volume);
        if !va["metadata"]["deletionTimestamp"].is_null() {
            return Some(format!("{name} is still going: {}", va["status"]));
        }
        if self.api.get("nodes", &node).is_none() {
            return Some(format!("{name} is there, and its node is not"));
        }
        if va["status"]["attached"] != true {
            let held = all.iter().filter(of_it).filter(|va| va["status"]["attached"] == true);
            let is_held = held.count() > 0;
            return (!is_held).then(|| format!("{name} is not attached: {}", va["status"]));
        }
        let context = &va["status"]["attachmentMetadata"];
        let text = |key: &str| context[key].as_str().unwrap_or_default();
        let outcome = self.hosts.can_write(text("hostNqn"), text("nqn"));
        outcome
            .err()
            .map(|why| format!("{name} is attached, and {} cannot be used: {why}", text("nqn")))
    }

    /// A line of a controller that has died may make a volume when it is deleted already. Nothing
    /// on the box tells such a line from one that is wanted; the driver reports what it made.
    fn is_late_creation(&self, name: &str) -> bool {
        let is_first = |record: Record| record.revision == 1 && record.state == State::Detached;
        let is_closed = matches!(self.disk(name, "nvme-tcp-export").as_str(), "false" | "no");
        is_closed && Record::parse(&self.disk(name, "comment")).is_ok_and(is_first)
    }

    /// Images that neither a disk nor a PV explains.
    fn orphans(&self) -> Option<String> {
        let found = self.rds.exec(&format!(
            ":foreach f in=[/file/find where name~\"{IMAGES}/\"] do={{ :put [/file/get $f name] }}"
        ));
        for line in found.text().lines() {
            let image = line.trim().trim_start_matches('/');
            let name = image.trim_start_matches(IMAGES).trim_matches('/').trim_end_matches(".img");
            let known = self.ledger.all().get(name).map(|known| known.stage);
            let is_owned = known == Some(Stage::There) || image.is_empty();
            if !is_owned && !self.is_late_creation(name) {
                return Some(format!("nobody owns {image}"));
            }
        }
        None
    }
}
