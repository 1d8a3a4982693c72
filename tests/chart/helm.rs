//! helm as a process.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::files::{read, yaml};

/// Values for one run.
#[derive(Debug, Clone, Default)]
pub struct Values(Value);

impl Values {
    /// Those of a file.
    pub fn of(path: &str) -> Self {
        Self(yaml(&read(path)))
    }

    /// Those of the test's own making.
    pub fn from(values: Value) -> Self {
        Self(values)
    }

    /// Without the key at this JSON pointer.
    pub fn without(&self, folder: &str, key: &str) -> Self {
        let mut values = self.clone();
        values.0.pointer_mut(folder).unwrap().as_object_mut().unwrap().remove(key).unwrap();
        values
    }

    /// What is at this path.
    pub fn get(&self, path: &[String]) -> Option<&Value> {
        path.iter().try_fold(&self.0, |here, key| here.get(key.as_str()))
    }

    /// Puts `value` at this path.
    pub fn set(&mut self, path: &[String], value: Value) {
        if !self.0.is_object() {
            self.0 = json!({});
        }
        let (last, tables) = path.split_last().unwrap();
        let mut here = &mut self.0;
        for key in tables {
            here = &mut here[key.as_str()];
        }
        here[last.as_str()] = value;
    }

    /// Takes away what is at this path.
    pub fn remove(&mut self, path: &[String]) {
        let (last, tables) = path.split_last().unwrap();
        let mut here = &mut self.0;
        for key in tables {
            here = &mut here[key.as_str()];
        }
        here.as_object_mut().unwrap().remove(last.as_str()).unwrap();
    }
}

/// What helm prints for these arguments, the chart and the values, or what it complains of.
pub async fn helm(values: &Values, arguments: &[&str]) -> Result<String, String> {
    let program = std::env::var_os("HELM").expect("HELM names no helm; run make chart");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(values.0.to_string().as_bytes()).unwrap();
    let chart = format!("{}/deploy/chart", env!("CARGO_MANIFEST_DIR"));
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .args([&chart, "--namespace", "rds-csi", "--values"])
        .arg(file.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(said(output.stdout))
    } else {
        Err(said(output.stderr) + &said(output.stdout))
    }
}

/// The manifests.
pub async fn render(values: &Values) -> String {
    helm(values, &["template", "rds-csi"]).await.unwrap_or_else(|said| panic!("{said}"))
}

/// Why they are not rendered.
pub async fn refused(values: &Values) -> String {
    let rendered = helm(values, &["template", "rds-csi"]).await;
    rendered.expect_err("it was not refused")
}

/// `helm lint` finds nothing.
pub async fn lint(values: &Values) {
    helm(values, &["lint", "--strict"]).await.unwrap_or_else(|said| panic!("{said}"));
}

/// What is said after an installation.
pub async fn notes(values: &Values) -> String {
    let arguments = ["install", "rds-csi", "--dry-run=client"];
    let said = helm(values, &arguments).await.unwrap_or_else(|said| panic!("{said}"));
    said.split_once("NOTES:").unwrap_or_else(|| panic!("no notes in {said}")).1.to_owned()
}
