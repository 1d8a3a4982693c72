use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const OURS: &str = "nqn.2000-02.com.mikrotik:pvc-1.g2-abc";
const OTHER: &str = "nqn.2000-02.com.mikrotik:pvc-2.g1-def";

fn nqn(text: &str) -> Nqn {
    Nqn::parse(text).unwrap()
}

/// A made-up `/sys`.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn sysfs(&self) -> Sysfs {
        Sysfs::new(self.0.path().to_owned(), "/dev".into())
    }

    fn put(&self, folder: &str, files: &[(&str, &str)]) {
        let folder = self.0.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            fs::write(folder.join(file), format!("{text}\n")).unwrap();
        }
    }

    fn controller(&self, name: &str, nqn: &str, state: &str) {
        let files = [
            ("transport", "tcp"),
            ("subsysnqn", nqn),
            ("hostnqn", "nqn.2014-08.org.nvmexpress:uuid:1"),
            ("address", "traddr=10.0.0.1,trsvcid=4420,src_addr=10.0.0.2"),
            ("state", state),
            ("delete_controller", ""),
            ("rescan_controller", ""),
        ];
        self.put(&format!("class/nvme/{name}"), &files);
    }

    fn device(&self, folder: &str, dev: &str, sectors: u64) {
        let sectors = sectors.to_string();
        let files = [
            ("dev", dev),
            ("size", sectors.as_str()),
            ("ro", "0"),
            ("nsid", "1"),
            ("wwid", "uuid.6b8e4e4a-1e3c-4b0e-9b7d-000000000001"),
        ];
        self.put(folder, &files);
    }

    fn subsystem(&self, number: u32, nqn: &str) -> String {
        let folder = format!("class/nvme-subsystem/nvme-subsys{number}");
        self.put(&folder, &[("subsysnqn", nqn)]);
        folder
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join(file)).unwrap()
    }
}

#[test]
fn a_kernel_without_nvme_has_neither_controllers_nor_devices() {
    let tree = Tree::new();
    assert_eq!(tree.sysfs().controllers().unwrap(), []);
    assert_eq!(tree.sysfs().devices(&nqn(OURS)).unwrap(), []);
    assert!(!tree.sysfs().has_tcp());
}

#[test]
fn controllers_are_shown_with_their_state_and_local_disks_are_not() {
    let tree = Tree::new();
    let states = [
        ("live", ControllerState::Live),
        ("connecting", ControllerState::Connecting),
        ("resetting", ControllerState::Changing),
        ("new", ControllerState::Changing),
        ("deleting", ControllerState::Deleting),
        ("deleting (no IO)", ControllerState::Deleting),
        ("dead", ControllerState::Dead),
    ];
    for (index, (text, _)) in states.iter().enumerate() {
        tree.controller(&format!("nvme{index}"), OURS, text);
    }
    tree.put("class/nvme/nvme9", &[("transport", "pcie"), ("subsysnqn", "x"), ("state", "live")]);
    // A subsystem directory of the same class has no transport: it is going away, or never was one.
    tree.put("class/nvme/nvme8", &[("subsysnqn", OURS)]);
    let found = tree.sysfs().controllers().unwrap();
    let seen: Vec<ControllerState> = found.iter().map(|it| it.state).collect();
    assert_eq!(seen, states.map(|(_, state)| state));
    assert_eq!(found[0].name, "nvme0");
    assert_eq!(found[0].nqn, nqn(OURS));
    assert!(found[0].address.starts_with("traddr=10.0.0.1,"));
}

#[test]
fn a_connection_under_the_name_of_a_slot_is_seen() {
    let tree = Tree::new();
    tree.controller("nvme0", "pvc-1", "connecting");
    tree.controller("nvme1", "not a name", "live");
    let found = tree.sysfs().controllers().unwrap();
    let names: Vec<&str> = found.iter().map(|it| it.nqn.as_str()).collect();
    assert_eq!(names, ["pvc-1"]);
}

