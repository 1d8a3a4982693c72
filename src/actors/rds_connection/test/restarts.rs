//! Panics, in every entry, under load.

use super::*;
use crate::actors::supervision::Cause;
use crate::rds::Rds;
use crate::volume::{Slot, VolumePath};

/// Forty callers, each with a turn, with commands that take a second.
fn load(subject: &Subject) -> Vec<tokio::task::JoinHandle<Result<crate::rds::Reply, Failure>>> {
    subject.peer.does("RemoveImage", Doing::Takes(1));
    let one = |n: usize| {
        let name = format!("v{n}");
        let slot = Slot::parse(&name).unwrap();
        let image = VolumePath::parse("pool").unwrap().image(&slot);
        let turn = subject.turn(&name);
        assert!(turn.is_some());
        subject.spawn(Command::RemoveImage { slot, image }, turn)
    };
    (0..40).map(one).collect()
}

#[actix::test]
async fn a_panic_in_any_entry_answers_everybody_keeps_turns_and_comes_back() {
    tokio::time::pause();
    for entry in Entry::ALL {
        let subject = subject(exact());
        pass(1_000).await;
        let callers = load(&subject);
        pass(500).await;
        subject.faults.arm(entry, 1);
        match entry {
            Entry::Handler => drop(subject.spawn(Command::Table, None)),
            Entry::Stream => subject.settings.send(exact()).unwrap(),
            // The next command that a lane takes.
            Entry::Future => {}
            Entry::Timer => {
                subject.peer.set(|peer| peer.refuses = true);
                subject.peer.cut();
                pass(1_500).await;
                subject.peer.set(|peer| peer.refuses = false);
            }
            Entry::Started => {
                subject.faults.arm(Entry::Stream, 1);
                subject.settings.send(exact()).unwrap();
            }
        }
        let start = Instant::now();
        for caller in callers {
            let answer = tokio::time::timeout(Duration::from_secs(60), caller).await;
            let answer = answer.expect("somebody waits for ever").unwrap();
            assert!(!matches!(answer, Err(Failure::Busy { .. })), "{entry:?}: {answer:?}");
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{entry:?}");
        let mut link = subject.handles.link.clone();
        let back = link.wait_for(Link::is_up);
        let back = tokio::time::timeout(Duration::from_secs(5), back).await;
        back.expect("is not back").unwrap();
        assert!(!subject.faults.is_armed(entry), "{entry:?} was not passed");
        assert_eq!(epoch(&subject), 2, "{entry:?}");
        subject.execute(Command::Table).await.unwrap();
        pass(10_000).await;
        assert_eq!(subject.turns.count(), 0, "{entry:?}");
        let causes = subject.restarted.causes();
        assert_eq!(causes.last(), Some(&Cause::Panic(entry).label()));
        assert_eq!(causes.len(), 1 + usize::from(entry == Entry::Started));
        assert!((subject.handles.alive)());
        // Three lanes, polls, one that reads again.
        assert!(subject.peer.open_max() <= 5, "{}", subject.peer.open_max());
    }
}

#[actix::test]
async fn a_restart_answers_what_runs_and_does_not_free_its_turn() {
    tokio::time::pause();
    let subject = subject(exact());
    pass(1_000).await;
    subject.peer.does("Show", Doing::Hangs);
    let callers = load(&subject);
    pass(500).await;
    subject.faults.arm(Entry::Handler, 1);
    let panicked = subject.execute(Command::Table).await.unwrap_err();
    assert!(matches!(panicked, Failure::Stopping { .. }));
    let (mut unanswered, mut stopping) = (0, 0);
    for caller in callers {
        match caller.await.unwrap().unwrap_err() {
            Failure::Unanswered { .. } => unanswered += 1,
            Failure::Stopping { .. } => stopping += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((unanswered, stopping), (3, 37));
    assert_eq!(subject.turns.count(), 3);
    let refused = subject.execute(Command::Table).await.unwrap_err();
    let Failure::NotConnected { why, next_attempt, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((why.as_str(), next_attempt.as_secs()), ("the connection actor was restarted", 1));
    pass(20_000).await;
    assert!(is_up(&subject));
    assert_eq!(subject.turns.count(), 3, "nobody has read the volumes again");
    subject.peer.does("Show", Doing::Takes(0));
    pass(60_000).await;
    assert_eq!(subject.turns.count(), 0);
}

#[actix::test]
async fn a_panic_over_an_answer_is_unanswered_and_a_restart() {
    tokio::time::pause();
    let subject = subject(exact());
    pass(1_000).await;
    subject.peer.does("Table", Doing::Confuses);
    let turn = subject.turn("a");
    let answer = subject.handles.rds.execute(Command::Table, turn).await;
    assert!(matches!(answer, Err(Failure::Unanswered { .. })), "{answer:?}");
    assert!(subject.turn("a").is_none());
    pass(3_000).await;
    assert_eq!(subject.restarted.causes(), ["panic_future"]);
    assert!(is_up(&subject));
    assert!(subject.turn("a").is_some());
}

#[actix::test]
async fn a_connection_that_panics_all_the_time_slows_down() {
    tokio::time::pause();
    let subject = subject(exact());
    subject.peer.does("Poll", Doing::Confuses);
    pass(600_000).await;
    let restarts = subject.restarted.causes().len();
    assert!((20..=30).contains(&restarts), "{restarts}");
}

/// On several threads, as in the daemon, in real time: callers, panics and restarts at once.
#[test]
fn under_load_on_many_threads_everybody_is_answered_and_every_turn_comes_back() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(4).enable_all().build().unwrap()
    };
    System::with_tokio_rt(runtime).block_on(async {
        let subject = subject(exact());
        let mut link = subject.handles.link.clone();
        link.wait_for(Link::is_up).await.unwrap();
        for entry in [Entry::Future, Entry::Handler] {
            subject.peer.does("RemoveImage", Doing::Takes(0));
            let callers: Vec<_> = (0..200)
                .map(|n| {
                    let slot = Slot::parse(&format!("v{n}")).unwrap();
                    let image = VolumePath::parse("pool").unwrap().image(&slot);
                    let turn = subject.turn(slot.as_str());
                    assert!(turn.is_some());
                    subject.spawn(Command::RemoveImage { slot, image }, turn)
                })
                .collect();
            subject.faults.arm(entry, 1);
            let all = futures::future::join_all(callers);
            let all = tokio::time::timeout(Duration::from_secs(30), all).await;
            assert_eq!(all.expect("somebody waits for ever").len(), 200);
            // One more passes the handler, and a lane.
            let _ = subject.execute(Command::Table).await;
            let everything = async {
                while subject.faults.is_armed(entry)
                    || subject.turns.count() > 0
                    || !is_up(&subject)
                {
                    let _ = subject.execute(Command::Table).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let back = tokio::time::timeout(Duration::from_secs(30), everything).await;
            back.expect("is not back");
        }
        assert_eq!(subject.restarted.causes().len(), 2);
    });
}
