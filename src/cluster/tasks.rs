//! Tasks in the background that never end by themselves: a panic or an end restarts them with
//! backoff, a cancelled token ends them.
//!
//! A restarted task loses what it held; the caches are filled again by a new list.

use std::time::Duration;

use futures::future::BoxFuture;
use slog::{Logger, error};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// A task that ran for so long starts again without a history.
const LONG_RUN: Duration = Duration::from_secs(60);

/// Keeps the task that `make` makes running until `stop` is cancelled.
pub async fn keep_running(
    name: &'static str,
    log: Logger,
    stop: CancellationToken,
    make: impl Fn() -> BoxFuture<'static, ()> + Send,
) {
    let mut delay = FIRST_DELAY;
    loop {
        let started = Instant::now();
        let mut task = tokio::spawn(make());
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => {
                task.abort();
                // Only waits until the abort has taken effect; its outcome says nothing.
                let _ = task.await;
                return;
            }
            ended = &mut task => ended,
        };
        if started.elapsed() >= LONG_RUN {
            delay = FIRST_DELAY;
        }
        let cause = if ended.is_err() { "panic" } else { "end" };
        error!(log, "background task ended and is started again";
            "task" => name, "cause" => cause, "in" => ?delay);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn silent() -> Logger {
        Logger::root(slog::Discard, slog::o!())
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_restarts_the_task_after_1_2_4_and_at_most_30_seconds() {
        let begun = Instant::now();
        let starts = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let task = {
            let starts = Arc::clone(&starts);
            keep_running("t", silent(), stop.clone(), move || {
                let starts = Arc::clone(&starts);
                Box::pin(async move {
                    starts.lock().unwrap().push(begun.elapsed().as_secs());
                    panic!("on purpose");
                })
            })
        };
        let task = tokio::spawn(task);
        tokio::time::sleep(Duration::from_secs(100)).await;
        stop.cancel();
        task.await.unwrap();
        assert_eq!(*starts.lock().unwrap(), [0, 1, 3, 7, 15, 31, 61, 91]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_token_ends_a_task_that_waits_for_ever() {
        let stop = CancellationToken::new();
        let dropped = Arc::new(());
        let held = Arc::clone(&dropped);
        let task = keep_running("t", silent(), stop.clone(), move || {
            let held = Arc::clone(&held);
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(held);
            })
        });
        let task = tokio::spawn(task);
        tokio::task::yield_now().await;
        stop.cancel();
        task.await.unwrap();
        assert_eq!(Arc::strong_count(&dropped), 1, "the task still holds its state");
    }
}
