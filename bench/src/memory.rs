//! Resident memory of the real process: pages of files count, as the kernel counts them.
//!
//! At the start most of it is code that was mapped and not memory that was asked for. What
//! `/proc/<pid>/smaps` said of a release build that had made its first pass (Debian 12, MiB):
//!
//! | mapping | size | resident |
//! |---|---|---|
//! | driver: code | 15.3 | 12.2 |
//! | driver: constants, unwinding tables, relocations | 5.7 | 2.5 |
//! | libcrypto: code, data | 4.5 | 3.8 |
//! | libc, libm, loader, libgcc | 3.1 | 2.2 |
//! | libssl, libsodium | 1.0 | 0.8 |
//! | heap, other anonymous memory, stack | 12.4 | 2.4 |
//!
//! The kernel maps the sixteen pages around each one that is touched, if they are in its cache: of
//! code that is used here and there, nearly all of it counts. What is not shared with other processes
//! and could not be dropped at any moment is the last row, and the relocations.
//!
//! 10 MiB are out of reach while that code is there: the shared libraries and what is anonymous make as
//! much already. With one arena of the allocator, no thread caches and one worker thread it was 23.9
//! instead of 24.0.

use std::path::Path;
use std::time::Duration;

use rds_sim::apiserver::ApiServer;
use rds_sim::routeros::RouterOs;
use tokio::time::sleep;

use crate::clock::{Failure, until};
use crate::daemon::{Resident, StorageBox, Surroundings};
use crate::domain::{Domain, Pace, new_box, new_cluster, node};
use crate::figure::{Figure, Goal};
use crate::fleet::Fleet;

const VOLUMES: usize = 10_000;
const NODES: usize = 1_000;

/// What it takes at the start, and in a large cluster.
///
/// # Errors
/// When the process does not come up.
pub async fn measure(binary: &Path) -> Result<Vec<Figure>, Failure> {
    let small = new_cluster([node(0)?.to_string()])?;
    let start = resident(binary, &new_box()?, &small).await?;
    let (os, api) = (new_box()?, new_cluster([])?);
    let identity = Domain::over(os.clone(), api.clone(), Pace::default()).await?.identity;
    let fleet = Fleet::new(&identity, VOLUMES, NODES)?;
    fleet.furnish(&os)?;
    fleet.populate(&api)?;
    let large = resident(binary, &os, &api).await?;
    let named = |what: &str| format!("memory, 10,000 PVs and 1,000 nodes{what}");
    Ok(vec![
        Figure::new("memory at the start", start.all(), "MiB")
            .goal(Goal::AtMost(10.0))
            .against("first driver", 33.0),
        Figure::new("memory at the start: pages of the driver's file", start.driver, "MiB"),
        Figure::new("memory at the start: pages of shared libraries", start.libraries, "MiB"),
        Figure::new("memory at the start: anonymous", start.anonymous, "MiB"),
        Figure::new(named(""), large.all(), "MiB").against("at the start", start.all()),
        Figure::new(named(": anonymous"), large.anonymous, "MiB")
            .against("at the start", start.anonymous),
    ])
}

/// After the first pass, once nothing happens any more.
async fn resident(binary: &Path, os: &RouterOs, api: &ApiServer) -> Result<Resident, Failure> {
    let around = Surroundings::new(binary, os, api, StorageBox::Up).await?;
    let mut daemon = around.start().await?;
    daemon.ready().await?;
    until("the first pass has ended", || {
        let events = api.list("events.events.k8s.io").into_iter().chain(api.list("events"));
        events.into_iter().any(|event| event["reason"] == "StartupReconciliation")
    })
    .await?;
    sleep(Duration::from_secs(3)).await;
    daemon.resident().await
}
