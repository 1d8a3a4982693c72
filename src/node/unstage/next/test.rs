use super::*;
use crate::node::look::fixture::*;

fn word(seen: &Seen, published: &[&str]) -> String {
    let published: Vec<PathBuf> = published.iter().map(PathBuf::from).collect();
    match next(&volume(), Path::new(STAGING), seen, &published) {
        Err(error) => format!("{:?}", error.kind),
        Ok(Step::Unmount(target)) => format!("unmount {}", target.display()),
        Ok(Step::Disconnect(controller)) => format!("disconnect {}", controller.name),
        Ok(Step::Forget) => "forget".to_owned(),
        Ok(Step::Done) => "done".to_owned(),
    }
}

#[test]
fn what_is_seen_leads_to_the_next_step() {
    type Change = fn(&mut Seen);
    let table: [(&str, &[&str], Change); 12] = [
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
            seen.others.push(note(as_file_system()));
            seen.note = None;
        }),
    ];
    for (at, (wanted, published, change)) in table.into_iter().enumerate() {
        let mut seen = connected(as_file_system());
        change(&mut seen);
        assert_eq!(word(&seen, published), wanted, "row {at}");
    }
}
