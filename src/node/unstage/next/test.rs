use super::*;
use crate::host::ControllerState;
use crate::node::look::fixture::*;

fn word(seen: &Seen, published: &[&str]) -> String {
    let published: Vec<PathBuf> = published.iter().map(PathBuf::from).collect();
    let (volume, staging) = (volume(), Path::new(STAGING));
    // As the shell finds it: the fixture's devices are numbered as they are named.
    let stranger = seen.topmost(staging).and_then(|mount| {
        let name = mount.source.strip_prefix("/dev/")?.strip_suffix("n1")?;
        let found = seen.controllers.iter().find(|one| one.name == name)?;
        let is_known = seen.devices.iter().any(|device| device.number == mount.number);
        (!is_known).then(|| found.nqn.clone())
    });
    let stranger = stranger.as_ref();
    let wanted = Wanted { volume: &volume, staging, stranger, published: &published };
    match next(&wanted, seen) {
        Err(error) => format!("{:?}", error.kind),
        Ok(Step::Note(note, _)) => format!("note {}", note.nqn),
        Ok(Step::Unmount(target)) => format!("unmount {}", target.display()),
        Ok(Step::Disconnect(controller)) => format!("disconnect {}", controller.name),
        Ok(Step::Forget) => "forget".to_owned(),
        Ok(Step::Done) => "done".to_owned(),
    }
}

fn of_another() -> Note {
    let mut note = note(as_file_system());
    (note.volume, note.staging) = ("far/v".into(), "/k/far".into());
    note
}

/// One connection to this NQN, and its file system mounted here.
fn without_note(name: &str, at: &[&str]) -> Seen {
    let nqn = Nqn::exported(name).unwrap();
    let mut seen = connected(as_file_system());
    seen.note = None;
    seen.devices.clear();
    seen.controllers = vec![controller("nvme1", nqn, ControllerState::Live)];
    seen.mounts = at.iter().map(|target| mount(target, 1)).collect();
    seen
}

#[test]
fn what_is_seen_leads_to_the_next_step() {
    type Change = fn(&mut Seen);
    let table: [(&str, &[&str], Change); 19] = [
        ("disconnect nvme0", &[], |_| {}),
        ("Precondition", &[TARGET], |_| {}),
        ("unmount /k/staging", &[], |seen| seen.mounts.push(mount(STAGING, 0))),
        // The device is gone, or another one: it lay on our path.
        ("unmount /k/staging", &[], |seen| seen.mounts.push(mount(STAGING, 7))),
        ("Precondition", &[], |seen| {
            let mut foreign = mount(STAGING, 7);
            foreign.source = "tmpfs".into();
            seen.mounts.push(foreign);
        }),
        ("Precondition", &[], |seen| seen.mounts.push(mount("/elsewhere", 0))),
        ("disconnect nvme0", &[], |seen| seen.mounts.push(mount("/elsewhere", 7))),
        ("forget", &[], |seen| seen.controllers.clear()),
        ("forget", &[], |seen| seen.controllers[0].nqn = nqn("w", 2)),
        ("done", &[], |seen| {
            seen.controllers.clear();
            seen.note = None;
        }),
        ("disconnect nvme0", &[], |seen| seen.note = None),
        ("done", &[], |seen| {
            // Another volume's, on another box, of the same slot.
            seen.others.push(of_another());
            seen.note = None;
        }),
        // Without a note: what is mounted says what is connected, under whatever name.
        ("note first-driver", &[], |seen| {
            *seen = without_note("first-driver", &[STAGING]);
        }),
        ("unmount /k/staging", &[], |seen| {
            *seen = without_note("first-driver", &[STAGING]);
            // The device is gone.
            seen.controllers.clear();
        }),
        ("Precondition", &[], |seen| {
            seen.note = None;
            seen.mounts.push(mount("/elsewhere", 0));
        }),
        // Whose the path is.
        ("Precondition", &[], |seen| {
            seen.others.push(of_another());
            seen.others[0].staging = STAGING.into();
        }),
        ("unmount /k/staging", &[], |seen| {
            seen.others.push(of_another());
            seen.others[0].staging = STAGING.into();
            seen.others[0].boot = "before".into();
            seen.mounts.push(mount(STAGING, 0));
        }),
        ("Precondition", &[], |seen| {
            seen.mounts.push(mount(STAGING, 1));
            seen.controllers.push(controller("nvme1", nqn("w", 1), ControllerState::Live));
        }),
        ("unmount /k/staging", &[], |seen| {
            seen.mounts.push(mount(STAGING, 1));
            seen.controllers.push(controller("nvme1", nqn("v", 1), ControllerState::Live));
        }),
    ];
    for (at, (wanted, published, change)) in table.into_iter().enumerate() {
        let mut seen = connected(as_file_system());
        change(&mut seen);
        assert_eq!(word(&seen, published), wanted, "row {at}");
    }
}
