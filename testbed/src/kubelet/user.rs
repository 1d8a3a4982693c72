//! As whom a container runs: its security contexts as arguments of setpriv(1).

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::Trouble;

/// As whom, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// uid; 0 where nothing says otherwise, as the image of a program of ours would.
    pub uid: i64,
    /// gid.
    pub gid: i64,
    /// Further groups: fsGroup and supplementalGroups.
    pub groups: Vec<i64>,
    /// The root file system is read-only.
    pub read_only: bool,
    drop_all: bool,
    no_new_privileges: bool,
}

impl User {
    /// Reads the contexts of pod and container.
    ///
    /// # Errors
    /// When it would be root and must not be, or asks for what nobody plays.
    pub fn of(pod: &Pod, container: &Container) -> Result<Self, Trouble> {
        let whole =
            pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
        let own = container.security_context.clone().unwrap_or_default();
        let uid = own.run_as_user.or(whole.run_as_user).unwrap_or(0);
        let gid = own.run_as_group.or(whole.run_as_group).unwrap_or(0);
        if uid == 0 && own.run_as_non_root.or(whole.run_as_non_root) == Some(true) {
            return Err(format!("{}: runAsNonRoot, and no other user", container.name).into());
        }
        let mut groups: Vec<i64> = whole.fs_group.into_iter().collect();
        groups.extend(whole.supplemental_groups.into_iter().flatten());
        let capabilities = own.capabilities.unwrap_or_default();
        let dropped = capabilities.drop.unwrap_or_default();
        if own.privileged == Some(true) || !capabilities.add.unwrap_or_default().is_empty() {
            return Err(format!("{}: nobody plays privileges", container.name).into());
        }
        Ok(Self {
            uid,
            gid,
            groups,
            read_only: own.read_only_root_filesystem == Some(true),
            drop_all: dropped.iter().any(|name| name == "ALL"),
            no_new_privileges: own.allow_privilege_escalation == Some(false),
        })
    }

    /// Arguments of setpriv.
    pub fn arguments(&self) -> Vec<String> {
        let mut all = vec![format!("--reuid={}", self.uid), format!("--regid={}", self.gid)];
        if self.groups.is_empty() {
            all.push("--clear-groups".into());
        } else {
            let groups: Vec<String> = self.groups.iter().map(ToString::to_string).collect();
            all.push(format!("--groups={}", groups.join(",")));
        }
        if self.drop_all {
            all.extend(["--bounding-set=-all".into(), "--inh-caps=-all".into()]);
        }
        if self.no_new_privileges {
            all.push("--no-new-privs".into());
        }
        all
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use serde_json::json;

    fn user(pod: serde_json::Value, container: serde_json::Value) -> Result<User, Trouble> {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "securityContext": pod,
            "containers": [{"name": "c", "securityContext": container}],
        }}))
        .unwrap();
        User::of(&pod, &pod.spec.as_ref().unwrap().containers[0])
    }

    #[test]
    fn a_container_runs_as_its_pod_says_and_with_no_capability_that_it_dropped() {
        let whole = json!({"runAsUser": 7, "runAsGroup": 8, "fsGroup": 9, "runAsNonRoot": true});
        let own = json!({
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
        });
        let user = user(whole, own).unwrap();
        assert!(user.read_only);
        assert_eq!(
            user.arguments(),
            [
                "--reuid=7",
                "--regid=8",
                "--groups=9",
                "--bounding-set=-all",
                "--inh-caps=-all",
                "--no-new-privs"
            ]
        );
    }

    #[test]
    fn root_is_refused_where_it_must_not_be_and_privilege_always() {
        assert!(user(json!({"runAsNonRoot": true}), json!({})).is_err());
        assert!(user(json!({}), json!({"privileged": true})).is_err());
        assert!(user(json!({}), json!({"capabilities": {"add": ["SYS_ADMIN"]}})).is_err());
    }
}
