//! From the start of the process until it serves, with the box up and with it down.

use std::path::Path;

use crate::clock::{Failure, Times};
use crate::daemon::{StorageBox, Surroundings};
use crate::domain::{new_box, new_cluster, node};
use crate::figure::{Figure, Goal};

const TIMES: usize = 11;

/// How long it takes until Probe is answered, and until `/livez` is.
///
/// # Errors
/// When it never is.
pub async fn measure(binary: &Path) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for (storage, how) in [(StorageBox::Up, "up"), (StorageBox::Down, "down")] {
        let (os, api) = (new_box()?, new_cluster([node(0)?.to_string()])?);
        let around = Surroundings::new(binary, &os, &api, storage).await?;
        let (mut probes, mut lives) = (Times::default(), Times::default());
        for _ in 0..TIMES {
            let mut daemon = around.start().await?;
            daemon.connect().await?.probe().await?;
            probes.add(daemon.began().elapsed());
            daemon.end().await?;
        }
        for _ in 0..TIMES {
            let mut daemon = around.start().await?;
            daemon.lives().await?;
            lives.add(daemon.began().elapsed());
            daemon.end().await?;
        }
        for (what, times) in [("Probe", probes), ("/livez", lives)] {
            let name = format!("start until {what} answers, box {how}");
            figures.push(Figure::new(name, times.median(), "ms").goal(Goal::AtMost(100.0)));
        }
    }
    Ok(figures)
}
