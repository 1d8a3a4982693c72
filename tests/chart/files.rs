//! The files of `deploy/`.

use serde_json::Value;

/// Keys of the configuration that the chart fills in itself, from other values or from the pod.
pub const FILLED: &[&str] = &[
    "driver.name",
    "driver.endpoint",
    "driver.endpoint_group",
    "driver.release",
    "driver.namespace",
    "http.listen",
    "agents.ask",
    "agents.port",
    "cluster.kubeconfig",
    "cluster.secret_name",
    "leader.lease",
    "node.name",
    "node.kubelet_dir",
    "node.register",
    "node.notes_dir",
    "node.cluster_secret_path",
    "backends.main.key_path",
];

/// A file of the project.
pub fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One YAML document.
pub fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// All documents of a stream that hold something.
pub fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    all.into_iter().filter(Value::is_object).collect()
}
