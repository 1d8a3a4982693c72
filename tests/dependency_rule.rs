//! The dependency rule of ARCHITECTURE.md, checked against the sources.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

use std::fs;
use std::path::{Path, PathBuf};

/// From low to high: a module may name those before it, never those after it.
const LAYERS: [&[&str]; 9] = [
    &["mandate"],
    &["volume"],
    &["agent"],
    &["attachment"],
    &["rds", "cluster", "host"],
    &["operations", "node"],
    &["actors"],
    &["grpc"],
    &["app"],
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

/// Code without comments and without tests, by file below `src/`.
fn code() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut code = Vec::new();
    for path in sources(&src) {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        if name.ends_with("test.rs") || name.contains("/test/") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod test").next().unwrap();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        code.push((name, text.lines().filter(is_code).collect::<Vec<_>>().join("\n")));
    }
    assert!(code.len() > 20, "the sources were not found");
    code
}

fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

#[test]
fn no_module_names_a_higher_one() {
    let level = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    for (file, text) in code() {
        let Some(own) = level(module(&file)) else { continue };
        for higher in LAYERS[own + 1..].iter().flat_map(|layer| layer.iter()) {
            let named = format!("crate::{higher}");
            assert!(!text.contains(&named), "{file} names {named}, which is above it");
        }
    }
}

#[test]
fn crates_are_named_only_where_they_belong() {
    // What, and where it may stand.
    let rules: [(&str, &[&str]); 6] = [
        ("tonic::Code", &["grpc/status.rs"]),
        ("Addr<", &["app.rs", "app/", "actors/supervision.rs", "actors/supervision/"]),
        ("thrussh::", &["rds/ssh/"]),
        ("thrussh_keys::", &["rds/ssh/"]),
        ("russh::", &["rds/ssh/"]),
        ("k8s_openapi::", &["cluster/", "app.rs", "app/", "sandbox"]),
    ];
    for (file, text) in code() {
        for (name, places) in &rules {
            let allowed = places.iter().any(|place| file.starts_with(place));
            assert!(allowed || !text.contains(name), "{file} names {name}");
        }
        let pure = ["volume", "agent", "attachment"].contains(&module(&file));
        for name in ["tokio::", "async fn", "actix", "kube::"] {
            let clock =
                name == "tokio::" && !text.replace("tokio::time::Instant", "").contains(name);
            assert!(!pure || clock || !text.contains(name), "{file} names {name}");
        }
        let below_actors =
            ["rds", "cluster", "host", "operations", "node"].contains(&module(&file));
        for name in ["actix", "tonic::"] {
            assert!(!below_actors || !text.contains(name), "{file} names {name}");
        }
        assert!(module(&file) != "actors" || !text.contains("tonic::"), "{file} names tonic");
    }
}

#[test]
fn the_binary_that_is_shipped_has_no_simulator() {
    for (file, text) in code() {
        let sandbox = file.starts_with("sandbox");
        assert!(sandbox || !text.contains("rds_sim"), "{file} names the simulator");
    }
}
