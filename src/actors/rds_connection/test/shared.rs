//! Commands that share a line.

use super::scripted::{Behaviour, sharing};
use super::*;
use crate::rds::{Command, NewDisk, Reply};
use crate::volume::{Slot, VolumePath};

type Caller = tokio::task::JoinHandle<Result<Reply, Failure>>;

fn remove(slot: &str) -> Command {
    let slot = Slot::parse(slot).unwrap();
    let image = VolumePath::parse("pool").unwrap().image(&slot);
    Command::RemoveImage { slot, image }
}

fn unexport(slot: &str) -> Command {
    Command::Unexport { slot: Slot::parse(slot).unwrap(), expect: String::new() }
}

/// One lane, so that what comes together shares a line.
async fn one_lane() -> Subject {
    let subject = sharing(ConnectionSettings { lanes: 1, ..exact() });
    pass(1_000).await;
    assert!(is_up(&subject));
    subject
}

/// Asks for each, with the turn of its volume.
fn ask(subject: &Subject, commands: &[Command]) -> Vec<Caller> {
    let ask = |command: &Command| {
        let slot = crate::rds::script::action::slot(command).unwrap().as_str();
        let turn = subject.turn(slot);
        assert!(turn.is_some());
        subject.spawn(command.clone(), turn)
    };
    commands.iter().map(ask).collect()
}

async fn all(callers: Vec<Caller>) -> Vec<Result<Reply, Failure>> {
    let answers = futures::future::join_all(callers).await;
    answers.into_iter().map(Result::unwrap).collect()
}

fn words(answers: &[Result<Reply, Failure>]) -> Vec<&'static str> {
    let word = |answer: &Result<Reply, Failure>| match answer {
        Ok(_) => "answered",
        Err(Failure::Unfinished { .. }) => "unfinished",
        Err(Failure::Unanswered { .. }) => "unanswered",
        Err(Failure::NotConnected { .. }) => "not_connected",
        Err(Failure::Stopping { .. }) => "stopping",
        Err(Failure::NotLeading { .. }) => "not_leading",
        Err(Failure::Busy { .. }) => "busy",
    };
    answers.iter().map(word).collect()
}

#[actix::test]
async fn what_waits_while_every_lane_is_busy_goes_out_in_one_line_in_its_order() {
    tokio::time::pause();
    let subject = one_lane().await;
    subject.peer.does("Table", Doing::Takes(2));
    let running = subject.spawn(Command::Table, None);
    pass(100).await;
    let first = ask(&subject, &[remove("a"), unexport("b")]);
    pass(1_000).await;
    let then = ask(&subject, &[remove("c")]);
    pass(100).await;
    assert_eq!(subject.peer.shared("RemoveImage"), [0; 0]);
    running.await.unwrap().unwrap();
    assert_eq!(words(&all(first).await), ["answered"; 2]);
    assert_eq!(words(&all(then).await), ["answered"]);
    assert_eq!(subject.peer.shared("RemoveImage"), [3]);
    assert_eq!(subject.turns.count(), 0);
}

#[actix::test]
async fn what_comes_together_is_shared_by_the_lanes_that_are_free() {
    tokio::time::pause();
    let subject = sharing(exact());
    pass(1_000).await;
    let names: Vec<_> = (0..48).map(|at| remove(&format!("v{at}"))).collect();
    assert_eq!(words(&all(ask(&subject, &names)).await), ["answered"; 48]);
    assert_eq!(subject.peer.shared("RemoveImage"), [16, 16, 16]);
    all(ask(&subject, &names[..1])).await;
    assert_eq!(subject.peer.shared("RemoveImage"), [16, 16, 16, 1]);
}

#[actix::test]
async fn the_bound_of_a_line_may_change_and_holds_for_the_next() {
    tokio::time::pause();
    let subject = one_lane().await;
    let names: Vec<_> = (0..6).map(|at| remove(&format!("v{at}"))).collect();
    let bounded = ConnectionSettings { lanes: 1, line_bytes_max: 4, ..exact() };
    subject.settings.send(bounded).unwrap();
    pass(10).await;
    all(ask(&subject, &names)).await;
    assert_eq!(subject.peer.shared("RemoveImage"), [4, 2]);
}

#[actix::test]
async fn a_line_has_the_time_that_all_its_bytes_need() {
    tokio::time::pause();
    let subject = one_lane().await;
    let create = |slot: &str| {
        let slot = Slot::parse(slot).unwrap();
        let image = VolumePath::parse("pool").unwrap().image(&slot);
        Command::Create(NewDisk { slot, image, bytes: 10 << 30, comment: String::new() })
    };
    subject.peer.does("Create", Doing::Hangs);
    let before = Instant::now();
    let answers = all(ask(&subject, &[create("a"), create("b")])).await;
    assert_eq!(words(&answers), ["unanswered"; 2]);
    assert_eq!(before.elapsed().as_secs(), 30 + 2 * 10);
    subject.peer.does("Create", Doing::Takes(0));
    let more: Vec<_> = ["c", "d", "e", "f"].map(create).into();
    assert_eq!(words(&all(ask(&subject, &more)).await), ["answered"; 4]);
    assert_eq!(subject.peer.shared("Create"), [2, 3, 1], "no more than 30 s longer");
}

