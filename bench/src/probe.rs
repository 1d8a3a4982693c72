//! Probe of the real process, while the box answers and while it hangs.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock::{Failure, Times};
use crate::daemon::{StorageBox, Surroundings};
use crate::domain::{new_box, new_cluster, node};
use crate::figure::{Figure, Goal};

const PROBES: usize = 3_000;

/// How long Probe takes.
///
/// # Errors
/// When a call fails.
pub async fn measure(binary: &Path) -> Result<Vec<Figure>, Failure> {
    let up = probes(binary, StorageBox::Up).await?;
    let hangs = probes(binary, StorageBox::Silent).await?;
    Ok(vec![
        Figure::new("Probe, the box hangs: p99", hangs.share(0.99), "ms")
            .goal(Goal::Below(1.0))
            .against("the box answers", up.share(0.99)),
        Figure::new("Probe, the box hangs: median", hangs.median(), "ms")
            .against("the box answers", up.median()),
        Figure::new("Probe, the box answers: p99", up.share(0.99), "ms")
            .against("first driver", 1.6),
        Figure::new("Probe, the box answers: median", up.median(), "ms")
            .against("first driver", 0.4),
    ])
}

async fn probes(binary: &Path, storage: StorageBox) -> Result<Times, Failure> {
    let (os, api) = (new_box()?, new_cluster([node(0)?.to_string()])?);
    let is_up = matches!(storage, StorageBox::Up);
    let around = Surroundings::new(binary, &os, &api, storage).await?;
    let mut daemon = around.start().await?;
    let csi = if is_up { daemon.ready().await? } else { daemon.connect().await? };
    // What the start still does is no part of it.
    sleep(Duration::from_secs(1)).await;
    let mut times = Times::default();
    for _ in 0..PROBES {
        let began = Instant::now();
        if csi.probe().await? != is_up {
            return Err("Probe does not know how the box is".into());
        }
        times.add(began.elapsed());
    }
    Ok(times)
}
