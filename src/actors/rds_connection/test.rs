mod leadership;
mod restarts;
mod scripted;
mod shared;
mod work;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::scripted::{Box_, Doing, Subject, subject};
use super::*;
use crate::actors::NoMetrics;
use crate::actors::doubles::pass;
use crate::rds::Failure;

/// Exactly 1, 2, 4 … s.
fn exact() -> ConnectionSettings {
    let mut settings = ConnectionSettings::default();
    settings.backoff.jitter = 0.0;
    settings
}

fn is_up(subject: &Subject) -> bool {
    subject.handles.link.borrow().is_up()
}

fn epoch(subject: &Subject) -> u64 {
    match &*subject.handles.link.borrow() {
        Link::Up { epoch, .. } => *epoch,
        Link::Down { .. } => 0,
    }
}

/// Waits until the link is down and says after how many tenths of a second.
async fn tenths_until_down(subject: &Subject) -> u64 {
    let start = Instant::now();
    let mut link = subject.handles.link.clone();
    let down = link.wait_for(|link| !link.is_up());
    let down = tokio::time::timeout(Duration::from_secs(600), down).await;
    down.expect("still up").unwrap();
    start.elapsed().as_millis() as u64 / 100
}

#[actix::test]
async fn attempts_come_at_0_1_3_7_15_31_seconds_and_never_end() {
    tokio::time::pause();
    let subject = subject(exact());
    subject.peer.set(|peer| peer.refuses = true);
    pass(10_000_000).await;
    let attempts = subject.peer.attempts();
    assert_eq!(attempts[..8], [0, 1, 3, 7, 15, 31, 47, 63]);
    assert!(attempts.len() > 600);
    assert_eq!(subject.restarted.causes(), [""; 0]);
}

#[actix::test]
async fn a_box_that_was_down_at_the_start_is_found_and_its_link_says_what_it_runs() {
    tokio::time::pause();
    let subject = subject(exact());
    subject.peer.set(|peer| peer.refuses = true);
    pass(8_000).await;
    let Link::Down { next, why, .. } = subject.handles.link.borrow().clone() else {
        panic!("up");
    };
    assert!(next.is_some());
    assert!(why.contains("refused"), "{why}");
    subject.peer.set(|peer| peer.refuses = false);
    pass(8_000).await;
    let Link::Up { epoch, system, .. } = subject.handles.link.borrow().clone() else {
        panic!("down");
    };
    assert_eq!((epoch, system.version.as_str()), (1, "7.21"));
}

#[actix::test]
async fn a_box_that_takes_logins_and_answers_no_poll_does_not_reset_the_backoff() {
    tokio::time::pause();
    let subject = subject(exact());
    subject.peer.set(|peer| peer.silent = true);
    pass(60_000).await;
    // Every attempt takes 3 s: 0, 3+1, 4+3+2, 9+3+4, 16+3+8, 27+3+16.
    assert_eq!(subject.peer.attempts(), [0, 4, 9, 16, 27, 46]);
    assert!(!is_up(&subject));
}

#[actix::test]
async fn attempts_begin_again_after_a_poll_was_answered() {
    tokio::time::pause();
    let subject = subject(exact());
    subject.peer.set(|peer| peer.refuses = true);
    pass(6_000).await;
    subject.peer.set(|peer| peer.refuses = false);
    pass(2_000).await;
    assert!(is_up(&subject));
    subject.peer.set(|peer| peer.refuses = true);
    subject.peer.cut();
    pass(8_000).await;
    // The fresh connection of the lost poll, then 1, 2, 4 s later.
    assert_eq!(subject.peer.attempts(), [0, 1, 3, 7, 8, 9, 11, 15]);
}

#[actix::test]
async fn a_closed_connection_is_noticed_at_once() {
    tokio::time::pause();
    let subject = subject(exact());
    pass(7_000).await;
    assert!(is_up(&subject));
    subject.peer.set(|peer| peer.refuses = true);
    subject.peer.cut();
    assert_eq!(tenths_until_down(&subject).await, 0);
}

#[actix::test]
async fn a_half_open_connection_is_noticed_within_11_seconds() {
    tokio::time::pause();
    for after in [100, 2_000, 4_900, 5_001, 5_100, 9_999] {
        let subject = subject(exact());
        pass(after).await;
        assert!(is_up(&subject));
        // Power loss: nothing is refused, nothing is answered.
        subject.peer.set(|peer| (peer.silent, peer.unreachable) = (true, true));
        let tenths = tenths_until_down(&subject).await;
        assert!(tenths <= 110, "{tenths} after {after}");
        assert!(tenths >= 60, "{tenths} after {after}");
    }
}

