//! The box over a target and loop devices in memory, which refuse what the kernel refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::*;
use crate::routeros::{Quirks, Reboot, RouterOs, Target, Version};

/// Objects, attributes and links of the kernel's target.
#[derive(Clone, Default)]
struct Kernel(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    objects: BTreeSet<String>,
    attributes: BTreeMap<String, String>,
    links: BTreeMap<String, String>,
}

fn refused(text: &str) -> io::Result<()> {
    Err(io::Error::other(text.to_owned()))
}

impl Kernel {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap()
    }

    fn objects(&self) -> Vec<String> {
        self.shown().objects.iter().cloned().collect()
    }

    fn exported(&self, port: u16) -> Vec<String> {
        let mut names = self.list(&format!("ports/{port}/subsystems"));
        names.retain(|name| !name.contains("keeper"));
        names
    }

    fn attribute(&self, path: &str) -> String {
        self.shown().attributes.get(path).cloned().unwrap_or_default()
    }
}

impl Tree for Kernel {
    fn make(&self, path: &str) -> io::Result<()> {
        let mut shown = self.shown();
        if let Some((subsystem, _)) = path.split_once("/namespaces/")
            && !shown.objects.contains(subsystem)
        {
            return refused("no such subsystem");
        }
        match shown.objects.insert(path.to_owned()) {
            true => Ok(()),
            false => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut shown = self.shown();
        let below = format!("{path}/");
        let busy = shown.links.iter().any(|(at, to)| to == path || at.starts_with(&below));
        if busy || shown.objects.iter().any(|object| object.starts_with(&below)) {
            return refused("busy");
        }
        shown.attributes.retain(|at, _| !at.starts_with(&below));
        if shown.objects.remove(path) { Ok(()) } else { refused("no such object") }
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let mut shown = self.shown();
        let (object, name) = path.rsplit_once('/').unwrap();
        if !shown.objects.contains(object) {
            return refused("no such object");
        }
        let has_hosts =
            shown.links.keys().any(|at| at.starts_with(&format!("{object}/allowed_hosts/")));
        if name == "attr_allow_any_host" && value == "1" && has_hosts {
            return refused("explicit hosts are set");
        }
        shown.attributes.insert(path.to_owned(), value.to_owned());
        Ok(())
    }

    fn read(&self, path: &str) -> io::Result<String> {
        Ok(self.attribute(path))
    }

    fn link(&self, to: &str, path: &str) -> io::Result<()> {
        let mut shown = self.shown();
        let (owner, _) = path.rsplit_once('/').unwrap();
        let (owner, kind) = owner.rsplit_once('/').unwrap();
        if !shown.objects.contains(to) || !shown.objects.contains(owner) {
            return refused("no such object");
        }
        let any = shown.attributes.get(&format!("{owner}/attr_allow_any_host"));
        if kind == "allowed_hosts" && any.is_none_or(|any| any == "1") {
            return refused("everybody is let in");
        }
        shown.links.insert(path.to_owned(), to.to_owned());
        Ok(())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        if self.shown().links.remove(path).is_some() { Ok(()) } else { refused("no such link") }
    }

    fn list(&self, path: &str) -> Vec<String> {
        let shown = self.shown();
        let below = format!("{path}/");
        let mut names: Vec<String> = shown
            .objects
            .iter()
            .chain(shown.links.keys())
            .chain(shown.attributes.keys())
            .filter_map(|at| at.strip_prefix(&below))
            .map(|rest| rest.split('/').next().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Devices, and what all of them have counted.
#[derive(Clone, Default)]
struct Devices(Arc<Mutex<Attached>>);

/// How many were ever attached; which file each one stands for; what all have written.
type Attached = (u32, BTreeMap<PathBuf, PathBuf>, u64);

impl Loops for Devices {
    fn clear(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn attach(&self, file: &Path) -> Result<PathBuf, String> {
        if !file.is_file() {
            return Err(format!("no file {}", file.display()));
        }
        let mut devices = self.0.lock().unwrap();
        devices.0 += 1;
        let device = PathBuf::from(format!("/dev/loop{}", devices.0));
        devices.1.insert(device.clone(), file.to_owned());
        Ok(device)
    }

    fn resize(&self, device: &Path) -> Result<(), String> {
        self.0.lock().unwrap().1.get(device).map(drop).ok_or("no such device".into())
    }

    fn detach(&self, device: &Path) -> Result<(), String> {
        self.0.lock().unwrap().1.remove(device).map(drop).ok_or("no such device".into())
    }

    fn counters(&self, _: &Path) -> Option<Counters> {
        Some(Counters { write_ops: self.0.lock().unwrap().2, ..Counters::default() })
    }
}

struct Real {
    os: RouterOs,
    kernel: Kernel,
    devices: Devices,
    folder: PathBuf,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn real(name: &str) -> Real {
    let folder = std::env::temp_dir().join(format!("rds-sim-{name}-{}", std::process::id()));
    let (kernel, devices) = (Kernel::default(), Devices::default());
    let nvmet = Nvmet::take_over(&folder, kernel.clone(), devices.clone()).unwrap();
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    os.export_to(Arc::new(nvmet), [4420].into()).unwrap();
    Real { os, kernel, devices, folder }
}

const ADD: &str = "/disk/add type=file slot=a file-path=storage-pool/v/a.img file-size=1M";

impl Real {
    fn with_disk(name: &str) -> Self {
        let real = real(name);
        real.says("/file/add name=storage-pool/v type=directory", "");
        real.says(ADD, "");
        real
    }

    #[track_caller]
    fn says(&self, line: &str, wanted: &str) {
        assert_eq!(self.os.exec(line).text().trim(), wanted, "{line}");
    }

    fn image(&self) -> PathBuf {
        self.folder.join("storage-pool/v/a.img")
    }
}

#[test]
fn a_disk_becomes_a_file_a_device_and_a_subsystem_and_leaves_nothing() {
    let real = Real::with_disk("life");
    let empty = real.kernel.objects().len();
    assert_eq!(std::fs::metadata(real.image()).unwrap().len(), 1 << 20);
    real.says("/disk/set a nvme-tcp-server-nqn=n1 nvme-tcp-server-allow-host-name=h", "");
    assert_eq!(real.kernel.exported(4420), Vec::<String>::new());

    real.says("/disk/set a nvme-tcp-export=yes", "");
    assert_eq!(real.kernel.exported(4420), ["n1"]);
    assert_eq!(real.kernel.attribute("subsystems/n1/namespaces/1/enable"), "1");
    assert_eq!(real.kernel.attribute("subsystems/n1/namespaces/1/device_path"), "/dev/loop1");
    assert_eq!(real.kernel.list("subsystems/n1/allowed_hosts"), ["h"]);
    let identity = real.kernel.attribute("subsystems/n1/namespaces/1/device_uuid");

    real.says("/disk/set a nvme-tcp-server-allow-host-name=\"\"", "");
    assert_eq!(real.kernel.attribute("subsystems/n1/attr_allow_any_host"), "1");
    real.says("/disk/set a nvme-tcp-server-nqn=n2 file-size=2M", "");
    assert_eq!(real.kernel.exported(4420), ["n2"]);
    assert_eq!(real.kernel.attribute("subsystems/n2/namespaces/1/device_uuid"), identity);
    assert_eq!(std::fs::metadata(real.image()).unwrap().len(), 2 << 20);

    real.says("/disk/remove a", "");
    assert_eq!(real.kernel.objects().len(), empty, "{:?}", real.kernel.objects());
    assert!(real.image().exists(), "images outlive their disks");
    real.says("/file/remove storage-pool/v/a.img", "");
    assert!(!real.image().exists());
    assert!(real.devices.0.lock().unwrap().1.is_empty());
}

#[test]
fn what_cannot_be_made_real_fails_and_changes_nothing() {
    let real = Real::with_disk("taken");
    real.kernel.make("subsystems/n1").unwrap();
    real.kernel.write("subsystems/n1/attr_model", "of somebody else").unwrap();
    let line = "/disk/set a nvme-tcp-export=yes nvme-tcp-server-nqn=n1";
    real.says(line, "failure: n1 is exported already");
    real.says(":put [/disk/get a nvme-tcp-export]", "false");
    real.says("/disk/set a nvme-tcp-export=yes nvme-tcp-server-nqn=n2", "");
    assert_eq!(real.kernel.exported(4420), ["n2"]);
}

#[test]
fn a_new_target_removes_what_the_one_before_left_and_nothing_else() {
    let real = Real::with_disk("again");
    real.says("/disk/set a nvme-tcp-export=yes nvme-tcp-server-nqn=n1", "");
    real.says("/disk/set a nvme-tcp-server-allow-host-name=h", "");
    real.kernel.make("subsystems/foreign").unwrap();
    real.kernel.write("subsystems/foreign/attr_model", "Linux").unwrap();
    Nvmet::take_over(&real.folder, real.kernel.clone(), real.devices.clone()).unwrap();
    assert_eq!(real.kernel.objects(), ["subsystems/foreign"]);
}

#[test]
fn a_box_that_listens_without_exports_keeps_its_port_and_loses_it_when_closed() {
    let real = Real::with_disk("bare");
    real.says("/disk/set a nvme-tcp-export=yes nvme-tcp-server-nqn=n1", "");
    real.os.set_target(Target::Bare).unwrap();
    assert_eq!(real.kernel.list("ports/4420/subsystems").len(), 1, "the keeper alone");
    real.os.set_target(Target::Closed).unwrap();
    assert!(real.kernel.list("ports").is_empty());
    real.os.set_target(Target::Serving).unwrap();
    assert_eq!(real.kernel.exported(4420), ["n1"]);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_cuts_everybody_off_and_exports_again_when_the_box_is_back() {
    let real = Real::with_disk("reboot");
    real.says("/disk/set a nvme-tcp-export=yes nvme-tcp-server-nqn=n1", "");
    tokio::spawn(real.os.clone().keep_power());
    tokio::task::yield_now().await;
    let pause = std::time::Duration::from_secs(30);
    real.os.reboot(Reboot::KeepEverything, pause);
    assert!(real.kernel.list("ports").is_empty());
    assert!(real.devices.0.lock().unwrap().1.is_empty());
    tokio::time::sleep(pause - std::time::Duration::from_secs(1)).await;
    assert!(real.kernel.list("ports").is_empty());
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(real.kernel.exported(4420), ["n1"]);
    assert!(real.image().exists());
}

#[test]
fn counters_are_those_of_the_device_since_it_was_attached() {
    let real = real("counters");
    real.devices.0.lock().unwrap().2 = 40;
    real.says("/disk/add type=file slot=a file-path=storage-pool/a.img file-size=1M", "");
    real.says(":put [/disk/get a write-ops]", "0");
    real.devices.0.lock().unwrap().2 = 42;
    real.says(":put [/disk/get a write-ops]", "2");
}
