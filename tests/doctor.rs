//! The doctor against the simulated box over SSH: every fault is found in its row, with what mends
//! it, and a capture that is replayed gives the same rows.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "support/clinic.rs"]
mod clinic;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rds_csi::doctor::capture::Capture;
use rds_csi::doctor::row::{Report, Row, State};
use rds_csi::doctor::startup;
use rds_csi::page::Page;
use rds_sim::routeros::{Fault, HostKey, Offer, Quirks, Recording, RouterOs, UserKey, Version};

use clinic::{Clinic, serve};

fn row<'a>(report: &'a Report, check: &str) -> &'a Row {
    report.rows.iter().find(|row| row.check == check).unwrap()
}

/// The row says so, and one of its repairs holds `repair`.
fn found(report: &Report, check: &str, state: State, says: &str, repair: &str) {
    let row = row(report, check);
    assert_eq!(row.state, state, "{report:#?}");
    assert!(row.found.contains(says), "{row:?}");
    assert!(row.repairs.iter().any(|one| one.contains(repair)), "{row:?}");
}

fn fault(report: &Report, check: &str, says: &str, repair: &str) {
    found(report, check, State::Fault, says, repair);
}

fn states(report: &Report, state: State) -> Vec<&'static str> {
    report.rows.iter().filter(|row| row.state == state).map(|row| row.check).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_box_is_in_order_and_nothing_is_left_on_it() {
    let clinic = Clinic::open().await;
    let report = clinic.examine(true).await;
    assert_eq!(states(&report, State::Ok).len(), report.rows.len(), "{report:#?}");
    assert!(clinic.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_flag_nothing_is_written_and_the_rows_say_so() {
    let clinic = Clinic::open().await;
    let before = clinic.os.exec("/export").text() + &clinic.os.exec("/disk/print detail").text();
    let report = clinic.examine(false).await;
    let unchecked = ["scratch disk", "comment length", "export", "counters", "removal"];
    assert_eq!(states(&report, State::NotChecked), unchecked, "{report:#?}");
    assert_eq!(states(&report, State::Fault), [""; 0]);
    assert!(row(&report, "export").found.contains("--write"));
    let after = clinic.os.exec("/export").text() + &clinic.os.exec("/disk/print detail").text();
    assert_eq!(before, after);
    for entry in clinic.os.journal() {
        for verb in ["/add", "/set ", "/remove"] {
            assert!(!entry.line.contains(verb), "{}", entry.line);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_host_key_is_shown_with_the_line_to_pin() {
    let mut clinic = Clinic::open().await;
    let shown = clinic.server.fingerprint().to_owned();
    clinic.set("host_key", &format!("SHA256:{}", "A".repeat(43)));
    let report = clinic.examine(true).await;
    fault(&report, "host key", &shown, &format!("host_key = [\"{shown}\"]"));
    assert_eq!(clinic.os.exec_count(), 0, "nothing is sent to a stranger");
    assert_eq!(row(&report, "login").state, State::NotChecked);
}

#[tokio::test(flavor = "multi_thread")]
async fn algorithms_that_only_a_forbidden_session_has_are_a_fault_and_else_a_warning() {
    let mut clinic = Clinic::with(Version::V7_24_4, |_| {}, Offer::only_sha1_macs()).await;
    let report = clinic.examine(false).await;
    let strong = "/ip/ssh set strong-crypto=yes";
    found(&report, "algorithms", State::Warning, "hmac-sha1", strong);
    assert_eq!(row(&report, "login").state, State::Ok);

    clinic.set("second_session", "forbid");
    let report = clinic.examine(false).await;
    fault(&report, "algorithms", "hmac-sha2-256", strong);
    fault(&report, "algorithms", "forbidden", "second_session = \"auto\"");
    assert_eq!(row(&report, "login").state, State::NotChecked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_box_refuses_is_told_from_a_key_file_that_is_wrong() {
    let clinic = Clinic::open().await;
    let key = clinic.scratch.path().join("key");
    std::fs::write(&key, UserKey::generate().unwrap().private).unwrap();
    let report = clinic.examine(false).await;
    fault(&report, "login", "refuses the key of user csi", "/user/ssh-keys/import user=csi");
    assert_eq!(row(&report, "host key").state, State::Ok);

    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let report = clinic.examine(false).await;
    fault(&report, "key file", "lets others read it", "chmod o-rwx");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_only_read_is_found_and_the_command_mends_it() {
    let clinic = Clinic::open().await;
    clinic.os.declare_user("csi", "drivers", Some("ssh,read,test"));
    let report = clinic.examine(true).await;
    fault(&report, "policies", "lacks write", "/user/group/set");
    fault(&report, "scratch disk", "not enough permissions (9)", "policies");

    let mend = &row(&report, "policies").repairs[0];
    assert_eq!(clinic.os.exec(mend).text(), "");
    let report = clinic.examine(true).await;
    assert_eq!(states(&report, State::Fault), [""; 0], "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_rights_are_a_warning_and_too_few_to_look_are_a_fault() {
    let clinic = Clinic::open().await;
    clinic.os.declare_user("csi", "full", None);
    let report = clinic.examine(false).await;
    found(&report, "policies", State::Warning, "more than", "/user/group/add name=rds-csi");

    clinic.os.declare_user("csi", "drivers", Some("ssh,read,write"));
    let report = clinic.examine(false).await;
    fault(&report, "policies", "lacks test", "/user/group/set");
    fault(&report, "version", "not enough permissions (9)", "policies");

    clinic.os.declare_user("csi", "drivers", Some("read,write,test"));
    let report = clinic.examine(false).await;
    fault(&report, "login", "refuses", "policy ssh");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_routeros_is_told_and_is_not_asked_for_what_it_lacks() {
    let clinic = Clinic::with(Version::V7_20_8, |_| {}, Offer::default()).await;
    let report = clinic.examine(true).await;
    found(&report, "version", State::Warning, "7.20.8", "/system/package/update");
    assert_eq!(states(&report, State::Fault), [""; 0], "{report:#?}");
    assert_eq!(row(&report, "export").state, State::Ok);
    assert!(clinic.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_places_are_found_and_the_directory_is_made_by_its_command() {
    let mut clinic = Clinic::open().await;
    clinic.set("volume_paths", "storage-pool/other");
    let report = clinic.examine(true).await;
    fault(&report, "directory", "does not exist", "/file/add name=\"storage-pool/other\"");
    assert_eq!(row(&report, "scratch disk").state, State::NotChecked);
    let mend = &row(&report, "directory").repairs[0];
    assert_eq!(clinic.os.exec(mend).text(), "");
    assert_eq!(states(&clinic.examine(true).await, State::Fault), [""; 0]);

    clinic.set("volume_paths", "tank/volumes");
    let report = clinic.examine(true).await;
    fault(&report, "pool", "no disk is mounted as tank", "volume_paths");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_is_found() {
    let clinic = Clinic::open().await;
    assert!(clinic.os.fill_pool("storage-pool", 1 << 20));
    let report = clinic.examine(true).await;
    fault(&report, "pool", "0 of", "/file/print detail where name~\"^storage-pool/volumes/\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn short_comments_are_found_however_the_box_shortens_them() {
    for (switch, says) in [("comment-truncated", "100 come back"), ("comment-refused", "refused")] {
        let turn_on = |quirks: &mut Quirks| assert!(quirks.turn_on(switch));
        let clinic = Clinic::with(Version::V7_24_4, turn_on, Offer::default()).await;
        let report = clinic.examine(true).await;
        fault(&report, "comment length", says, "another RouterOS release");
        assert_eq!(row(&report, "removal").state, State::Ok, "{report:#?}");
        assert!(clinic.is_clean(), "{switch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quirks_that_the_driver_can_live_with_are_no_faults() {
    for (switch, check, state, says) in [
        ("no-counters", "counters", State::Warning, "no I/O counters"),
        ("two-sessions", "sessions", State::Warning, "2 sessions"),
        ("exit-status-one", "exit status", State::Ok, "exit status 1"),
        ("exit-status-missing", "exit status", State::Ok, "no exit status"),
        ("errors-on-stderr", "exit status", State::Ok, "standard error"),
        ("json-yes-text", "json", State::Ok, "\"yes\""),
        ("json-numbers-as-text", "json", State::Ok, "numbers as texts"),
        ("short-lines", "line length", State::Ok, "4096"),
    ] {
        let turn_on = |quirks: &mut Quirks| assert!(quirks.turn_on(switch));
        let clinic = Clinic::with(Version::V7_24_4, turn_on, Offer::default()).await;
        let report = clinic.examine(true).await;
        let row = row(&report, check);
        assert_eq!(row.state, state, "{switch}: {report:#?}");
        assert!(row.found.contains(says), "{switch}: {row:?}");
        assert_eq!(states(&report, State::Fault), [""; 0], "{switch}: {report:#?}");
        assert!(clinic.is_clean(), "{switch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_box_that_may_be_real_it_ends_cleans_up_and_finds_only_what_harms() {
    let mut harmful = Vec::new();
    for switch in Quirks::all_switches() {
        let clinic = Clinic::with(Version::V7_24_4, switch.turn_on, Offer::default()).await;
        furnish(&clinic.os);
        let report = clinic.examine(true).await;
        assert_eq!(states(&report, State::NotChecked), [""; 0], "{}: {report:#?}", switch.name);
        assert!(clinic.is_clean(), "{}: {report:#?}", switch.name);
        let faults = states(&report, State::Fault);
        if !faults.is_empty() {
            harmful.push((switch.name, faults));
        }
    }
    let expected = [
        ("comment-truncated", vec!["comment length"]),
        ("comment-refused", vec!["comment length"]),
    ];
    assert_eq!(harmful, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_too_long_for_the_box_are_found_with_the_length_that_works() {
    let shorten = |quirks: &mut Quirks| quirks.max_line = 3000;
    let clinic = Clinic::with(Version::V7_24_4, shorten, Offer::default()).await;
    let report = clinic.examine(false).await;
    found(&report, "line length", State::Warning, "2048 do", "line_bytes_max = 2048");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_box_is_given_up_at_the_deadline() {
    let mut clinic = Clinic::open().await;
    clinic.set("connect_deadline", "300ms");
    clinic.os.set_half_open(true);
    let report = clinic.examine(true).await;
    assert_eq!(row(&report, "address").state, State::Ok, "the kernel still accepts");
    fault(&report, "algorithms", "within 0.3 s", "/ip/service/print");
    assert_eq!(row(&report, "login").state, State::NotChecked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_falls_silent_during_the_examination_ends_it_and_is_cleaned() {
    let mut clinic = Clinic::open().await;
    clinic.set("command_deadline", "1s");
    // The first change of the scratch disk is applied, and no answer comes.
    clinic.os.arm_on("s=attached", Fault::StallAfter);
    let report = clinic.examine(true).await;
    fault(&report, "comment length", "no answer within 1 s", "");
    assert_eq!(row(&report, "counters").state, State::NotChecked);
    assert_eq!(row(&report, "removal").state, State::Ok, "{report:#?}");
    assert!(clinic.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_is_found() {
    let clinic = Clinic::open().await;
    clinic.os.set_refusing(true);
    while tokio::net::TcpStream::connect(clinic.server.address()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let report = clinic.examine(true).await;
    fault(&report, "address", "cannot reach", "/ip/service/enable ssh");
    assert!(row(&report, "removal").state == State::NotChecked);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_removes_the_scratch_disk() {
    let clinic = Clinic::open().await;
    let (seen, interrupted) = tokio::sync::watch::channel(false);
    clinic.os.on_exec(move |line| {
        // The disk stands, and its counters are being read.
        if line.contains("nvme-tcp-export=yes") {
            seen.send_replace(true);
        }
    });
    clinic.os.arm_on("nvme-tcp-export=yes", Fault::StallAfter);
    let mut interrupted = interrupted;
    let wait = async move { interrupted.wait_for(|seen| *seen).await.map(drop).unwrap() };
    let (report, _) = clinic.examination(true, None).run(wait).await;
    assert_eq!(row(&report, "removal").state, State::Ok, "{report:#?}");
    assert!(row(&report, "counters").found.contains("interrupted"));
    assert!(clinic.is_clean());
}

/// A box that has something to hide: volumes of others, records of ours, a password.
fn furnish(os: &RouterOs) {
    for line in [
        "/disk/add type=file slot=pvc-1 file-path=storage-pool/volumes/pvc-1.img file-size=1G \
         comment=\"rds1 c=4f0c2d9a71be s=attached x=0a1b2c3d4e5f\" nvme-tcp-export=yes \
         nvme-tcp-server-nqn=nqn.2000-02.com.mikrotik:pvc-1.g3-0a1b2c3d4e5f \
         nvme-tcp-server-allow-host-name=nqn.host-of-a-node nvme-tcp-server-password=geheim",
        "/disk/add type=file slot=other file-path=storage-pool/other.img file-size=1G \
         comment=\"ask Bob at 192.168.88.7\"",
        "/disk/set storage-pool comment=\"serial=XK1234\"",
    ] {
        assert_eq!(os.exec(line).text(), "", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_is_replayed_gives_the_same_rows() {
    for (version, switches, write) in [
        (Version::V7_24_4, &[][..], true),
        (Version::V7_24_4, &["comment-truncated", "exit-status-one", "no-counters"], true),
        (Version::V7_24_4, &["json-yes-text", "lf-lines", "two-sessions"], false),
        (Version::V7_20_8, &["errors-on-stderr"], true),
    ] {
        let turn_on = |quirks: &mut Quirks| {
            assert!(switches.iter().all(|switch| quirks.turn_on(switch)));
        };
        let mut clinic = Clinic::with(version, turn_on, Offer::only_sha1_macs()).await;
        furnish(&clinic.os);
        let page = Page::default();
        let examination = clinic.examination(write, Some(Capture::new(Box::new(page.clone()))));
        let (recorded, failed) = examination.run(std::future::pending()).await;
        assert_eq!(failed, None);

        // Another box, of another version, that has nothing but the recording.
        let recording = Recording::parse(&page.text()).unwrap();
        assert!(recording.len() > 5, "{}", page.text());
        let played = RouterOs::new(Version::V7_21_5, Quirks::default());
        let offer = recording.offer();
        played.replay(recording);
        let server = serve(&played, HostKey::Ed25519, &clinic.user, offer).await;
        clinic.set("host_key", server.fingerprint());
        clinic.set("address", &server.address().to_string());
        let replayed = clinic.examine(write).await;
        let rows = |report: &Report| {
            let rows = report.rows.iter().filter(|row| row.check != "address");
            rows.cloned().collect::<Vec<_>>()
        };
        assert_eq!(rows(&recorded), rows(&replayed), "{switches:?}");
        assert_eq!(row(&replayed, "address").state, State::Ok);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_capture_or_in_a_report() {
    let clinic = Clinic::open().await;
    furnish(&clinic.os);
    let page = Page::default();
    let examination = clinic.examination(true, Some(Capture::new(Box::new(page.clone()))));
    let (report, _) = examination.run(std::future::pending()).await;
    let text = page.text() + &format!("{report:?}");
    assert!(text.contains("pvc-1"), "the table is in it");
    let key_line = clinic.user.private.lines().nth(1).unwrap().to_owned();
    for secret in [
        "geheim",
        "0a1b2c3d4e5f",
        "nqn.host-of-a-node",
        "Bob",
        "192.168.88.7",
        "XK1234",
        "40437dbc",
        "PRIVATE KEY",
        &key_line,
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(!page.text().contains("127.0.0.1"), "{}", page.text());
}

#[test]
fn the_startup_script_unexports_what_is_ours_and_nothing_else() {
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    os.exec("/file/add name=storage-pool/volumes type=directory");
    furnish(&os);
    let add = "/disk/add type=file slot=theirs file-path=storage-pool/t.img file-size=1G \
               nvme-tcp-export=yes nvme-tcp-server-nqn=nqn.theirs comment=\"not rds1 \"";
    assert_eq!(os.exec(add).text(), "");
    let ours = "nqn.2000-02.com.mikrotik:pvc-1.g3-0a1b2c3d4e5f";
    let host = os.connect_host("nqn.host-of-a-node", ours, 4420).unwrap();
    assert_eq!(os.exec(&startup::body()).text(), "");
    assert!(host.write(4096).is_err(), "the export is closed");
    assert!(os.connect_host("nqn.any", "nqn.theirs", 4420).is_ok(), "theirs is not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_prints_rows_and_ends_with_the_code_of_the_worst() {
    let mut clinic = Clinic::open().await;
    let path = clinic.scratch.path().join("config.toml");
    let run = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rds-csi"));
        command.env_clear().arg("doctor").args(arguments).kill_on_drop(true);
        async move {
            let output = tokio::time::timeout(Duration::from_secs(30), command.output());
            output.await.unwrap().unwrap()
        }
    };
    let write = |clinic: &Clinic| {
        let (config, _) = clinic.backend();
        let text = rds_csi::config::render::toml(&config).unwrap();
        std::fs::write(&path, text).unwrap();
    };
    let file = path.to_str().unwrap();
    write(&clinic);
    let good = run(&["--config", file]).await;
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let text = String::from_utf8(good.stdout).unwrap();
    assert!(text.contains("0 faults") && !text.contains('\x1b'), "{text}");

    clinic.set("volume_paths", "tank/volumes");
    write(&clinic);
    let bad = run(&["--config", file, "--json", "--backend", "main"]).await;
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    let document: serde_json::Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert!(document["faults"].as_u64().unwrap() > 0);

    assert_eq!(run(&["--config", file, "--backend", "x"]).await.status.code(), Some(64));
    assert_eq!(run(&["--config", "/nowhere"]).await.status.code(), Some(64));
    let script = run(&["--startup-script"]).await;
    assert_eq!(script.status.code(), Some(0));
    assert!(String::from_utf8(script.stdout).unwrap().contains("start-time=startup"));
}
