//! Events about the driver itself: connections lost and back, configurations refused.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::actors::probe::LinkSource;
use crate::cluster::{About, Cluster, Notice, Reason};
use crate::rds::Link;

/// Posts an event whenever a connection is lost or comes back, until `stop`.
pub fn links(
    links: &[LinkSource],
    cluster: &Arc<impl Cluster + 'static>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    for link in links {
        let Some(state) = link.supervisor.clone() else { continue };
        let (cluster, stop) = (Arc::clone(cluster) as Arc<dyn Cluster>, stop.clone());
        let name = format!("{} ({})", link.backend, link.address);
        tasks.spawn(async move {
            tokio::select! {
                () = follow(state, &name, &*cluster) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Posts an event for every configuration that is refused, until nobody can refuse any more.
pub async fn rejections(mut rejected: watch::Receiver<Option<String>>, cluster: Arc<dyn Cluster>) {
    while rejected.changed().await.is_ok() {
        let Some(why) = rejected.borrow_and_update().clone() else { continue };
        let note = format!("the new configuration is refused, the old values stay: {why}");
        cluster.post(Notice { reason: Reason::ConfigurationRejected, about: About::Driver, note });
    }
}

async fn follow(mut state: watch::Receiver<Link>, name: &str, cluster: &dyn Cluster) {
    let mut before = None;
    loop {
        let now = state.borrow_and_update().clone();
        if let Some((reason, note)) = notice(before.as_ref(), &now, name) {
            cluster.post(Notice { reason, about: About::Driver, note });
        }
        // The first attempt has not been made yet; only what follows is news.
        if !matches!(&now, Link::Down { next: None, .. }) {
            before = Some(now);
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// What is news in going from one state to another.
fn notice(before: Option<&Link>, now: &Link, name: &str) -> Option<(Reason, String)> {
    match (before, now) {
        (None, Link::Down { next: Some(_), why, .. }) => {
            Some((Reason::ConnectionFailure, format!("box {name} cannot be reached: {why}")))
        }
        (Some(Link::Up { .. }), Link::Down { why, .. }) => {
            Some((Reason::RDSDisconnected, format!("box {name} is disconnected: {why}")))
        }
        (Some(Link::Down { since, .. }), Link::Up { .. }) => {
            let seconds = since.elapsed().as_secs();
            Some((Reason::RDSReconnected, format!("box {name} is back after {seconds} s")))
        }
        (Some(Link::Up { epoch: before, .. }), Link::Up { epoch, .. }) if before != epoch => {
            Some((Reason::RDSReconnected, format!("box {name} has started anew")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use rds_sim::apiserver::{ApiServer, Verb};
    use slog::{Discard, Logger, o};
    use tokio::time::Instant;

    use super::*;
    use crate::cluster::api::{KubeCluster, Settings};
    use crate::cluster::events::Bounds;
    use crate::rds::System;
    use crate::volume::BackendName;

    fn up(epoch: u64) -> Link {
        let system = System { version: "7.24".into(), uptime: Some(Duration::ZERO) };
        Link::Up { since: Instant::now(), epoch, system }
    }
    fn down(attempt: bool) -> Link {
        let now = Instant::now();
        Link::Down { since: now, next: (!attempt).then_some(now), why: "no answer".into() }
    }

    #[test]
    fn only_news_is_announced() {
        let reason = |before: Option<Link>, now| {
            notice(before.as_ref(), &now, "box").map(|(reason, _)| reason)
        };
        assert_eq!(reason(None, down(true)), None, "nothing was tried yet");
        assert_eq!(reason(None, down(false)), Some(Reason::ConnectionFailure));
        assert_eq!(reason(None, up(1)), None, "as expected");
        assert_eq!(reason(Some(up(1)), down(true)), Some(Reason::RDSDisconnected));
        assert_eq!(reason(Some(down(false)), down(false)), None);
        assert_eq!(reason(Some(down(false)), up(2)), Some(Reason::RDSReconnected));
        assert_eq!(reason(Some(up(1)), up(2)), Some(Reason::RDSReconnected));
    }

    /// The whole way from a connection's state to the API server, in memory.
    fn cluster(api: &ApiServer) -> Arc<KubeCluster> {
        let settings = Settings {
            driver: "rds.csi.srvlab.io".into(),
            release: "rds-csi".into(),
            namespace: "rds-csi".into(),
            cluster_id: None,
            secret: "rds-csi-cluster".into(),
            deadline: Duration::from_secs(10),
            pod: None,
            events: watch::channel(Bounds::default()).1,
        };
        let client = kube::Client::new(api.service(), "default");
        KubeCluster::new(client, settings, Arc::new(|_| {}), &Logger::root(Discard, o!()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_flaps_of_a_link_are_two_events_and_an_update_each_per_window() {
        let api = ApiServer::new();
        let cluster = cluster(&api);
        let stop = CancellationToken::new();
        let tasks = cluster.start(&stop);
        let (flap, supervisor) = watch::channel(up(1));
        let source = LinkSource {
            backend: BackendName::parse("main").unwrap(),
            address: "10.0.0.1:22".into(),
            supervisor: Some(supervisor),
            fallback: Arc::new(|| false),
        };
        links(&[source], &cluster, &stop, &tasks);
        let (flaps, half) = (1000, Duration::from_secs(1));
        for number in 0..flaps {
            tokio::time::sleep(half).await;
            flap.send_replace(down(number % 2 == 0));
            tokio::time::sleep(half).await;
            flap.send_replace(up(2 + number));
        }
        let window = Bounds::default().window;
        tokio::time::sleep(window * 2).await;
        let updates = 2 * half.as_secs() * flaps / window.as_secs();
        assert_eq!(api.count(Verb::Create, "events"), 2);
        let patches = api.count(Verb::Patch, "events");
        assert!(patches <= 2 * (updates + 2), "{patches} updates");
        for reason in ["RDSDisconnected", "RDSReconnected"] {
            let events = api.list("events");
            let event = events.iter().find(|event| event["reason"] == reason).unwrap();
            assert_eq!(event["count"], flaps, "none of {reason} may be forgotten");
        }
        stop.cancel();
        tasks.wait().await;
    }
}
