//! The driver is installed, upgraded and removed with the real helm.

use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Backend, Cluster, NAMESPACE, objects};
use crate::{Trouble, parts, wait};

/// The release.
pub const RELEASE: &str = "rds-csi";
/// Longest wait for helm, and for the pods to be ready after it.
const WITHIN: Duration = Duration::from_secs(90);

impl<B: Backend> Cluster<B> {
    /// `helm install` with the values that this box needs and `more`; returns once every pod of the
    /// controller is ready.
    ///
    /// # Errors
    /// When helm refuses or the pods do not become ready.
    pub async fn install(&self, more: &Value) -> Result<(), Trouble> {
        self.install_with(more, &[]).await
    }

    /// The same, with further arguments of helm.
    ///
    /// # Errors
    /// When helm refuses or the pods do not become ready.
    pub async fn install_with(&self, more: &Value, arguments: &[&str]) -> Result<(), Trouble> {
        let arguments = [&["--create-namespace"], arguments].concat();
        self.helm(&["install", RELEASE], Some(more), &arguments).await?;
        self.write_roles().await?;
        self.ready().await
    }

    /// Keeps the roles of the release beside the audit log, in `roles.json`.
    async fn write_roles(&self) -> Result<(), Trouble> {
        let version = "rbac.authorization.k8s.io/v1";
        let mut roles = objects::list(&self.api, version, "ClusterRole").await?;
        roles.extend(objects::list(&self.api, version, "Role").await?);
        let of_it = |role: &Value| {
            let labels = &role["metadata"]["labels"];
            labels["app.kubernetes.io/instance"] == RELEASE
        };
        roles.retain(of_it);
        std::fs::write(self.folder().join("roles.json"), serde_json::to_vec(&roles)?)?;
        Ok(())
    }

    /// `helm upgrade` to the values that this box needs and `more`. Does not wait for pods.
    ///
    /// # Errors
    /// When helm refuses.
    pub async fn upgrade(&self, more: &Value) -> Result<(), Trouble> {
        self.helm(&["upgrade", RELEASE], Some(more), &[]).await?;
        Ok(())
    }

    /// `helm uninstall`, waiting for everything to be gone.
    ///
    /// # Errors
    /// When helm refuses.
    pub async fn uninstall(&self) -> Result<(), Trouble> {
        self.helm(&["uninstall", RELEASE], None, &["--wait"]).await?;
        Ok(())
    }

    /// Waits until the controller is rolled out: all pods new, all ready.
    ///
    /// # Errors
    /// When that does not happen; the text says what stands in the way.
    pub async fn ready(&self) -> Result<(), Trouble> {
        self.ready_within(WITHIN).await
    }

    /// As [`Cluster::ready`], with another patience.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn ready_within(&self, within: Duration) -> Result<(), Trouble> {
        let deployments: Api<Deployment> = Api::namespaced(self.api.clone(), NAMESPACE);
        let name = format!("{RELEASE}-controller");
        let seen = wait::until("the controller is rolled out", within, async || {
            let found = deployments.get(&name).await.map_err(|error| error.to_string())?;
            if rolled_out(&found) { Ok(()) } else { Err(format!("{:?}", found.status)) }
        });
        seen.await.map_err(|trouble| {
            let troubles = self.kubelet.troubles().join("\n");
            format!("{trouble}\n{troubles}\nlogs are in {}", self.folder().display()).into()
        })
    }

    /// The values that an installation for this box needs, with `more` over them.
    pub fn values(&self, more: &Value) -> Value {
        let mut values = json!({
            "image": {"pullPolicy": "Never"},
            "backends": {"main": self.storage.values()},
        });
        merge(&mut values, more);
        values
    }

    /// Runs helm; what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn helm(
        &self,
        command: &[&str],
        values: Option<&Value>,
        more: &[&str],
    ) -> Result<String, Trouble> {
        let mut helm = Command::new(parts::program("helm")?);
        helm.args(command);
        if let Some(values) = values {
            let file = self.folder().join("values.json");
            std::fs::write(&file, self.values(values).to_string())?;
            helm.arg(parts::workspace().join("deploy/chart")).arg("--values").arg(file);
        }
        helm.args(["--namespace", NAMESPACE]).args(more);
        helm.arg("--kubeconfig").arg(&self.kubeconfig);
        // Nothing of the person who runs this: no repositories, no plugins.
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            helm.env(variable, self.folder().join("helm").join(folder));
        }
        helm.stdin(Stdio::null()).kill_on_drop(true);
        let ended = timeout(WITHIN, helm.output()).await.map_err(|_| "helm does not end")??;
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        if ended.status.success() {
            return Ok(said);
        }
        let complaint = String::from_utf8_lossy(&ended.stderr);
        Err(format!("helm {}: {}\n{complaint}", command.join(" "), ended.status).into())
    }
}

fn rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    status.observed_generation == deployment.metadata.generation
        && status.updated_replicas == Some(wanted)
        && status.ready_replicas == Some(wanted)
        && status.replicas == Some(wanted)
}

/// Lays `over` over `values`: objects member by member, everything else as a whole.
pub fn merge(values: &mut Value, over: &Value) {
    match (values, over) {
        (Value::Object(values), Value::Object(over)) => {
            for (key, value) in over {
                merge(values.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (values, over) => *values = over.clone(),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn values_are_laid_over_each_other_member_by_member() {
        let mut values = json!({"a": {"b": 1, "c": [1]}, "d": 2});
        merge(&mut values, &json!({"a": {"c": [2], "e": 3}}));
        assert_eq!(values, json!({"a": {"b": 1, "c": [2], "e": 3}, "d": 2}));
    }
}
