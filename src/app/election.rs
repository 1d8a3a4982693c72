//! Which replica reconciles: whether there is an election at all, and its place in start and stop.

use serde_json::{Value, json};
use slog::info;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Common, Error, Parts};
use crate::cluster::events::Pod;
use crate::cluster::leader::{self, Leader, Settings};
use crate::cluster::lease::Times;
use crate::config::Config;
use crate::config::leader::Election as Wanted;

/// This replica's part in it.
pub struct Election {
    /// May this replica reconcile, and who does?
    pub leader: Leader,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Election {
    /// Stands for election, where there is one.
    ///
    /// # Errors
    /// [`Error::Configuration`] where there must be one and this process has no name.
    pub fn start(common: &Common, parts: &Parts) -> Result<Self, Error> {
        let (config, log) = (&common.config, &common.log);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let leader = match (config.leader.election, &parts.pod) {
            (Wanted::On, None) => {
                let why = "leader.election = \"on\" needs the variable POD_NAME, by which replicas \
                           are told apart";
                return Err(Error::Configuration(why.into()));
            }
            (Wanted::Off, _) | (Wanted::Auto, None) => {
                info!(log, "reconciling without an election");
                Leader::alone()
            }
            (Wanted::On | Wanted::Auto, Some(pod)) => {
                leader::start(parts.kube.clone(), settings(config, pod), &stop, &tasks, log)
            }
        };
        let (mandate, stopped) = (leader.mandate.clone(), stop.clone());
        let measures = common.measures.clone();
        tasks.spawn(async move {
            let measure = async {
                loop {
                    measures.leading(mandate.holds());
                    mandate.gained().await;
                    measures.leading(true);
                    mandate.lost().await;
                }
            };
            tokio::select! {
                () = measure => {}
                () = stopped.cancelled() => measures.leading(false),
            }
        });
        tasks.close();
        Ok(Self { leader, stop, tasks })
    }

    /// Gives the Lease free. Whoever reconciled must have ended before.
    pub async fn end(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// What people are told of it.
pub fn shown(leader: &Leader) -> Value {
    json!({ "reconciles": leader.mandate.holds(), "lease_holder": *leader.holder.borrow() })
}

fn settings(config: &Config, pod: &Pod) -> Settings {
    // A pod of the same name that was made anew is somebody else.
    let me = match &pod.uid {
        Some(uid) => format!("{}_{uid}", pod.name),
        None => pod.name.clone(),
    };
    let leader = &config.leader;
    Settings {
        namespace: config.driver.namespace.clone(),
        lease: leader.lease.clone(),
        me,
        times: Times {
            duration: leader.duration,
            renew_deadline: leader.renew_deadline,
            retry_period: leader.retry_period,
        },
    }
}
