//! Commands: in lanes, in the queue, past their deadlines.

use super::scripted::Behaviour;
use super::*;
use crate::rds::{Rds, Reply};
use crate::volume::{Slot, VolumePath};

/// A command that changes a volume.
fn change(slot: &str) -> Command {
    let slot = Slot::parse(slot).unwrap();
    let image = VolumePath::parse("pool").unwrap().image(&slot);
    Command::RemoveImage { slot, image }
}

async fn up(settings: ConnectionSettings) -> Subject {
    let subject = subject(settings);
    pass(1_000).await;
    assert!(is_up(&subject));
    subject
}

/// The answer, and the tenths of a second that it took.
async fn timed(
    subject: &Subject,
    command: Command,
    turn: Option<Turn>,
) -> (Result<Reply, Failure>, u64) {
    let before = Instant::now();
    let answer = subject.handles.rds.execute(command, turn).await;
    (answer, before.elapsed().as_millis() as u64 / 100)
}

#[actix::test]
async fn while_down_every_command_is_answered_at_once_and_told_when_the_next_attempt_is() {
    tokio::time::pause();
    let subject = Box_::refusing(exact());
    pass(3_500).await;
    for _ in 0..100 {
        let (answer, took) = timed(&subject, Command::Table, subject.turn("a")).await;
        let Failure::NotConnected { address, why, next_attempt } = answer.unwrap_err() else {
            panic!("another failure");
        };
        assert_eq!((address.as_str(), took), ("10.0.0.1:22", 0));
        assert!(why.contains("refused"), "{why}");
        assert_eq!(next_attempt.as_millis() / 100, 35);
    }
    assert_eq!(subject.turns.count(), 0);
}

#[actix::test]
async fn sessions_are_opened_when_they_are_needed_and_used_again() {
    tokio::time::pause();
    let subject = up(exact()).await;
    for _ in 0..20 {
        subject.execute(Command::Table).await.unwrap();
    }
    // A second lane may be taken before the actor has heard that the first is free.
    assert!(subject.peer.attempts().len() <= 3);
    subject.peer.does("Table", Doing::Takes(1));
    let many = (0..12).map(|_| subject.execute(Command::Table));
    let replies = futures::future::join_all(many).await;
    assert!(replies.iter().all(Result::is_ok));
    assert_eq!(subject.peer.attempts().len(), 4);
    assert_eq!(subject.peer.open_max(), 4);
}

#[actix::test]
async fn a_full_queue_denies_and_says_how_many_wait() {
    tokio::time::pause();
    let settings = ConnectionSettings { lanes: 1, queue_max: 5, ..exact() };
    let subject = up(settings).await;
    subject.peer.does("Table", Doing::Takes(1));
    let accepted: Vec<_> = (0..6).map(|_| subject.spawn(Command::Table, None)).collect();
    pass(1).await;
    let (denied, took) = timed(&subject, Command::Table, None).await;
    let busy = Failure::Busy { address: "10.0.0.1:22".into(), waiting: 5 };
    assert_eq!((denied, took), (Err(busy), 0));
    for accepted in accepted {
        accepted.await.unwrap().unwrap();
    }
}

#[actix::test]
async fn a_command_whose_caller_has_gone_is_not_sent_and_frees_its_turn() {
    tokio::time::pause();
    let subject = up(ConnectionSettings { lanes: 1, ..exact() }).await;
    subject.peer.does("Table", Doing::Takes(10));
    let running = subject.spawn(Command::Table, None);
    pass(1).await;
    let cancelled = subject.spawn(change("a"), subject.turn("a"));
    pass(1).await;
    cancelled.abort();
    running.await.unwrap().unwrap();
    pass(1).await;
    assert_eq!(subject.peer.count("RemoveImage"), 0);
    assert_eq!(subject.turns.count(), 0);
}

#[actix::test]
async fn a_caller_that_gives_up_does_not_free_the_turn_of_a_command_that_runs() {
    tokio::time::pause();
    let subject = up(exact()).await;
    subject.peer.does("RemoveImage", Doing::Takes(10));
    let cancelled = subject.spawn(change("a"), subject.turn("a"));
    pass(100).await;
    cancelled.abort();
    pass(5_000).await;
    assert!(subject.turn("a").is_none());
    pass(5_000).await;
    assert!(subject.turn("a").is_some());
}

