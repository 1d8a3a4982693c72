use tokio::sync::mpsc;

use super::*;
use crate::actors::doubles::{pass, supervision};
use crate::actors::{Answer, AskError, ask};

/// An actor with all entries, which says when each was passed.
struct Subject {
    guard: Guard,
    said: mpsc::UnboundedSender<(&'static str, Duration)>,
    start: Instant,
    begun: bool,
}

#[derive(Message)]
#[rtype(result = "bool")]
struct Ping;

#[derive(Message)]
#[rtype(result = "()")]
struct Unguarded;

impl Guarded for Subject {
    fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }
}

impl Actor for Subject {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        begin(self, ctx, |act, ctx| {
            act.say("begun");
            act.begun = true;
            later(ctx, Duration::from_millis(100), |act: &mut Self, _| {
                act.say("timer");
            });
            ctx.add_stream(futures::stream::iter([()]));
            let work = tokio::time::sleep(Duration::from_millis(200));
            spawn(act, ctx, Fate::Owned, work, |act, _, ()| act.say("future"));
        });
    }
}

impl Supervised for Subject {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.guard.restarting();
        self.begun = false;
    }
}

impl Handler<Ping> for Subject {
    type Result = Answer<bool>;
    fn handle(&mut self, _: Ping, ctx: &mut Self::Context) -> Self::Result {
        Answer(enter(self, ctx, Entry::Handler, |act, _| act.begun))
    }
}

impl Handler<Unguarded> for Subject {
    type Result = ();
    fn handle(&mut self, _: Unguarded, _: &mut Self::Context) {
        panic!("past the guards");
    }
}

/// Spawns work that takes ten seconds, and panics before anybody has looked at it.
#[derive(Message)]
#[rtype(result = "()")]
struct SpawnAndPanic(Fate);

impl Handler<SpawnAndPanic> for Subject {
    type Result = ();
    fn handle(&mut self, SpawnAndPanic(fate): SpawnAndPanic, ctx: &mut Self::Context) {
        enter(self, ctx, Entry::Handler, |act, ctx| {
            let (said, start) = (act.said.clone(), act.start);
            let work = async move {
                tokio::time::sleep(Duration::from_secs(10)).await;
                said.send(("worked", start.elapsed())).unwrap();
            };
            spawn(act, ctx, fate, work, |_, _, ()| {});
            panic!("injected after a spawn");
        });
    }
}

