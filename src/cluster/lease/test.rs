use proptest::prelude::*;

use super::*;

const TIMES: Times = Times {
    duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry_period: Duration::from_secs(2),
};

fn lease(version: u64, holder: Option<&str>) -> Found {
    let holder = holder.map(str::to_owned);
    Found { version: version.to_string(), holder, duration: TIMES.duration }
}

fn take(version: u64) -> Step {
    Step::Take { version: version.to_string() }
}

fn at(begin: Instant, seconds: u64) -> Instant {
    begin + Duration::from_secs(seconds)
}

#[test]
fn the_table_of_what_is_found_and_what_is_done() {
    let now = Instant::now();
    for (found, seen_for, step) in [
        (None, 0, Step::Create),
        (Some(lease(1, None)), 0, take(1)),
        (Some(lease(1, Some("me"))), 0, take(1)),
        (Some(lease(1, Some("other"))), 0, Step::Wait),
        (Some(lease(1, Some("other"))), 14, Step::Wait),
        (Some(lease(1, Some("other"))), 15, take(1)),
    ] {
        let mut me = Candidate::new("me".into(), TIMES);
        assert!(me.must_look(now));
        me.found(found.clone(), now);
        assert_eq!(me.next(at(now, seen_for)), step, "{found:?} seen for {seen_for} s");
        assert!(!me.leads(now), "nothing was written yet");
    }
}

#[test]
fn a_holder_that_reckons_with_more_is_given_more() {
    let now = Instant::now();
    let mut me = Candidate::new("me".into(), TIMES);
    me.found(Some(Found { duration: Duration::from_secs(60), ..lease(1, Some("other")) }), now);
    assert_eq!(me.next(at(now, 59)), Step::Wait);
    assert_eq!(me.next(at(now, 60)), take(1));
}

#[test]
fn every_renewal_that_is_seen_begins_the_wait_anew_and_the_same_one_does_not() {
    let now = Instant::now();
    let mut me = Candidate::new("me".into(), TIMES);
    me.found(Some(lease(1, Some("other"))), now);
    me.found(Some(lease(1, Some("other"))), at(now, 10));
    assert_eq!(me.next(at(now, 15)), take(1));
    me.found(Some(lease(2, Some("other"))), at(now, 15));
    assert_eq!(me.next(at(now, 29)), Step::Wait);
    assert_eq!(me.next(at(now, 30)), take(2));
}

#[test]
fn a_leader_counts_from_before_its_write_and_stops_at_the_deadline() {
    let now = Instant::now();
    let mut me = Candidate::new("me".into(), TIMES);
    me.found(None, now);
    // The answer took four seconds; the others may have seen the write at once.
    me.written(lease(1, Some("me")), now, at(now, 4));
    assert_eq!(me.term(at(now, 4)), Term::Until(at(now, 10)));
    assert!(!me.must_look(at(now, 9)), "it knows what it wrote");
    assert_eq!(me.next(at(now, 9)), take(1));
    assert!(!me.leads(at(now, 10)));
    assert!(me.must_look(at(now, 10)));
}

#[test]
fn a_write_without_an_answer_neither_extends_nor_shortens() {
    let now = Instant::now();
    let mut me = Candidate::new("me".into(), TIMES);
    me.found(None, now);
    me.written(lease(1, Some("me")), now, now);
    me.not_written();
    assert!(me.leads(at(now, 9)) && me.must_look(at(now, 9)));
    // It had arrived: still ours, and the next write goes on from there.
    me.found(Some(lease(2, Some("me"))), at(now, 9));
    assert_eq!(me.term(at(now, 9)), Term::Until(at(now, 10)));
    assert_eq!(me.next(at(now, 9)), take(2));
}

#[test]
fn whoever_finds_another_holder_or_no_lease_leads_no_more_at_once() {
    let now = Instant::now();
    for found in [None, Some(lease(2, Some("other"))), Some(lease(2, None))] {
        let mut me = Candidate::new("me".into(), TIMES);
        me.found(None, now);
        me.written(lease(1, Some("me")), now, now);
        me.found(found.clone(), at(now, 1));
        assert!(!me.leads(at(now, 1)), "{found:?}");
    }
}

