//! Images of containers, without a registry: the one that every pod of a story is made of, and the driver's.

use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::{Trouble, parts};

/// The image of workloads and of containerd's sandboxes: busybox and nothing else.
pub const WORK: &str = "testbed.local/busybox:1";
/// Names another archive of the driver's image than the one that `make image` left.
const IMAGE: &str = "RDS_CSI_IMAGE";

/// Where the driver's image lies, as `make image` writes it.
///
/// # Errors
/// When it was not made yet.
pub fn driver() -> Result<PathBuf, Trouble> {
    let given = std::env::var_os(IMAGE).map(PathBuf::from);
    let path = given.unwrap_or_else(|| parts::target().join("image/rds-csi.tar"));
    if !path.is_file() {
        return Err(format!("{} is not there; `make image` makes it", path.display()).into());
    }
    Ok(path)
}

/// Makes the archive of [`WORK`] in a folder: one layer, in the form that `docker save` has.
///
/// # Errors
/// When busybox is missing, or `tar` fails.
pub async fn work(folder: &Path) -> Result<PathBuf, Trouble> {
    let (tree, archive) = (folder.join("busybox"), folder.join("busybox.tar"));
    let programs = tree.join("root/bin");
    std::fs::create_dir_all(&programs)?;
    for place in ["data", "tmp", "proc", "sys", "dev", "etc"] {
        std::fs::create_dir_all(tree.join("root").join(place))?;
    }
    std::fs::copy("/bin/busybox", programs.join("busybox"))?;
    for name in ["sh", "dd", "printf", "sleep", "touch", "wc"] {
        let link = programs.join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink("busybox", link)?;
    }
    pack(&tree.join("root"), &["."], &tree.join("layer.tar")).await?;
    let layer: String =
        Sha256::digest(std::fs::read(tree.join("layer.tar"))?).iter().map(hex).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "infinity"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
    });
    std::fs::write(tree.join("config.json"), config.to_string())?;
    let manifest = json!([{"Config": "config.json", "RepoTags": [WORK], "Layers": ["layer.tar"]}]);
    std::fs::write(tree.join("manifest.json"), manifest.to_string())?;
    pack(&tree, &["manifest.json", "config.json", "layer.tar"], &archive).await?;
    std::fs::remove_dir_all(&tree)?;
    Ok(archive)
}

fn hex(byte: &u8) -> String {
    format!("{byte:02x}")
}

async fn pack(from: &Path, what: &[&str], to: &Path) -> Result<(), Trouble> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg("--directory").arg(from).arg("--file").arg(to).args(what);
    let ended = tar.output().await?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!("tar: {}", String::from_utf8_lossy(&ended.stderr)).into())
}