impl StreamHandler<()> for Subject {
    fn handle(&mut self, (): (), ctx: &mut Self::Context) {
        enter(self, ctx, Entry::Stream, |act, _| act.say("stream"));
    }
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Subject {
    fn say(&self, what: &'static str) {
        self.said.send((what, self.start.elapsed())).unwrap();
    }
}

struct Started {
    ping: Recipient<Ping>,
    unguarded: Recipient<Unguarded>,
    spawn_and_panic: Recipient<SpawnAndPanic>,
    alive: Alive,
    faults: Faults,
    restarted: Arc<crate::actors::doubles::Restarted>,
    said: mpsc::UnboundedReceiver<(&'static str, Duration)>,
}

fn subject(armed: &[(Entry, u32)]) -> Started {
    let (supervision, faults, restarted) = supervision();
    for (entry, times) in armed {
        faults.arm(*entry, *times);
    }
    let (say, said) = mpsc::unbounded_channel();
    let subject = Subject {
        guard: Guard::new("subject", supervision),
        said: say,
        start: Instant::now(),
        begun: false,
    };
    let address = Supervisor::start(|_| subject);
    Started {
        ping: address.clone().recipient(),
        unguarded: address.clone().recipient(),
        spawn_and_panic: address.clone().recipient(),
        alive: Box::new(move || address.connected()),
        faults,
        restarted,
        said,
    }
}

/// Whole seconds at which the actor began to work.
fn begun(said: &mut mpsc::UnboundedReceiver<(&'static str, Duration)>) -> Vec<u64> {
    let mut all = Vec::new();
    while let Ok((what, at)) = said.try_recv() {
        if what == "begun" {
            all.push(at.as_secs());
        }
    }
    all
}

#[actix::test]
async fn a_panic_in_any_entry_is_one_counted_restart_after_a_second() {
    tokio::time::pause();
    for entry in Entry::ALL {
        let mut subject = subject(&[(entry, 1)]);
        pass(1).await;
        if entry == Entry::Handler {
            let answer = ask(&subject.ping, Ping, Duration::from_secs(60)).await;
            assert_eq!(answer, Err(AskError::Restarting));
        }
        pass(500).await;
        assert_eq!(
            ask(&subject.ping, Ping, Duration::from_secs(60)).await,
            Ok(false),
            "{entry:?}: answers during its backoff"
        );
        pass(1500).await;
        assert_eq!(
            ask(&subject.ping, Ping, Duration::from_secs(60)).await,
            Ok(true),
            "{entry:?}: is back"
        );
        assert_eq!(subject.restarted.all(), [("subject", Cause::Panic(entry).label())]);
        let times = begun(&mut subject.said);
        assert_eq!(times.last(), Some(&1), "{entry:?}: {times:?}");
    }
}

#[actix::test]
async fn an_actor_that_never_gets_through_its_start_slows_down_instead_of_spinning() {
    tokio::time::pause();
    let mut subject = subject(&[(Entry::Started, 6)]);
    pass(120_000).await;
    assert_eq!(subject.restarted.causes(), ["panic_started"; 6]);
    // 1 + 2 + 4 + 8 + 16 + 30 s.
    assert_eq!(begun(&mut subject.said), [61]);
}

#[actix::test]
async fn a_restart_ends_what_the_actor_owns_and_only_that() {
    tokio::time::pause();
    for (fate, worked) in [(Fate::Owned, 0), (Fate::Detached, 1)] {
        let mut subject = subject(&[]);
        pass(1).await;
        subject.spawn_and_panic.send(SpawnAndPanic(fate)).await.unwrap();
        pass(60_000).await;
        assert_eq!(subject.restarted.causes(), ["panic_handler"]);
        let mut count = 0;
        while let Ok((what, _)) = subject.said.try_recv() {
            count += usize::from(what == "worked");
        }
        assert_eq!(count, worked, "{fate:?}");
    }
}

#[actix::test]
async fn a_minute_of_work_forgives_earlier_restarts() {
    tokio::time::pause();
    let mut subject = subject(&[(Entry::Started, 2)]);
    pass(3_000 + 61_000).await;
    subject.faults.arm(Entry::Handler, 1);
    ask(&subject.ping, Ping, Duration::from_secs(1)).await.unwrap_err();
    pass(10_000).await;
    assert_eq!(begun(&mut subject.said), [3, 65]);
}

#[actix::test]
async fn messages_that_wait_survive_the_panic_of_another() {
    tokio::time::pause();
    let subject = subject(&[(Entry::Handler, 1)]);
    let asked = (0..50).map(|_| ask(&subject.ping, Ping, Duration::from_secs(60)));
    let answers = futures::future::join_all(asked).await;
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!(failed, 1);
    assert_eq!(subject.restarted.causes().len(), 1);
}

#[actix::test]
async fn an_actor_that_is_truly_dead_is_found() {
    tokio::time::pause();
    let (healthy, dying) = (subject(&[]), subject(&[]));
    let watched = watch_over(vec![("healthy", healthy.alive), ("dying", dying.alive)]);
    tokio::pin!(watched);
    let early = tokio::time::timeout(Duration::from_secs(60), &mut watched).await;
    assert!(early.is_err());
    ask(&dying.unguarded, Unguarded, Duration::from_secs(60)).await.unwrap_err();
    let found = tokio::time::timeout(Duration::from_secs(2), watched).await;
    assert_eq!(found.unwrap(), "dying");
}

#[actix::test]
async fn an_actor_that_does_not_answer_is_late() {
    tokio::time::pause();
    struct Mute;
    impl Actor for Mute {
        type Context = Context<Self>;
    }
    impl Handler<Ping> for Mute {
        type Result = ResponseFuture<bool>;
        fn handle(&mut self, _: Ping, _: &mut Self::Context) -> Self::Result {
            Box::pin(std::future::pending())
        }
    }
    let mute = Mute.start().recipient();
    let second = Duration::from_secs(1);
    assert_eq!(ask(&mute, Ping, second).await, Err(AskError::Late(second)));
}
