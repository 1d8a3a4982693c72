//! Commands of a pass whose replica reconciles no more: they are sent in time or not at all.

use super::scripted::sharing;
use super::*;
use crate::mandate::{Mandate, Term};
use crate::rds::{Rds, Reply};
use crate::volume::{Slot, VolumePath};

fn change(slot: &str) -> Command {
    let slot = Slot::parse(slot).unwrap();
    let image = VolumePath::parse("pool").unwrap().image(&slot);
    Command::RemoveImage { slot, image }
}

async fn up(subject: Subject) -> Subject {
    pass(1_000).await;
    assert!(is_up(&subject));
    subject
}

/// A turn for work that may be done for so many seconds.
fn turn_for(subject: &Subject, slot: &str, seconds: u64) -> Option<Turn> {
    let term = Term::Until(Instant::now() + Duration::from_secs(seconds));
    let mandate = Mandate::following(watch::channel(term).1);
    subject.turn(slot).map(|turn| turn.under(mandate))
}

fn was_refused(answer: &Result<Reply, Failure>) -> bool {
    matches!(answer, Err(Failure::NotLeading { .. }))
}

#[actix::test]
async fn a_command_that_waited_for_a_lane_until_the_mandate_ended_is_not_sent() {
    tokio::time::pause();
    let subject = up(subject(ConnectionSettings { lanes: 1, ..exact() })).await;
    subject.peer.does("Table", Doing::Takes(10));
    let running = subject.spawn(Command::Table, None);
    pass(1).await;
    let late = subject.spawn(change("a"), turn_for(&subject, "a", 5));
    let ours = subject.spawn(change("b"), turn_for(&subject, "b", 20));
    running.await.unwrap().unwrap();
    let late = late.await.unwrap();
    assert!(was_refused(&late), "{late:?}");
    assert!(!late.unwrap_err().may_have_run());
    ours.await.unwrap().unwrap();
    assert_eq!(subject.peer.count("RemoveImage"), 1);
    assert_eq!(subject.turns.count(), 0);
}

#[actix::test]
async fn of_a_shared_line_what_may_not_be_sent_is_left_out_and_the_rest_goes_alone() {
    tokio::time::pause();
    let settings = ConnectionSettings { lanes: 1, line_bytes_max: 3, ..exact() };
    let subject = up(sharing(settings)).await;
    subject.peer.does("Table", Doing::Takes(10));
    let running = subject.spawn(Command::Table, None);
    pass(1).await;
    let late = subject.spawn(change("a"), turn_for(&subject, "a", 5));
    let others = ["b", "c"].map(|slot| subject.spawn(change(slot), subject.turn(slot)));
    running.await.unwrap().unwrap();
    assert!(was_refused(&late.await.unwrap()));
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(subject.peer.shared("RemoveImage"), [1, 1]);
    // The box has not shown that it cannot read shared lines.
    subject.peer.does("Table", Doing::Takes(1));
    let running = subject.spawn(Command::Table, None);
    pass(1).await;
    let others = ["b", "c"].map(|slot| subject.spawn(change(slot), subject.turn(slot)));
    running.await.unwrap().unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(subject.peer.shared("RemoveImage"), [1, 1, 2]);
}

#[actix::test]
async fn a_mandate_that_ends_while_a_session_is_opened_ends_the_command_unsent() {
    tokio::time::pause();
    let subject = up(subject(exact())).await;
    subject.peer.set(|peer| peer.unreachable = true);
    let before = Instant::now();
    let turn = turn_for(&subject, "a", 5);
    let answer = subject.handles.rds.execute(change("a"), turn).await;
    assert!(was_refused(&answer), "{answer:?}");
    assert_eq!(before.elapsed().as_secs(), 5);
    assert_eq!(subject.peer.count("RemoveImage"), 0);
    assert_eq!(subject.turns.count(), 0);
}

#[actix::test]
async fn a_command_that_runs_when_the_mandate_ends_counts_as_running_until_it_was_read_again() {
    tokio::time::pause();
    let subject = up(subject(exact())).await;
    subject.peer.does("RemoveImage", Doing::Takes(20));
    subject.peer.does("Show", Doing::Takes(1));
    let turn = turn_for(&subject, "a", 5);
    let answer = subject.handles.rds.execute(change("a"), turn).await;
    assert!(answer.as_ref().is_err_and(Failure::may_have_run), "{answer:?}");
    assert!(subject.turn("a").is_none());
    pass(2_000).await;
    assert!(subject.turn("a").is_some());
}

#[actix::test]
async fn a_command_of_a_shared_line_that_was_sent_is_not_said_to_be_unsent_when_the_mandate_ends() {
    tokio::time::pause();
    let settings = ConnectionSettings { lanes: 1, line_bytes_max: 2, ..exact() };
    let subject = up(sharing(settings)).await;
    subject.peer.does("Table", Doing::Takes(1));
    subject.peer.does("RemoveImage", Doing::Takes(10));
    subject.peer.does("Unexport", Doing::Spoils);
    subject.peer.does("Show", Doing::Takes(1));
    let running = subject.spawn(Command::Table, None);
    pass(1).await;
    // Both in one line, which comes to nothing; then each alone, and b's time is over before.
    let first = subject.spawn(change("a"), subject.turn("a"));
    let close = Command::Unexport { slot: Slot::parse("b").unwrap(), expect: String::new() };
    let late = subject.spawn(close, turn_for(&subject, "b", 5));
    running.await.unwrap().unwrap();
    first.await.unwrap().unwrap();
    let late = late.await.unwrap();
    assert!(late.as_ref().is_err_and(Failure::may_have_run), "{late:?}");
    assert!(subject.turn("b").is_none(), "its turn is kept until it was read again");
    assert_eq!(subject.peer.shared("RemoveImage"), [2, 1]);
    assert_eq!(subject.peer.count("Unexport"), 1);
}
