//! One round: a race from a random moment on, then passes, then everything that must be so.

use std::time::Duration;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rds_csi::attachment::ledger::State;
use rds_csi::operations::Kind;

use crate::pair::{NODES, Pair, SLOT};
use crate::race::{Answer, Before, Call, RACES, Race, part};

/// A round that went through.
pub struct Round {
    pub race: Race,
    pub answers: Vec<Answer>,
}

impl Pair {
    /// One round. What may not be is in `hosts`.
    pub async fn round(&mut self) -> Round {
        let race = *RACES.choose(&mut self.chance).unwrap();
        if self.chance.random_bool(0.1)
            && let Err(error) = self.next_life().await
        {
            self.hosts.violated(format!("cannot be deleted: {error}"));
        }
        self.prepare(race.before).await;
        let mut pauses = |calls: &[Call]| -> Vec<Duration> {
            calls.iter().map(|_| Duration::from_millis(self.chance.random_range(0..10))).collect()
        };
        let (first, second) = (pauses(race.one), pauses(race.two));
        let (mut answers, others) = tokio::join!(
            part(&self.one, &self.hosts, race.one, first),
            part(&self.two, &self.hosts, race.two, second),
        );
        answers.extend(others);
        self.hosts.look();
        self.judge(&answers).await;
        Round { race, answers }
    }

    async fn prepare(&self, before: Before) {
        let free = self.one.os.snapshot();
        if before.is_held()
            && let Err(error) = self.attach(NODES[0]).await
        {
            self.hosts.violated(format!("cannot be attached: {error}"));
        }
        before.arrange(&self.one, &free);
        // Sometimes a controller has not seen yet what the other one wrote a moment ago.
        self.one.settle().await;
    }

    async fn judge(&mut self, answers: &[Answer]) {
        for (call, answer) in answers {
            if let Err(kind) = answer
                && !may_fail(*call, *kind)
            {
                self.hosts.violated(format!("{call:?} is answered {kind:?}"));
            }
        }
        let is =
            |wanted: Call| answers.iter().any(|(call, answer)| *call == wanted && answer.is_ok());
        self.heal().await;
        if is(Call::Delete) {
            self.judge_deleted(&is);
            self.is_gone().await;
            return;
        }
        self.rest().await;
        if self.is_going() {
            // A delete that got so far is asked for until it is done.
            self.judge_going(&is);
            if let Err(error) = self.next_life().await {
                self.hosts.violated(format!("cannot be deleted: {error}"));
            }
            return;
        }
        if !self.has_data() {
            self.hosts.violated("the image is gone, and nobody deleted the volume".into());
        }
        let asked = |wanted: Call| answers.iter().any(|(call, _)| *call == wanted);
        self.judge_winner(&is, &asked);
        if let Err(error) = self.detach_all().await {
            self.hosts.violated(format!("cannot be detached: {error}"));
        }
        self.rest().await;
    }

    async fn rest(&self) {
        if let Some(report) = self.come_to_rest().await {
            self.hosts.violated(format!("passes do not come to rest: {report}"));
        }
    }

    /// Does the record or the copy say that it is being deleted?
    fn is_going(&self) -> bool {
        let copied = self.copied().is_some_and(|record| record.state == State::Deleting);
        copied || (self.one.has_disk(SLOT) && self.one.record(SLOT).state == State::Deleting)
    }

    /// A delete has begun, so nobody may have been given the volume.
    fn judge_going(&self, is: &impl Fn(Call) -> bool) {
        for node in NODES {
            if is(Call::Publish(node)) && !is(Call::Unpublish(node)) {
                self.hosts.violated(format!("it is being deleted, and was given to {node}"));
            }
        }
    }

    /// The volume is deleted: nobody has it, nothing is left.
    fn judge_deleted(&self, is: &impl Fn(Call) -> bool) {
        for node in NODES {
            if is(Call::Publish(node)) && !is(Call::Unpublish(node)) {
                self.hosts.violated(format!("deleted, and given to {node}"));
            }
        }
        if self.image().is_some() || self.one.has_disk(SLOT) {
            self.hosts.violated("deleted, and still there".into());
        }
    }

    /// The copy names one winner or none; the box says the same; only that host can connect.
    fn judge_winner(&self, is: &impl Fn(Call) -> bool, asked: &impl Fn(Call) -> bool) {
        let record = self.one.property(SLOT, "comment");
        let copied = self.one.copy(SLOT).map(|copy| copy.record);
        if copied.as_ref() != Some(&record) {
            self.hosts.violated(format!("the copy says {copied:?}, the record {record}"));
        }
        let (current, holders) = (self.current(), self.holders());
        self.hosts.only(current.as_deref());
        self.hosts.look();
        let mut may: Vec<String> = self.hosts.writers().into_iter().collect();
        let wanted: Vec<String> = holders.iter().map(|node| self.one.host_nqn(node)).collect();
        if let Some(nqn) = &current {
            // Its NQN may be known to nobody yet: whose publish was lost will ask again.
            for node in NODES {
                if let Ok(connection) = self.one.connect(node, nqn) {
                    connection.disconnect();
                    may.push(self.one.host_nqn(node));
                }
            }
            may.sort();
            may.dedup();
        }
        if may != wanted {
            self.hosts.violated(format!("{holders:?} won, and {may:?} may write"));
        }
        for node in NODES {
            let holds = current.as_ref().is_some_and(|nqn| self.hosts.holds(node, nqn));
            // One that failed may have taken it away all the same.
            if is(Call::Publish(node)) && !asked(Call::Unpublish(node)) && !holds {
                self.hosts.violated(format!("{node} was given the volume, and {holders:?} won"));
            }
        }
    }
}

/// ABORTED and UNAVAILABLE: try again. FAILED_PRECONDITION: somebody has it.
fn may_fail(call: Call, kind: Kind) -> bool {
    match kind {
        Kind::Contended | Kind::Unavailable => true,
        Kind::Precondition => matches!(call, Call::Publish(_) | Call::Delete | Call::Expand),
        Kind::NotFound => matches!(call, Call::Publish(_) | Call::Expand),
        _ => false,
    }
}
