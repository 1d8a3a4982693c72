//! Many volumes at once, through the connection actor, on the simulated console: what it costs in
//! execs, and what happens to those that share a line when something goes wrong.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "support/console.rs"]
mod console;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rds_csi::actors::NoMetrics;
use rds_csi::actors::rds_connection::sessions::Language;
use rds_csi::actors::rds_connection::{self, ConnectionSettings, Handles, Parts};
use rds_csi::actors::supervision::{Faults, Supervision};
use rds_csi::rds::{Change, Command, Export, Failure, Link, NewDisk, Rds, Reply};
use rds_csi::volume::turns::Turns;
use rds_csi::volume::{BackendName, Nqn, Slot, VolumeId, VolumePath};
use rds_sim::routeros::{Fault, RouterOs, Setup, Version};
use tokio::sync::watch;
use tokio::time::Instant;

use self::console::{Console, FOLDER, furnished};

const EXEC: Duration = Duration::from_millis(60);
const FURTHER_JOB: Duration = Duration::from_millis(2);
/// What the first driver reaches on a box that runs all its channels at once.
const TO_BEAT: f64 = 291.0;

/// A connection to a box, with a turn for every volume.
struct Subject {
    os: RouterOs,
    handles: Handles,
    turns: Turns,
    _settings: watch::Sender<ConnectionSettings>,
}

async fn connected(os: RouterOs, settings: ConnectionSettings) -> Subject {
    let (sender, settings) = watch::channel(settings);
    let handles = rds_connection::start(Parts {
        supervision: Supervision {
            log: slog::Logger::root(slog::Discard, slog::o!()),
            metrics: Arc::new(NoMetrics),
            faults: Faults::default(),
        },
        connect: Arc::new(Console { os: os.clone(), per_further_job: FURTHER_JOB }),
        language: Language::default(),
        settings,
        metrics: Arc::new(NoMetrics),
    });
    handles.link.clone().wait_for(Link::is_up).await.unwrap();
    Subject { os, handles, turns: Turns::default(), _settings: sender }
}

fn settings() -> ConnectionSettings {
    // Polls would be counted among the execs.
    ConnectionSettings { poll_interval: Duration::from_secs(300), ..ConnectionSettings::default() }
}

fn slot(at: usize) -> Slot {
    Slot::parse(&format!("pvc-6f7c1d2e-0000-4000-8000-{at:012}")).unwrap()
}

fn create(at: usize) -> Command {
    let (slot, comment) = (slot(at), format!("rds1 c=4f0c2d9a71be s=detached {}", "x".repeat(60)));
    let image = VolumePath::parse(FOLDER).unwrap().image(&slot);
    Command::Create(NewDisk { slot, image, bytes: 1 << 30, comment })
}

fn export(at: usize) -> Command {
    let nqn = Nqn::parse("nqn.x:y").unwrap();
    let export = Export { on: true, nqn: Some(nqn), allow_host: None, port: 4420 };
    let (slot, grow_to) = (slot(at), None);
    let (expect, comment) = (String::new(), "rds1".to_owned());
    Command::Change(Change { slot, expect, comment, export: Some(export), grow_to })
}

impl Subject {
    /// All at once; the answers in their order.
    async fn all(&self, commands: Vec<Command>) -> Vec<Result<Reply, Failure>> {
        let callers = commands.into_iter().enumerate().map(|(at, command)| {
            let backend = BackendName::parse("box").unwrap();
            let turn = self.turns.take(&VolumeId { backend, slot: slot(at) });
            assert!(turn.is_some());
            let rds = self.handles.rds.clone();
            tokio::spawn(async move { rds.execute(command, turn).await })
        });
        join_all(callers).await.into_iter().map(Result::unwrap).collect()
    }

    /// How many volumes are there.
    fn volumes(&self) -> String {
        self.os.exec(":put [:len [/disk/find where type=file]]").text().trim().to_owned()
    }

    /// Lines that several commands shared, in the order in which they came.
    fn shared(&self) -> usize {
        self.os.journal().iter().filter(|entry| entry.line.contains(":foreach")).count()
    }
}

/// Execs, and the time that they took together, for `count` volumes at once.
async fn provision(count: usize, line_bytes_max: usize) -> (u64, Duration) {
    let os = furnished(Setup::default());
    let subject = connected(os, ConnectionSettings { line_bytes_max, ..settings() }).await;
    subject.os.set_latency(EXEC, Duration::ZERO);
    let (execs, before) = (subject.os.exec_count(), Instant::now());
    for answer in subject.all((0..count).map(create).collect()).await {
        let reply = answer.unwrap();
        assert_eq!((reply.complaint, reply.disks.len()), (None, 1));
    }
    let took = before.elapsed();
    assert_eq!(subject.volumes(), count.to_string());
    (subject.os.exec_count() - execs, took)
}

