//! Loading: layers, defaults, and refusals that name the key, the value and the way out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use rds_csi::config::{Config, ConfigError, Sources, live, reference, render};

const ONE_BOX: &str = r#"
[backends.main]
address = "10.0.0.1"
user = "rds-csi"
key_path = "/key"
host_key = "ssh-ed25519 AAAA"
volume_paths = ["pool/volumes"]
"#;

fn sources(variables: &[(&str, &str)]) -> Sources {
    let environment = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Sources { file: Some("/etc/rds-csi.toml".into()), environment: environment.collect() }
}

fn load(file: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::parse(&sources(variables), Some(file))
}

/// Loads one box and `more`, and gives the refusal.
fn refusal(more: &str) -> String {
    load(&format!("{more}\n{ONE_BOX}"), &[]).unwrap_err().to_string()
}

#[test]
fn one_box_is_enough_and_becomes_the_default() {
    let config = load(ONE_BOX, &[]).unwrap();
    assert_eq!(config.bare_ids.as_str(), "main");
    assert_eq!(config.default_backend.as_str(), "main");
    assert_eq!(config.cluster.secret_name, "rds-csi-cluster");
    assert_eq!(config.driver.socket_path().to_str(), Some("/csi/csi.sock"));
    assert_eq!(config.driver.socket_mode(), 0o600);
    let main = &config.backends[&config.bare_ids];
    assert_eq!(main.address.to_string(), "10.0.0.1:22");
    assert_eq!(main.nvme_address, "10.0.0.1");
    assert_eq!(main.lanes, 3);
    assert_eq!(main.poll_interval.as_secs(), 5);
}

#[test]
fn each_layer_overrides_the_one_before() {
    let file = format!("[reconcile]\ninterval = \"1m\"\ngrace = \"7s\"\n{ONE_BOX}");
    let config = load(&file, &[("RDSCSI__RECONCILE__INTERVAL", "90s")]).unwrap();
    assert_eq!(config.reconcile.interval.as_secs(), 90);
    assert_eq!(config.reconcile.grace.as_secs(), 7);
    assert_eq!(config.reconcile.max_age.as_secs(), 10);
}

#[test]
fn variables_alone_configure_everything() {
    let variables = [
        ("RDSCSI__BACKENDS__RDS-A__ADDRESS", "rds.example:2222"),
        ("RDSCSI__BACKENDS__RDS-A__USER", "csi"),
        ("RDSCSI__BACKENDS__RDS-A__KEY_PATH", "/key"),
        ("RDSCSI__BACKENDS__RDS-A__HOST_KEY", "ssh-rsa AAAA box, SHA256:abc"),
        ("RDSCSI__BACKENDS__RDS-A__VOLUME_PATHS", "/pool/a, pool/b"),
        ("RDSCSI__BACKENDS__RDS-A__LANES", "5"),
        ("RDSCSI__BACKEND_DEFAULTS__BACKOFF_JITTER", "0"),
        ("RDSCSI__DRIVER__ENDPOINT_GROUP", "1000"),
        ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        ("RDSCSI_SERVICE_HOST", "10.96.0.7"),
    ];
    let config = Config::parse(&sources(&variables), None).unwrap();
    let (name, backend) = config.backends.first_key_value().unwrap();
    assert_eq!(name.as_str(), "rds-a");
    assert_eq!(backend.host_key, ["ssh-rsa AAAA box", "SHA256:abc"]);
    assert_eq!(backend.volume_paths[0].as_str(), "pool/a");
    assert_eq!(backend.volume_paths[1].as_str(), "pool/b");
    assert_eq!(backend.lanes, 5);
    assert_eq!(backend.backoff_jitter, 0.0);
    assert_eq!(config.driver.endpoint_group, Some(1000));
    assert_eq!(config.driver.socket_mode(), 0o660);
}

#[test]
fn a_backend_overrides_what_all_backends_share() {
    let file = format!("[backend_defaults]\nlanes = 2\nuser = \"all\"\n{ONE_BOX}lanes = 4\n");
    let config = load(&file, &[]).unwrap();
    assert_eq!(config.backends[&config.bare_ids].lanes, 4);
    assert_eq!(config.backends[&config.bare_ids].user, "rds-csi");
    let file = format!("[backend_defaults]\nlanes = 2\n{ONE_BOX}");
    let config = load(&file, &[]).unwrap();
    assert_eq!(config.backends[&config.bare_ids].lanes, 2);
}

