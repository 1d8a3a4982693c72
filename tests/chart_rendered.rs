//! What helm makes of the chart. Run by `make chart`, which names helm in `HELM`.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "chart/files.rs"]
mod files;
#[path = "chart/helm.rs"]
mod helm;
#[path = "chart/typed.rs"]
mod typed;
#[path = "chart/wrong.rs"]
mod wrong;

use std::collections::BTreeMap;

use rds_csi::config::live::is_live;
use rds_csi::config::reference::lines;
use rds_csi::config::{Config, Sources};
use serde_json::{Value, json};

use self::files::{documents, read, yaml};
use self::helm::{Values, helm, lint, notes, refused, render};

/// What may be any text or number: the driver, a kernel or an operator knows what is right.
const FREE: [&str; 14] = [
    "/backends/main/nvme_address",
    "/backends/main/private_key/value",
    "/config/backend_defaults/nvme_address",
    "/config/cluster/id",
    "/controller/env/0/value",
    "/controller/podAnnotations/main",
    "/controller/tolerations/0/key",
    "/controller/tolerations/0/tolerationSeconds",
    "/controller/tolerations/0/value",
    "/metrics/service/annotations/main",
    "/snapshots/classes/0/parameters/main",
    "/storageClasses/0/annotations/main",
    "/storageClasses/0/mountOptions",
    "/storageClasses/0/parameters/main",
];

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
    for kind in ["VolumeSnapshotClass", "Service", "ServiceMonitor", "PrometheusRule"] {
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

#[tokio::test]
async fn every_key_of_a_class_makes_a_difference() {
    let (all, rendered) = (everything(), render(&everything()).await);
    let given = yaml(&read("deploy/chart/ci/everything-values.yaml"));
    let schema: Value = serde_json::from_str(&read("deploy/chart/values.schema.json")).unwrap();
    for (classes, described) in [
        ("/storageClasses", "/properties/storageClasses"),
        ("/snapshots/classes", "/properties/snapshots/properties/classes"),
    ] {
        let known = schema.pointer(&format!("{described}/items/properties")).unwrap();
        let class = given.pointer(&format!("{classes}/0")).unwrap();
        for key in known.as_object().unwrap().keys() {
            assert!(!class[key].is_null(), "{classes} of everything has no {key}");
            let without = all.without(&format!("{classes}/0"), key);
            let same = match helm(&without, &["template", "rds-csi"]).await {
                Ok(without) => stable(&without) == stable(&rendered),
                Err(_) => false,
            };
            assert!(!same, "{classes} {key} changes nothing");
        }
    }
}

#[tokio::test]
async fn every_key_of_the_configuration_arrives_in_its_table() {
    // What the chart fills in itself, and what comes from elsewhere in its values.
    let ours = ["driver", "http"];
    let filled = [
        "cluster.kubeconfig",
        "cluster.secret_name",
        "leader.lease",
        "agents.port",
        "node.name",
        "node.kubelet_dir",
        "node.register",
        "node.notes_dir",
        "node.cluster_secret_path",
        "backends.main.key_path",
    ];
    let mut values = minimal();
    let mut wanted = Vec::new();
    for (table, line) in lines() {
        let name = format!("{table}.{}", line.key);
        if ours.contains(&table) || filled.contains(&name.as_str()) {
            continue;
        }
        let value: Value = serde_json::from_str(line.value).unwrap();
        let places = match table {
            "" => vec![vec!["config"]],
            "backends.main" | "backend_defaults" => {
                vec![vec!["backends", "main"], vec!["config", "backend_defaults"]]
            }
            _ => vec![vec!["config", table]],
        };
        for place in places {
            let mut path: Vec<String> = place.iter().map(|part| (*part).to_owned()).collect();
            let table = path.join(".").replacen("config", "", 1);
            path.push(line.key.to_owned());
            values.set(&path, value.clone());
            wanted.push((table.trim_start_matches('.').to_owned(), line.key, value.clone()));
        }
    }
    assert!(wanted.len() > 60, "{}", wanted.len());
    let rendered = config_text(&render(&values).await);
    for (table, key, value) in wanted {
        let found = in_table(&rendered, &table, key);
        assert_eq!(found, Some(value), "{table} {key} in {rendered}");
    }
}

/// The value of a key in a table of TOML of which each value is JSON, too.
fn in_table(text: &str, table: &str, key: &str) -> Option<Value> {
    let mut here = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            here = name;
        } else if let Some((name, value)) = line.split_once(" = ")
            && (here, name) == (table, key)
        {
            return serde_json::from_str(value).ok();
        }
    }
    None
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
        (
            "storageClasses",
            json!([{"name": "a", "default": true}, {"name": "b", "default": true}]),
            "storageClasses",
        ),
        ("config.default_backend", json!("other"), "config.default_backend"),
        ("config.bare_ids", json!("other"), "config.bare_ids"),
        ("commonLabels", json!({"app.kubernetes.io/name": "x"}), "commonLabels"),
        (
            "controller.podLabels",
            json!({"app.kubernetes.io/instance": "x"}),
            "controller.podLabels",
        ),
        ("controller.resources.limits", json!({"memory": "much"}), "/controller/resources/limits"),
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

#[tokio::test]
async fn whatever_is_wrong_is_refused_wherever_it_stands_and_so_is_every_key_that_nobody_knows() {
    let schema: Value = serde_json::from_str(&read("deploy/chart/values.schema.json")).unwrap();
    let (types, bounds) = (wrong::types(&schema), wrong::bounds(&schema));
    assert!(types.places.len() > 150 && types.closed.len() > 30, "{types:?}");
    assert!(bounds.places.len() > 100, "{bounds:?}");
    for wrong in [vec![types, bounds], wrong::objects(&schema)].concat() {
        let said = refused(&Values::from(wrong.values.clone())).await;
        for place in &wrong.places {
            assert!(
                said.contains(&format!("at '{place}':")),
                "nobody complains of {place}: {said}"
            );
        }
        for object in &wrong.closed {
            let told = format!("at '{object}': additional properties '{}' not", wrong::UNKNOWN);
            assert!(said.contains(&told), "{object} takes any key: {said}");
        }
    }
    let mut free = wrong::free(&schema);
    // Those of the node part are its own affair.
    free.retain(|place| !place.starts_with("/node/"));
    assert_eq!(free, FREE, "{free:#?}");
    // What is not described further is Kubernetes' own, or helm's.
    let open = wrong::open(&schema, "");
    for place in &open {
        let names = ["affinity/", "valueFrom/", "metricsFrom/0/", "egress/0/"];
        assert!(place == "/global" || names.iter().any(|name| place.contains(name)), "{place}");
    }
    assert_eq!(open.len(), 13, "{open:?}");
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
