//! What is known of the fences of the boxes: the results of drills, beside what the boxes run now.
//!
//! A drill proves a fence for one box and one RouterOS. Whoever drills writes the result; here it is
//! read every few minutes and when a box comes back, shown in `/statusz` and in a metric, and told by
//! an event when it is bad or has been outrun by an update of the box.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::select_all;
use serde_json::{Value, json};
use slog::{Logger, debug};
use tokio::sync::watch;
use tokio::time::sleep;

use super::observe::Measures;
use crate::actors::probe::LinkSource;
use crate::cluster::drills::{DrillResult, Drills};
use crate::cluster::{About, Cluster, Notice, Reason};
use crate::rds::Link;
use crate::volume::BackendName;

/// Time between two looks where nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// Least time between two looks.
const LOOK_APART: Duration = Duration::from_secs(10);

/// What is known of the fence of one box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has drilled it.
    Missing,
    /// It holds.
    Passed(DrillResult),
    /// It does not.
    Failed(DrillResult),
    /// It held on another RouterOS, or on another box of that name.
    Outdated(DrillResult, String),
}

impl Standing {
    /// Every word, for the metric.
    pub const WORDS: [&str; 4] = ["missing", "passed", "failed", "outdated"];

    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Passed(_) => "passed",
            Self::Failed(_) => "failed",
            Self::Outdated(..) => "outdated",
        }
    }
}

/// By box.
pub type Standings = BTreeMap<BackendName, Standing>;

/// Judges the newest result of a box at this address, which runs `routeros` where it is connected.
pub fn standing(result: Option<&DrillResult>, address: &str, routeros: Option<&str>) -> Standing {
    let Some(result) = result.cloned() else { return Standing::Missing };
    let changed = match routeros {
        _ if result.address != address => Some(format!("the box is at {address} now")),
        Some(now) if now != result.routeros => Some(format!("the box runs RouterOS {now} now")),
        _ => None,
    };
    match changed {
        Some(change) => Standing::Outdated(result, change),
        None if result.passed => Standing::Passed(result),
        None => Standing::Failed(result),
    }
}

/// What is told when a standing becomes `now`.
fn notice(name: &BackendName, before: Option<&Standing>, now: &Standing) -> Option<String> {
    if before == Some(now) {
        return None;
    }
    match now {
        Standing::Missing | Standing::Passed(_) => None,
        Standing::Failed(result) => Some(format!(
            "a drill of {} has shown that a fence on box {name} does not hold: {}",
            result.when,
            result.faults.join(", ")
        )),
        Standing::Outdated(result, change) => Some(format!(
            "the fence of box {name} was drilled on RouterOS {}, and {change}: drill again",
            result.routeros
        )),
    }
}

/// As `/statusz` shows it.
pub fn shown(standings: &Standings) -> Value {
    let one = |(name, standing): (&BackendName, &Standing)| {
        let value = match standing {
            Standing::Missing => json!({"state": standing.word()}),
            Standing::Passed(result) | Standing::Failed(result) | Standing::Outdated(result, _) => {
                json!({"state": standing.word(), "routeros": result.routeros, "when": result.when,
                    "faults": result.faults, "kernel": result.kernel})
            }
        };
        (name.to_string(), value)
    };
    Value::Object(standings.iter().map(one).collect())
}

/// Who follows the results.
pub struct Following {
    /// Where they are.
    pub drills: Drills,
    /// The boxes.
    pub links: Vec<LinkSource>,
    /// Where events go.
    pub cluster: Arc<dyn Cluster>,
    /// Where the metric is.
    pub measures: Arc<Measures>,
    /// Where the rest goes.
    pub standings: watch::Sender<Standings>,
    /// The logger.
    pub log: Logger,
}

