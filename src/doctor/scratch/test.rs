//! What is concluded from what the scratch disk shows.

use super::super::row::State::{Fault, NotChecked, Ok as Good, Warning};
use super::super::row::test::expect;
use super::*;
use crate::rds::Counters;

fn disk(comment: &str) -> Disk {
    Disk {
        slot: "rds-csi-doctor-1".into(),
        comment: comment.into(),
        image: None,
        bytes: Some(BYTES),
        free: None,
        mount_point: None,
        exported: Some(true),
        nqn: "nqn.a:b".into(),
        allow_host: "nqn.host".into(),
        port: Some(4420),
        disabled: false,
        counters: None,
    }
}

fn reply(disks: Vec<Disk>, image: bool, complaint: Option<&str>) -> Reply {
    let complaint = complaint.map(str::to_owned);
    Reply { complaint, disks, image: Some(image), ..Reply::default() }
}

#[test]
fn a_disk_that_was_not_made_is_a_fault_with_what_the_box_said() {
    let none = reply(vec![], false, Some("not enough permissions (9)"));
    expect(&created(Ok(&none)), Fault, "not enough permissions (9)", "policies");
    expect(&created(Err(&"no answer".into())), Fault, "no answer", "policies");
    let small = Disk { bytes: Some(1), ..disk("") };
    expect(&created(Ok(&reply(vec![small], true, None))), Fault, "1 bytes", "/disk/print");
    expect(&created(Ok(&reply(vec![disk("")], false, None))), Fault, "image", "/file/print");
    expect(&created(Ok(&reply(vec![disk("")], true, None))), Good, "made", "");
}

#[test]
fn the_comment_must_come_back_whole() {
    assert_eq!(long_comment().len(), COMMENT_BYTES);
    let judge = |comment: &str, complaint| {
        comment_length(Ok(&(reply(vec![], true, complaint), disk(comment))))
    };
    expect(&judge(&long_comment(), None), Good, "200 bytes", "");
    expect(&judge(&long_comment()[..100], None), Fault, "100 come back", "update/install");
    expect(&judge(FIRST_COMMENT, Some("too long")), Fault, "refused; the box said: too long", "");
    expect(&comment_length(Err(&"gone".into())), Fault, "gone", "update/install");
}

#[test]
fn every_property_of_an_export_is_compared() {
    let wanted = Export {
        on: true,
        nqn: Nqn::parse("nqn.a:b").ok(),
        allow_host: Some(Nqn::parse("nqn.host").unwrap()),
        port: 4420,
    };
    let judge = |disk: Disk| export(&wanted, Ok(&(reply(vec![], true, None), disk)));
    expect(&judge(disk("")), Good, "taken anew", "");
    for (name, wrong) in [
        ("export", Disk { exported: None, ..disk("") }),
        ("NQN", Disk { nqn: "nqn.a:c".into(), ..disk("") }),
        ("allowed host", Disk { allow_host: String::new(), ..disk("") }),
        ("port", Disk { port: Some(4421), ..disk("") }),
    ] {
        expect(&judge(wrong), Fault, &format!("set: {name}"), "nvme_port");
    }
}

#[test]
fn counters_are_wished_for_and_a_clean_box_is_demanded() {
    let counting = Counters { writes: 0, reads: 0, in_flight: 0 };
    let with = Disk { counters: Some(counting), ..disk("") };
    expect(&counters(Ok(&with)), Good, "counts writes", "");
    expect(&counters(Ok(&disk(""))), Warning, "no I/O counters", "drain_time");
    expect(&counters(Err(&"gone".into())), NotChecked, "gone", "");

    expect(&removal(Ok(&reply(vec![], false, None)), "by hand"), Good, "removed", "");
    expect(
        &removal(Ok(&reply(vec![], true, Some("in use"))), "by hand"),
        Fault,
        "in use",
        "by hand",
    );
    expect(&removal(Ok(&reply(vec![disk("")], false, None)), "by hand"), Fault, "left", "by hand");
    expect(&removal(Err(&"no answer".into()), "by hand"), Fault, "may be left", "by hand");
}