#[test]
fn with_multipath_the_device_is_the_head_and_never_a_path_or_a_partition() {
    let tree = Tree::new();
    tree.controller("nvme3", OURS, "live");
    let subsystem = tree.subsystem(0, OURS);
    // The numbers of subsystem and controller differ: that is why no name is ever put together.
    tree.device(&format!("{subsystem}/nvme0n1"), "259:4", 2048);
    tree.device(&format!("{subsystem}/nvme0n1/nvme0n1p1"), "259:5", 1024);
    tree.device("class/nvme/nvme3/nvme0c3n1", "259:3", 2048);
    tree.put("class/nvme/nvme3/ng0n1", &[("dev", "236:0")]);
    let controller = tree.0.path().join("class/nvme/nvme3");
    symlink(controller, tree.0.path().join(&subsystem).join("nvme3")).unwrap();

    let found = tree.sysfs().devices(&nqn(OURS)).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, Path::new("/dev/nvme0n1"));
    assert_eq!(found[0].number, DeviceNumber { major: 259, minor: 4 });
    assert_eq!(found[0].namespace, 1);
    assert_eq!(found[0].bytes, 1024 * 1024);
    assert!(!found[0].read_only);
    assert!(found[0].identity.as_deref().unwrap().starts_with("uuid."));
}

#[test]
fn without_multipath_the_device_hangs_below_its_controller() {
    let tree = Tree::new();
    tree.controller("nvme1", OURS, "live");
    tree.subsystem(1, OURS);
    tree.device("class/nvme/nvme1/nvme1n1", "259:1", 8);
    let found = tree.sysfs().devices(&nqn(OURS)).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, Path::new("/dev/nvme1n1"));
}

#[test]
fn another_subsystems_device_is_never_shown() {
    let tree = Tree::new();
    tree.controller("nvme0", OTHER, "live");
    let other = tree.subsystem(0, OTHER);
    tree.device(&format!("{other}/nvme0n1"), "259:0", 8);
    // One NQN is the beginning of the other.
    let longer = tree.subsystem(1, &format!("{OURS}0"));
    tree.device(&format!("{longer}/nvme1n1"), "259:1", 8);
    assert_eq!(tree.sysfs().devices(&nqn(OURS)).unwrap(), []);
}

#[test]
fn every_namespace_is_shown() {
    let tree = Tree::new();
    let subsystem = tree.subsystem(0, OURS);
    tree.device(&format!("{subsystem}/nvme0n1"), "259:0", 8);
    tree.device(&format!("{subsystem}/nvme0n2"), "259:1", 8);
    assert_eq!(tree.sysfs().devices(&nqn(OURS)).unwrap().len(), 2);
}

#[test]
fn a_device_that_is_going_away_is_left_out() {
    let tree = Tree::new();
    let subsystem = tree.subsystem(0, OURS);
    tree.put(&format!("{subsystem}/nvme0n1"), &[("dev", "259:0")]);
    assert_eq!(tree.sysfs().devices(&nqn(OURS)).unwrap(), []);
}

#[test]
fn a_size_that_is_no_number_is_an_error_and_not_an_empty_device() {
    let tree = Tree::new();
    let subsystem = tree.subsystem(0, OURS);
    tree.device(&format!("{subsystem}/nvme0n1"), "259:0", 8);
    tree.put(&format!("{subsystem}/nvme0n1"), &[("size", "many")]);
    let error = tree.sysfs().devices(&nqn(OURS)).unwrap_err();
    assert!(error.what.contains("nvme0n1"), "{error}");
}

#[test]
fn a_controller_is_deleted_only_while_it_is_one_to_that_subsystem() {
    let tree = Tree::new();
    tree.controller("nvme0", OTHER, "live");
    let file = "class/nvme/nvme0/delete_controller";
    assert!(!tree.sysfs().delete_controller("nvme0", &nqn(OURS)).unwrap());
    assert_eq!(tree.read(file), "\n", "another volume's controller was deleted");
    assert!(tree.sysfs().delete_controller("nvme0", &nqn(OTHER)).unwrap());
    assert_eq!(tree.read(file), "1");
    assert!(!tree.sysfs().delete_controller("nvme7", &nqn(OURS)).unwrap());
}

#[test]
fn a_rescan_of_a_controller_that_is_gone_is_missing() {
    let tree = Tree::new();
    tree.controller("nvme0", OURS, "live");
    tree.sysfs().rescan("nvme0").unwrap();
    assert_eq!(tree.read("class/nvme/nvme0/rescan_controller"), "1");
    assert_eq!(tree.sysfs().rescan("nvme1").unwrap_err().kind, crate::host::Kind::Missing);
}

#[test]
fn only_whole_device_names_count() {
    for name in ["nvme0n1", "nvme12n34"] {
        assert!(is_device(name), "{name}");
    }
    for name in ["nvme0c1n1", "nvme0n1p1", "ng0n1", "nvme0", "nvmen1", "nvme0n", "sda", "nvme0n1 "]
    {
        assert!(!is_device(name), "{name}");
    }
}
