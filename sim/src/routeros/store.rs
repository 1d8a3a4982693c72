//! What the box has: disks and files. Pure state, changed only by the menus.
//!
//! Configuration (disk items) and data (files) are separate, as on the box: configuration can be
//! reset or restored while the images stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::automation::Automation;
use super::quirks::Quirks;
use super::user::Users;
use super::value::Value;
use super::version::Version;

/// Properties by name, as `set` left them or as hardware has them.
pub type Properties = BTreeMap<&'static str, Value>;

/// I/O since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads done.
    pub read_ops: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Writes done.
    pub write_ops: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Started, not done.
    pub in_flight_ops: u64,
}

/// One row of `/disk`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// What is set and what is fixed.
    pub properties: Properties,
    /// I/O since boot.
    pub counters: Counters,
}

/// One row of `/file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Without a leading slash.
    pub name: String,
    /// `directory`, `disk`, `.img file`.
    pub kind: String,
    /// Bytes.
    pub size: i64,
    /// Seconds since 1970.
    pub modified: i64,
    /// Who wrote the bytes: changes when the content is lost. Two images of one name differ in it.
    pub content: u64,
}

/// Everything that survives a reboot.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// Disk items by id.
    pub disks: BTreeMap<u32, Arc<Disk>>,
    /// Files by id.
    pub files: BTreeMap<u32, Arc<File>>,
    /// What `/system/identity` says.
    pub identity: String,
    /// Who may log in to do what.
    pub users: Users,
    /// What the box runs by itself.
    pub automation: Automation,
    last_id: u32,
    last_content: u64,
}

/// What a menu needs to know about the box it runs on.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Which arguments mean something.
    pub version: Version,
    /// How the box behaves.
    pub quirks: &'a Quirks,
    /// Seconds since 1970.
    pub now: i64,
}

/// A command failed with this text. Nothing was changed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl Failure {
    /// A failure with a text from the table.
    pub fn new(text: impl Into<String>) -> Self {
        Failure(text.into())
    }
}

impl Disk {
    /// A property as text; empty where it is not set.
    pub fn text(&self, name: &str) -> String {
        self.properties.get(name).map(Value::to_string).unwrap_or_default()
    }

    /// A property as a condition; false where it is not set.
    pub fn is(&self, name: &str) -> bool {
        self.properties.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A property as a number; 0 where it is not set.
    pub fn number(&self, name: &str) -> i64 {
        self.properties.get(name).and_then(Value::as_number).unwrap_or(0)
    }

    /// The image behind the disk, without a leading slash.
    pub fn image(&self) -> Option<String> {
        let path = self.properties.get("file-path")?;
        Some(path.to_string().trim_start_matches('/').to_owned())
    }

    /// Whether hosts may connect.
    pub fn exported(&self) -> bool {
        self.is("nvme-tcp-export") && !self.is("disabled")
    }

    /// The NQN under which it is exported. Below 7.21 that is the slot name; later an unset one is
    /// guessed after the documented iSCSI default.
    pub fn nqn(&self, version: Version) -> String {
        let set = self.text("nvme-tcp-server-nqn");
        if !version.has_server_nqn() {
            self.text("slot")
        } else if set.is_empty() {
            format!("nqn.2000-02.com.mikrotik:{}", self.text("slot"))
        } else {
            set
        }
    }

    /// The port on which it is exported.
    pub fn port(&self) -> i64 {
        match self.number("nvme-tcp-server-port") {
            0 => 4420,
            port => port,
        }
    }
}

impl Store {
    /// Ids grow and are never used twice.
    pub fn next_id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    /// Names a new content of a file.
    pub fn next_content(&mut self) -> u64 {
        self.last_content += 1;
        self.last_content
    }

    /// The file of that name, with or without a leading slash.
    pub fn file(&self, name: &str) -> Option<(u32, &Arc<File>)> {
        let name = name.trim_start_matches('/');
        self.files.iter().find(|(_, file)| file.name == name).map(|(id, file)| (*id, file))
    }

    /// The disk in that slot.
    pub fn slot(&self, slot: &str) -> Option<(u32, &Arc<Disk>)> {
        let wanted = Some(Value::text(slot));
        let of = |disk: &Arc<Disk>| disk.properties.get("slot") == wanted.as_ref();
        self.disks.iter().find(|(_, disk)| of(disk)).map(|(id, disk)| (*id, disk))
    }

    /// The disk of that id, to be changed.
    pub fn disk_mut(&mut self, id: u32) -> Option<&mut Disk> {
        self.disks.get_mut(&id).map(Arc::make_mut)
    }

    /// Gives every item a new id, as some boxes may do at boot.
    pub fn renumber(&mut self) {
        let disks: Vec<_> = std::mem::take(&mut self.disks).into_values().collect();
        for disk in disks {
            let id = self.next_id();
            self.disks.insert(id, disk);
        }
    }
}