#[test]
fn only_who_holds_it_gives_it_free() {
    let now = Instant::now();
    let mut me = Candidate::new("me".into(), TIMES);
    assert_eq!(me.resign(), None);
    me.found(Some(lease(1, Some("other"))), now);
    assert_eq!(me.resign(), None);
    me.found(None, now);
    me.written(lease(2, Some("me")), now, now);
    assert_eq!(me.resign(), Some("2".into()));
    assert!(!me.leads(now));
}

/// A Lease as the API server keeps it.
#[derive(Default)]
struct Server {
    version: u64,
    holder: Option<String>,
}

impl Server {
    fn read(&self) -> Option<Found> {
        (self.version > 0).then(|| lease(self.version, self.holder.as_deref()))
    }

    fn write(&mut self, step: &Step, holder: Option<&str>) -> Option<Found> {
        let expected = match step {
            Step::Create => 0,
            Step::Take { version } => version.parse().unwrap(),
            Step::Wait => return None,
        };
        if expected != self.version {
            return None;
        }
        self.version += 1;
        self.holder = holder.map(str::to_owned);
        self.read()
    }
}

/// What happens to a replica's next round.
#[derive(Debug, Clone, Copy)]
enum Luck {
    Good,
    /// It cannot reach the API server.
    Cut,
    /// Its write arrives, the answer does not.
    AnswerLost,
    /// It is stopped between its look and its write, for so many seconds.
    Stopped(u64),
    /// It stops of its own will.
    Resigns,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        6 => Just(Luck::Good),
        2 => Just(Luck::Cut),
        1 => Just(Luck::AnswerLost),
        1 => (1u64..40).prop_map(Luck::Stopped),
        1 => Just(Luck::Resigns),
    ]
}

struct Replica {
    candidate: Candidate,
    /// A look whose write has not been sent yet, and when it will be.
    write: Option<(Step, u64)>,
}

impl Replica {
    fn round(&mut self, server: &mut Server, luck: Luck, second: u64, now: Instant) {
        if self.write.as_ref().is_some_and(|(_, when)| *when > second) {
            return;
        }
        if let Some((step, _)) = self.write.take() {
            return self.send(server, &step, Luck::Good, now);
        }
        match luck {
            Luck::Cut => return,
            Luck::Resigns => {
                if let Some(version) = self.candidate.resign() {
                    server.write(&Step::Take { version }, None);
                }
                return;
            }
            Luck::Good | Luck::AnswerLost | Luck::Stopped(_) => {}
        }
        if self.candidate.must_look(now) {
            self.candidate.found(server.read(), now);
        }
        let step = self.candidate.next(now);
        match luck {
            Luck::Stopped(seconds) => self.write = Some((step, second + seconds)),
            _ => self.send(server, &step, luck, now),
        }
    }

    fn send(&mut self, server: &mut Server, step: &Step, luck: Luck, now: Instant) {
        if *step == Step::Wait {
            return;
        }
        let name = self.candidate.name.clone();
        match server.write(step, Some(&name)) {
            Some(written) if !matches!(luck, Luck::AnswerLost) => {
                self.candidate.written(written, now, now);
            }
            _ => self.candidate.not_written(),
        }
    }
}

proptest! {
    /// Whatever befalls three replicas, at no second do two of them lead; and when all goes well
    /// again, one of them leads soon.
    #[test]
    fn two_never_lead_and_one_does_in_the_end(
        rounds in prop::collection::vec([luck(), luck(), luck()], 0..120)
    ) {
        let begin = Instant::now();
        let mut server = Server::default();
        let mut replicas: Vec<Replica> = ["a", "b", "c"]
            .map(|name| Replica { candidate: Candidate::new(name.into(), TIMES), write: None })
            .into();
        let good = std::iter::repeat_n([Luck::Good; 3], 60);
        let mut leading = 0;
        for (second, lucks) in rounds.into_iter().chain(good).enumerate() {
            let second = second as u64;
            let now = at(begin, second);
            for (replica, luck) in replicas.iter_mut().zip(lucks) {
                replica.round(&mut server, luck, second, now);
            }
            leading = replicas.iter().filter(|replica| replica.candidate.leads(now)).count();
            prop_assert!(leading <= 1, "{leading} lead at second {second}");
        }
        prop_assert_eq!(leading, 1, "nobody leads at the end");
    }
}
