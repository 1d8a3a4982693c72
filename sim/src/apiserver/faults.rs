//! What a test can make go wrong between the client and the store.
//!
//! A rule is a pattern of calls and one fault; the first rule that fits a call decides. Rules are
//! looked at when a call arrives, and again for calls that hang and watches that are open, whenever
//! the rules change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::route::{Call, Verb};
use super::ticks::Ticks;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The connection breaks before the call is read. Open watches that fit break too.
    Refuse,
    /// Nothing answers until the rule is gone; then the call goes on. Open watches that fit fall
    /// silent and catch up afterwards. This is a network that swallows packets.
    Hang,
    /// 503 `ServiceUnavailable`.
    Unavailable,
    /// 429 `TooManyRequests` with `Retry-After`, in seconds.
    TooManyRequests(u32),
    /// 409 `Conflict`, as if somebody else had been quicker; nothing is applied.
    Conflict,
    /// The call is applied and the connection breaks before the answer.
    LoseAnswer,
    /// The call goes on after this time.
    Delay(Duration),
}

/// Which calls a rule is about; an empty pattern is about all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct On {
    verbs: Vec<Verb>,
    resource: Option<String>,
    name: Option<String>,
}

impl On {
    /// Every call.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Calls with this verb.
    pub fn verb(verb: Verb) -> Self {
        Self { verbs: vec![verb], ..Self::default() }
    }

    /// Calls that may change something.
    pub fn writes() -> Self {
        let verbs = vec![Verb::Create, Verb::Update, Verb::Patch, Verb::Delete];
        Self { verbs, ..Self::default() }
    }

    /// Only about this resource: a plural, or a plural with its group.
    #[must_use]
    pub fn resource(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Only about the object of this name. A create has no name yet.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    fn fits(&self, call: &Call) -> bool {
        let resource = |wanted: &String| {
            call.resource().is_some_and(|r| r.plural == wanted || r.qualified() == *wanted)
        };
        let name = |wanted: &String| call.target().is_some_and(|target| target.name == *wanted);
        (self.verbs.is_empty() || self.verbs.contains(&call.verb()))
            && self.resource.as_ref().is_none_or(resource)
            && self.name.as_ref().is_none_or(name)
    }
}

/// Names a rule, to take it away again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultId(u64);

#[derive(Debug)]
struct Rule {
    id: FaultId,
    on: On,
    fault: Fault,
    left: Option<u32>,
}

/// What the gate says to a call.
#[derive(Debug, PartialEq)]
pub(super) enum Passage {
    Open,
    Fault(Fault),
}

/// The rules of one server.
#[derive(Debug)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    next: AtomicU64,
    changed: Ticks,
}

impl Faults {
    pub(super) fn new(changed: Ticks) -> Self {
        Self { rules: Mutex::default(), next: AtomicU64::new(0), changed }
    }

    /// Lets a fault happen to every call that fits, until it is lifted.
    pub fn always(&self, on: On, fault: Fault) -> FaultId {
        self.add(on, fault, None)
    }

    /// Lets a fault happen to the next calls that fit, so many of them. Open watches do not count
    /// as calls and are not touched; a hang is not used up, it stands until it is lifted.
    pub fn next(&self, calls: u32, on: On, fault: Fault) -> FaultId {
        self.add(on, fault, Some(calls))
    }

    /// Makes the whole server unreachable in one of the ways of [`Fault`], until it is lifted.
    pub fn unreachable(&self, fault: Fault) -> FaultId {
        self.always(On::everything(), fault)
    }

    /// Takes one rule away; one that is used up or gone already is no error.
    pub fn lift(&self, id: FaultId) {
        self.with(|rules| rules.retain(|rule| rule.id != id));
        self.wake();
    }

    /// Takes every rule away.
    pub fn lift_all(&self) {
        self.with(Vec::clear);
        self.wake();
    }

    fn add(&self, on: On, fault: Fault, left: Option<u32>) -> FaultId {
        let id = FaultId(self.next.fetch_add(1, Ordering::Relaxed));
        self.with(|rules| rules.push(Rule { id, on, fault, left }));
        self.wake();
        id
    }

    /// The fault for a call that arrives; takes one off the rule's number. A call that hangs comes
    /// back here, so a hang is not counted.
    pub(super) fn gate(&self, call: &Call) -> Passage {
        self.with(|rules| {
            let Some(at) = rules.iter().position(|rule| rule.on.fits(call)) else {
                return Passage::Open;
            };
            let fault = rules[at].fault.clone();
            if let Some(left) = rules[at].left.as_mut().filter(|_| fault != Fault::Hang) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    rules.remove(at);
                }
            }
            Passage::Fault(fault)
        })
    }

    /// What becomes of a watch that is open: `Refuse` breaks it, `Hang` silences it.
    pub(super) fn on_open_watch(&self, call: &Call) -> Option<Fault> {
        self.with(|rules| {
            let mut standing = rules.iter().filter(|rule| rule.left.is_none());
            let rule = standing.find(|rule| rule.on.fits(call))?;
            matches!(rule.fault, Fault::Refuse | Fault::Hang).then(|| rule.fault.clone())
        })
    }

    /// Whether nobody can connect at all.
    pub(super) fn refuses_everything(&self) -> bool {
        self.with(|rules| {
            rules.iter().any(|rule| {
                rule.left.is_none() && rule.fault == Fault::Refuse && rule.on == On::everything()
            })
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Vec<Rule>) -> T) -> T {
        f(&mut self.rules.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wake(&self) {
        self.changed.tick();
    }
}
