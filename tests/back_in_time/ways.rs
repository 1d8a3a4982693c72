//! The ways in which a box, or one item of it, goes back in time.

use std::time::Duration;

use rds_sim::routeros::Reboot;

use crate::story::{Situation, Story};

/// A way, and to which age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A backup is restored.
    Backup(usize),
    /// The power goes before the configuration since then was saved.
    Unsaved(usize),
    /// The configuration is reset. The images are there.
    Reset,
    /// The item is gone. The image is there.
    Lost,
    /// The item alone is what it was, or reappeared; the box runs on.
    Item(usize),
    /// The item's comment alone is what it was.
    Comment(usize),
}

/// Every way that a volume in this situation can go.
pub fn ways(situation: Situation) -> Vec<Way> {
    let ages = 0..situation.ages();
    let mut ways: Vec<Way> = ages
        .clone()
        .flat_map(|age| [Way::Backup(age), Way::Unsaved(age), Way::Item(age)])
        .collect();
    if !matches!(situation, Situation::Deleted { .. }) {
        ways.extend(ages.map(Way::Comment));
        ways.extend([Way::Reset, Way::Lost]);
    }
    ways
}

impl Way {
    /// Does the box start anew?
    pub fn restarts(self) -> bool {
        matches!(self, Self::Backup(_) | Self::Unsaved(_) | Self::Reset)
    }

    /// Does an export come back that was closed?
    pub fn may_open(self) -> bool {
        matches!(self, Self::Backup(_) | Self::Unsaved(_) | Self::Item(_))
    }

    /// Is there an item afterwards?
    pub fn leaves_an_item(self) -> bool {
        !matches!(self, Self::Reset | Self::Lost)
    }

    /// Takes it.
    pub fn take(self, story: &Story) {
        let os = &story.world.os;
        match self {
            Self::Backup(age) => os.restore(&story.ages[age].backup, Duration::ZERO),
            Self::Unsaved(_) => os.reboot(Reboot::LoseUnsaved, Duration::ZERO),
            Self::Reset => os.reset_configuration(Duration::ZERO),
            Self::Lost => assert!(os.lose_disk("data")),
            Self::Item(age) => assert!(os.restore_disk(&story.ages[age].backup, "data")),
            Self::Comment(age) => {
                let comment = &story.ages[age].comment;
                let said = os.exec(&format!("/disk/set data comment=\"{comment}\"")).text();
                assert_eq!(said, "");
            }
        }
    }
}
