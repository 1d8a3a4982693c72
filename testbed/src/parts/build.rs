//! Builds the parts that are missing, with `go build … tool`.
//!
//! A group is built into a folder beside its own and renamed into place, so that what is there is
//! always whole.

use std::process::Stdio;

use tokio::process::Command;
use tokio::time::Instant;

use super::{GROUPS, Group, target};
use crate::Trouble;

/// What became of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Built {
    /// It was there already.
    Cached,
    /// It was built, in so many seconds.
    After(u64),
}

/// Builds every group that is not there, one after the other; `told` hears of each.
///
/// # Errors
/// When Go is missing, or a build fails: Go's own words are on standard error.
pub async fn all(mut told: impl FnMut(&Group, Built)) -> Result<(), Trouble> {
    for group in &GROUPS {
        told(group, one(group).await?);
    }
    Ok(())
}

async fn one(group: &Group) -> Result<Built, Trouble> {
    let folder = group.folder()?;
    if group.programs.iter().all(|program| folder.join(program).is_file()) {
        return Ok(Built::Cached);
    }
    let begun = Instant::now();
    let unfinished = target().join("parts").join(format!("unfinished-{}", group.name));
    let _ = std::fs::remove_dir_all(&unfinished);
    std::fs::create_dir_all(&unfinished)?;
    go_build(group, &unfinished).await?;
    for program in group.programs {
        if !unfinished.join(program).is_file() {
            return Err(format!("go build made no {program} of {}", group.name).into());
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::rename(&unfinished, &folder)?;
    Ok(Built::After(begun.elapsed().as_secs()))
}

/// Nice and two compilers at a time: whoever else works on this machine goes on working.
async fn go_build(group: &Group, into: &std::path::Path) -> Result<(), Trouble> {
    let status = Command::new("nice")
        .args(["-n", "15", "go", "build", "-p", "2", "-trimpath", "-buildvcs=false"])
        .args(["-mod=readonly", "-ldflags=-s -w", "-o"])
        .arg(format!("{}/", into.display()))
        .arg("tool")
        .current_dir(group.source())
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|error| format!("nice go build: {error}"))?;
    if !status.success() {
        return Err(format!("the part {} does not build: {status}", group.name).into());
    }
    Ok(())
}