#[test]
fn a_refusal_names_the_key_the_value_and_the_way_out() {
    let five_minutes = "write it like `interval = \"5m\"` (time between two passes";
    for (more, parts) in [
        ("[reconcile]\ninterval = \"30\"", vec!["reconcile.interval = \"30\"", five_minutes]),
        ("[reconcile]\ninterval = 30", vec!["reconcile.interval = 30", five_minutes]),
        (
            "[reconcile]\ninterval = \"1ms\"",
            vec!["reconcile.interval = \"1ms\"", "from 1s to 1day"],
        ),
        (
            "[reconcile]\nintervall = \"1m\"",
            vec!["reconcile.intervall = \"1m\"", "unknown", "`interval`"],
        ),
        ("[reconcile]\nmax_unhealthy = 40", vec!["reconcile.max_unhealthy = 40", "\"40%\""]),
        ("colour = 1", vec!["colour = 1", "unknown key", "`bare_ids`"]),
        ("[log]\nlevel = \"loud\"", vec!["log.level = \"loud\"", "critical, error, warning"]),
        ("[log]\nlevel = \"info\"\nwhere = 1", vec!["log.where", "unknown key", "`format`"]),
        ("[http]\nlisten = \"9809\"", vec!["http.listen = \"9809\"", "0.0.0.0:9809"]),
        ("[driver]\nname = \"a b\"", vec!["driver.name = \"a b\"", "rds.csi.srvlab.io"]),
        ("[driver]\nendpoint = \"tcp://x\"", vec!["driver.endpoint = \"tcp://x\"", "unix://"]),
        ("[driver]\nendpoint_group = \"staff\"", vec!["driver.endpoint_group = \"staff\"", "gid"]),
        ("bare_ids = \"other\"", vec!["bare_ids = \"other\"", "one of the backends main"]),
        ("default_backend = \"other\"", vec!["default_backend = \"other\"", "backends main"]),
        ("[backend_defaults]\nlanes = 99", vec!["backend_defaults.lanes = 99", "from 1 to 16"]),
        ("[backend_defaults]\nlane = 1", vec!["backend_defaults.lane", "no key of a backend"]),
        ("[backend_defaults]\nlanes = -1", vec!["backend_defaults.lanes = -1"]),
        (
            "[backend_defaults]\npoll_interval = \"5\"",
            vec!["backend_defaults.poll_interval = \"5\""],
        ),
        (
            "[backend_defaults]\nbackoff_jitter = 2",
            vec!["backend_defaults.backoff_jitter = 2", "from 0 to 1"],
        ),
        ("[backend_defaults]\nbackoff_min = \"20s\"", vec!["backoff_max = \"16s\"", "from 20s"]),
        (
            "[backend_defaults]\nsecond_session = \"on\"",
            vec!["second_session = \"on\"", "auto, force, forbid"],
        ),
    ] {
        let said = refusal(more);
        for part in parts {
            assert!(said.contains(part), "{more:?}: {part:?} is missing in: {said}");
        }
        assert!(said.contains("/etc/rds-csi.toml") || said.contains("backoff_max"), "{said}");
    }
}

#[test]
fn a_backend_is_checked_key_by_key() {
    for (from, to, parts) in [
        ("address = \"10.0.0.1\"", "", vec!["backends.main.address: is missing", "10.0.0.10:22"]),
        (
            "address = \"10.0.0.1\"",
            "address = \"a:b\"",
            vec!["backends.main.address = \"a:b\"", "port"],
        ),
        (
            "\"ssh-ed25519 AAAA\"",
            "[]",
            vec!["backends.main.host_key", "never trusted on first use"],
        ),
        (
            "\"ssh-ed25519 AAAA\"",
            "\"ecdsa-sha2-nistp256 A\"",
            vec!["backends.main.host_key", "ssh-rsa"],
        ),
        ("[\"pool/volumes\"]", "[]", vec!["backends.main.volume_paths", "must list a directory"]),
        ("[\"pool/volumes\"]", "[\"a\", \"../b\"]", vec!["backends.main.volume_paths", "../b"]),
        ("[\"pool/volumes\"]", "[\"a\", \"/a\"]", vec!["backends.main.volume_paths", "twice"]),
        ("user = \"rds-csi\"", "user = \"a b\"", vec!["backends.main.user = \"a b\""]),
        ("user = \"rds-csi\"", "usr = \"a\"", vec!["backends.main.usr", "unknown key"]),
        ("backends.main", "backends.Main", vec!["Main", "is no backend name"]),
    ] {
        let file = ONE_BOX.replace(from, to);
        assert_ne!(file, ONE_BOX, "{from}");
        let said = load(&file, &[]).unwrap_err().to_string();
        for part in parts {
            assert!(said.contains(part), "{to:?}: {part:?} is missing in: {said}");
        }
    }
}

