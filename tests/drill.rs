//! The drill against the simulated box over SSH and a node's kernel in memory: it passes, each thing
//! that may be wrong with a box has its row, and nothing is left of it.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "support/clinic.rs"]
#[expect(dead_code, reason = "the doctor's other tests use more of it")]
mod clinic;
#[path = "drill/host.rs"]
mod host;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::future::ready;
use rds_csi::cluster::drills::DrillResult;
use rds_csi::doctor::drill::record::Memory;
use rds_csi::doctor::drill::rows::CHECKS;
use rds_csi::doctor::drill::{Pace, Setup};
use rds_csi::doctor::examination::Options;
use rds_csi::doctor::row::{Report, Row, State};
use rds_csi::volume::BackendName;
use rds_sim::routeros::{Offer, Quirks, Version};

use clinic::Clinic;
use host::{Flaw, Kernel};

/// Remembers.
#[derive(Default)]
struct Kept(Mutex<Vec<DrillResult>>);

#[async_trait]
impl Memory for Kept {
    async fn keep(&self, backend: &BackendName, result: &DrillResult) -> Result<(), String> {
        assert_eq!(backend.as_str(), "main");
        self.0.lock().unwrap().push(result.clone());
        Ok(())
    }

    fn place(&self) -> String {
        "rds-csi/rds-csi-drills".into()
    }
}

/// A box, a node beside it, and what the controller is told.
struct Ground {
    clinic: Clinic,
    kernel: Kernel,
    kept: Arc<Kept>,
    _port: std::net::TcpListener,
}

impl Ground {
    async fn new(flaw: Flaw) -> Self {
        Self::with(Version::V7_24_4, &[], flaw).await
    }

    async fn with(version: Version, switches: &[&str], flaw: Flaw) -> Self {
        let turn_on = |quirks: &mut Quirks| {
            assert!(switches.iter().all(|switch| quirks.turn_on(switch)));
        };
        let mut clinic = Clinic::with(version, turn_on, Offer::default()).await;
        // Somebody listens where the box has its NVMe port.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        clinic.set("nvme_address", "127.0.0.1");
        clinic.keys.insert("nvme_port", port.local_addr().unwrap().port().to_string());
        let kernel = Kernel::new(&clinic.os, flaw);
        Self { clinic, kernel, kept: Arc::default(), _port: port }
    }

    fn options(&self) -> Options {
        let short = Duration::from_millis;
        let pace = Pace {
            path: short(500),
            step: short(10_000),
            counters: short(100),
            drain: short(300),
            silence: short(400),
            reconnect: short(150),
            comeback: short(2000),
        };
        let drill = Setup {
            initiator: Arc::new(self.kernel.clone()),
            pace,
            memory: Ok(Arc::clone(&self.kept) as Arc<dyn Memory>),
            elsewhere: "rds-csi/rds-csi-drills".into(),
        };
        Options { write: false, capture: None, drill: Some(drill) }
    }

    async fn drill(&self) -> Report {
        self.clinic.with_options(self.options()).run(std::future::pending()).await.0
    }

    fn kept(&self) -> Vec<DrillResult> {
        self.kept.0.lock().unwrap().clone()
    }

    #[track_caller]
    fn is_clean(&self) {
        assert!(self.kernel.is_clean(), "connections are left");
        assert!(self.clinic.is_clean(), "a disk or an image is left");
    }
}

fn row<'a>(report: &'a Report, check: &str) -> &'a Row {
    report.rows.iter().find(|row| row.check == check).unwrap()
}

