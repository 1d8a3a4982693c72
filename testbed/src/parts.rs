//! What is not ours, from its Go modules by `testbed/parts/build`.
//!
//! One folder under `testbed/parts/` for each group: a go.mod with pinned `tool` lines, its go.sum and
//! what the linker is told; or, where a module has files that are wanted and no program, which. What
//! is made of it lies in `target/parts/<group>-<hash of these>/`, so that nothing of ours ever makes
//! it anew, and a changed version always does.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::Trouble;

/// Which programs each group has, as Go calls them.
const GROUPS: [(&str, &[&str]); 7] = [
    ("containerd", &["containerd", "containerd-shim-runc-v2", "ctr"]),
    (
        "control-plane",
        &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet"],
    ),
    // The module is go.etcd.io/etcd/server/v3, and Go names a program after its folder.
    ("etcd", &["server"]),
    ("helm", &["helm"]),
    ("kwok", &["kwok"]),
    ("sanity", &["csi-sanity"]),
    ("sidecars", &["csi-attacher", "csi-provisioner", "csi-resizer"]),
];
/// CRDs of others: those of snapshots, and those of the Prometheus operator.
const CRDS: &str = "crds";
/// Names another binary of the driver than the one that cargo left, such as that of an image.
const DRIVER: &str = "RDS_CSI_DRIVER";

/// Where a program lies that was built.
///
/// # Errors
/// When no group has it, or it was not built yet; the text says how to.
pub fn program(name: &str) -> Result<PathBuf, Trouble> {
    let group = GROUPS.iter().find(|(_, programs)| programs.contains(&name));
    let (group, _) = group.ok_or_else(|| format!("no part is called {name}"))?;
    let path = target().join("parts").join(folder(group)?).join(name);
    if !path.is_file() {
        return Err(format!("{} is not there; `make parts` builds it", path.display()).into());
    }
    Ok(path)
}

/// Where the CRDs of others lie, a file for each.
///
/// # Errors
/// When they were not fetched yet.
pub fn crds() -> Result<Vec<PathBuf>, Trouble> {
    let folder = target().join("parts").join(folder(CRDS)?);
    let all = std::fs::read_dir(&folder)
        .map_err(|error| format!("{}: {error}; `make parts` fetches it", folder.display()))?;
    Ok(all.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?)
}

fn source(group: &str) -> PathBuf {
    workspace().join("testbed/parts").join(group)
}

fn folder(group: &str) -> Result<String, Trouble> {
    let mut hash = Sha256::new();
    // The script hashes the same files in the same order.
    let last = if group == CRDS { "files" } else { "ldflags" };
    for file in ["go.mod", "go.sum", last] {
        let path = source(group).join(file);
        let content = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        hash.update(&content);
    }
    let hash: String = hash.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect();
    Ok(format!("{group}-{hash}"))
}

/// Where our own binary lies.
///
/// # Errors
/// When it was not built yet.
pub fn driver() -> Result<PathBuf, Trouble> {
    let given = std::env::var_os(DRIVER).map(PathBuf::from);
    let path = given.unwrap_or_else(|| target().join("debug/rds-csi"));
    if !path.is_file() {
        return Err(format!("{} is not there; `make e2e` builds it", path.display()).into());
    }
    Ok(path)
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    given.unwrap_or_else(|| workspace().join("target"))
}

#[cfg(test)]
mod test {
    use super::*;

    fn text(group: &str, file: &str) -> String {
        std::fs::read_to_string(source(group).join(file)).unwrap()
    }

    #[test]
    fn every_program_is_a_pinned_tool_of_its_group() {
        for (group, programs) in GROUPS {
            let text = text(group, "go.mod");
            for program in programs {
                let is_it = |line: &str| {
                    let path = line.trim_start_matches("tool").trim();
                    path.ends_with(&format!("/{program}"))
                        || path.strip_suffix("/v3").is_some_and(|p| p.ends_with(program))
                };
                assert!(text.lines().any(is_it), "{program} is no tool of {group}");
            }
        }
    }

    #[test]
    fn the_control_plane_says_the_version_that_its_go_mod_pins() {
        let (text, flags) = (text("control-plane", "go.mod"), text("control-plane", "ldflags"));
        let line = text.lines().find(|line| line.trim().starts_with("k8s.io/kubernetes v"));
        let version = line.unwrap().split_whitespace().nth(1).unwrap();
        assert!(flags.contains(&format!("gitVersion={version}\n")), "{version}");
        let minor = version.split('.').nth(1).unwrap();
        assert!(flags.contains(&format!("gitMinor={minor}\n")), "{version}");
    }

    #[test]
    fn a_program_of_no_group_is_refused_by_name() {
        let error = program("kubelite").unwrap_err().to_string();
        assert!(error.contains("kubelite"), "{error}");
    }
}
