//! One pass at a time, and one more for whatever came meanwhile. Pure.
//!
//! ```text
//!            Due: start              Due                    Due
//!   ┌──────┐ ─────────▶ ┌─────────┐ ─────▶ ┌───────────────┐ ──┐
//!   │ Idle │            │ Running │        │ RunningAndDue │ ◀─┘
//!   └──────┘ ◀───────── └─────────┘ ◀───── └───────────────┘
//!              Ended                 Ended: start
//! ```

/// Is a pass running, and is another one due?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pass {
    /// None runs.
    #[default]
    Idle,
    /// One runs, nothing came since it began.
    Running,
    /// One runs, and something came: exactly one more follows.
    RunningAndDue,
}

/// What happens to passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A pass is wanted, for whatever cause.
    Due,
    /// The running pass has ended, however.
    Ended,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start a pass.
    Start,
    /// Nothing.
    Wait,
}

impl Pass {
    /// The state after `event`, and what to do.
    pub fn accept(self, event: Event) -> (Self, Next) {
        match (self, event) {
            (Self::Idle, Event::Due) | (Self::RunningAndDue, Event::Ended) => {
                (Self::Running, Next::Start)
            }
            (Self::Running | Self::RunningAndDue, Event::Due) => (Self::RunningAndDue, Next::Wait),
            (Self::Running | Self::Idle, Event::Ended) => (Self::Idle, Next::Wait),
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table() {
        use {Event::*, Next::*, Pass::*};
        let table = [
            (Idle, Due, Running, Start),
            (Idle, Ended, Idle, Wait),
            (Running, Due, RunningAndDue, Wait),
            (Running, Ended, Idle, Wait),
            (RunningAndDue, Due, RunningAndDue, Wait),
            (RunningAndDue, Ended, Running, Start),
        ];
        for (state, event, after, next) in table {
            assert_eq!(state.accept(event), (after, next), "{state:?} {event:?}");
        }
    }

    proptest! {
        /// Whatever comes: never two passes at once, and no wish goes without a pass that starts
        /// after it.
        #[test]
        fn no_wish_is_lost_and_none_runs_beside_another(dues in prop::collection::vec(any::<bool>(), 0..200)) {
            let (mut state, mut running, mut unseen) = (Pass::default(), 0i32, false);
            for due in dues.into_iter().chain([false, false]) {
                let event = if due { Event::Due } else { Event::Ended };
                if event == Event::Ended && running == 0 {
                    continue;
                }
                if event == Event::Ended {
                    running -= 1;
                } else {
                    unseen = true;
                }
                let next;
                (state, next) = state.accept(event);
                if next == Next::Start {
                    running += 1;
                    unseen = false;
                }
                prop_assert!(running <= 1);
                prop_assert_eq!(state == Pass::Idle, running == 0);
                prop_assert!(!unseen || running == 1);
            }
            prop_assert!(!unseen);
        }
    }
}
