//! What kubelet reports about a pod.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// How one container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Its process runs.
    pub runs: bool,
    /// It runs, and its readiness probe holds.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: i32,
    /// Why it is not running.
    pub why: String,
}

/// The `status` of a pod whose containers stand like this.
pub fn of(pod: &Pod, address: &str, containers: &[Standing]) -> Value {
    let now = Timestamp::now().to_string();
    let ready = containers.iter().all(|one| one.ready);
    let truth = |holds: bool| if holds { "True" } else { "False" };
    let condition = |kind: &str, holds: bool| json!({"type": kind, "status": truth(holds), "lastTransitionTime": now});
    let images = pod.spec.iter().flat_map(|spec| spec.containers.iter());
    let statuses = images.zip(containers).map(|(container, standing)| {
        let state = if standing.runs {
            json!({"running": {"startedAt": now}})
        } else {
            json!({"waiting": {"reason": "CrashLoopBackOff", "message": standing.why}})
        };
        json!({
            "name": standing.name, "image": container.image, "imageID": container.image,
            "ready": standing.ready, "started": standing.runs,
            "restartCount": standing.restarts, "state": state,
        })
    });
    json!({
        "phase": if containers.iter().any(|one| one.runs) { "Running" } else { "Pending" },
        "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [
            condition("PodScheduled", true), condition("Initialized", true),
            condition("ContainersReady", ready), condition("Ready", ready),
        ],
        "containerStatuses": statuses.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_pod_is_ready_when_all_its_containers_are() {
        let pod: Pod = serde_json::from_value(json!({
            "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
        }))
        .unwrap();
        let standing = |name: &str, ready| Standing {
            name: name.into(),
            runs: ready,
            ready,
            restarts: 1,
            why: "exit 1".into(),
        };
        for (second, wanted) in [(true, "True"), (false, "False")] {
            let status = of(&pod, "10.0.0.1", &[standing("a", true), standing("b", second)]);
            assert_eq!(status["conditions"][3]["status"], wanted);
            assert_eq!(status["containerStatuses"][1]["ready"], second);
            assert_eq!(status["phase"], "Running");
        }
    }
}
