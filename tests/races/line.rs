//! The way from one controller to the box: a session for every line, and a while on the way there
//! and back, so that nothing decides the order but the seed. Some lines are on their way for long:
//! what was judged before they went is old when they arrive.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rds_csi::rds::{Command, Failure, Link, Rds, Reply, System, reply, script, ssh};
use rds_csi::volume::turns::Turn;
use rds_sim::routeros::RouterOs;
use tokio::time::{Instant, sleep};

/// Sent instead of what the driver says.
pub type Rewrite = fn(&str) -> String;

/// One controller's line.
pub struct Line {
    os: RouterOs,
    chance: Mutex<StdRng>,
    rewrite: Option<Rewrite>,
}

impl Line {
    pub fn new(os: RouterOs, seed: u64, rewrite: Option<Rewrite>) -> Self {
        Self { os, chance: Mutex::new(StdRng::seed_from_u64(seed)), rewrite }
    }

    async fn on_the_way(&self) {
        let millis = {
            let mut chance = self.chance.lock().unwrap();
            if chance.random_bool(0.15) {
                chance.random_range(4..200)
            } else {
                chance.random_range(0..4)
            }
        };
        sleep(Duration::from_millis(millis)).await;
    }
}

#[async_trait]
impl Rds for Line {
    async fn execute(&self, command: Command, turn: Option<Turn>) -> Result<Reply, Failure> {
        let address = || "box:22".to_owned();
        let unanswered = |why: String| Failure::Unanswered { address: address(), why };
        let session = self.os.open_session().await.map_err(|e| unanswered(e.to_string()))?;
        let tag = format!("t{}", self.chance.lock().unwrap().random::<u32>());
        let line = script::line(&command, &tag);
        let line = self.rewrite.map_or(line.clone(), |rewrite| rewrite(&line));
        self.on_the_way().await;
        let answer = session.exec(&line).await.map_err(|e| unanswered(e.to_string()))?;
        self.on_the_way().await;
        drop(turn);
        let output = ssh::ExecOutput {
            stdout: answer.stdout,
            stderr: answer.stderr,
            exit_status: answer.exit_status,
        };
        reply::read(&output, &tag).map_err(|said| Failure::Unfinished { address: address(), said })
    }

    fn link(&self) -> Link {
        let version = format!("{} (stable)", self.os.version());
        let system = System { version, uptime: Some(Duration::from_secs(60)) };
        Link::Up { since: Instant::now(), epoch: 1, system }
    }
}
