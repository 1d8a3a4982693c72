//! The controller dies at any moment, and the box loses its power between any two commands.

use std::collections::BTreeSet;
use std::time::Duration;

use rds_csi::operations::{Error, Expand};
use rds_sim::apiserver::{Fault as ApiFault, On};
use rds_sim::routeros::Fault;
use serde_json::Value;
use tokio::time::timeout;

use crate::in_memory::{GIB, World, id, shared_block};

/// What is done to a volume, each with what must be so before and after.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Create,
    Publish,
    Join,
    Unpublish,
    Leave,
    Fence,
    Grow,
    Delete,
}

const ACTS: [Act; 8] = [
    Act::Create,
    Act::Publish,
    Act::Join,
    Act::Unpublish,
    Act::Leave,
    Act::Fence,
    Act::Grow,
    Act::Delete,
];

impl Act {
    async fn prepare(self, world: &World) {
        if self == Self::Create {
            return;
        }
        world.provision("data").await;
        world.pass().await;
        for node in ["node-a", "node-b"] {
            world.want_attached("data", node).await;
        }
        match self {
            Self::Join => drop(world.publish_as("data", "node-a", shared_block()).await.unwrap()),
            Self::Unpublish | Self::Fence | Self::Grow => {
                world.publish("data", "node-a").await.unwrap();
            }
            Self::Leave => {
                world.publish_as("data", "node-a", shared_block()).await.unwrap();
                world.publish_as("data", "node-b", shared_block()).await.unwrap();
            }
            Self::Delete => {
                let released = |pv: &mut Value| pv["status"]["phase"] = "Released".into();
                world.api.modify("persistentvolumes", "data", released).unwrap();
                world.settle().await;
            }
            Self::Create | Self::Publish => {}
        }
        if self == Self::Fence {
            world.ready("node-a", "Unknown").await;
        }
    }

    async fn run(self, world: &World) -> Result<(), Error> {
        let grow = Expand { id: id("data"), required: 2 * GIB, limit: None, capability: None };
        match self {
            Self::Create => world.operations.create(world.wanted("data")).await.map(drop),
            Self::Publish => world.publish("data", "node-a").await.map(drop),
            Self::Join => world.publish_as("data", "node-b", shared_block()).await.map(drop),
            Self::Unpublish | Self::Leave | Self::Fence => world.unpublish("data", "node-a").await,
            Self::Grow => world.operations.expand(grow).await.map(drop),
            Self::Delete => world.operations.delete(id("data")).await,
        }
    }

    /// It was done, whole and once.
    async fn check(self, world: &World, context: &str) {
        world.settle().await;
        match self {
            Self::Delete => {
                assert!(!world.has_disk("data") && !world.has_image("data"), "{context}");
                return;
            }
            Self::Create => {
                assert_eq!(world.record("data").revision, 1, "{context}");
                return;
            }
            _ => world.assert_agreed("data"),
        }
        let record = world.record("data");
        let holders = match self {
            Self::Publish | Self::Leave | Self::Grow => 1,
            Self::Join => 2,
            _ => 0,
        };
        let held = record.state == rds_csi::attachment::ledger::State::Attached;
        assert_eq!(if held { record.nodes.len() } else { 0 }, holders, "{context}");
        assert_eq!(world.is_exported("data"), held, "{context}");
        match self {
            Self::Publish | Self::Grow => {
                assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]), "{context}");
            }
            Self::Fence => {
                assert_eq!(world.copy("data").unwrap().fenced_from.len(), 1, "{context}");
            }
            _ => {}
        }
        if self == Self::Grow {
            let bytes = world.operations.get(id("data")).await.unwrap().bytes;
            assert_eq!((bytes, world.copy("data").unwrap().bytes), (2 * GIB, 2 * GIB), "{context}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_killed_at_any_moment_is_followed_by_one_that_finishes() {
    let mut killed = 0;
    for act in ACTS {
        for moment in (0..22).chain([50, 55, 60]) {
            let mut world = World::new().await;
            act.prepare(&world).await;
            world.api.faults().always(On::writes(), ApiFault::Delay(Duration::from_millis(40)));
            let time = Duration::from_millis(moment * 20 + 5);
            killed += usize::from(timeout(time, act.run(&world)).await.is_err());
            world.restart().await;
            let context = format!("{act:?} killed after {time:?}");
            // With a pass in between, and without.
            if moment % 2 == 0 {
                let report = world.pass().await;
                assert_eq!(report.failed, [] as [String; 0], "{context}");
            }
            act.run(&world).await.unwrap_or_else(|error| panic!("{context}: {error}"));
            act.check(&world, &context).await;
        }
    }
    assert!(killed > 50, "only {killed} were killed");
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_between_any_two_commands_of_a_line_is_healed_by_a_retry() {
    let mut cuts = 0;
    for act in ACTS {
        for after in 0..9 {
            for with_pass in [true, false] {
                let world = World::new().await;
                act.prepare(&world).await;
                world.os.arm(Fault::PowerCut { after, downtime: Duration::from_secs(1) });
                let first = act.run(&world).await;
                cuts += usize::from(first.is_err());
                world.os.disarm();
                tokio::time::sleep(Duration::from_secs(2)).await;
                let context = format!("{act:?} cut after {after} commands");
                if with_pass {
                    let report = world.pass().await;
                    assert_eq!(report.failed, [] as [String; 0], "{context}");
                }
                act.run(&world).await.unwrap_or_else(|error| panic!("{context}: {error}"));
                act.check(&world, &context).await;
            }
        }
    }
    assert!(cuts > 50, "only {cuts} cuts went off");
}