#[expect(clippy::disallowed_macros, reason = "figures for whoever runs this with --nocapture")]
#[actix::test]
async fn sixty_four_volumes_at_once_cost_a_handful_of_execs() {
    tokio::time::pause();
    // With lines of no bytes every command goes alone.
    let mut table = Vec::new();
    for (line_bytes_max, execs_max) in [(0, 64), (1024, 33), (2048, 5), (4096, 5), (65_536, 5)] {
        let (execs, took) = provision(64, line_bytes_max).await;
        let a_second = 64.0 / took.as_secs_f64();
        println!("lines of {line_bytes_max} bytes: {execs} execs, {a_second:.0} volumes a second");
        assert!(execs <= execs_max, "{execs} execs with {line_bytes_max} bytes");
        table.push((execs, a_second));
    }
    assert_eq!(table[0].0, 64);
    // Under paused time this is arithmetic over execs, and no measurement.
    assert!(table[3].1 > TO_BEAT, "{table:?}");
}

#[actix::test]
async fn a_volume_that_is_alone_does_not_wait_for_company() {
    tokio::time::pause();
    let (execs, took) = provision(1, 4096).await;
    assert_eq!(execs, 1);
    // Each timer of tokio may be a millisecond late.
    assert!(took <= EXEC + Duration::from_millis(5), "{took:?}");
}

#[actix::test]
async fn a_connection_that_ends_behind_a_shared_line_leaves_all_unanswered_until_they_are_read() {
    tokio::time::pause();
    let one_lane = ConnectionSettings { lanes: 1, ..settings() };
    let subject = connected(furnished(Setup::default()), one_lane).await;
    subject.os.set_latency(EXEC, Duration::ZERO);
    subject.os.arm_on(":foreach", Fault::DropAfter);
    let answers = subject.all((0..8).map(create).collect()).await;
    for answer in answers {
        assert!(matches!(answer, Err(Failure::Unanswered { .. })), "{answer:?}");
    }
    assert_eq!((subject.volumes().as_str(), subject.turns.count()), ("8", 8));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(subject.turns.count(), 0);
    // The same again finds them.
    let again = subject.all((0..8).map(create).collect()).await;
    assert!(again.iter().all(|answer| answer.as_ref().unwrap().disks.len() == 1));
}

#[actix::test]
async fn a_command_that_the_box_does_not_know_fails_nobody_who_shared_its_line() {
    tokio::time::pause();
    let one_lane = ConnectionSettings { lanes: 1, ..settings() };
    let old = Setup { version: Version::V7_20_8, ..Setup::default() };
    let subject = connected(furnished(old), one_lane).await;
    let answers = subject.all(vec![create(0), export(1), create(2)]).await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    let Err(Failure::Unfinished { said, .. }) = &answers[1] else {
        panic!("{answers:?}");
    };
    assert!(said.starts_with("bad parameter nvme-tcp-server-nqn"), "{said}");
    assert_eq!((subject.volumes().as_str(), subject.turns.count()), ("2", 0));
    subject.all(vec![create(3), create(4)]).await;
    assert_eq!(subject.shared(), 2, "lines are shared as before");
}

#[actix::test]
async fn a_box_that_takes_no_shared_lines_gets_each_command_alone_until_it_is_connected_anew() {
    tokio::time::pause();
    let one_lane = ConnectionSettings { lanes: 1, ..settings() };
    let subject = connected(furnished(Setup::default()), one_lane).await;
    let bound = |max_line| subject.os.change_quirks(move |quirks| quirks.max_line = max_line);
    bound(1200);
    for _ in 0..3 {
        let answers = subject.all((0..8).map(create).collect()).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
    assert_eq!((subject.volumes().as_str(), subject.shared()), ("8", 1));
    bound(65_535);
    subject.os.set_refusing(true);
    subject.os.drop_connections();
    let mut link = subject.handles.link.clone();
    link.wait_for(|link| !link.is_up()).await.unwrap();
    subject.os.set_refusing(false);
    link.wait_for(Link::is_up).await.unwrap();
    subject.all((0..8).map(create).collect()).await;
    assert_eq!(subject.shared(), 2);
}
