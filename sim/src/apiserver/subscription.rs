//! Following a resource from inside the process: no HTTP, no faults, not counted.

use std::collections::VecDeque;

use super::ApiServer;
use super::core::{Change, ChangeKind, Page, Scope};
use super::failure::Failure;
use super::kinds::Resource;
use super::selector::Selector;
use super::ticks::Waiting;

/// The objects of one resource and every change of them, in order.
#[derive(Debug)]
pub struct Subscription {
    server: ApiServer,
    scope: Scope,
    position: u64,
    pending: VecDeque<Change>,
    ticks: Waiting,
}

impl Subscription {
    pub(super) fn new(server: ApiServer, resource: &'static Resource) -> Result<Self, Failure> {
        let scope = Scope { resource, namespace: None, selector: Selector::default() };
        let ticks = server.inner.ticks.subscribe();
        let mut subscription = Self { server, scope, position: 0, pending: VecDeque::new(), ticks };
        subscription.start_over()?;
        Ok(subscription)
    }

    fn start_over(&mut self) -> Result<(), Failure> {
        let listed = self.server.core().list(&self.scope, &Page::default())?;
        self.position = listed.revision;
        let revision = listed.revision;
        let added = |object| Change { kind: ChangeKind::Added, object, revision };
        self.pending.extend(listed.items.into_iter().map(added));
        Ok(())
    }

    /// The next change; waits for it. When the history was expired meanwhile, the objects of now
    /// come again as added, and deletions in between are not seen.
    ///
    /// # Errors
    ///
    /// What the store refuses; never for a subscription to a resource that exists.
    pub async fn next(&mut self) -> Result<Change, Failure> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Ok(change);
            }
            self.ticks.mark_unchanged();
            if !self.look()? {
                // The sender lives as long as the server this holds.
                self.ticks.changed().await;
            }
        }
    }

    /// Fetches what is new; whether there is anything.
    fn look(&mut self) -> Result<bool, Failure> {
        let (changes, revision) = {
            let core = self.server.core();
            (core.changes_since(self.position, &self.scope), core.revision())
        };
        match changes {
            Ok(changes) => {
                self.position = revision;
                self.pending.extend(changes);
            }
            Err(_) => self.start_over()?,
        }
        Ok(!self.pending.is_empty())
    }
}