#[test]
fn no_box_and_an_undecided_choice_are_refused() {
    let said = Config::parse(&sources(&[]), None).unwrap_err().to_string();
    assert!(said.contains("add a table [backends.<name>]"), "{said}");
    let two = format!("{ONE_BOX}{}", ONE_BOX.replace("main", "other").replace(".1\"", ".2\""));
    let said = load(&two, &[]).unwrap_err().to_string();
    assert!(said.contains("bare_ids") && said.contains("main, other"), "{said}");
    let said = load(&format!("bare_ids = \"main\"\n{two}"), &[]).unwrap_err().to_string();
    assert!(said.contains("default_backend") && said.contains("main, other"), "{said}");
    let chosen = format!("bare_ids = \"main\"\ndefault_backend = \"other\"\n{two}");
    assert_eq!(load(&chosen, &[]).unwrap().default_backend.as_str(), "other");
    let said = load(&chosen.replace(".2\"", ".1:22\""), &[]).unwrap_err().to_string();
    assert!(said.contains("backends.other.address") && said.contains("another backend"), "{said}");
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let said = refusal("[events]\nburst = 0\n[grpc]\nconcurrency_max = 0");
    assert!(
        said.contains("events.burst = 0") && said.contains("grpc.concurrency_max = 0"),
        "{said}"
    );
}

#[test]
fn a_misspelled_variable_is_refused_instead_of_ignored() {
    for (name, value, parts) in [
        ("RDSCSI_LOG__LEVEL", "debug", vec!["RDSCSI_LOG__LEVEL", "begin it with RDSCSI__"]),
        ("RDSCSI__LOG__LEVELS", "debug", vec!["log.levels", "the variable RDSCSI__LOG__LEVELS"]),
        (
            "RDSCSI__LOG__LEVEL",
            "loud",
            vec!["log.level = \"loud\"", "the variable RDSCSI__LOG__LEVEL"],
        ),
        ("RDSCSI__LOG____LEVEL", "debug", vec!["RDSCSI__LOG____LEVEL", "names no key"]),
        ("RDSCSI__LOG", "debug", vec!["log = \"debug\"", "RDSCSI__LOG"]),
        ("RDSCSI__BACKENDS", "x", vec!["backends = \"x\"", "RDSCSI__BACKENDS"]),
        ("RDSCSI__BACKEND_DEFAULTS", "x", vec!["backend_defaults", "must be a table"]),
    ] {
        let said = load(ONE_BOX, &[(name, value)]).unwrap_err().to_string();
        for part in parts {
            assert!(said.contains(part), "{name}: {part:?} is missing in: {said}");
        }
    }
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let missing = Sources { file: Some("/nowhere/rds.toml".into()), ..Sources::default() };
    assert!(Config::load(&missing).unwrap_err().to_string().contains("/nowhere/rds.toml"));
    let said = load("[log\nlevel = 1", &[]).unwrap_err().to_string();
    assert!(
        said.contains("/etc/rds-csi.toml is not valid TOML") && said.contains("line 1"),
        "{said}"
    );
}

#[test]
fn an_address_leads_to_its_backend_and_no_other_does() {
    let two = format!("{ONE_BOX}{}", ONE_BOX.replace("main", "other").replace(".1\"", ".2:2222\""));
    let config =
        load(&format!("bare_ids = \"main\"\ndefault_backend = \"main\"\n{two}"), &[]).unwrap();
    let at = |address| config.backend_at(address).map(|name| name.as_str());
    assert_eq!(at("10.0.0.1"), Some("main"));
    assert_eq!(at("10.0.0.1:22"), Some("main"));
    assert_eq!(at("10.0.0.2"), Some("other"));
    assert_eq!(at("10.0.0.2:2222"), Some("other"));
    for address in ["10.0.0.3", "10.0.0.1:23", "10.0.0.2:22", "", "10.0.0.1;", "main"] {
        assert_eq!(at(address), None, "{address}");
    }
}

#[test]
fn the_effective_configuration_can_be_loaded_again() {
    let config = load(ONE_BOX, &[]).unwrap();
    let text = render::toml(&config).unwrap();
    assert_eq!(load(&text, &[]).unwrap(), config, "{text}");
}

/// Dotted keys of the effective configuration; a backend's keys stand under `backends.main`.
fn keys(path: &str, value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value.as_object() {
        None => drop(found.insert(path.to_owned())),
        Some(members) => {
            for (key, value) in members {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                keys(&path, value, found);
            }
        }
    }
}

#[test]
fn the_reference_lists_every_key_and_marks_the_live_ones() {
    let config = serde_json::to_value(load(ONE_BOX, &[]).unwrap()).unwrap();
    let mut known = BTreeSet::new();
    keys("", &config, &mut known);
    let mut listed = BTreeSet::new();
    for (table, line) in reference::lines() {
        let table = table.replace("backend_defaults", "backends.main");
        let key = if table.is_empty() { line.key.into() } else { format!("{table}.{}", line.key) };
        assert_eq!(live::is_live(&key), line.comment.starts_with("[live] "), "{key}");
        assert!(listed.insert(key.clone()), "{key} is listed twice");
    }
    assert_eq!(listed, known);
}
