//! The chart and the plain manifests, as far as they can be looked at without helm: that they are of
//! the forms that Kubernetes knows, that every value is documented and described, and that they agree
//! with the driver about names and keys. What helm makes of them is in `chart_rendered.rs`.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "chart/files.rs"]
mod files;
#[path = "chart/typed.rs"]
mod typed;

use std::collections::{BTreeMap, BTreeSet};

use rds_csi::config::reference::lines;
use rds_csi::config::{Config, Sources};
use serde_json::Value;

use self::files::{FILLED, documents, read, yaml};

fn manifests() -> Vec<Value> {
    documents(&read("deploy/manifests/rds-csi.yaml"))
}

fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found =
        objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn every_manifest_has_only_fields_that_kubernetes_knows() {
    let mut objects = manifests();
    objects.extend(documents(&read("deploy/manifests/namespace.yaml")));
    assert!(objects.len() > 20, "{}", objects.len());
    for object in &objects {
        typed::check(object);
    }
}

#[test]
fn a_field_that_kubernetes_does_not_know_is_found() {
    let mut deployment = one(&manifests(), "Deployment", "rds-csi-controller").clone();
    deployment["spec"]["template"]["spec"]["contianers"] = Value::Array(Vec::new());
    assert_eq!(typed::unknown_fields(&deployment), ["/spec/template/spec/contianers"]);
}

/// The configuration that the plain manifests give the driver.
fn mounted(objects: &[Value]) -> Config {
    let map = one(objects, "ConfigMap", "rds-csi-config");
    let text = map["data"]["config.toml"].as_str().unwrap();
    Config::parse(&Sources::default(), Some(text)).unwrap()
}

#[test]
fn the_driver_takes_the_configuration_and_the_roles_name_what_it_uses() {
    let objects = manifests();
    let config = mounted(&objects);
    let role = one(&objects, "Role", "rds-csi-driver");
    let named = |resource: &str| -> Vec<&str> {
        let rules = role["rules"].as_array().unwrap().iter();
        let of = rules.filter(|rule| rule["resources"][0] == resource);
        of.flat_map(|rule| rule["resourceNames"].as_array().into_iter().flatten())
            .map(|name| name.as_str().unwrap())
            .collect()
    };
    assert_eq!(named("secrets"), [config.cluster.secret_name.as_str()]);
    assert_eq!(named("leases"), [config.leader.lease.as_str()]);
    let maps =
        ["deleting", "agents", "drills"].map(|what| format!("{}-{what}", config.driver.release));
    assert_eq!(named("configmaps"), maps);
    let driver = one(&objects, "CSIDriver", &config.driver.name);
    assert_eq!(driver["spec"]["attachRequired"], true);
    for class in objects.iter().filter(|object| object["kind"] == "StorageClass") {
        assert_eq!(class["provisioner"], config.driver.name.as_str());
    }
}

