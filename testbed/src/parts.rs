//! The programs that are not ours, built from their Go modules.
//!
//! One folder under `testbed/parts/` for each group: a go.mod with pinned `tool` lines and its
//! go.sum. What is built of it lies in `target/parts/<group>-<hash of both>/`, so that nothing of
//! ours ever rebuilds it, and a changed version always does.

pub mod build;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::Trouble;

/// Programs that are built together, from one go.mod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Its folder under `testbed/parts/`.
    pub name: &'static str,
    /// The programs, as Go calls them.
    pub programs: &'static [&'static str],
}

/// All groups, those that take longest first.
pub const GROUPS: [Group; 5] = [
    Group {
        name: "control-plane",
        programs: &["kube-apiserver", "kube-controller-manager", "kube-scheduler"],
    },
    Group { name: "sidecars", programs: &["csi-attacher", "csi-provisioner", "csi-resizer"] },
    Group { name: "helm", programs: &["helm"] },
    Group { name: "kwok", programs: &["kwok"] },
    // The module is go.etcd.io/etcd/server/v3, and Go names a program after its folder.
    Group { name: "etcd", programs: &["server"] },
];

impl Group {
    /// Where its go.mod lies.
    pub fn source(&self) -> PathBuf {
        workspace().join("testbed/parts").join(self.name)
    }

    /// Where its programs lie once they are built: another folder for every go.mod and go.sum.
    ///
    /// # Errors
    /// When one of the two cannot be read.
    pub fn folder(&self) -> Result<PathBuf, Trouble> {
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum"] {
            let path = self.source().join(file);
            let content =
                std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            hash.update(&content);
        }
        let hash: String = hash.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect();
        Ok(target().join("parts").join(format!("{}-{hash}", self.name)))
    }
}

/// Where a program lies that [`build`] has built.
///
/// # Errors
/// When no group has it, or it was not built yet; the text says how to.
pub fn program(name: &str) -> Result<PathBuf, Trouble> {
    let group = GROUPS.iter().find(|group| group.programs.contains(&name));
    let path = group.ok_or_else(|| format!("no part is called {name}"))?.folder()?.join(name);
    if !path.is_file() {
        return Err(format!("{} is not there; `make parts` builds it", path.display()).into());
    }
    Ok(path)
}

/// Where our own binary lies, as `cargo build` leaves it.
///
/// # Errors
/// When it was not built yet.
pub fn driver() -> Result<PathBuf, Trouble> {
    let path = target().join("debug/rds-csi");
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

    #[test]
    fn every_program_of_a_group_is_a_pinned_tool_of_its_go_mod() {
        for group in GROUPS {
            let text = std::fs::read_to_string(group.source().join("go.mod")).unwrap();
            let tools: Vec<&str> = text.lines().filter(|line| line.contains("/")).collect();
            for program in group.programs {
                let named = |line: &&str| {
                    let path = line.trim_start_matches("tool").trim();
                    path.ends_with(&format!("/{program}")) || path.ends_with("/server/v3")
                };
                assert!(tools.iter().any(named), "{program} is no tool of {}", group.name);
            }
            assert!(!text.contains("latest"), "{}", group.name);
        }
    }

    #[test]
    fn another_go_sum_is_another_folder() {
        let folders: Vec<_> = GROUPS.iter().map(|group| group.folder().unwrap()).collect();
        let mut names: Vec<_> = folders.iter().filter_map(|path| path.file_name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), GROUPS.len());
    }

    #[test]
    fn a_program_of_no_group_is_refused_by_name() {
        let error = program("kubectl").unwrap_err().to_string();
        assert!(error.contains("kubectl"), "{error}");
    }
}
