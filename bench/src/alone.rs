//! One call after the other, through the real process: gRPC, SSH, and a box with 60 ms an exec.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Failure, Times};
use crate::daemon::{StorageBox, Surroundings};
use crate::domain::{new_box, new_cluster, node};
use crate::figure::{Figure, Goal};

const EXEC: Duration = Duration::from_millis(60);
const TIMES: usize = 40;

/// How long create and delete take.
///
/// # Errors
/// When a call fails.
pub async fn measure(binary: &Path) -> Result<Vec<Figure>, Failure> {
    let (os, api) = (new_box()?, new_cluster([node(0)?.to_string()])?);
    let around = Surroundings::new(binary, &os, &api, StorageBox::Up).await?;
    let mut daemon = around.start().await?;
    let csi = daemon.ready().await?;
    os.set_latency(EXEC, Duration::ZERO);
    let (mut creates, mut deletes) = (Times::default(), Times::default());
    for number in 0..TIMES {
        let began = Instant::now();
        let id = csi.create(&format!("pvc-alone-{number}")).await?;
        creates.add(began.elapsed());
        let began = Instant::now();
        csi.delete(id).await?;
        deletes.add(began.elapsed());
    }
    let figure = |what: &str, times: &Times, first: f64| {
        Figure::new(format!("{what} alone, 60 ms an exec"), times.median(), "ms")
            .goal(Goal::AtMost(70.0))
            .against("first driver", first)
    };
    let mut delete = figure("delete", &deletes, 245.0);
    delete.goal = None;
    Ok(vec![
        figure("create", &creates, 184.0),
        Figure::new("create alone, 60 ms an exec: p95", creates.share(0.95), "ms"),
        delete,
    ])
}