#[actix::test]
async fn a_job_whose_end_is_missing_keeps_its_turn_and_the_others_are_answered() {
    tokio::time::pause();
    let subject = one_lane().await;
    subject.peer.does("Unexport", Doing::Garbles);
    subject.peer.does("Show", Doing::Takes(5));
    let answers = all(ask(&subject, &[remove("a"), unexport("b"), remove("c")])).await;
    assert_eq!(words(&answers), ["answered", "unfinished", "answered"]);
    assert_eq!(subject.peer.shared("Unexport"), [3], "it is not repeated");
    pass(4_000).await;
    assert!(subject.turn("a").is_some() && subject.turn("c").is_some());
    assert!(subject.turn("b").is_none(), "not read again yet");
    pass(2_000).await;
    assert_eq!(subject.turns.count(), 0);
}

#[actix::test]
async fn where_no_end_comes_back_each_job_runs_alone_and_the_bad_one_fails_nobody_else() {
    tokio::time::pause();
    let subject = one_lane().await;
    subject.peer.does("Unexport", Doing::Spoils);
    let answers = all(ask(&subject, &[remove("a"), unexport("b"), remove("c")])).await;
    assert_eq!(words(&answers), ["answered", "unfinished", "answered"]);
    assert_eq!(subject.peer.shared("RemoveImage"), [3, 1, 1]);
    assert_eq!(subject.peer.shared("Unexport"), [3, 1]);
    // The poll, the lane, and the re-read before the turn of the bad one is free.
    assert_eq!((subject.turns.count(), subject.peer.attempts().len()), (0, 3));
    // The fault was one job's, so lines are shared as before.
    all(ask(&subject, &[remove("a"), remove("c")])).await;
    assert_eq!(subject.peer.shared("RemoveImage"), [3, 1, 1, 2]);
}

#[actix::test]
async fn a_bad_job_that_hangs_alone_costs_its_session_and_nobody_else_the_answer() {
    tokio::time::pause();
    let subject = one_lane().await;
    subject.peer.does("Unexport", Doing::Spoils);
    subject.peer.does("RemoveImage", Doing::Takes(0));
    let callers = ask(&subject, &[remove("a"), unexport("b"), remove("c")]);
    // The line is refused; then the second of its jobs is not answered any more.
    while subject.peer.shared("RemoveImage").is_empty() {
        tokio::task::yield_now().await;
    }
    subject.peer.does("Unexport", Doing::Drops);
    let answers = all(callers).await;
    assert_eq!(words(&answers), ["answered", "unanswered", "answered"]);
    pass(1_000).await;
    assert_eq!(subject.turns.count(), 0);
}

#[actix::test]
async fn a_connection_that_ends_leaves_every_job_of_the_line_unanswered_and_its_turn_taken() {
    tokio::time::pause();
    let subject = one_lane().await;
    subject.peer.does("Unexport", Doing::Drops);
    subject.peer.does("Show", Doing::Takes(1));
    let answers = all(ask(&subject, &[remove("a"), unexport("b"), remove("c")])).await;
    assert_eq!(words(&answers), ["unanswered"; 3]);
    assert_eq!(subject.turns.count(), 3);
    // One re-read after the other.
    pass(2_500).await;
    assert_eq!(subject.turns.count(), 1);
    pass(1_000).await;
    assert_eq!((subject.turns.count(), subject.peer.count("Show")), (0, 3));
}

#[actix::test]
async fn jobs_of_a_refused_line_that_were_not_sent_again_may_have_run() {
    tokio::time::pause();
    let subject = one_lane().await;
    subject.peer.does("Unexport", Doing::Spoils);
    subject.peer.does("RemoveImage", Doing::Hangs);
    let callers = ask(&subject, &[remove("a"), unexport("b"), remove("c")]);
    pass(100).await;
    assert_eq!(subject.peer.shared("RemoveImage"), [3, 1], "the first one hangs alone");
    let gone = |peer: &mut Behaviour| (peer.silent, peer.refuses) = (true, true);
    subject.peer.set(gone);
    subject.peer.cut();
    assert_eq!(words(&all(callers).await), ["unanswered"; 3]);
    assert_eq!(subject.turns.count(), 3);
}

#[actix::test]
async fn a_refused_channel_means_that_nothing_of_the_line_has_run() {
    tokio::time::pause();
    let subject = one_lane().await;
    subject.peer.does("Unexport", Doing::Refuses);
    let answers = all(ask(&subject, &[remove("a"), unexport("b")])).await;
    assert_eq!(words(&answers), ["not_connected"; 2]);
    assert_eq!(subject.turns.count(), 0);
}

#[actix::test]
async fn a_panic_over_a_shared_answer_leaves_all_unanswered_and_restarts() {
    tokio::time::pause();
    let subject = one_lane().await;
    subject.peer.does("Unexport", Doing::Confuses);
    let answers = all(ask(&subject, &[remove("a"), unexport("b"), remove("c")])).await;
    assert_eq!(words(&answers), ["unanswered"; 3]);
    assert_eq!(subject.turns.count(), 3);
    pass(5_000).await;
    assert_eq!(subject.restarted.causes(), ["panic_future"]);
    assert_eq!((is_up(&subject), subject.turns.count()), (true, 0));
}

#[actix::test]
async fn a_caller_that_goes_while_it_waits_takes_its_job_out_of_the_line() {
    tokio::time::pause();
    let subject = one_lane().await;
    subject.peer.does("Table", Doing::Takes(1));
    let running = subject.spawn(Command::Table, None);
    pass(100).await;
    let callers = ask(&subject, &[remove("a"), remove("b"), remove("c")]);
    pass(100).await;
    callers[1].abort();
    running.await.unwrap().unwrap();
    pass(100).await;
    assert_eq!(subject.peer.shared("RemoveImage"), [2]);
    assert_eq!(subject.turns.count(), 0);
}
