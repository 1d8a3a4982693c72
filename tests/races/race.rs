//! The races: what stands before, and what each of two controllers is told at the same time.

use rds_csi::operations::{Error, Expand, Kind, Publish};
use rds_sim::apiserver::world as objects;
use tokio::time::sleep;

use crate::hosts::Hosts;
use crate::in_memory::{GIB, World, ext4, id, node};
use crate::pair::SLOT;

const A: &str = "node-a";
const B: &str = "node-b";

/// What a controller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Publish(&'static str),
    Unpublish(&'static str),
    Delete,
    Expand,
    Pass,
}

/// What has happened to a volume that node A holds, or to node A.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nobody holds it.
    Free,
    /// A holds it, and all is well.
    Held,
    /// The node is tainted out-of-service.
    Tainted,
    /// The node is not Ready.
    NotReady,
    /// Somebody closed its export by hand.
    Closed,
    /// The box has lost its item.
    Lost,
    /// The box is what it was before A got it.
    RolledBack,
}

/// One kind of race.
#[derive(Debug, Clone, Copy)]
pub struct Race {
    pub before: Before,
    pub one: &'static [Call],
    pub two: &'static [Call],
}

const fn race(before: Before, one: &'static [Call], two: &'static [Call]) -> Race {
    Race { before, one, two }
}

use Call::{Delete, Expand as Grow, Pass, Publish as Give, Unpublish as Take};

/// Every kind.
pub const RACES: &[Race] = &[
    race(Before::Free, &[Give(A)], &[Give(B)]),
    race(Before::Free, &[Give(A), Pass], &[Give(B), Pass]),
    race(Before::Free, &[Give(A), Give(A)], &[Pass, Give(B)]),
    race(Before::Free, &[Delete], &[Give(A)]),
    race(Before::Free, &[Grow], &[Give(A)]),
    race(Before::Held, &[Take(A)], &[Give(B), Give(B)]),
    race(Before::Held, &[Take(A), Give(B)], &[Give(A)]),
    race(Before::Held, &[Grow], &[Take(A), Give(B)]),
    race(Before::Held, &[Delete, Delete], &[Take(A), Give(B)]),
    race(Before::Tainted, &[Pass], &[Give(B), Take(A), Give(B)]),
    race(Before::Tainted, &[Pass], &[Pass, Give(B)]),
    race(Before::NotReady, &[Take(A)], &[Take(A), Give(B)]),
    race(Before::Closed, &[Pass], &[Give(A)]),
    race(Before::Closed, &[Pass], &[Take(A), Give(B)]),
    race(Before::Closed, &[Pass], &[Pass, Take(A), Give(B)]),
    race(Before::Lost, &[Pass], &[Take(A), Give(B)]),
    race(Before::Lost, &[Pass], &[Pass, Take(A), Give(B)]),
    race(Before::Lost, &[Pass], &[Pass, Give(A)]),
    race(Before::RolledBack, &[Pass], &[Take(A), Give(B)]),
    race(Before::RolledBack, &[Pass, Take(A)], &[Pass, Give(B)]),
    race(Before::RolledBack, &[Pass], &[Pass, Take(A), Give(B)]),
    race(Before::RolledBack, &[Pass], &[Pass, Give(A), Take(A), Give(B)]),
];

/// What came of a call: `Err` has the kind.
pub type Answer = (Call, Result<(), Kind>);

impl Call {
    /// The call, to its end. Contexts reach their hosts at once.
    async fn run(self, world: &World, hosts: &Hosts) -> Result<(), Error> {
        let operations = &world.operations;
        match self {
            Self::Publish(to) => {
                let capability = ext4();
                let wanted = Publish { id: id(SLOT), node: node(to), capability, read_only: false };
                hosts.give(to, &operations.publish(wanted).await?);
                Ok(())
            }
            Self::Unpublish(from) => {
                let ranks = hosts.ranks(from);
                operations.unpublish(id(SLOT), Some(node(from))).await?;
                hosts.end(from, &ranks);
                Ok(())
            }
            Self::Delete => operations.delete(id(SLOT)).await,
            Self::Expand => {
                let grow =
                    Expand { id: id(SLOT), required: 2 * GIB, limit: None, capability: None };
                operations.expand(grow).await.map(|_| ())
            }
            Self::Pass => world.reconciler.pass().await.map(|_| ()),
        }
    }
}

/// One controller's part, with these pauses before its calls.
pub async fn part(
    world: &World,
    hosts: &Hosts,
    calls: &'static [Call],
    pauses: Vec<std::time::Duration>,
) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (call, pause) in calls.iter().zip(pauses) {
        sleep(pause).await;
        let answer = call.run(world, hosts).await;
        answers.push((*call, answer.map_err(|error| error.kind)));
    }
    answers
}

impl Before {
    /// Does A hold the volume?
    pub fn is_held(self) -> bool {
        self != Self::Free
    }

    /// Makes it so.
    pub fn arrange(self, world: &World, free: &rds_sim::routeros::Snapshot) {
        let of_node = |edit: fn(&mut serde_json::Value)| {
            world.api.modify("nodes", A, edit).unwrap();
        };
        match self {
            Self::Free | Self::Held => {}
            Self::Tainted => of_node(|node| {
                objects::set_taint(node, "node.kubernetes.io/out-of-service", "NoExecute");
            }),
            Self::NotReady => of_node(|node| objects::set_ready(node, "Unknown")),
            Self::Closed => {
                let find = format!("[/disk/find where slot={SLOT}]");
                let said = world.os.exec(&format!("/disk/set {find} nvme-tcp-export=no")).text();
                assert_eq!(said, "");
            }
            Self::Lost => assert!(world.os.lose_disk(SLOT)),
            Self::RolledBack => world.os.restore(free, std::time::Duration::ZERO),
        }
    }
}
