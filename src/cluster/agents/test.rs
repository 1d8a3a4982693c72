use std::collections::BTreeMap;

use super::baseline::{Baseline, changes, read, text};
use crate::volume::NodeName;

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn heard(boot: &str, last: &str) -> Baseline {
    Baseline {
        uid: "u1".into(),
        boot_id: boot.into(),
        address: "10.0.0.7".parse().unwrap(),
        first: "2026-01-02T03:00:00Z".into(),
        last: last.into(),
    }
}

const MORNING: &str = "2026-01-02T03:00:00Z";

#[test]
fn only_what_is_news_is_written_and_who_is_gone_is_forgotten() {
    let written = BTreeMap::from([
        (node("same"), heard("b1", MORNING)),
        (node("booted"), heard("b1", MORNING)),
        (node("old"), heard("b1", MORNING)),
        (node("gone"), heard("b1", MORNING)),
        (node("silent"), heard("b1", MORNING)),
    ]);
    let later = "2026-01-02T03:10:00Z";
    let hours_later = "2026-01-02T05:00:00Z";
    let now = BTreeMap::from([
        (node("same"), heard("b1", later)),
        (node("booted"), heard("b2", later)),
        (node("old"), heard("b1", hours_later)),
        (node("new"), heard("b1", later)),
        (node("unknown"), heard("b1", later)),
    ]);
    let is_there = |node: &NodeName| !["gone", "unknown"].contains(&node.as_str());
    let edits = changes(&written, &now, is_there);
    let expected = BTreeMap::from([
        (node("booted"), Some(heard("b2", later))),
        (node("gone"), None),
        (node("new"), Some(heard("b1", later))),
        (node("old"), Some(heard("b1", hours_later))),
    ]);
    assert_eq!(edits, expected);
    assert!(changes(&written, &BTreeMap::new(), |_| true).is_empty());
}

#[test]
fn the_memory_takes_no_more_than_fits_and_makes_room_of_who_is_gone() {
    let many = |from: usize, to: usize| -> BTreeMap<NodeName, Baseline> {
        (from..to).map(|n| (node(&format!("n{n:05}")), heard("b1", MORNING))).collect()
    };
    let edits = changes(&BTreeMap::new(), &many(0, 4000), |_| true);
    assert_eq!(edits.len(), 3000);
    let bytes: usize =
        many(0, 3000).iter().map(|(n, b)| n.as_str().len() + text(b).unwrap().len()).sum();
    assert!(bytes < 1 << 20, "{bytes}");
    assert!(changes(&many(0, 3000), &many(3000, 3001), |_| true).is_empty());
    let edits = changes(&many(0, 3000), &many(3000, 3001), |n| n.as_str() != "n00000");
    assert_eq!(edits.len(), 2);
}

#[test]
fn an_entry_is_read_as_it_was_written_and_a_damaged_one_is_counted() {
    let entry = heard("b1", MORNING);
    let mut data = BTreeMap::from([("n1".to_owned(), text(&entry).unwrap())]);
    data.insert("n2".into(), "{".into());
    data.insert("Not A Node".into(), text(&entry).unwrap());
    data.insert("n3".into(), format!("{}{}", text(&entry).unwrap(), " ".repeat(2000)));
    assert_eq!(read(&data), (BTreeMap::from([(node("n1"), entry)]), 3));
}
