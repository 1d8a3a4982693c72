//! What helm makes of the chart. Run by `make chart`, which names helm in `HELM`.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "chart/files.rs"]
mod files;
#[path = "chart/helm.rs"]
mod helm;
#[path = "chart/typed.rs"]
mod typed;

use std::collections::BTreeMap;

use rds_csi::config::live::is_live;
use rds_csi::config::{Config, Sources};
use serde_json::{Value, json};

use self::files::{documents, read, yaml};
use self::helm::{Values, helm, lint, notes, refused, render};

fn minimal() -> Values {
    Values::of("deploy/chart/ci/minimal-values.yaml")
}

fn everything() -> Values {
    Values::of("deploy/chart/ci/everything-values.yaml")
}

fn kinds(rendered: &str) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for object in documents(rendered) {
        *kinds.entry(object["kind"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    kinds
}

#[tokio::test]
async fn lint_passes_for_the_default_the_least_and_everything() {
    lint(&Values::default()).await;
    lint(&minimal()).await;
    lint(&everything()).await;
}

#[tokio::test]
async fn the_plain_manifests_are_what_the_chart_renders() {
    let values = Values::of("deploy/manifests/values.yaml");
    let (rendered, plain) = (render(&values).await, read("deploy/manifests/rds-csi.yaml"));
    assert_eq!(documents(&rendered), documents(&plain), "run make manifests");
}

#[tokio::test]
async fn everything_has_only_fields_that_kubernetes_knows() {
    let rendered = render(&everything()).await;
    let of_others = ["ServiceMonitor", "PrometheusRule", "VolumeSnapshotClass"];
    for object in documents(&rendered) {
        if !of_others.contains(&object["kind"].as_str().unwrap()) {
            typed::check(&object);
        }
    }
    let kinds = kinds(&rendered);
    for kind in of_others.into_iter().chain(["DaemonSet", "Service", "NetworkPolicy"]) {
        assert!(kinds.contains_key(kind), "no {kind}");
    }
}

#[tokio::test]
async fn what_this_version_cannot_do_is_off_by_default() {
    let rendered = render(&minimal()).await;
    let kinds = kinds(&rendered);
    for kind in ["DaemonSet", "VolumeSnapshotClass", "Service", "ServiceMonitor", "PrometheusRule"]
    {
        assert!(!kinds.contains_key(kind), "{kind}");
    }
    // csi-snapshotter ends at once with a driver that has no snapshots.
    assert!(!rendered.contains("csi-snapshotter") && !rendered.contains("snapshot.storage"));
}

#[tokio::test]
async fn every_value_makes_a_difference() {
    let defaults = yaml(&read("deploy/chart/values.yaml"));
    let (all, rendered) = (everything(), render(&everything()).await);
    let mut paths = Vec::new();
    leaves(&defaults, &mut Vec::new(), &mut paths);
    assert!(paths.len() > 80, "{}", paths.len());
    let mut idle = Vec::new();
    for path in paths {
        let mut values = all.clone();
        let default = path.iter().fold(&defaults, |here, key| &here[key.as_str()]);
        match all.get(&path) {
            // On in both: it must matter that it is.
            Some(given) if given == default => {
                let on = default.as_bool().unwrap_or_else(|| panic!("{path:?} is as by default"));
                values.set(&path, json!(!on));
            }
            Some(_) => values.set(&path, default.clone()),
            // A quantity or a label.
            None => values.set(&path, json!("7")),
        }
        let is_same = match helm(&values, &["template", "rds-csi"]).await {
            Ok(without) => stable(&without) == stable(&rendered),
            // It is needed, so it matters.
            Err(_) => false,
        };
        if is_same {
            idle.push(path.join("."));
        }
    }
    // The digest counts more than the tag, and the Service comes with the ServiceMonitor: here both
    // are given. Alone they matter.
    idle.sort();
    assert_eq!(idle, ["image.tag", "metrics.service.enabled"], "these values change nothing");
    for (path, value) in [("image.tag", json!("nightly")), ("metrics.service.enabled", json!(true))]
    {
        let mut values = minimal();
        values.set(&path.split('.').map(str::to_owned).collect::<Vec<_>>(), value);
        assert_ne!(stable(&render(&values).await), stable(&render(&minimal()).await), "{path}");
    }
}

/// Without what chance makes.
fn stable(rendered: &str) -> String {
    let is_chance = |line: &&str| !line.starts_with("  key: ");
    rendered.lines().filter(is_chance).collect::<Vec<_>>().join("\n")
}

fn leaves(value: &Value, path: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key.clone());
                leaves(value, path, into);
                path.pop();
            }
        }
        _ => into.push(path.clone()),
    }
}

