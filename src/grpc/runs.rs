//! Operations under way: each in a task of its own, so that a caller that goes away does not
//! abandon one half-way.
//!
//! A caller waits no longer than the deadline; the operation goes on and holds its volume's turn,
//! so that the retry is told to wait (ABORTED) or finds the work done. How it ended is logged then:
//! nobody else would tell.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::sync::{Semaphore, oneshot};
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
    log: Logger,
}

impl Runs {
    /// At most `most` operations at a time, whose callers wait `deadline` at most.
    pub fn new(most: usize, deadline: Duration, log: Logger) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most)),
            most,
            deadline,
            tasks: TaskTracker::new(),
            log,
        }
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
        let (answer, caller) = oneshot::channel();
        let log = self.log.clone();
        self.tasks.spawn(async move {
            let outcome = operation.await;
            drop(permit);
            if let Err(outcome) = answer.send(outcome) {
                report_late(&log, outcome.err());
            }
        });
        match timeout(self.deadline, caller).await {
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

/// Logs how an operation ended that nobody waited for any more.
fn report_late(log: &Logger, error: Option<Error>) {
    match error {
        None => info!(log, "operation done after its caller had gone"),
        Some(error) => {
            warn!(log, "operation failed after its caller had gone"; "error" => %error);
        }
    }
}

#[cfg(test)]
mod test {
    use std::sync::Mutex;

    use slog::{Discard, Drain, o};

    use super::*;

    /// One place, and callers that wait a minute.
    fn runs() -> Runs {
        Runs::new(1, Duration::from_secs(60), Logger::root(Discard, o!()))
    }

    /// Keeps the messages of records.
    #[derive(Clone, Default)]
    struct Messages(Arc<Mutex<Vec<String>>>);

    impl Drain for Messages {
        type Ok = ();
        type Err = slog::Never;
        fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
            self.0.lock().unwrap().push(record.msg().to_string());
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_operation_is_logged_when_nobody_waits_for_it() {
        let messages = Messages::default();
        let log = Logger::root(messages.clone().fuse(), o!());
        let runs = Runs::new(3, Duration::from_secs(1), log);
        for outcome in [Ok(()), Err(Error::new(Kind::Full, "no room"))] {
            let (slow, quick) = (outcome.clone(), outcome.clone());
            let late = runs.run(async {
                tokio::time::sleep(Duration::from_secs(2)).await;
                slow
            });
            assert_eq!(late.await.unwrap_err().kind, Kind::Unknown);
            assert_eq!(runs.run(async { quick }).await, outcome);
        }
        runs.finished().await;
        let wanted = [
            "operation done after its caller had gone",
            "operation failed after its caller had gone",
        ];
        assert_eq!(*messages.0.lock().unwrap(), wanted);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_goes_on_when_its_caller_has_gone() {
        let runs = runs();
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
        let runs = runs();
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
        let runs = runs();
        let never = std::future::pending::<Result<(), Error>>();
        assert_eq!(runs.run(never).await.unwrap_err().kind, Kind::Unknown);
        assert_eq!(runs.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_an_unknown_outcome_and_frees_the_place() {
        let runs = runs();
        for _ in 0..2 {
            let outcome: Result<(), Error> = runs.run(async { panic!("a defect") }).await;
            assert_eq!(outcome.unwrap_err().kind, Kind::Unknown);
        }
    }
}
