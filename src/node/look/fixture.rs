//! What a kernel may show, for the tables of the pure functions.

use std::path::Path;
use std::time::Duration;

use super::Seen;
use crate::host::{Connect, Controller, ControllerState, Device, DeviceNumber, Mount, Timing};
use crate::node::context::Context;
use crate::node::staged::{Note, Use};
use crate::volume::{Handle, Nqn};

/// Where the volume is staged.
pub const STAGING: &str = "/k/staging";
/// Where it is published.
pub const TARGET: &str = "/k/pod";

/// The volume.
pub fn volume() -> Handle {
    Handle::parse("v").unwrap()
}

/// A generation of a volume.
pub fn nqn(slot: &str, generation: u32) -> Nqn {
    Nqn::parse(&format!("nqn.x:{slot}.g{generation}-{generation:012x}")).unwrap()
}

/// What the controller said of the volume's second generation.
pub fn context(may_format: bool) -> Context {
    let timing = Timing {
        ctrl_loss: None,
        reconnect_delay: Duration::from_secs(10),
        keep_alive: Duration::from_secs(5),
        fast_io_fail: None,
        io_queues: None,
    };
    let connect = Connect {
        nqn: nqn("v", 2),
        address: "10.0.0.1".into(),
        port: 4420,
        host_nqn: Nqn::parse("nqn.host").unwrap(),
        host_id: String::new(),
        timing,
    };
    Context { connect, generation: Some(2), may_format, bytes: Some(1000) }
}

/// As a file system.
pub fn as_file_system() -> Use {
    Use::Mount { kind: "ext4".into(), read_only: false }
}

/// The note of the volume, staged for this use under its second generation.
pub fn note(used: Use) -> Note {
    let mut note = Note::new(&volume(), &context(false).connect, "boot", Path::new(STAGING), used);
    note.generation = Some(2);
    note
}

/// A connection.
pub fn controller(name: &str, nqn: Nqn, state: ControllerState) -> Controller {
    Controller { name: name.into(), nqn, host_nqn: None, address: String::new(), state }
}

/// The volume's device.
pub fn device() -> Device {
    Device {
        nqn: nqn("v", 2),
        path: "/dev/nvme0n1".into(),
        number: DeviceNumber { major: 259, minor: 0 },
        namespace: 1,
        identity: None,
        bytes: 1000,
        read_only: false,
    }
}

/// Something NVMe mounted.
pub fn mount(target: &str, minor: u32) -> Mount {
    Mount {
        number: DeviceNumber { major: 259, minor },
        root: "/".into(),
        target: target.into(),
        read_only: false,
        file_system_read_only: false,
        kind: "ext4".into(),
        source: format!("/dev/nvme{minor}n1"),
    }
}

/// A node that has the volume connected, and nothing mounted.
pub fn connected(used: Use) -> Seen {
    Seen {
        note: Some(note(used)),
        left: Ok(None),
        others: Vec::new(),
        unreadable: Vec::new(),
        controllers: vec![controller("nvme0", nqn("v", 2), ControllerState::Live)],
        devices: vec![device()],
        mounts: Vec::new(),
        boot: "boot".into(),
    }
}
