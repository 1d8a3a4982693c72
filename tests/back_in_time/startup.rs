//! The same with the doctor's startup script on the box: what comes back is closed before anybody
//! can connect, and the driver opens exactly what is current.

use std::time::Duration;

use rds_sim::routeros::RouterOs;
use tokio::time::sleep;

use crate::story::{Situation, Story, install_script};
use crate::ways::{Way, ways};

fn exported(os: &RouterOs) -> String {
    os.exec(":put [:len [/disk/find where nvme-tcp-export=yes]]").text().trim().to_owned()
}

#[tokio::test(start_paused = true)]
async fn with_the_startup_script_nothing_is_exported_until_the_driver_has_looked() {
    let mut cells = 0;
    for situation in Situation::ALL {
        for way in ways(situation).into_iter().filter(|way| way.restarts()) {
            let mut story = Story::new(situation, way, true).await;
            story.hosts.begin(true);
            way.take(&story);
            story.hosts.try_all();
            let context = format!("{situation:?}, {way:?}");
            assert_eq!(exported(&story.world.os), "0", "{context}");
            assert!(story.hosts.all_are_out(), "{context}");
            story.come_to_rest().await;
            story.assert_well(way).await;
            assert!(!story.hosts.was_open(), "{context}");
            cells += 1;
        }
    }
    assert_eq!(cells, 61);
}

#[tokio::test(start_paused = true)]
async fn a_box_that_starts_its_scripts_late_is_open_until_then_and_no_longer() {
    let (situation, way) = (Situation::Attached, Way::Backup(1));
    let mut story = Story::new(situation, way, true).await;
    story.world.os.change_quirks(|quirks| quirks.startup_delay = Duration::from_secs(5));
    story.go_back(way).await;
    sleep(Duration::from_secs(4)).await;
    story.hosts.try_all();
    assert!(story.hosts.was_open(), "the box does not show what this test is about");
    sleep(Duration::from_secs(1)).await;
    story.hosts.try_all();
    assert!(story.hosts.all_are_out());
    assert_eq!(exported(&story.world.os), "0");
    story.come_to_rest().await;
    story.assert_well(way).await;
}

#[tokio::test(start_paused = true)]
async fn a_backup_from_before_the_script_was_installed_does_not_have_it() {
    let (situation, way) = (Situation::Attached, Way::Backup(1));
    let mut story = Story::new(situation, way, false).await;
    install_script(&story.world);
    story.go_back(way).await;
    assert!(story.hosts.was_open(), "then only the driver closes it");
    story.come_to_rest().await;
    story.assert_well(way).await;
}
