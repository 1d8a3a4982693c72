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

    use tokio::time::Instant;

    use super::*;
    use crate::rds::System;

    fn up(epoch: u64) -> Link {
        let system = System { version: "7.24".into(), uptime: Duration::ZERO };
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
}
