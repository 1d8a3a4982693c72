//! A system call that may hang, on a thread of its own, with a deadline.
//!
//! Not tokio's pool for blocking work: its threads are counted, and a runtime that shuts down waits
//! for them. A thread in state D would hold up both.

use std::path::Path;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::stuck::Stuck;
use super::{Error, Kind};

/// Most calls of ours in the kernel at once: far more than volumes of one node that anybody uses,
/// and few enough stacks.
pub const CALLS_MAX: usize = 512;
/// The calls read superblocks and small files.
const STACK_BYTES: usize = 256 * 1024;

/// Runs `call` at a place, at most for `deadline`. When that passes, the thread is left to itself
/// and the place is known to hang until it comes back.
///
/// # Errors
/// What the call answered; [`Kind::Stuck`] when it did not answer, or when something hangs there
/// already.
pub async fn run<T: Send + 'static>(
    stuck: &Stuck,
    place: &Path,
    what: &str,
    deadline: Duration,
    call: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let visit = stuck.enter(place, what, CALLS_MAX)?;
    let id = visit.id();
    let (answer, mut answered) = oneshot::channel();
    let thread = thread::Builder::new().name("host-call".into()).stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        let answered = call();
        drop(visit);
        // Whoever asked may have gone.
        let _ = answer.send(answered);
    });
    if let Err(error) = started {
        return Err(Error::io(format!("{what}: no thread could be started"), error));
    }
    match timeout(deadline, &mut answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Error::new(Kind::Failed, format!("{what}: the call panicked"))),
        Err(_) => {
            stuck.hangs(id);
            if let Ok(answer) = answered.try_recv() {
                return answer;
            }
            let why = format!("{what} hangs in the kernel: no answer within {deadline:?}");
            Err(Error::new(Kind::Stuck, why))
        }
    }
}

#[cfg(test)]
mod test {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_a_call_answers_is_handed_on() {
        let stuck = Stuck::default();
        let place = Path::new("/here");
        assert_eq!(run(&stuck, place, "asking", LONG, || Ok(7)).await.unwrap(), 7);
        let refused: Result<(), _> =
            run(&stuck, place, "asking", LONG, || Err(Error::new(Kind::Busy, "not now"))).await;
        assert_eq!(refused.unwrap_err().kind, Kind::Busy);
    }

    #[tokio::test]
    async fn a_call_that_hangs_blocks_its_own_place_and_no_other() {
        let stuck = Stuck::default();
        let place = Path::new("/hangs");
        let (release, held) = mpsc::channel::<()>();
        let (ended, end) = oneshot::channel();
        let hung = run(&stuck, place, "unmounting /hangs", SOON, move || {
            let _ = held.recv();
            let _ = ended.send(());
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(hung.kind, Kind::Stuck);
        assert!(hung.what.contains("unmounting /hangs"), "{hung}");

        let again = run(&stuck, place, "looking", LONG, || Ok(())).await.unwrap_err();
        assert_eq!(again.kind, Kind::Stuck);
        run(&stuck, Path::new("/other"), "looking", LONG, || Ok(())).await.unwrap();

        drop(release);
        end.await.unwrap();
        // The visit ends a moment after the call.
        tokio::time::timeout(LONG, async {
            while !stuck.list().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        run(&stuck, place, "looking", LONG, || Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_error() {
        let stuck = Stuck::default();
        let panicked: Result<(), _> =
            run(&stuck, Path::new("/here"), "asking", LONG, || panic!("on purpose")).await;
        assert_eq!(panicked.unwrap_err().kind, Kind::Failed);
        run(&stuck, Path::new("/here"), "asking", LONG, || Ok(())).await.unwrap();
    }
}
