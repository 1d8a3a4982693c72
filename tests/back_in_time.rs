//! The box goes back in time: every way, at every age, whatever the volume is by now, with hosts
//! that were shut out and still retry, and holders that wait for their NQN. Looked at after every
//! single command that changes something.
//!
//! What nobody outside can close is the time between the box's start and the driver's first line:
//! a box that is what it was lets in whom it let in. It is shown here, and that the script of
//! `rds-csi doctor --startup-script` closes it.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "back_in_time/hosts.rs"]
mod hosts;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "support/in_memory.rs"]
mod in_memory;
#[path = "back_in_time/startup.rs"]
mod startup;
#[path = "back_in_time/story.rs"]
mod story;
#[path = "back_in_time/ways.rs"]
mod ways;

use story::{Situation, Story};
use ways::{Way, ways};

/// Every cell of the table, told; says in how many of them somebody was let in who had been shut
/// out, before the driver had looked.
async fn tell_all(situation: Situation) -> (usize, usize) {
    let (mut cells, mut open) = (0, 0);
    for way in ways(situation) {
        let mut story = Story::new(situation, way, false).await;
        story.go_back(way).await;
        story.come_to_rest().await;
        story.assert_well(way).await;
        cells += 1;
        open += usize::from(story.hosts.was_open());
    }
    (cells, open)
}

#[tokio::test(start_paused = true)]
async fn an_attached_volume_stays_its_holders() {
    // The ages at which node-a had it: a backup, unsaved changes, the item alone.
    assert_eq!(tell_all(Situation::Attached).await, (14, 3));
}

#[tokio::test(start_paused = true)]
async fn a_shared_volume_stays_both_holders() {
    assert_eq!(tell_all(Situation::Shared).await, (18, 3));
}

#[tokio::test(start_paused = true)]
async fn a_fenced_volume_stays_fenced() {
    assert_eq!(tell_all(Situation::Fenced).await, (10, 3));
}

#[tokio::test(start_paused = true)]
async fn a_detached_volume_stays_detached() {
    // Here node-b has had it, too, and left it.
    assert_eq!(tell_all(Situation::Detached).await, (18, 6));
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_being_deleted_goes() {
    assert_eq!(tell_all(Situation::Deleting).await, (22, 6));
}

#[tokio::test(start_paused = true)]
async fn an_item_that_reappeared_after_its_deletion_is_closed_and_reported_and_stays_an_item() {
    assert_eq!(tell_all(Situation::Deleted { with_image: false }).await, (15, 0));
    assert_eq!(tell_all(Situation::Deleted { with_image: true }).await, (15, 6));
}

#[tokio::test(start_paused = true)]
async fn every_way_is_told_for_every_situation_that_can_go_it() {
    for situation in Situation::ALL {
        let ages = situation.ages();
        let told = ways(situation);
        let of = |is: fn(&Way) -> bool| told.iter().filter(|way| is(way)).count();
        assert_eq!(of(|way| matches!(way, Way::Backup(_))), ages);
        assert_eq!(of(|way| matches!(way, Way::Unsaved(_))), ages);
        assert_eq!(of(|way| matches!(way, Way::Item(_))), ages);
        // What has no item can lose neither it nor its comment.
        let has_item = !matches!(situation, Situation::Deleted { .. });
        assert_eq!(of(|way| matches!(way, Way::Comment(_))), if has_item { ages } else { 0 });
        assert_eq!(of(|way| matches!(way, Way::Reset | Way::Lost)), if has_item { 2 } else { 0 });
    }
}
