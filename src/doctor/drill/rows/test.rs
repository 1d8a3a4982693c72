//! What is concluded from what a drill shows.

use super::super::initiator::Denied;
use super::*;
use crate::doctor::row::State::{Fault, Ok as Good, Warning};
use crate::doctor::row::test::expect;

const RIGHT: Found = Found { lost: 0, later: 0, unacknowledged: false };
const LOST: Found = Found { lost: 3, later: 0, unacknowledged: false };

fn counted(writes: u64) -> Option<Counters> {
    Some(Counters { writes, reads: 0, in_flight: 0 })
}

fn denied(by_box: bool) -> Result<(), Denied> {
    Err(Denied { by_box, why: "because".into() })
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn a_node_that_cannot_drill_says_what_it_lacks() {
    expect(&node(&Ok("6.1".into())), Good, "Linux 6.1", "");
    let unready = Unready { why: "no module".into(), mend: "modprobe nvme-tcp".into() };
    expect(&node(&Err(unready)), Fault, "no module", "modprobe nvme-tcp");
    expect(&path("a, port 4420", Ok(())), Good, "a, port 4420", "");
    expect(&path("a, port 4420", Err("refused".into())), Fault, "refused", "nvme_address");
}

#[test]
fn the_first_export_and_connection_must_be_as_they_were_set() {
    expect(&disk(Ok(&[])), Good, "exported", "");
    expect(&disk(Ok(&["allowed host"])), Warning, "no list of hosts", "/system/package");
    expect(&disk(Ok(&["NQN", "allowed host"])), Fault, "NQN, allowed host", "/disk/print");
    expect(&disk(Err(&text("refused"))), Fault, "refused", "nvme_port");
    expect(&connection(Ok(5), 5), Good, "connected", "");
    expect(&connection(Ok(5), 6), Fault, "5 bytes, not 6", "dmesg");
    expect(&connection(Err(&text("EIO")), 6), Fault, "EIO", "dmesg");
}

#[test]
fn writes_must_be_read_back_and_counted_where_the_box_counts() {
    expect(&writes(Ok(RIGHT), counted(1), counted(2)), Good, "counter moved", "");
    expect(&writes(Ok(RIGHT), counted(2), counted(2)), Fault, "stands still", "release");
    expect(&writes(Ok(RIGHT), None, None), Warning, "no write counters", "drain_time");
    expect(&writes(Ok(LOST), counted(1), counted(2)), Fault, "3 of 256", "/log/print");
    expect(&writes(Err(&text("EIO")), None, None), Fault, "EIO", "/log/print");
}

#[test]
fn a_writer_that_goes_on_after_the_fence_is_the_fault_that_matters() {
    let at = |acknowledged| Progress { acknowledged, ended: None };
    let counters = Counters { writes: 7, reads: 0, in_flight: 0 };
    let seen = |still, more: u64, counters| Silence {
        still,
        before: at(10),
        after: at(10 + more),
        counters,
        watched: Duration::from_secs(5),
    };
    let still = Still::Counted(counters);
    expect(&silence(&seen(still, 0, Some(counters))), Good, "within 5 s", "");
    expect(&silence(&seen(still, 0, None)), Good, "within 5 s", "");
    expect(&silence(&seen(still, 1, Some(counters))), Fault, "1 blocks were ack", "release");
    expect(&silence(&seen(still, 0, counted(8))), Fault, "from 7 to 8", "release");
    expect(&silence(&seen(Still::Never, 9, None)), Fault, "goes on writing", "release");
    let waited = Still::Waited(Duration::from_secs(30));
    expect(&silence(&seen(waited, 0, None)), Good, "drain time of 30 s", "");
    expect(&silence(&seen(waited, 2, None)), Fault, "not safe", "switch a dead node off");
}

#[test]
fn the_old_host_must_stay_out_and_its_queue_must_fail() {
    let watched = Duration::from_secs(4);
    let good = Retries { more: 0, before: counted(7), after: counted(7), ended: true, watched };
    expect(&retries(Ok(&good)), Good, "tries for 4 s", "");
    let blind = Retries { before: None, after: None, ..good };
    expect(&retries(Ok(&blind)), Good, "tries for 4 s", "");
    expect(&retries(Ok(&Retries { more: 3, ..good })), Fault, "3 blocks", "release");
    let late = Retries { after: counted(8), ..good };
    expect(&retries(Ok(&late)), Fault, "from 7 to 8", "release");
    expect(&retries(Ok(&Retries { ended: false, ..good })), Fault, "does not end", "dmesg");
    expect(&retries(Err(&text("no"))), Fault, "no", "/disk/print");
}

#[test]
fn the_next_host_must_find_everything_and_keep_what_it_writes() {
    expect(&data(Ok(RIGHT), 700), Good, "700 blocks", "");
    let tail = Found { unacknowledged: true, ..RIGHT };
    expect(&data(Ok(tail), 700), Good, "on its way", "");
    expect(&data(Ok(LOST), 700), Fault, "3 acknowledged", "write caches");
    expect(&data(Ok(Found { later: 2, ..LOST }), 700), Fault, "2 were written after", "release");
    expect(&data(Err(&text("refused")), 700), Fault, "refused", "dmesg");
    expect(&takeover(Ok(RIGHT)), Good, "reads it back", "");
    expect(&takeover(Ok(LOST)), Fault, "3 blocks", "release");
    expect(&takeover(Err(&text("stuck"))), Fault, "stuck", "dmesg");
}

#[test]
fn whoever_must_be_refused_must_be_refused_by_the_box() {
    for check in [|came| old_name(Mode::Usual, &came), |came| other_host(true, &came)] {
        assert_eq!(check(denied(true)).state, Good);
        expect(&check(denied(false)), Fault, "could not be asked: because", "dmesg");
        expect(&check(Ok(())), Fault, "lets", "release");
    }
    expect(&old_name(Mode::Static, &Ok(())), Warning, "keeps its name", "update/install");
    expect(&other_host(false, &Ok(())), Warning, "no lists of hosts", "firewall");
    expect(&other_host(false, &denied(true)), Good, "refused", "");
}

#[test]
fn a_host_must_come_back_with_its_data() {
    let came = |by_itself, before, after| {
        let took = Duration::from_secs(3);
        repair(Ok(Comeback { by_itself, took, before, after }))
    };
    expect(&back(Ok(RIGHT)), Good, "reads what the other wrote", "");
    expect(&back(Ok(LOST)), Fault, "3 blocks", "dmesg");
    expect(&back(Err(&text("refused"))), Fault, "refused", "dmesg");
    expect(&came(true, RIGHT, RIGHT), Good, "by itself, 3.0 s", "");
    expect(&came(false, RIGHT, RIGHT), Good, "connected again", "");
    expect(&came(true, LOST, RIGHT), Fault, "3 blocks", "dmesg");
    expect(&came(true, RIGHT, LOST), Fault, "3 blocks", "dmesg");
    expect(&repair(Err(&text("not within 60 s"))), Fault, "not within 60 s", "dmesg");
}

#[test]
fn what_is_left_is_told_with_the_commands_that_remove_it() {
    let clean = || Row::ok("removal", "removed");
    let left = || Row::fault("removal", "left").mend("/disk/remove");
    expect(&removal(&Ok(vec![]), clean()), Good, "removed", "");
    expect(&removal(&Ok(vec![]), left()), Fault, "left", "/disk/remove");
    let of_both = removal(&Ok(vec!["nvme3".into()]), left());
    expect(&of_both, Fault, "nvme3", "/sys/class/nvme/nvme3/delete_controller");
    expect(&of_both, Fault, "nvme3", "/disk/remove");
    expect(&removal(&Err("EIO".into()), left()), Fault, "may be left", "/disk/remove");
    assert_eq!(of_both.check, REMOVAL);
}

#[test]
fn a_fence_is_what_is_read_back() {
    let at = Disk {
        slot: "s".into(),
        comment: "c".into(),
        image: None,
        bytes: None,
        free: None,
        mount_point: None,
        exported: Some(false),
        nqn: String::new(),
        allow_host: String::new(),
        port: None,
        disabled: false,
        counters: None,
    };
    let took = Duration::from_millis(70);
    expect(&fence(Ok(&at), "c", took), Good, "70 ms", "");
    expect(&fence(Ok(&at), "other", took), Fault, "not read back", "/disk/print");
    let open = Disk { exported: Some(true), ..at.clone() };
    expect(&fence(Ok(&open), "c", took), Fault, "not read back", "/disk/print");
    expect(&fence(Ok(&Disk { exported: None, ..at }), "c", took), Fault, "not read back", "/disk");
    expect(&fence(Err(&text("gone")), "c", took), Fault, "gone", "/disk/print");
}
