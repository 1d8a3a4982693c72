//! Many CreateVolume at once, against a box that runs one command at a time per connection.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

use crate::clock::{Failure, Times};
use crate::domain::{Domain, Pace, new_box, new_cluster, node};
use crate::execs::wanted;
use crate::figure::{Figure, Goal};

const AT_ONCE: usize = 64;
const ROUNDS: usize = 5;
/// What the first driver reaches on a box that runs all its channels at once.
const TO_BEAT: f64 = 291.0;
/// What it reaches on this box.
const FIRST_DRIVER: f64 = 5.4;

/// Volumes a second with lines of several lengths, one after the other in one run.
///
/// # Errors
/// When a volume is not made.
pub async fn measure() -> Result<Vec<Figure>, Failure> {
    let alone = a_second(0).await?;
    let shared_1k = a_second(1024).await?;
    let shared_4k = a_second(4096).await?;
    let named = |lines: &str, value| {
        Figure::new(format!("64 creates at once: {lines}"), value, "creates/s")
    };
    Ok(vec![
        named("lines of 4 KiB", shared_4k)
            .goal(Goal::Above(TO_BEAT))
            .against("first driver", FIRST_DRIVER),
        named("lines of 1 KiB", shared_1k).against("each alone", alone),
        named("each in a line of its own", alone).against("first driver", FIRST_DRIVER),
    ])
}

async fn a_second(line_bytes_max: usize) -> Result<f64, Failure> {
    let pace = Pace {
        exec: Duration::from_millis(60),
        further_command: Duration::from_millis(2),
        line_bytes_max: Some(line_bytes_max),
    };
    let api = new_cluster([node(0)?.to_string()])?;
    let domain = Arc::new(Domain::over(new_box()?, api, pace).await?);
    let mut times = Times::default();
    for round in 0..ROUNDS {
        let first = round * AT_ONCE;
        let wanted: Vec<_> = (first..first + AT_ONCE).map(wanted).collect::<Result<_, _>>()?;
        let began = Instant::now();
        let callers = wanted.into_iter().map(|wanted| {
            let domain = domain.clone();
            tokio::spawn(async move { domain.operations.create(wanted).await })
        });
        for made in try_join_all(callers).await? {
            made?;
        }
        times.add(began.elapsed());
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    Ok(AT_ONCE as f64 / (times.median() / 1e3))
}