impl Following {
    /// Looks again and again. What cannot be read stays as it was.
    pub async fn follow(self) {
        let mut links: Vec<_> =
            self.links.iter().filter_map(|link| link.supervisor.clone()).collect();
        loop {
            links.iter_mut().for_each(watch::Receiver::mark_unchanged);
            match self.drills.all().await {
                Ok(results) => self.judge(&results),
                Err(error) => debug!(self.log, "results of drills cannot be read";
                    "results" => self.drills.what(), "error" => %error),
            }
            sleep(LOOK_APART).await;
            let changes = links.iter_mut().map(|link| {
                // A link whose actor is gone changes no more.
                let changed = async {
                    if link.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                changed.boxed()
            });
            let changes: Vec<_> = changes.collect();
            let any = async {
                match changes.is_empty() {
                    true => std::future::pending().await,
                    false => drop(select_all(changes).await),
                }
            };
            tokio::select! {
                () = any => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn judge(&self, results: &BTreeMap<BackendName, DrillResult>) {
        let judged = self.links.iter().map(|link| {
            let state = link.supervisor.as_ref().map(|state| state.borrow().clone());
            let routeros = match &state {
                Some(Link::Up { system, .. }) => Some(system.version.as_str()),
                _ => None,
            };
            let result = results.get(&link.backend);
            (link.backend.clone(), standing(result, &link.address, routeros))
        });
        let now: Standings = judged.collect();
        let before = self.standings.send_replace(now.clone());
        for (name, standing) in &now {
            for word in Standing::WORDS {
                self.measures.drill(name.as_str(), word, word == standing.word());
            }
            if let Some(note) = notice(name, before.get(name), standing) {
                let (reason, about) = (Reason::FenceUnproven, About::Driver);
                self.cluster.post(Notice { reason, about, note });
            }
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn result(routeros: &str, passed: bool) -> DrillResult {
        DrillResult {
            address: "a:22".into(),
            routeros: routeros.into(),
            passed,
            faults: if passed { vec![] } else { vec!["drill silence".into()] },
            kernel: "6.1".into(),
            when: "2026-01-01T00:00:00Z".into(),
        }
    }

    #[test]
    fn a_result_counts_for_its_box_and_its_routeros() {
        let judge = |result: &DrillResult, address, routeros| {
            standing(Some(result), address, routeros).word()
        };
        let (passed, failed) = (result("7.24", true), result("7.24", false));
        assert_eq!(standing(None, "a:22", Some("7.24")).word(), "missing");
        assert_eq!(judge(&passed, "a:22", Some("7.24")), "passed");
        assert_eq!(judge(&passed, "a:22", None), "passed", "a box that is away");
        assert_eq!(judge(&failed, "a:22", Some("7.24")), "failed");
        assert_eq!(judge(&passed, "a:22", Some("7.25")), "outdated");
        assert_eq!(judge(&failed, "a:22", Some("7.25")), "outdated");
        assert_eq!(judge(&passed, "b:22", Some("7.24")), "outdated");
    }

    #[test]
    fn what_is_bad_or_outrun_is_told_once() {
        let main = BackendName::parse("main").unwrap();
        let of = |result: &DrillResult, routeros| standing(Some(result), "a:22", Some(routeros));
        let passed = of(&result("7.24", true), "7.24");
        let outdated = of(&result("7.24", true), "7.25");
        let failed = of(&result("7.24", false), "7.24");
        let tell = |before: Option<&Standing>, now| notice(&main, before, now);
        assert_eq!(tell(None, &Standing::Missing), None);
        assert_eq!(tell(Some(&failed), &passed), None);
        assert!(tell(None, &failed).unwrap().contains("drill silence"));
        let told = tell(Some(&passed), &outdated).unwrap();
        assert!(
            told.contains("drilled on RouterOS 7.24, and the box runs RouterOS 7.25"),
            "{told}"
        );
        assert_eq!(tell(Some(&outdated), &outdated), None);
    }

    #[test]
    fn the_status_says_what_was_drilled_when() {
        let main = BackendName::parse("main").unwrap();
        let standings = [(main, standing(Some(&result("7.24", false)), "a:22", None))].into();
        let page = shown(&standings);
        assert_eq!(page["main"]["state"], "failed");
        assert_eq!(page["main"]["faults"][0], "drill silence");
    }
}
