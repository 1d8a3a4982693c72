use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;
use crate::actors::doubles::{Restarted, pass, supervision};
use crate::actors::supervision::{Cause as Why, Faults};
use crate::actors::trigger::Trigger;
use crate::cluster::Node;
use crate::volume::NodeName;

#[derive(Default)]
struct Counts(AtomicUsize);

impl NodeWatcherMetrics for Counts {
    fn node_watcher_trigger(&self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Takes triggers and forgets them at once, as an idle reconciler does.
struct Triggered {
    trigger: TriggerHandle,
    causes: Arc<Mutex<Vec<String>>>,
}

impl Actor for Triggered {
    type Context = Context<Self>;
}

impl Handler<Trigger> for Triggered {
    type Result = ();
    fn handle(&mut self, _: Trigger, _: &mut Context<Self>) {
        let causes = self.trigger.pending().take().to_string();
        self.causes.lock().unwrap().push(causes);
    }
}

type Feed = mpsc::UnboundedSender<NodeChange>;

struct Subject {
    /// The stream that is being read; none while it waits to be made again.
    feeds: Arc<Mutex<Vec<Feed>>>,
    causes: Arc<Mutex<Vec<String>>>,
    counts: Arc<Counts>,
    handles: Handles,
    faults: Faults,
    restarted: Arc<Restarted>,
}

fn subject() -> Subject {
    let (supervision, faults, restarted) = supervision();
    let feeds: Arc<Mutex<Vec<Feed>>> = Arc::default();
    let (causes, counts) = (Arc::default(), Arc::new(Counts::default()));
    let trigger = TriggerHandle::new();
    let triggered = Triggered { trigger: trigger.clone(), causes: Arc::clone(&causes) };
    trigger.bind(triggered.start().recipient());
    let made = feeds.clone();
    let changes: NodeChanges = Arc::new(move || {
        let (feed, changes) = mpsc::unbounded_channel();
        made.lock().unwrap().push(feed);
        tokio_stream::wrappers::UnboundedReceiverStream::new(changes).boxed()
    });
    let handles = start(Parts { supervision, changes, trigger, metrics: counts.clone() });
    Subject { feeds, causes, counts, handles, faults, restarted }
}

fn node(name: &str, ready: bool) -> Node {
    Node {
        name: NodeName::parse(name).unwrap(),
        uid: name.to_owned(),
        ready,
        out_of_service: false,
        address: None,
    }
}

impl Subject {
    async fn show(&self, change: NodeChange) {
        let feed = self.feeds.lock().unwrap().last().cloned();
        feed.unwrap().send(change).unwrap();
        pass(1).await;
    }

    fn end_stream(&self) {
        self.feeds.lock().unwrap().pop();
    }

    fn causes(&self) -> Vec<String> {
        self.causes.lock().unwrap().clone()
    }
}

#[actix::test]
async fn a_node_that_is_no_longer_ready_fires_and_is_counted_once() {
    tokio::time::pause();
    let subject = subject();
    pass(1).await;
    subject.show(NodeChange::All(vec![node("n1", true)])).await;
    subject.show(NodeChange::Applied(node("n1", true))).await;
    assert_eq!(subject.causes(), [""; 0]);
    subject.show(NodeChange::Applied(node("n1", false))).await;
    subject.show(NodeChange::Applied(node("n1", false))).await;
    assert_eq!(subject.causes(), ["node"]);
    assert_eq!(subject.counts.0.load(SeqCst), 1);
}

#[actix::test]
async fn a_node_that_vanished_while_the_stream_was_away_fires() {
    tokio::time::pause();
    let subject = subject();
    pass(1).await;
    let both = vec![node("n1", true), node("n2", true)];
    subject.show(NodeChange::All(both)).await;
    subject.end_stream();
    pass(2_000).await;
    subject.show(NodeChange::All(vec![node("n1", true)])).await;
    assert_eq!(subject.causes(), ["node"]);
    assert_eq!(subject.restarted.causes(), [""; 0]);
}

#[actix::test]
async fn a_stream_that_ends_again_and_again_is_made_anew_more_and_more_slowly() {
    tokio::time::pause();
    let (supervision, _, restarted) = supervision();
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let changes: NodeChanges = Arc::new(move || {
        counted.fetch_add(1, SeqCst);
        futures::stream::empty().boxed()
    });
    let _handles = start(Parts {
        supervision,
        changes,
        trigger: TriggerHandle::new(),
        metrics: Arc::new(NoMetrics),
    });
    pass(600_000).await;
    // 1, 2, 4, 8, 16 and then every 30 s, give or take a tenth.
    let made = made.load(SeqCst);
    assert!((23..=27).contains(&made), "{made}");
    assert_eq!(restarted.causes(), [""; 0]);
}

#[actix::test]
async fn nothing_is_watched_after_shutdown() {
    tokio::time::pause();
    let subject = subject();
    pass(1).await;
    let within = Duration::ZERO;
    subject.handles.shutdown.send(Shutdown { within }).await.unwrap();
    pass(1).await;
    let feed = subject.feeds.lock().unwrap().pop();
    assert!(feed.unwrap().is_closed());
    pass(100_000).await;
    assert!(subject.feeds.lock().unwrap().is_empty());
}

#[actix::test]
async fn a_panic_in_any_entry_fires_once_and_watches_again() {
    tokio::time::pause();
    for entry in Entry::ALL {
        let subject = subject();
        pass(1).await;
        subject.show(NodeChange::All(vec![node("n1", true)])).await;
        subject.faults.arm(entry, 1);
        match entry {
            Entry::Stream => subject.show(NodeChange::Applied(node("n1", true))).await,
            Entry::Timer | Entry::Future => subject.end_stream(),
            Entry::Handler => {
                // Shut down is not forgotten by a restart; here it is never taken in.
                let within = Duration::ZERO;
                subject.handles.shutdown.send(Shutdown { within }).await.unwrap();
            }
            Entry::Started => {
                subject.faults.arm(Entry::Stream, 1);
                subject.show(NodeChange::Applied(node("n1", true))).await;
            }
        }
        pass(6_000).await;
        assert!(!subject.faults.is_armed(entry), "{entry:?} was not passed");
        assert_eq!(subject.causes(), ["restart"], "{entry:?}");
        // What it knew is gone, and learnt again.
        subject.show(NodeChange::All(vec![node("n1", true)])).await;
        subject.show(NodeChange::Deleted(NodeName::parse("n1").unwrap())).await;
        assert_eq!(subject.causes(), ["restart", "node"], "{entry:?}");
        let causes = subject.restarted.causes();
        assert_eq!(causes.last(), Some(&Why::Panic(entry).label()));
        assert_eq!(causes.len(), 1 + usize::from(entry == Entry::Started));
        assert!((subject.handles.alive)());
    }
}