#[actix::test]
async fn past_its_deadline_a_command_keeps_its_turn_until_the_volume_was_read_again() {
    tokio::time::pause();
    let subject = up(exact()).await;
    subject.peer.does("RemoveImage", Doing::Hangs);
    subject.peer.does("Show", Doing::Takes(20));
    let (answer, took) = timed(&subject, change("a"), subject.turn("a")).await;
    assert!(matches!(answer, Err(Failure::Unanswered { .. })), "{answer:?}");
    assert_eq!(took, 300);
    pass(19_000).await;
    assert!(subject.turn("a").is_none());
    assert_eq!(subject.peer.count("Show"), 1);
    pass(1_500).await;
    assert!(subject.turn("a").is_some());
    assert_eq!(epoch(&subject), 1, "no outage");
}

#[actix::test]
async fn the_turn_is_kept_across_an_outage() {
    tokio::time::pause();
    let subject = up(exact()).await;
    subject.peer.does("RemoveImage", Doing::Takes(20));
    let running = subject.spawn(change("a"), subject.turn("a"));
    pass(100).await;
    subject.peer.set(|peer| peer.refuses = true);
    subject.peer.cut();
    let answer = tokio::time::timeout(Duration::from_millis(100), running).await;
    let answer = answer.expect("answered at once").unwrap();
    assert!(matches!(answer, Err(Failure::Unanswered { .. })), "{answer:?}");
    pass(600_000).await;
    assert!(subject.turn("a").is_none());
    subject.peer.set(|peer| peer.refuses = false);
    pass(20_000).await;
    assert_eq!(epoch(&subject), 2);
    assert_eq!(subject.peer.count("Show"), 1);
    assert!(subject.turn("a").is_some());
}