#[actix::test]
async fn a_session_that_breaks_while_the_box_is_there_is_replaced_and_nobody_hears_of_it() {
    tokio::time::pause();
    let subject = subject(exact());
    pass(1_000).await;
    subject.peer.cut();
    pass(1_000).await;
    assert_eq!(epoch(&subject), 1);
    // Half-open, and a fresh one answers.
    subject.peer.freeze();
    pass(60_000).await;
    assert_eq!(epoch(&subject), 1);
    assert_eq!(subject.peer.attempts().len(), 3);
    assert!(subject.peer.open() <= 1, "old sessions are closed");
}

#[actix::test]
async fn a_box_that_has_restarted_comes_up_anew() {
    tokio::time::pause();
    let subject = subject(exact());
    pass(1_000).await;
    subject.peer.set(|peer| peer.uptime = 12);
    pass(6_000).await;
    assert_eq!(epoch(&subject), 2);
}

#[actix::test]
async fn long_commands_in_all_lanes_are_no_outage() {
    tokio::time::pause();
    let subject = subject(exact());
    pass(1_000).await;
    subject.peer.does("Table", Doing::Takes(29));
    let slow = (0..9).map(|_| subject.execute(Command::Table));
    let replies = futures::future::join_all(slow).await;
    assert_eq!(epoch(&subject), 1);
    // Three at a time; those that would wait longer than a command may take are answered "busy".
    let answered = replies.iter().filter(|reply| reply.is_ok()).count();
    assert_eq!(answered, 6);
    let busy = |reply: &&Result<_, Failure>| matches!(reply, Err(Failure::Busy { .. }));
    assert_eq!(replies.iter().filter(busy).count(), 3);
}

#[actix::test]
async fn shutdown_finishes_what_runs_refuses_what_waits_and_says_goodbye() {
    tokio::time::pause();
    let mut settings = exact();
    settings.lanes = 1;
    let subject = subject(settings);
    pass(1_000).await;
    subject.peer.does("Table", Doing::Takes(2));
    let running = subject.spawn(Command::Table, None);
    pass(100).await;
    let waiting = subject.spawn(Command::Table, None);
    pass(100).await;
    let before = Instant::now();
    let within = Duration::from_secs(10);
    subject.handles.shutdown.send(Shutdown { within }).await.unwrap();
    assert!((17..=18).contains(&(before.elapsed().as_millis() / 100)));
    running.await.unwrap().unwrap();
    let refused = waiting.await.unwrap().unwrap_err();
    assert!(matches!(refused, Failure::Stopping { .. }));
    let late = subject.execute(Command::Table).await.unwrap_err();
    assert!(matches!(late, Failure::Stopping { .. }));
    assert_eq!(subject.peer.goodbyes(), 2);
    assert_eq!(subject.peer.open(), 0);
    let attempts = subject.peer.attempts().len();
    pass(100_000).await;
    assert_eq!(subject.peer.attempts().len(), attempts);
    assert!(!is_up(&subject));
}

#[actix::test]
async fn shutdown_abandons_what_takes_too_long_and_is_quick_while_down() {
    tokio::time::pause();
    let subject = subject(exact());
    pass(1_000).await;
    subject.peer.does("Table", Doing::Hangs);
    let running = subject.spawn(Command::Table, None);
    pass(100).await;
    let before = Instant::now();
    let within = Duration::from_secs(10);
    subject.handles.shutdown.send(Shutdown { within }).await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 10);
    let abandoned = running.await.unwrap().unwrap_err();
    assert!(matches!(abandoned, Failure::Unanswered { .. }));
    assert_eq!(subject.peer.open(), 0);

    let subject = Box_::refusing(exact());
    pass(1_000).await;
    let before = Instant::now();
    subject.handles.shutdown.send(Shutdown { within }).await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 0);
}

#[actix::test]
async fn another_interval_holds_at_once_and_without_settings_the_last_ones_stay() {
    tokio::time::pause();
    let subject = subject(exact());
    pass(1_000).await;
    let polls = subject.peer.count("Poll");
    let mut settings = exact();
    settings.poll_interval = Duration::from_secs(1);
    let Subject { settings: sender, peer, handles, .. } = subject;
    sender.send(settings).unwrap();
    drop::<watch::Sender<_>>(sender);
    pass(10_050).await;
    assert!((9..=11).contains(&(peer.count("Poll") - polls)));
    assert!(handles.link.borrow().is_up());
}

#[actix::test]
async fn an_uptime_that_cannot_be_read_is_no_restart_and_hides_none() {
    tokio::time::pause();
    let subject = subject(exact());
    pass(1_000).await;
    subject.peer.set(|peer| peer.uptime = u64::MAX);
    pass(20_000).await;
    assert_eq!(epoch(&subject), 1);
    subject.peer.set(|peer| peer.uptime = 12);
    pass(6_000).await;
    assert_eq!(epoch(&subject), 2);
}
