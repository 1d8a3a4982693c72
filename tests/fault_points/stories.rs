//! The operations, one test for each kind.

use std::collections::BTreeMap;

use rds_sim::routeros::{Half, Moment, Version};

use crate::act::Act;
use crate::campaign::{Case, say};
use crate::point::{Fault, Step};

const OLD: Version = Version::V7_21_5;
const NEW: Version = Version::V7_24_4;

/// Everything that is interrupted.
fn cases() -> Vec<Case> {
    let alone = Act::ALL.into_iter().map(|act| (act, 1));
    let together = [
        (Act::Create, 3),
        (Act::Publish, 2),
        (Act::Unpublish, 2),
        (Act::Delete, 3),
        (Act::FenceTainted, 2),
        (Act::Expand, 2),
    ];
    let of = |version: Version| move |(act, volumes): (Act, usize)| Case { act, volumes, version };
    let mut cases: Vec<Case> = alone.clone().map(of(NEW)).collect();
    cases.extend(alone.map(of(OLD)));
    cases.extend(together.into_iter().map(of(NEW)));
    cases
}

async fn interrupt(wanted: &[Act]) {
    let mut broken = Vec::new();
    for case in cases().into_iter().filter(|case| wanted.contains(&case.act)) {
        let (count, mut failed) = case.run().await;
        say(&format!("{}: {} of {count} fault points held", case.name(), count - failed.len()));
        broken.append(&mut failed);
    }
    assert!(broken.is_empty(), "{} are broken: {broken:#?}", broken.len());
}

#[tokio::test(start_paused = true)]
async fn a_create_that_breaks_anywhere_makes_one_volume_or_none() {
    interrupt(&[Act::Create, Act::CreateAgain, Act::CreateLarger]).await;
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_breaks_anywhere_lets_one_node_in() {
    interrupt(&[Act::Publish, Act::PublishAgain, Act::PublishElsewhere]).await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_of_two_nodes_keeps_who_is_in_whatever_breaks() {
    interrupt(&[Act::Join, Act::Leave]).await;
}

#[tokio::test(start_paused = true)]
async fn an_unpublish_that_breaks_anywhere_closes_the_export() {
    interrupt(&[Act::Unpublish, Act::UnpublishAgain]).await;
}

#[tokio::test(start_paused = true)]
async fn a_fence_that_breaks_anywhere_shuts_the_node_out() {
    interrupt(&[Act::FenceUnready, Act::FenceGone, Act::FenceTainted, Act::GiveAway]).await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_breaks_anywhere_leaves_nothing() {
    interrupt(&[Act::Delete, Act::DeleteFenced, Act::DeleteUnclaimed]).await;
}

#[tokio::test(start_paused = true)]
async fn an_expansion_that_breaks_anywhere_keeps_the_data_and_grows() {
    interrupt(&[Act::Expand, Act::ExpandAttached]).await;
}

/// Acts that run every command of their lines when nothing goes wrong.
const WHOLE: [Act; 5] = [Act::Create, Act::Publish, Act::Unpublish, Act::Delete, Act::Expand];

#[tokio::test(start_paused = true)]
async fn the_points_are_at_least_as_many_as_the_scripts_have_commands() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases() {
        let steps = case.steps().await;
        let mut least = 0;
        for step in &steps {
            let Step::Exec { written, moments, .. } = step else {
                // Before it, done, answered, lost, answer lost.
                least += 5;
                continue;
            };
            let between = moments.iter().filter(|moment| matches!(moment, Moment::Before(_)));
            let between = between.count();
            if WHOLE.contains(&case.act) {
                assert!(between >= *written, "{}: {between} of {written}", case.name());
            }
            // The seven ways of controller and line; each moment with and without what was saved.
            least += 7 + 2 * (between + 1);
        }
        let points = case.points().await;
        assert!(points.len() >= least && least > 0, "{}: {} of {least}", case.name(), points.len());
        let halves = |wanted: Half| {
            let is_it = |fault: Fault| matches!(fault, Fault::Cut(Moment::Inside(_, half), _) if half == wanted);
            points.iter().filter(|point| is_it(point.fault)).count()
        };
        if case.act == Act::Create {
            let made = [Half::ImagePart, Half::ImageMade, Half::Items].map(halves);
            assert_eq!(made, [2 * case.volumes; 3], "{}", case.name());
        }
        if case.act == Act::Delete {
            assert_eq!(halves(Half::ImageEmptied), 2 * case.volumes, "{}", case.name());
        }
        let names: std::collections::BTreeSet<_> = points.iter().map(|point| &point.name).collect();
        assert_eq!(names.len(), points.len(), "{}: two points have one name", case.name());
        *counts.entry(kind(case.act)).or_default() += points.len();
    }
    let each: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let all: usize = counts.values().sum();
    say(&format!("fault points: {}, in all {all}", each.join(", ")));
}

fn kind(act: Act) -> &'static str {
    act.name().split('-').next().unwrap_or_default()
}