#[tokio::test]
async fn wrong_values_are_refused_with_the_name_of_the_key() {
    for (path, value, named) in [
        ("replicas", json!(2), "replicas"),
        ("controller.replica", json!(2), "replica"),
        ("controller.replicas", json!("two"), "/controller/replicas"),
        ("controller.replicas", json!(0), "/controller/replicas"),
        ("driverName", json!("-x"), "/driverName"),
        ("image.pullPolicy", json!("Sometimes"), "/image/pullPolicy"),
        ("config.reconcile.intervall", json!("1m"), "intervall"),
        ("config.reconcile.interval", json!("60"), "/config/reconcile/interval"),
        ("config.reconcile.max_unhealthy", json!(40), "/config/reconcile/max_unhealthy"),
        ("config.log.level", json!("loud"), "/config/log/level"),
        ("backends.main.adress", json!("10.0.0.1"), "adress"),
        ("backends.main.key_path", json!("/key"), "key_path"),
        ("backends.main.host_key", json!("SHA256:x"), "/backends/main/host_key"),
        ("backends.main.private_key.value", json!("x"), "backends.main.private_key"),
        ("backends.main.private_key.existing_secret", json!(""), "backends.main.private_key"),
        ("backends.Main", json!({"address": "a"}), "Main"),
        ("backends.second", json!({"address": "a"}), "private_key"),
        ("backends", Value::Null, "backends"),
        ("sidecars.provisioner.args", json!(["worker-threads=1"]), "/sidecars/provisioner/args"),
        ("metrics.port", json!(80), "/metrics/port"),
        ("storageClasses", json!([{"name": "a", "reclaimPolicy": "Keep"}]), "reclaimPolicy"),
    ] {
        let mut values = minimal();
        values.set(&path.split('.').map(str::to_owned).collect::<Vec<_>>(), value.clone());
        let said = refused(&values).await;
        assert!(said.contains(named), "{path} = {value}: {said}");
    }
    // A key that nobody pinned is never trusted on first use.
    let mut unpinned = minimal();
    unpinned.remove(&["backends".into(), "main".into(), "host_key".into()]);
    let said = refused(&unpinned).await;
    assert!(said.contains("backends.main.host_key"), "{said}");
    // A second box makes the choice of one necessary.
    let mut two = minimal();
    let box_ = two.get(&["backends".into(), "main".into()]).unwrap().clone();
    two.set(&["backends".into(), "second".into()], box_);
    let said = refused(&two).await;
    assert!(said.contains("config.bare_ids") && said.contains("main, second"), "{said}");
}

fn config_text(rendered: &str) -> String {
    let objects = documents(rendered);
    let map = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    map["data"]["config.toml"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_driver_takes_what_is_rendered_of_every_value() {
    let rendered = render(&everything()).await;
    let mut sources = Sources::default();
    // As the Deployment gives it from a Secret.
    let variable = "RDSCSI__BACKENDS__SECOND-BOX__HOST_KEY";
    assert!(rendered.contains(variable));
    sources.environment.insert(variable.into(), "SHA256:x".into());
    let config = Config::parse(&sources, Some(&config_text(&rendered))).unwrap();
    assert_eq!(config.leader.lease, "storage-reconciler");
    assert_eq!(config.leader.duration.as_secs(), 30);
    assert_eq!(config.cluster.secret_name, "storage-identity");
    assert_eq!(config.default_backend.as_str(), "second-box");
    let main = &config.backends[&config.bare_ids];
    assert_eq!(main.address.to_string(), "[2001:db8::10]:2222");
    assert_eq!(main.lanes, 4);
    assert_eq!(main.nvme_port, 4421);
}

fn deployment(rendered: &str) -> Value {
    let objects = documents(rendered);
    objects.into_iter().find(|object| object["kind"] == "Deployment").unwrap()
}

#[tokio::test]
async fn pods_are_replaced_exactly_for_keys_that_the_driver_does_not_follow() {
    let before = deployment(&render(&everything()).await);
    let config = yaml(&read("deploy/chart/ci/everything-values.yaml"))["config"].clone();
    let mut keys = Vec::new();
    leaves(&config, &mut Vec::new(), &mut keys);
    keys.retain(|key| key.len() > 1);
    assert!(keys.len() > 20, "{keys:?}");
    for key in keys {
        let mut values = everything();
        let path: Vec<String> = ["config".to_owned()].into_iter().chain(key.clone()).collect();
        values.remove(&path);
        let is_same = deployment(&render(&values).await) == before;
        let name = key.join(".").replace("backend_defaults.", "backends.main.");
        assert_eq!(is_same, is_live(&name), "{name}");
    }
}

#[tokio::test]
async fn the_notes_name_the_release_and_what_to_do_next() {
    let said = notes(&minimal()).await;
    for part in ["deployment/rds-csi-controller", "rds-csi doctor", "/statusz", "rds-csi-cluster"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}
