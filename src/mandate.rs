//! The right to act on volumes of one's own accord, which of several replicas one has at a time.
//!
//! It runs out by itself: whoever has it must have it extended again and again. A holder asks right
//! before acting ([`Mandate::holds`]), because a process that was stopped for a minute does not know
//! that a minute has passed. What Kubernetes asks for (an RPC) needs no mandate.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How long one may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// Not now.
    None,
    /// Before this moment.
    Until(Instant),
    /// For ever: there is nobody else.
    Unlimited,
}

impl Term {
    /// May one act at `now`?
    pub fn covers(self, now: Instant) -> bool {
        match self {
            Self::None => false,
            Self::Until(end) => now < end,
            Self::Unlimited => true,
        }
    }
}

/// The right to act. Clones are the same right.
#[derive(Debug, Clone)]
pub struct Mandate {
    term: watch::Receiver<Term>,
}

impl Mandate {
    /// One that follows `term`.
    pub fn following(term: watch::Receiver<Term>) -> Self {
        Self { term }
    }

    /// One that never runs out.
    pub fn unlimited() -> Self {
        Self { term: watch::channel(Term::Unlimited).1 }
    }

    /// May one act now?
    pub fn holds(&self) -> bool {
        self.term.borrow().covers(Instant::now())
    }

    /// Resolves as soon as one may not act.
    pub async fn lost(&self) {
        let mut term = self.term.clone();
        loop {
            let now = *term.borrow_and_update();
            let end = match now {
                Term::Until(end) if now.covers(Instant::now()) => Some(end),
                Term::Unlimited => None,
                Term::None | Term::Until(_) => return,
            };
            tokio::select! {
                // Where nobody can extend it any more, only its end is left to wait for.
                Ok(()) = term.changed() => {}
                () = ends(end) => {}
            }
        }
    }

    /// Resolves as soon as one may act.
    pub async fn gained(&self) {
        let mut term = self.term.clone();
        while !term.borrow_and_update().covers(Instant::now()) {
            if term.changed().await.is_err() {
                // Nobody can ever give it.
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn ends(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Drives `work` only while all of `mandates` hold; `None` as soon as one does not. The clock is read
/// before every single step: a timer alone may fire late in a process that was stopped.
pub async fn while_held<T>(mandates: &[Mandate], work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut lost: Vec<_> = mandates.iter().map(|mandate| Box::pin(mandate.lost())).collect();
    poll_fn(|context| {
        let is_lost = lost.iter_mut().any(|lost| lost.as_mut().poll(context).is_ready());
        if is_lost || !mandates.iter().all(Mandate::holds) {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use super::*;

    fn until(seconds: u64) -> Term {
        Term::Until(Instant::now() + Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_covers_everything_before_its_end() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        for (term, at, covers) in [
            (Term::None, now, false),
            (Term::Unlimited, now + second, true),
            (Term::Until(now + second), now, true),
            (Term::Until(now + second), now + second, false),
            (Term::Until(now), now, false),
        ] {
            assert_eq!(term.covers(at), covers, "{term:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_lost_when_its_term_ends_and_not_before_however_often_it_is_extended() {
        let (extend, term) = watch::channel(until(10));
        let mandate = Mandate::following(term);
        let begun = Instant::now();
        let lost = tokio::spawn({
            let mandate = mandate.clone();
            async move {
                mandate.lost().await;
                begun.elapsed()
            }
        });
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(8)).await;
            assert!(mandate.holds());
            extend.send_replace(until(10));
        }
        assert_eq!(lost.await.unwrap(), Duration::from_secs(34));
        assert!(!mandate.holds());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_lost_at_the_end_of_its_term_when_whoever_extended_it_is_gone() {
        let mandate = Mandate::following(watch::channel(until(10)).1);
        let begun = Instant::now();
        mandate.lost().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_gained_when_it_is_given() {
        let (give, term) = watch::channel(Term::None);
        let mandate = Mandate::following(term);
        let gained = tokio::spawn({
            let mandate = mandate.clone();
            async move { mandate.gained().await }
        });
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!gained.is_finished() && !mandate.holds());
        give.send_replace(until(10));
        gained.await.unwrap();
        assert!(mandate.holds());
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_no_step_further_once_the_mandate_is_lost() {
        let mandate = Mandate::following(watch::channel(until(10)).1);
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let work = async {
            let _ = told.await;
            "done"
        };
        let outcome = tokio::spawn(async move { while_held(&[mandate], work).await });
        tokio::task::yield_now().await;
        // As after a stop of the process: the time is over and the answer is there, both at once,
        // and no timer has fired yet.
        tokio::time::advance(Duration::from_secs(10)).await;
        tell.send(()).unwrap();
        assert_eq!(outcome.await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn work_without_a_mandate_or_with_a_good_one_is_done() {
        assert_eq!(while_held(&[], async { 1 }).await, Some(1));
        let good = [Mandate::unlimited(), Mandate::following(watch::channel(until(1)).1)];
        assert_eq!(while_held(&good, async { 2 }).await, Some(2));
        let bad = [Mandate::unlimited(), Mandate::following(watch::channel(Term::None).1)];
        assert_eq!(while_held(&bad, async { 3 }).await, None);
    }
}
