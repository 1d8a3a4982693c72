//! Operations under way: each in a task of its own, so that a caller that goes away does not
//! abandon one half-way.
//!
//! A caller waits no longer than the deadline; the operation goes on and holds its volume's turn,
//! so that the retry is told to wait (ABORTED) or finds the work done.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::operations::{Error, Kind};

/// Runs operations, so many at a time. Cloning shares the bound.
#[derive(Debug, Clone)]
pub struct Runs {
    free: Arc<Semaphore>,
    most: usize,
    deadline: Duration,
    tasks: TaskTracker,
}

impl Runs {
    /// At most `most` operations at a time, whose callers wait `deadline` at most.
    pub fn new(most: usize, deadline: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), most, deadline, tasks: TaskTracker::new() }
    }

    /// How many operations are under way.
    pub fn count(&self) -> usize {
        self.tasks.len()
    }

    /// Runs one. Dropping the returned future leaves the operation running.
    pub async fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        // Not RESOURCE_EXHAUSTED: the provisioner would look for another place for the volume.
        let Ok(permit) = self.free.clone().try_acquire_owned() else {
            let why = format!("{} operations are under way already; try again later", self.most);
            return Err(Error::new(Kind::Unavailable, why));
        };
        let task = self.tasks.spawn(async move {
            let outcome = operation.await;
            drop(permit);
            outcome
        });
        match timeout(self.deadline, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::new(
                Kind::Unknown,
                "the operation ended without an answer (a defect, see the driver's log); it may \
                 have been done",
            )),
            Err(_) => Err(Error::new(
                Kind::Unknown,
                format!("not done within {} s; it goes on", self.deadline.as_secs()),
            )),
        }
    }

    /// Waits until no operation is under way.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod test {
    use tokio::sync::oneshot;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn an_operation_goes_on_when_its_caller_has_gone() {
        let runs = Runs::new(1, MINUTE);
        let (go, gate) = oneshot::channel::<()>();
        let (done, seen) = oneshot::channel();
        let call = runs.run(async move {
            gate.await.ok();
            done.send(()).ok();
            Ok(())
        });
        assert!(timeout(Duration::from_secs(1), call).await.is_err());
        go.send(()).unwrap();
        seen.await.unwrap();
        runs.finished().await;
        assert_eq!(runs.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_too_many_is_told_to_come_back_and_the_place_is_free_afterwards() {
        let runs = Runs::new(1, MINUTE);
        let (go, gate) = oneshot::channel::<()>();
        let wait = async move {
            gate.await.ok();
            Ok(())
        };
        let (first, second) = tokio::join!(runs.run(wait), async {
            let refused = runs.run(async { Ok(()) }).await;
            go.send(()).unwrap();
            refused
        });
        assert_eq!(first, Ok(()));
        assert_eq!(second.unwrap_err().kind, Kind::Unavailable);
        assert_eq!(runs.run(async { Ok(()) }).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_no_longer_than_the_deadline() {
        let runs = Runs::new(1, MINUTE);
        let never = std::future::pending::<Result<(), Error>>();
        assert_eq!(runs.run(never).await.unwrap_err().kind, Kind::Unknown);
        assert_eq!(runs.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_an_unknown_outcome_and_frees_the_place() {
        let runs = Runs::new(1, MINUTE);
        for _ in 0..2 {
            let outcome: Result<(), Error> = runs.run(async { panic!("a defect") }).await;
            assert_eq!(outcome.unwrap_err().kind, Kind::Unknown);
        }
    }
}