#[actix::test]
async fn when_the_link_goes_down_what_runs_and_what_waits_is_answered_at_once() {
    tokio::time::pause();
    let subject = up(exact()).await;
    subject.peer.does("RemoveImage", Doing::Hangs);
    let all: Vec<_> = ["a", "b", "c", "d", "e"]
        .map(|slot| subject.spawn(change(slot), subject.turn(slot)))
        .into();
    pass(100).await;
    // Half-open: the lanes themselves would wait for their deadlines.
    subject.peer.set(|peer| (peer.silent, peer.unreachable) = (true, true));
    tenths_until_down(&subject).await;
    let before = Instant::now();
    let (mut unanswered, mut not_connected) = (0, 0);
    for answer in all {
        match answer.await.unwrap().unwrap_err() {
            Failure::Unanswered { .. } => unanswered += 1,
            Failure::NotConnected { .. } => not_connected += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(before.elapsed() < Duration::from_millis(100));
    assert_eq!((unanswered, not_connected), (3, 2));
    // Those that were never sent are free.
    assert_eq!(subject.turns.count(), 3);
    subject.peer.does("Show", Doing::Takes(2));
    let healthy = |peer: &mut Behaviour| (peer.silent, peer.unreachable) = (false, false);
    subject.peer.set(healthy);
    let mut link = subject.handles.link.clone();
    link.wait_for(Link::is_up).await.unwrap();
    pass(100).await;
    // Polls, and one after the other that reads again.
    assert_eq!(subject.peer.open(), 2);
    pass(60_000).await;
    assert_eq!(subject.turns.count(), 0);
    // Lanes, polls, and one that reads again.
    assert!(subject.peer.open_max() <= 5, "{}", subject.peer.open_max());
}

#[actix::test]
async fn a_connection_that_ends_after_the_effect_is_unanswered_and_the_lane_is_replaced() {
    tokio::time::pause();
    let subject = up(exact()).await;
    subject.peer.does("RemoveImage", Doing::Drops);
    let (answer, took) = timed(&subject, change("a"), subject.turn("a")).await;
    assert!(matches!(answer, Err(Failure::Unanswered { .. })), "{answer:?}");
    assert_eq!((took, epoch(&subject)), (0, 1));
    pass(100).await;
    assert!(subject.turn("a").is_some());
    subject.execute(Command::Table).await.unwrap();
}

#[actix::test]
async fn an_answer_without_the_sentinel_is_unfinished_and_keeps_the_turn_until_a_re_read() {
    tokio::time::pause();
    let subject = up(exact()).await;
    subject.peer.does("RemoveImage", Doing::Garbles);
    subject.peer.does("Show", Doing::Takes(7));
    let (answer, _) = timed(&subject, change("a"), subject.turn("a")).await;
    let said = "syntax error".to_owned();
    let address = "10.0.0.1:22".to_owned();
    assert_eq!(answer, Err(Failure::Unfinished { address, said }));
    pass(6_000).await;
    assert!(subject.turn("a").is_none(), "it may run still");
    pass(1_500).await;
    assert!(subject.turn("a").is_some());
}

#[actix::test]
async fn a_refused_channel_in_a_session_that_idled_is_tried_once_more_and_then_told() {
    tokio::time::pause();
    let subject = up(exact()).await;
    subject.execute(Command::Table).await.unwrap();
    subject.peer.does("Table", Doing::Refuses);
    let answer = subject.execute(Command::Table).await.unwrap_err();
    assert!(!answer.may_have_run(), "{answer:?}");
    assert_eq!(subject.peer.attempts().len(), 3);
}

#[actix::test]
async fn an_idle_session_that_was_closed_is_not_used() {
    tokio::time::pause();
    let subject = up(exact()).await;
    subject.execute(Command::Table).await.unwrap();
    subject.peer.cut();
    pass(100).await;
    subject.execute(Command::Table).await.unwrap();
    assert_eq!(epoch(&subject), 1);
}

#[actix::test]
async fn fewer_lanes_hold_at_once_for_idle_sessions_and_more_lanes_for_what_waits() {
    tokio::time::pause();
    let subject = up(exact()).await;
    subject.peer.does("Table", Doing::Takes(10));
    let three = (0..3).map(|_| subject.execute(Command::Table));
    futures::future::join_all(three).await;
    assert_eq!(subject.peer.open(), 4);
    subject.settings.send(ConnectionSettings { lanes: 1, ..exact() }).unwrap();
    pass(10).await;
    assert_eq!(subject.peer.open(), 2);
    let five: Vec<_> = (0..5).map(|_| subject.spawn(Command::Table, None)).collect();
    pass(10).await;
    assert_eq!(subject.peer.open(), 2);
    subject.settings.send(ConnectionSettings { lanes: 5, ..exact() }).unwrap();
    pass(10).await;
    assert_eq!(subject.peer.open(), 6);
    for one in five {
        one.await.unwrap().unwrap();
    }
}

#[actix::test]
async fn lanes_of_before_a_restart_of_the_box_do_not_count_as_free_after_it() {
    tokio::time::pause();
    let subject = up(exact()).await;
    subject.peer.does("Table", Doing::Takes(20));
    let all: Vec<_> = (0..9).map(|_| subject.spawn(Command::Table, None)).collect();
    pass(100).await;
    subject.peer.set(|peer| peer.uptime = 3);
    pass(6_000).await;
    assert_eq!(epoch(&subject), 2);
    assert_eq!(subject.peer.open(), 4);
    let mut unanswered = 0;
    for one in all {
        match one.await.unwrap() {
            Err(Failure::Unanswered { .. }) => unanswered += 1,
            answer => drop(answer.unwrap()),
        }
    }
    assert_eq!(unanswered, 3);
}

#[actix::test]
async fn the_handle_of_a_dead_actor_fails_at_once() {
    tokio::time::pause();
    let rds = up(exact()).await.handles.rds;
    assert!(rds.link().is_up());
    // The last recipient goes, and with it the actor.
    let (to, dead) = {
        struct Dying;
        impl Actor for Dying {
            type Context = Context<Self>;
        }
        impl Handler<Execute> for Dying {
            type Result = ();
            fn handle(&mut self, _: Execute, ctx: &mut Context<Self>) {
                ctx.stop();
            }
        }
        let address = Dying.start();
        (address.clone().recipient(), address)
    };
    let rds = RdsHandle { to, ..rds };
    let first = rds.execute(Command::Table, None).await;
    assert!(matches!(first, Err(Failure::Stopping { .. })), "{first:?}");
    assert!(!dead.connected());
    let second = rds.execute(Command::Table, None).await;
    assert!(matches!(second, Err(Failure::Stopping { .. })), "{second:?}");
}
