//! A container as a process: in the network of its pod, on a host of its pod's name (by which the sidecars
//! elect), in a mount namespace of its own whose root
//! holds the machine's libraries, its program, and the volumes of its pod at the paths of the spec.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::process::Command;

use super::user::User;
use super::volumes::Volumes;
use super::{environment, images};
use crate::Trouble;
use crate::process::Process;

const SCRIPT: &str = include_str!("container.sh");
/// Images declare it; kubelet adds none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a container runs.
pub struct Place<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Files of the container itself lie here.
    pub folder: &'a Path,
    /// Logs lie here.
    pub logs: &'a Path,
    /// The pod's volumes.
    pub volumes: &'a Volumes,
    /// The pod's network namespace.
    pub network: String,
    /// The pod's address.
    pub address: String,
    /// Keys of ConfigMaps and Secrets that variables name.
    pub keys: &'a environment::Keys,
    /// Variables that every container gets: where the API server is.
    pub cluster: &'a [(String, String)],
}

/// Starts a container.
///
/// # Errors
/// When its spec asks for what nobody plays, or it does not start.
pub fn start(place: &Place<'_>, container: &Container) -> Result<Process, Trouble> {
    let image = container.image.clone().unwrap_or_default();
    if container.command.is_some() {
        return Err(format!("{}: nobody plays a command, only args", container.name).into());
    }
    let program = images::entry_point(&image)?;
    let user = User::of(place.pod, container)?;
    let variables = environment::variables(place.pod, container, &place.address, place.keys)?;
    let arguments = environment::arguments(container, &variables);
    let folder = place.folder.join(&container.name);
    std::fs::create_dir_all(&folder)?;
    let script = folder.join("start.sh");
    std::fs::write(&script, SCRIPT)?;
    let mounts = folder.join("mounts");
    std::fs::write(&mounts, self::mounts(place, container)?)?;
    let pod = place.pod.metadata.name.clone().unwrap_or_default();
    // The user's change further down clears the wish to end with us, so it is made twice.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "nsenter"])
        .arg(format!("--net={}", place.network))
        .args(["--", "unshare", "--mount", "--uts", "--propagation", "private", "--", "sh"])
        .arg(&script)
        .arg(&pod)
        .arg(folder.join("root"))
        .arg(&program)
        .arg(if user.read_only { "ro" } else { "rw" })
        .arg(&mounts)
        .args(["--", "setpriv", "--pdeathsig", "KILL"])
        .args(user.arguments())
        .arg("--")
        .arg(inside(&program))
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(place.cluster.iter().cloned())
        .envs(variables);
    Process::spawn(&format!("{pod}.{}", container.name), place.logs, command)
}

/// The path of a program inside its container.
fn inside(program: &Path) -> PathBuf {
    Path::new("/").join(program.file_name().unwrap_or_default())
}

/// Lines for the script: source, target, ro or rw.
fn mounts(place: &Place<'_>, container: &Container) -> Result<String, Trouble> {
    let mut lines = String::new();
    for mount in container.volume_mounts.iter().flatten() {
        if mount.sub_path.is_some() || mount.sub_path_expr.is_some() {
            return Err(format!("{}: nobody plays subPath", container.name).into());
        }
        let source = place.volumes.folder(&mount.name);
        if !source.is_dir() {
            return Err(format!("{}: there is no volume {}", container.name, mount.name).into());
        }
        let access = if mount.read_only == Some(true) { "ro" } else { "rw" };
        lines.push_str(&format!("{}\t{}\t{access}\n", source.display(), mount.mount_path));
    }
    Ok(lines)
}
