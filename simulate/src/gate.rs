//! Where a controller dies: between any two things that anybody else could notice.
//!
//! A process that is killed is one whose commands and requests no longer go out and whose answers
//! no longer arrive. What it does in between nobody can see, so a crash at any await is the same as
//! one at the next [`Gate::pass`]. A dead gate lets nothing through, for ever.

use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// The only way from one controller to the world.
#[derive(Debug, Default)]
pub struct Gate {
    dead: CancellationToken,
    fuse: Mutex<Option<u32>>,
}

impl Gate {
    /// The controller is dead from now on.
    pub fn kill(&self) {
        self.dead.cancel();
    }

    /// It will be dead after so many more passages.
    pub fn kill_after(&self, passages: u32) {
        *self.fuse.lock().unwrap_or_else(PoisonError::into_inner) = Some(passages);
    }

    /// Is it dead?
    pub fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// Returns when it is dead.
    pub async fn died(&self) {
        self.dead.cancelled().await;
    }

    /// A command, a request or an answer goes through, unless the controller is dead.
    pub async fn pass(&self) {
        {
            let mut fuse = self.fuse.lock().unwrap_or_else(PoisonError::into_inner);
            match fuse.as_mut() {
                Some(0) => self.dead.cancel(),
                Some(left) => *left -= 1,
                None => {}
            }
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// What `future` gives, while the controller lives.
    pub async fn alive<T>(&self, future: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = self.dead.cancelled() => std::future::pending().await,
            done = future => done,
        }
    }
}
