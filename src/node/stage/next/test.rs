use super::*;
use crate::node::look::fixture::*;

fn next_of(seen: &Seen, may_format: bool, signature: Option<Signature>) -> Result<Step, Error> {
    let (volume, context) = (volume(), context(may_format));
    let used = as_file_system();
    let staging = Path::new(STAGING);
    let wanted =
        Wanted { volume: &volume, context: &context, staging, used, options: &["noatime".into()] };
    next(&wanted, seen, &Known { signature, ..Known::default() })
}

/// What the step is, in a word.
fn word(step: Result<Step, Error>) -> String {
    match step {
        Err(error) => format!("{:?}", error.kind),
        Ok(Step::Disconnect(controller)) => format!("disconnect {}", controller.name),
        Ok(Step::Unmount(mount)) => format!("unmount {}", mount.target.display()),
        Ok(Step::Note(_, point)) => point.label().to_owned(),
        Ok(Step::Wait(_)) => "wait".to_owned(),
        Ok(Step::Rescan(names)) => format!("rescan {}", names.join(" ")),
        Ok(Step::Mount(_, kind, options)) => format!("mount {kind} {}", options.join(",")),
        Ok(Step::Format(_, kind)) => format!("format {kind}"),
        Ok(Step::ReadSignature(_)) => "read".to_owned(),
        Ok(Step::Connect) => "connect".to_owned(),
        Ok(Step::Done(_)) => "done".to_owned(),
    }
}

#[test]
fn what_is_seen_leads_to_the_next_step() {
    type Change = fn(&mut Seen);
    let table: [(&str, Change); 21] = [
        ("read", |_| {}),
        ("stage-noted", |seen| seen.note = None),
        ("stage-noted", |seen| seen.boot = "another".into()),
        ("connect", |seen| {
            seen.controllers.clear();
            seen.devices.clear();
        }),
        ("wait", |seen| seen.devices.clear()),
        ("wait", |seen| seen.controllers[0].state = ControllerState::Connecting),
        ("wait", |seen| seen.controllers[0].state = ControllerState::Deleting),
        ("disconnect nvme0", |seen| seen.controllers[0].state = ControllerState::Dead),
        ("disconnect nvme1", |seen| {
            seen.controllers.push(controller("nvme1", nqn("v", 1), ControllerState::Live));
        }),
        ("read", |seen| {
            seen.controllers.push(controller("nvme1", nqn("v", 1), ControllerState::Deleting));
        }),
        ("read", |seen| {
            seen.controllers.push(controller("nvme1", nqn("w", 1), ControllerState::Live));
        }),
        ("rescan nvme0", |seen| seen.devices[0].bytes = 999),
        ("read", |seen| seen.devices[0].bytes = 1001),
        ("Precondition", |seen| seen.devices.push(device())),
        ("Precondition", |seen| seen.devices[0].read_only = true),
        ("done", |seen| seen.mounts.push(mount(STAGING, 0))),
        ("unmount /k/staging", |seen| seen.mounts.push(mount(STAGING, 7))),
        ("unmount /k/staging", |seen| {
            seen.mounts.extend([mount(STAGING, 0), mount(STAGING, 7)]);
        }),
        ("unmount /k/pod", |seen| {
            seen.mounts.push(mount(TARGET, 7));
            seen.note.as_mut().unwrap().targets.insert(TARGET.into(), false);
        }),
        ("Precondition", |seen| {
            seen.mounts.push(Mount { source: "tmpfs".into(), ..mount(STAGING, 7) });
        }),
        ("Exists", |seen| {
            seen.mounts.push(Mount { read_only: true, ..mount(STAGING, 0) });
        }),
    ];
    for (at, (wanted, change)) in table.into_iter().enumerate() {
        let mut seen = connected(as_file_system());
        change(&mut seen);
        assert_eq!(word(next_of(&seen, true, None)), wanted, "row {at}");
    }
}

#[test]
fn a_mount_that_is_there_needs_no_box_that_answers() {
    let mut seen = connected(as_file_system());
    seen.controllers[0].state = ControllerState::Connecting;
    seen.mounts.push(mount(STAGING, 0));
    assert_eq!(word(next_of(&seen, false, None)), "done");
}

#[test]
fn what_lies_on_the_device_decides_and_the_ledger_decides_first() {
    let begun = |boot: &str| Formatting::Begun { boot: boot.into() };
    let file_system = |kind: &str| Signature::FileSystem { kind: kind.into(), uuid: "u".into() };
    let unfinished = || Signature::Unfinished("ext4".into());
    let other = || Signature::Other("LUKS".into());
    let table = [
        (Signature::Zeros, true, Formatting::None, "format-noted"),
        (Signature::Zeros, true, begun("boot"), "format ext4"),
        (Signature::Zeros, true, begun("earlier"), "format-noted"),
        (Signature::Zeros, true, Formatting::Done, "Precondition"),
        (Signature::Zeros, false, Formatting::None, "Precondition"),
        (Signature::Zeros, false, begun("boot"), "Precondition"),
        (unfinished(), true, Formatting::None, "format-noted"),
        (unfinished(), true, begun("boot"), "format ext4"),
        (unfinished(), false, Formatting::None, "Precondition"),
        (other(), true, Formatting::None, "Precondition"),
        (other(), true, begun("boot"), "format ext4"),
        (other(), true, begun("earlier"), "Precondition"),
        (other(), false, begun("boot"), "Precondition"),
        (file_system("ext4"), true, begun("boot"), "file-system-noted"),
        (file_system("ext4"), false, Formatting::None, "file-system-noted"),
        (file_system("ext3"), true, begun("boot"), "Precondition"),
        (file_system("xfs"), true, Formatting::None, "Precondition"),
    ];
    for (signature, may_format, formatting, wanted) in table {
        let mut seen = connected(as_file_system());
        seen.note.as_mut().unwrap().formatting = formatting.clone();
        let step = next_of(&seen, may_format, Some(signature.clone()));
        assert_eq!(word(step), wanted, "{signature:?} {may_format} {formatting:?}");
    }
}

#[test]
fn a_known_file_system_is_mounted_with_the_options_asked_for() {
    let mut seen = connected(as_file_system());
    let own = seen.note.as_mut().unwrap();
    (own.formatting, own.uuid) = (Formatting::Done, Some("u".into()));
    let signature = Signature::FileSystem { kind: "ext4".into(), uuid: "u".into() };
    assert_eq!(word(next_of(&seen, false, Some(signature))), "mount ext4 noatime");
}

#[test]
fn mkfs_that_left_nothing_is_not_run_twice_in_one_call() {
    let (volume, context, used) = (volume(), context(true), as_file_system());
    let staging = Path::new(STAGING);
    let wanted = Wanted { volume: &volume, context: &context, staging, used, options: &[] };
    let signature = Some(Signature::Zeros);
    let known = Known { signature, formatted: true, ..Known::default() };
    assert_eq!(word(next(&wanted, &connected(as_file_system()), &known)), "Unavailable");
}