/// Rows of the drill in a state.
fn states(report: &Report, state: State) -> Vec<&'static str> {
    let of_drill = report.rows.iter().filter(|row| CHECKS.contains(&row.check));
    of_drill.filter(|row| row.state == state).map(|row| row.check).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_holds_passes_on_both_kinds_of_kernel() {
    for gives_up in [false, true] {
        let mut ground = Ground::new(Flaw::None).await;
        if gives_up {
            ground.kernel = ground.kernel.that_gives_up();
        }
        let report = ground.drill().await;
        assert_eq!(states(&report, State::Ok), CHECKS, "{report:#?}");
        let repaired = &row(&report, "drill repair").found;
        assert!(repaired.contains(if gives_up { "connected again" } else { "by itself" }));
        ground.is_clean();
        let kept = ground.kept();
        assert_eq!(kept.len(), 1);
        assert!(kept[0].passed && kept[0].routeros.starts_with("7.24.4"), "{kept:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flaw_of_a_box_has_its_row_and_leaves_nothing_and_what_a_fence_does_is_remembered() {
    let fault =
        |switches: &'static [&'static str], flaw, check, says| (switches, flaw, check, says);
    let table = [
        fault(&["unexport-keeps-hosts"], Flaw::None, "drill silence", "goes on writing"),
        fault(
            &["unexport-keeps-hosts", "no-counters"],
            Flaw::None,
            "drill silence",
            "Fencing on this box is not safe",
        ),
        fault(&[], Flaw::CountsNothing, "drill writes", "stands still while"),
        fault(&[], Flaw::LetsOthersIn, "drill other host", "lets another host in"),
        fault(&[], Flaw::KeepsOldNames, "drill retries", "two hosts write"),
        fault(&[], Flaw::KeepsOldNamesForNewcomers, "drill old name", "the fence took away"),
        fault(&[], Flaw::LandsLate, "drill retries", "lands late"),
        fault(&[], Flaw::LosesWrites, "drill data", "1 acknowledged blocks"),
        fault(&[], Flaw::NeverForgives, "drill repair", "does not come back"),
        fault(&[], Flaw::Deaf, "drill connection", "invalid subsystem"),
    ];
    let all = table.map(|(switches, flaw, check, says)| async move {
        let ground = Ground::with(Version::V7_24_4, switches, flaw).await;
        let report = ground.drill().await;
        let found = row(&report, check);
        assert_eq!(found.state, State::Fault, "{flaw:?} {switches:?}: {report:#?}");
        assert!(found.found.contains(says), "{flaw:?} {switches:?}: {found:?}");
        assert!(!found.repairs.is_empty());
        assert_eq!(row(&report, "drill removal").state, State::Ok, "{report:#?}");
        ground.is_clean();
        let kept = ground.kept();
        if flaw == Flaw::Deaf {
            assert_eq!(kept, [], "who is not let in has not seen a fence");
            return;
        }
        assert_eq!(kept.len(), 1, "{flaw:?}");
        assert!(!kept[0].passed && kept[0].faults.iter().any(|fault| fault == check), "{kept:?}");
    });
    futures::future::join_all(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_box_that_may_be_real_only_a_fence_that_does_not_hold_is_a_fault() {
    let drilled = Quirks::all_switches().iter().map(|switch| async {
        let ground = Ground::with(Version::V7_24_4, &[switch.name], Flaw::None).await;
        let report = ground.drill().await;
        ground.is_clean();
        (switch.name, states(&report, State::Fault))
    });
    // They wait more than they work.
    let several = futures::stream::iter(drilled).buffered(6);
    let faults: Vec<_> = several.filter(|(_, found)| ready(!found.is_empty())).collect().await;
    assert_eq!(faults, [("unexport-keeps-hosts", vec!["drill silence"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn below_7_21_the_list_of_hosts_must_keep_the_old_host_out_and_the_row_says_so() {
    let ground = Ground::with(Version::V7_20_8, &[], Flaw::None).await;
    let report = ground.drill().await;
    assert_eq!(states(&report, State::Warning), ["drill old name"], "{report:#?}");
    assert_eq!(states(&report, State::Fault), [""; 0], "{report:#?}");
    assert_eq!(states(&report, State::NotChecked), [""; 0], "{report:#?}");
    ground.is_clean();
    assert!(ground.kept()[0].passed);

    let ground = Ground::with(Version::V7_20_8, &[], Flaw::LetsOthersIn).await;
    let report = ground.drill().await;
    // The name is the same, so that nothing else would keep the old host out.
    assert_eq!(states(&report, State::Fault), ["drill retries"], "{report:#?}");
    ground.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_counters_the_drain_time_is_waited_for() {
    let ground = Ground::with(Version::V7_24_4, &["no-counters"], Flaw::None).await;
    let report = ground.drill().await;
    assert!(row(&report, "drill silence").found.contains("drain time of 0.3 s"), "{report:#?}");
    assert_eq!(states(&report, State::Warning), ["drill writes"]);
    assert!(ground.kept()[0].passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_drilled_nothing_is_made_and_nothing_remembered() {
    let mut ground = Ground::new(Flaw::None).await;
    ground.kernel = ground.kernel.without_module();
    let report = ground.drill().await;
    assert_eq!(states(&report, State::Fault), ["drill node"]);
    assert!(row(&report, "drill node").repairs[0].contains("modprobe"));
    let made = ground.clinic.os.journal().iter().any(|entry| entry.line.contains("/disk/add"));
    assert!(!made, "a disk was made");
    assert!(ground.kept().is_empty());

    // Nobody listens at the box's port.
    let mut ground = Ground::new(Flaw::None).await;
    ground._port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let report = ground.drill().await;
    let path = row(&report, "drill path");
    assert_eq!(path.state, State::Fault, "{report:#?}");
    assert!(path.repairs.iter().any(|repair| repair.contains("firewall")), "{path:?}");
    assert_eq!(row(&report, "drill silence").state, State::NotChecked);
    assert_eq!(ground.kernel.entries(), 0);
    ground.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_at_any_step_leaves_neither_a_disk_nor_a_connection() {
    for generation in 1..=4 {
        let ground = Ground::new(Flaw::None).await;
        let (seen, mut interrupted) = tokio::sync::watch::channel(false);
        let mark = format!("generation {generation}");
        ground.clinic.os.on_exec(move |line| {
            if line.contains(&mark) {
                seen.send_replace(true);
            }
        });
        let wait = async move { drop(interrupted.wait_for(|seen| *seen).await) };
        let (report, _) = ground.clinic.with_options(ground.options()).run(wait).await;
        assert_eq!(row(&report, "drill removal").state, State::Ok, "{report:#?}");
        assert!(!states(&report, State::NotChecked).is_empty());
        ground.is_clean();
        assert!(ground.kept().is_empty(), "an interrupted drill proves nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_falls_silent_is_given_up_and_cleaned() {
    let mut ground = Ground::new(Flaw::None).await;
    ground.clinic.set("command_deadline", "1s");
    // The fence is applied, and no answer comes.
    ground.clinic.os.arm_on("generation 2", rds_sim::routeros::Fault::StallAfter);
    let report = ground.drill().await;
    let fence = row(&report, "drill fence");
    assert_eq!(fence.state, State::Fault, "{report:#?}");
    assert!(fence.found.contains("no answer within 1 s"), "{fence:?}");
    assert_eq!(row(&report, "drill removal").state, State::Ok, "{report:#?}");
    ground.is_clean();
}