#[test]
fn the_drill_is_run_by_the_configuration_and_key_of_the_controller_and_writes_its_result_alone() {
    let objects = documents(&read("deploy/manifests/drill.yaml"));
    objects.iter().for_each(typed::check);
    let installed = manifests();
    let config = mounted(&installed);
    let role = one(&objects, "Role", "rds-csi-drill")["rules"].as_array().unwrap();
    let place = rds_csi::cluster::drills::name(&config.driver.release);
    assert_eq!(role[1]["resourceNames"], serde_json::json!([place]));
    assert!(role.iter().all(|rule| rule["resources"] == serde_json::json!(["configmaps"])));

    let pod = &one(&objects, "Job", "rds-csi-drill")["spec"]["template"]["spec"];
    let node = &one(&installed, "DaemonSet", "rds-csi-node")["spec"]["template"]["spec"];
    let controller = one(&installed, "Deployment", "rds-csi-controller");
    let controller = &controller["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["image"], node["containers"][0]["image"]);
    assert_eq!((&pod["hostNetwork"], &node["hostNetwork"]), (&true.into(), &true.into()));
    assert_eq!(container["securityContext"], node["containers"][0]["securityContext"]);
    let volume = |pod: &Value, name: &str| {
        let volumes = pod["volumes"].as_array().unwrap().iter();
        volumes.clone().find(|volume| volume["name"] == name).unwrap().clone()
    };
    assert_eq!(volume(pod, "config")["configMap"], volume(controller, "config")["configMap"]);
    let (own, theirs) = (volume(pod, "ssh-main"), volume(controller, "ssh-main"));
    assert_eq!(own["secret"]["secretName"], theirs["secret"]["secretName"]);
    assert_eq!(own["secret"]["items"], theirs["secret"]["items"]);
    let key = config.backends.values().next().unwrap().key_path.clone();
    let mounts = container["volumeMounts"].as_array().unwrap().iter();
    let folder = key.parent().unwrap().to_str().unwrap();
    assert!(mounts.clone().any(|mount| mount["mountPath"] == folder), "{folder}");
    let args = container["args"].as_array().unwrap();
    let config_file = args[1].as_str().unwrap().strip_prefix("--config=").unwrap();
    let folder = std::path::Path::new(config_file).parent().unwrap().to_str().unwrap();
    assert!(mounts.clone().any(|mount| mount["mountPath"] == folder), "{folder}");
    assert_eq!((&args[0], &args[2]), (&"doctor".into(), &"--drill".into()));
}

#[test]
fn the_socket_the_key_and_the_port_are_where_the_driver_looks() {
    let objects = manifests();
    let config = mounted(&objects);
    let deployment = one(&objects, "Deployment", "rds-csi-controller");
    let pod = &deployment["spec"]["template"]["spec"];
    let containers = pod["containers"].as_array().unwrap();
    let mounts = |container: &Value| -> BTreeMap<String, String> {
        let mounts = container["volumeMounts"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        mounts.map(|mount| (text(&mount["mountPath"]), text(&mount["name"]))).collect()
    };
    let socket = config.driver.socket_path();
    for container in containers {
        let folder = socket.parent().unwrap().to_str().unwrap();
        assert_eq!(mounts(container).get(folder).map(String::as_str), Some("socket"));
        let args: Vec<&str> =
            container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
        if container["name"] != "rds-csi" {
            let address = format!("--csi-address={}", socket.display());
            assert!(args.contains(&address.as_str()), "{args:?}");
        }
    }
    let key = &config.backends.values().next().unwrap().key_path;
    let folder = key.parent().unwrap().to_str().unwrap();
    let volume = mounts(&containers[0])[folder].clone();
    let volumes = pod["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|one| one["name"] == volume.as_str()).unwrap();
    assert_eq!(volume["secret"]["items"][0]["path"], key.file_name().unwrap().to_str().unwrap());
    assert_eq!(volume["secret"]["defaultMode"], 0o440);
    let port = &containers[0]["ports"][0]["containerPort"];
    assert_eq!(*port, config.http.listen.port());
    // The driver ends before kubelet kills it.
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(config.shutdown.deadline.as_secs() < grace);
}

#[test]
fn no_container_of_the_controller_may_do_more_than_it_needs() {
    let objects = manifests();
    let pod = &one(&objects, "Deployment", "rds-csi-controller")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[field].is_null(), "{field}");
    }
    for container in pod["containers"].as_array().unwrap() {
        let security = &container["securityContext"];
        let name = &container["name"];
        assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(security["capabilities"]["drop"][0], "ALL", "{name}");
        assert!(security["runAsUser"].is_null(), "{name}: all share the uid of the pod");
    }
}

#[test]
fn an_outage_of_the_box_restarts_no_pod_and_holds_up_neither_a_drain_nor_a_rollout() {
    let objects = manifests();
    let deployment = &one(&objects, "Deployment", "rds-csi-controller")["spec"];
    assert_eq!(deployment["replicas"], 2);
    let rolling = &deployment["strategy"]["rollingUpdate"];
    assert_eq!((&rolling["maxUnavailable"], &rolling["maxSurge"]), (&"100%".into(), &1.into()));
    for container in deployment["template"]["spec"]["containers"].as_array().unwrap() {
        let (liveness, readiness) = (&container["livenessProbe"], &container["readinessProbe"]);
        if container["name"] == "rds-csi" {
            assert_eq!(liveness["httpGet"]["path"], "/livez", "it knows nothing of the box");
            assert_eq!(readiness["httpGet"]["path"], "/readyz");
        } else {
            assert!(liveness.is_null() && readiness.is_null(), "{}", container["name"]);
        }
    }
    let budget = &one(&objects, "PodDisruptionBudget", "rds-csi-controller")["spec"];
    assert_eq!(budget["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    assert_eq!(budget["maxUnavailable"], 1);
}

#[test]
fn the_base_for_kustomize_names_every_manifest() {
    let base = yaml(&read("deploy/manifests/kustomization.yaml"));
    let mut resources: Vec<&str> =
        base["resources"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    resources.sort_unstable();
    assert_eq!(resources, ["namespace.yaml", "rds-csi.yaml"]);
    for file in resources {
        assert!(!documents(&read(&format!("deploy/manifests/{file}"))).is_empty(), "{file}");
    }
}

#[test]
fn versions_are_those_of_the_driver() {
    let chart = yaml(&read("deploy/chart/Chart.yaml"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_value_has_a_comment_right_before_it() {
    let text = read("deploy/chart/values.yaml");
    let mut before = "";
    for line in text.lines() {
        let entry = line.trim_start().trim_start_matches("- ");
        let is_comment = entry.starts_with('#');
        let begins_table = entry.ends_with(':');
        if !entry.is_empty() && !is_comment && !begins_table && !line.contains("- {") {
            let commented = before.trim_start().trim_start_matches("- ").starts_with('#');
            assert!(commented, "no comment before: {line}");
        }
        before = line;
    }
}

/// All keys of a value that are not themselves tables, as `/a/b`.
fn leaves(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                // As in a JSON pointer: names of labels have slashes of their own.
                leaves(value, &format!("{path}/{}", key.replace('/', "~1")), into);
            }
        }
        Value::Array(members) if members.first().is_some_and(Value::is_object) => {
            members.iter().for_each(|member| leaves(member, &format!("{path}/[]"), into));
        }
        _ => {
            into.insert(path.to_owned());
        }
    }
}

/// What a schema says of keys that it does not name.
fn of_any_key(schema: &Value) -> &Value {
    let by_name = schema["patternProperties"].as_object();
    by_name.and_then(|all| all.values().next()).unwrap_or(&schema["additionalProperties"])
}

/// What the schema says of a path: `Err` with the first part that it does not know.
fn described<'a>(schema: &'a Value, path: &str) -> Result<&'a Value, String> {
    let mut here = schema;
    for part in path.split('/').skip(1) {
        let next = match part {
            "[]" => &here["items"],
            key => match &here["properties"][key.replace("~1", "/")] {
                Value::Null => of_any_key(here),
                known => known,
            },
        };
        if !next.is_object() {
            return Err(format!("{path} at {part}"));
        }
        here = next;
    }
    Ok(here)
}

#[test]
fn the_schema_describes_every_value_and_nothing_else() {
    let schema: Value = serde_json::from_str(&read("deploy/chart/values.schema.json")).unwrap();
    let mut given = BTreeSet::new();
    leaves(&yaml(&read("deploy/chart/values.yaml")), "", &mut given);
    for path in &given {
        let found = described(&schema, path).unwrap();
        assert!(!found["type"].is_null() || found["enum"].is_array(), "{path}: {found}");
    }
    // The other way round: whatever the schema lists as a key of the chart is in values.yaml.
    let mut known = Vec::new();
    properties(&schema, "", &mut known);
    for (path, property) in known {
        let ours = path.starts_with("/config/") || path.starts_with("/backends/");
        let listed =
            given.iter().any(|given| *given == path || given.starts_with(&format!("{path}/")));
        assert!(ours || listed || path == "/global", "{path} is not in values.yaml");
        assert!(property["description"].is_string(), "{path} has no description");
    }
}

fn properties<'a>(schema: &'a Value, path: &str, into: &mut Vec<(String, &'a Value)>) {
    let listed = schema["properties"].as_object().into_iter().flatten();
    for (key, property) in listed {
        let path = format!("{path}/{key}");
        // What is of Kubernetes' own types is described there.
        let theirs = [
            "resources",
            "tolerations",
            "affinity",
            "imagePullSecrets",
            "env",
            "metricsFrom",
            "egress",
        ];
        if !theirs.contains(&key.as_str()) {
            properties(property, &path, into);
        }
        into.push((path, property));
    }
    if schema["items"].is_object() {
        properties(&schema["items"], &format!("{path}/[]"), into);
    }
}

#[test]
fn the_schema_has_every_key_of_the_configuration_with_the_words_of_its_reference() {
    let schema: Value = serde_json::from_str(&read("deploy/chart/values.schema.json")).unwrap();
    for (table, line) in lines() {
        let name =
            if table.is_empty() { line.key.to_owned() } else { format!("{table}.{}", line.key) };
        if FILLED.contains(&name.as_str()) {
            continue;
        }
        let places = match table {
            "backends.main" | "backend_defaults" => {
                vec![
                    format!("/backends/any/{}", line.key),
                    format!("/config/backend_defaults/{}", line.key),
                ]
            }
            _ => vec![format!("/config/{}", name.replace('.', "/"))],
        };
        for place in places {
            let property = described(&schema, &place).unwrap_or_else(|_| {
                panic!("{name} of config/default.toml is not in the schema: {place}")
            });
            let comment = line.comment.trim_start_matches("[live] ");
            assert_eq!(property["description"], comment, "{place}");
        }
    }
}

#[test]
fn every_program_that_the_node_runs_is_in_the_image() {
    let image = read("deploy/image/contents.py");
    let sources = ["format", "grow", "module"].map(|file| read(&format!("src/host/{file}.rs")));
    let words = sources.iter().flat_map(|source| source.split('"').skip(1).step_by(2));
    let is_program = |word: &&str| {
        ["mkfs.", "resize2fs", "xfs_", "btrfs", "modprobe"]
            .iter()
            .any(|name| word.starts_with(name))
            && !word.contains(' ')
    };
    let programs: BTreeSet<&str> = words.filter(is_program).collect();
    assert!(programs.len() >= 8, "{programs:?}");
    for program in programs {
        assert!(image.contains(&format!("bin/{program}\": ")), "{program} is not in the image");
    }
}

/// The labels with which the driver registers a series; `None` where it has none of this name.
fn labels_of(series: &str) -> Option<String> {
    let folder = std::fs::read_dir(format!("{}/src/metrics", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut sources = read("src/metrics.rs");
    for entry in folder {
        sources.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    let (_, rest) = sources.split_once(&format!("\"{series}\","))?;
    Some(rest.split_once('[')?.1.split_once(']')?.0.to_owned())
}

#[test]
fn every_alert_asks_for_a_series_that_the_driver_has_by_labels_that_it_has() {
    let rules = read("deploy/chart/templates/prometheus-rule.yaml");
    let mut seen = BTreeSet::new();
    // Of each series: what follows its name, up to the next one.
    for part in rules.split("rds_csi_").skip(1) {
        let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap();
        let series = format!("rds_csi_{}", &part[..end]);
        let labels = labels_of(&series).unwrap_or_else(|| panic!("nobody counts {series}"));
        if let Some((inside, _)) = part[end..].strip_prefix('{').and_then(|p| p.split_once('}')) {
            let label = inside.split(['=', '!']).next().unwrap();
            let known = label == "namespace" || labels.contains(&format!("\"{label}\""));
            assert!(known, "{series} has no label {label}: {labels}");
        }
        seen.insert(series);
    }
    assert!(seen.len() >= 8, "{seen:?}");
    // What alerts are told apart by.
    for (series, label) in [
        ("rds_csi_rds_connection_state", "address"),
        ("rds_csi_holds", "reason"),
        ("rds_csi_fences_total", "reason"),
        ("rds_csi_actor_restarts_total", "actor"),
    ] {
        assert!(labels_of(series).unwrap().contains(label), "{series}: {label}");
    }
}
