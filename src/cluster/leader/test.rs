use std::sync::atomic::{AtomicBool, Ordering};

use rds_sim::apiserver::{ApiServer, Verb};
use slog::Discard;
use tower::ServiceExt as _;

use super::*;

const TIMES: Times = Times {
    duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry_period: Duration::from_secs(2),
};
const LEASE: &str = "rds-csi/rds-csi-reconciler";

/// A replica, and the cable between it and the API server.
struct Replica {
    leader: Leader,
    is_cut: Arc<AtomicBool>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

fn replica(api: &ApiServer, name: &str) -> Replica {
    let (service, is_cut) = (api.service(), Arc::new(AtomicBool::new(false)));
    let cut = is_cut.clone();
    let through = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (service, cut) = (service.clone(), cut.clone());
        async move {
            if cut.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            service.oneshot(request).await
        }
    });
    let settings = Settings {
        namespace: "rds-csi".into(),
        lease: "rds-csi-reconciler".into(),
        me: name.into(),
        times: TIMES,
    };
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let log = Logger::root(Discard, o!());
    let client = kube::Client::new(through, "default");
    let leader = start(client, settings, &stop, &tasks, &log);
    tasks.close();
    Replica { leader, is_cut, stop, tasks }
}

fn cluster() -> ApiServer {
    let api = ApiServer::new();
    let namespace = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rds-csi"},
    });
    api.create(namespace).unwrap();
    api
}

/// Which of them lead, looked at ten times a second; never are it two.
async fn led_for(replicas: &[&Replica], seconds: u64) -> Vec<Option<usize>> {
    let mut leading = Vec::new();
    for _ in 0..seconds * 10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let leads = |(_, replica): &(usize, &&Replica)| replica.leader.mandate.holds();
        let now: Vec<_> = replicas.iter().enumerate().filter(leads).map(|(at, _)| at).collect();
        assert!(now.len() < 2, "{now:?} lead at once");
        leading.push(now.first().copied());
    }
    leading
}

#[tokio::test(start_paused = true)]
async fn one_of_two_leads_and_stays_the_leader() {
    let api = cluster();
    let (first, second) = (replica(&api, "first"), replica(&api, "second"));
    let mut led = led_for(&[&first, &second], 300).await;
    led.dedup();
    assert_eq!(led.len(), 1, "{led:?}");
    assert!(led[0].is_some());
    let lease = api.get("leases", LEASE).unwrap();
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);
    assert_eq!(lease["spec"]["leaseTransitions"], 0);
    let holder = second.leader.holder.borrow().clone();
    assert_eq!(lease["spec"]["holderIdentity"], holder.unwrap().as_str());
    // A request each per period: the leader knows what it wrote, the other one looks.
    assert!(api.count(Verb::Get, "leases") + api.count(Verb::Update, "leases") <= 2 * 152);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_within_its_deadline_and_the_other_takes_over_after_it() {
    let api = cluster();
    let first = replica(&api, "first");
    led_for(&[&first], 5).await;
    assert!(first.leader.mandate.holds());
    let second = replica(&api, "second");
    led_for(&[&first, &second], 20).await;
    first.is_cut.store(true, Ordering::SeqCst);
    let led = led_for(&[&first, &second], 30).await;
    let last = led.iter().rposition(|leader| *leader == Some(0)).unwrap();
    let next = led.iter().position(|leader| *leader == Some(1)).unwrap();
    assert!(last < 100, "it leads for {last} tenths of a second after it was cut off");
    assert!((130..=190).contains(&next), "the other one leads after {next} tenths of a second");
    assert_eq!(api.get("leases", LEASE).unwrap()["spec"]["leaseTransitions"], 1);
    // Back again, it finds another holder and stays quiet.
    first.is_cut.store(false, Ordering::SeqCst);
    let mut led = led_for(&[&first, &second], 60).await;
    led.dedup();
    assert_eq!(led, [Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_stopped_gives_the_lease_free_and_the_other_one_need_not_wait() {
    let api = cluster();
    let first = replica(&api, "first");
    led_for(&[&first], 5).await;
    let second = replica(&api, "second");
    led_for(&[&first, &second], 5).await;
    first.stop.cancel();
    first.tasks.wait().await;
    assert!(!first.leader.mandate.holds());
    let led = led_for(&[&first, &second], 5).await;
    let next = led.iter().position(|leader| *leader == Some(1)).unwrap();
    assert!(next <= 21, "the other one leads after {next} tenths of a second");
}

#[tokio::test(start_paused = true)]
async fn a_process_of_the_same_pod_that_was_killed_leads_again_at_once() {
    let api = cluster();
    let killed = replica(&api, "first");
    led_for(&[&killed], 5).await;
    killed.is_cut.store(true, Ordering::SeqCst);
    let again = replica(&api, "first");
    tokio::time::timeout(Duration::from_secs(1), again.leader.mandate.gained()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_others_wrote_on_the_lease_stays() {
    let api = cluster();
    let first = replica(&api, "first");
    led_for(&[&first], 5).await;
    let label = |lease: &mut serde_json::Value| {
        lease["metadata"]["labels"] = serde_json::json!({"team": "storage"});
    };
    api.modify("leases", LEASE, label).unwrap();
    let mut led = led_for(&[&first], 60).await;
    led.dedup();
    assert_eq!(led, [Some(0)], "somebody else's write is no loss");
    assert_eq!(api.get("leases", LEASE).unwrap()["metadata"]["labels"]["team"], "storage");
}

#[tokio::test(start_paused = true)]
async fn without_an_api_server_nobody_leads_and_the_first_answer_makes_a_leader() {
    let api = cluster();
    let only = replica(&api, "only");
    only.is_cut.store(true, Ordering::SeqCst);
    assert!(led_for(&[&only], 60).await.iter().all(Option::is_none));
    only.is_cut.store(false, Ordering::SeqCst);
    let led = led_for(&[&only], 10).await;
    assert!(led.last().unwrap().is_some());
}

#[test]
fn a_lease_of_anybody_is_read_for_what_it_is() {
    let found = read(&coordination::Lease::default());
    assert_eq!(found, Found { version: String::new(), holder: None, duration: Duration::ZERO });
    let mut odd = coordination::Lease::default();
    odd.spec.get_or_insert_default().holder_identity = Some(String::new());
    odd.spec.get_or_insert_default().lease_duration_seconds = Some(-1);
    assert_eq!(read(&odd), found, "nobody's name is nobody");
}
