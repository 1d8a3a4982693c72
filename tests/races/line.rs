//! The way from one controller to the box: a session for every line, and a while on the way there
//! and back, so that nothing decides the order but the seed. Some lines are on their way for long:
//! what was judged before they went is old when they arrive.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rds_csi::rds::{Command, Failure, Link, Rds, Reply, script};
use rds_csi::volume::turns::Turn;
use rds_sim::routeros::RouterOs;
use tokio::time::sleep;

use crate::in_memory::{read, up};

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
        let unanswered = |why| Failure::Unanswered { address: "box:22".to_owned(), why };
        let session = self.os.open_session().await.map_err(|e| unanswered(e.to_string()))?;
        let tag = format!("t{}", self.chance.lock().unwrap().random::<u32>());
        let line = script::line(&command, &tag);
        let line = self.rewrite.map_or(line.clone(), |rewrite| rewrite(&line));
        self.on_the_way().await;
        let answer = session.exec(&line).await.map_err(|e| unanswered(e.to_string()))?;
        self.on_the_way().await;
        drop(turn);
        read(answer, &tag)
    }

    fn link(&self) -> Link {
        up(&self.os)
    }
}
