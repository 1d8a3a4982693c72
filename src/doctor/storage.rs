//! Where volumes go: pool, directory, NVMe/TCP port. Pure.

use serde_json::Value;

use crate::attachment::ledger::PREFIX;
use crate::rds::Disk;
use crate::rds::question::{self, Answers};
use crate::rds::script::quote;
use crate::volume::VolumePath;

use super::row::Row;
use super::system;

const GIB: u64 = 1 << 30;

/// What to ask about the directory.
pub fn questions(path: &VolumePath) -> [(&'static str, String); 1] {
    let name = quote(path.as_str());
    let query = format!("/file/print as-value proplist=name,type where name={name}");
    [("file", question::rows(&query))]
}

/// The pool of a volume path, from the disks that have its name.
pub fn pool(path: &VolumePath, disks: &[Disk]) -> Row {
    const CHECK: &str = "pool";
    let name = path.pool();
    let mounted = disks.iter().find(|disk| disk.mount_point.as_deref() == Some(name));
    let Some(pool) = mounted else {
        if disks.iter().any(|disk| disk.slot == name) {
            let found = format!("{path}: the disk {name} is there, but not mounted");
            return Row::fault(CHECK, found).mend(format!(
                "/disk/set [/disk/find where slot={}] mount-filesystem=yes",
                quote(name)
            ));
        }
        return Row::fault(CHECK, format!("{path}: no disk is mounted as {name}"))
            .mend("/disk/print detail where mounted")
            .mend("volume_paths in the configuration");
    };
    let Some(free) = pool.free else {
        return Row::warning(CHECK, format!("{path}: the box does not say what is free on {name}"))
            .mend(format!("/disk/print detail where slot={}", quote(&pool.slot)));
    };
    let size = pool.bytes.unwrap_or(free).max(1);
    let percent = u128::from(free) * 100 / u128::from(size);
    let found =
        format!("{path}: {} of {} GiB are free on {name} ({percent} %)", free / GIB, size / GIB);
    let mend = |row: Row| {
        let images = quote(&format!("^{path}/"));
        row.mend(format!("/file/print detail where name~{images} (images that no disk has)"))
            .mend("another directory in volume_paths in the configuration")
    };
    if free < GIB {
        mend(Row::fault(CHECK, found))
    } else if percent < 5 {
        mend(Row::warning(CHECK, found))
    } else {
        Row::ok(CHECK, found)
    }
}

/// The directory of a volume path.
pub fn directory(path: &VolumePath, answers: Result<&Answers, &String>) -> Row {
    const CHECK: &str = "directory";
    let rows = answers.map_err(Clone::clone).and_then(|answers| system::rows(answers, "file"));
    let rows = match rows {
        Ok(rows) => rows,
        Err(why) => return Row::not_checked(CHECK, format!("{path} cannot be looked up: {why}")),
    };
    let make = format!("/file/add name={} type=directory", quote(path.as_str()));
    match rows.first().map(|row| &row["type"]) {
        None => Row::fault(CHECK, format!("{path} does not exist")).mend(make),
        Some(Value::String(kind)) if ["directory", "disk"].contains(&kind.as_str()) => {
            Row::ok(CHECK, format!("{path} is a {kind}"))
        }
        Some(kind) => Row::fault(CHECK, format!("{path} is no directory but {kind}"))
            .mend(make)
            .mend("another directory in volume_paths in the configuration"),
    }
}

/// Who uses the port of the exports. Whether nodes reach it cannot be seen from here.
pub fn nvme_port(port: u16, table: &[Disk], service: Option<String>) -> Row {
    const CHECK: &str = "nvme port";
    if let Some(service) = service {
        return Row::fault(CHECK, format!("the service {service} of the box listens on {port}"))
            .mend(format!("/ip/service/disable {service}"))
            .mend("nvme_port in the configuration");
    }
    let exported: Vec<&Disk> = table.iter().filter(|disk| disk.exported == Some(true)).collect();
    let here = |disk: &&&Disk| disk.port.is_none_or(|own| own == port);
    let ours = |disk: &&&Disk| disk.comment.starts_with(PREFIX);
    let (mine, elsewhere) = (
        exported.iter().filter(ours).filter(here).count(),
        exported.iter().filter(ours).filter(|disk| !here(disk)).count(),
    );
    let foreign = exported.iter().filter(here).count() - mine;
    let found = format!(
        "{mine} exports of this driver and {foreign} others use port {port}; whether nodes reach \
         it cannot be seen from here"
    );
    if elsewhere > 0 {
        let found = format!("{found}; {elsewhere} exports of this driver use another port");
        return Row::warning(CHECK, found)
            .mend(format!(
                "/disk/print detail where nvme-tcp-export and !(nvme-tcp-server-port={port})"
            ))
            .mend("nvme_port in the configuration");
    }
    Row::ok(CHECK, found)
}

#[cfg(test)]
mod test {
    use super::super::row::State::{Fault, NotChecked, Ok as Good, Warning};
    use super::super::row::test::expect;
    use super::*;

    fn disk(slot: &str) -> Disk {
        Disk {
            slot: slot.into(),
            comment: String::new(),
            image: None,
            bytes: None,
            free: None,
            mount_point: None,
            exported: None,
            nqn: String::new(),
            allow_host: String::new(),
            port: None,
            disabled: false,
            counters: None,
        }
    }

    fn path() -> VolumePath {
        VolumePath::parse("tank/volumes").unwrap()
    }

    #[test]
    fn a_pool_must_be_mounted_and_have_room() {
        let mounted = |free| Disk {
            mount_point: Some("tank".into()),
            bytes: Some(1000 * GIB),
            free,
            ..disk("raid1")
        };
        expect(&pool(&path(), &[mounted(Some(500 * GIB))]), Good, "500 of 1000 GiB", "");
        expect(&pool(&path(), &[mounted(Some(40 * GIB))]), Warning, "(4 %)", "/file/print");
        expect(&pool(&path(), &[mounted(Some(GIB - 1))]), Fault, "(0 %)", "\"^tank/volumes/\"");
        expect(&pool(&path(), &[mounted(None)]), Warning, "does not say", "slot=\"raid1\"");
        expect(&pool(&path(), &[disk("tank")]), Fault, "not mounted", "mount-filesystem=yes");
        expect(&pool(&path(), &[]), Fault, "no disk is mounted", "volume_paths");
    }

    #[test]
    fn a_directory_that_is_missing_is_made_with_one_command() {
        let judge = |rows: &str| {
            let answers = Answers::from([("file".to_owned(), Ok(rows.to_owned()))]);
            directory(&path(), Ok(&answers))
        };
        expect(&judge(r#"[{"type":"directory"}]"#), Good, "is a directory", "");
        expect(&judge("[]"), Fault, "not exist", "/file/add name=\"tank/volumes\" type=directory");
        expect(&judge(r#"[{"type":"file"}]"#), Fault, "no directory", "volume_paths");
        expect(&directory(&path(), Err(&"x".into())), NotChecked, "cannot be looked up", "");
    }

    #[test]
    fn the_port_is_shared_with_exports_and_with_nobody_else() {
        let export = |comment: &str, port| Disk {
            comment: comment.into(),
            exported: Some(true),
            port: Some(port),
            ..disk("x")
        };
        let both = [export("rds1 c=…", 4420), export("theirs", 4420)];
        expect(&nvme_port(4420, &both, None), Good, "1 exports of this driver and 1 others", "");
        let moved = [export("rds1 c=…", 4421), export("theirs", 4421)];
        expect(
            &nvme_port(4420, &moved, None),
            Warning,
            "1 exports of this driver use another",
            "nvme_port",
        );
        expect(&nvme_port(80, &[], Some("www".into())), Fault, "www", "/ip/service/disable www");
    }
}
