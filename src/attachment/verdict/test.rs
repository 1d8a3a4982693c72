use proptest::prelude::*;

use super::*;
use crate::attachment::ledger::{ClusterTag, NodeTag, Nonce, Sharing};
use crate::volume::NodeName;

const SECOND: Duration = Duration::from_secs(1);
const RULES: Rules =
    Rules { grace: Duration::from_secs(30), orphan_grace: Duration::from_secs(3600) };

fn tag(name: &str) -> NodeTag {
    NodeTag::of("c", &NodeName::parse(name).unwrap())
}

fn created() -> Record {
    Record::created(ClusterTag::of("c"))
}

fn held() -> Record {
    created().attach(tag("n1"), Sharing::Single, 0, Nonce::random())
}

fn holder() -> Holder {
    Holder {
        presence: Presence::Ready,
        out_of_service: false,
        agent: AgentFacts::Unheard,
        attachment: AttachmentFacts::Present,
        io: Io::Unread,
        is_new: true,
    }
}

fn gone(seconds: u32) -> Holder {
    Holder { presence: Presence::Gone(SECOND * seconds), ..holder() }
}

fn disk(record: &Record) -> DiskFacts<'_> {
    DiskFacts {
        record: Ok(record),
        is_ours: true,
        exported: Some(record.state == State::Attached),
        as_recorded: true,
    }
}

/// A volume that is as its record and copy say.
fn facts<'a>(record: &'a Record, holders: &[Holder]) -> Facts<'a> {
    Facts {
        mode: Mode::Usual,
        first_driver: None,
        disk: Some(disk(record)),
        copy: CopyFacts::Present(record),
        claim: ClaimFacts::Present,
        holders: holders.to_vec(),
    }
}

fn action(facts: &Facts<'_>) -> Action {
    verdict(facts, RULES).action
}

#[test]
fn nodes_that_are_gone() {
    let held = held();
    let still = |seconds| Holder { io: Io::Still, ..gone(seconds) };
    let table = [
        (holder(), Action::Nothing),
        (Holder { presence: Presence::NotReady, ..holder() }, Action::Suspect),
        (gone(10), Action::Wait(SECOND * 20)),
        (gone(30), Action::ReadIo(FenceCause::NodeGone)),
        (still(30), Action::Fence(FenceCause::NodeGone)),
        (Holder { io: Io::Untold, ..gone(30) }, Action::Fence(FenceCause::NodeGone)),
        (Holder { io: Io::Moving, ..gone(30) }, Action::Hold),
    ];
    for (holder, expected) in table {
        assert_eq!(action(&facts(&held, std::slice::from_ref(&holder))), expected, "{holder:?}");
    }
}

#[test]
fn the_taint_out_of_service_is_an_order_that_nothing_delays() {
    let held = held();
    for presence in [Presence::Ready, Presence::NotReady, Presence::Gone(SECOND)] {
        let holder = Holder { presence, out_of_service: true, io: Io::Moving, ..holder() };
        assert_eq!(action(&facts(&held, &[holder])), Action::Fence(FenceCause::OutOfService));
    }
}

#[test]
fn an_attachment_that_nobody_wants_any_more_is_fenced_after_the_grace() {
    let held = held();
    let without = |since, io| Holder { attachment: AttachmentFacts::Absent(since), io, ..holder() };
    let table = [
        (without(SECOND * 29, Io::Unread), Action::Wait(SECOND)),
        (without(SECOND * 30, Io::Unread), Action::ReadIo(FenceCause::AttachmentGone)),
        (without(SECOND * 30, Io::Still), Action::Fence(FenceCause::AttachmentGone)),
        (without(SECOND * 30, Io::Moving), Action::Hold),
    ];
    for (holder, expected) in table {
        assert_eq!(action(&facts(&held, &[holder])), expected);
    }
}

#[test]
fn an_export_that_should_be_there_is_put_back_even_for_a_suspect_node() {
    let held = held();
    for presence in [Presence::Ready, Presence::NotReady] {
        let mut facts = facts(&held, &[Holder { presence, ..holder() }]);
        facts.disk.as_mut().unwrap().as_recorded = false;
        assert_eq!(action(&facts), Action::Repair);
    }
    let mut facts = facts(&held, &[gone(40)]);
    facts.disk.as_mut().unwrap().as_recorded = false;
    assert_ne!(action(&facts), Action::Repair, "nobody waits for it");
}

#[test]
fn a_box_that_went_back_in_time() {
    let held = held();
    let detached = held.detach();
    let mut rolled = facts(&held, &[holder()]);
    rolled.copy = CopyFacts::Present(&detached);
    assert_eq!(action(&rolled), Action::Restore);
    let other = Record { nonce: Nonce::random(), ..held.clone() };
    let mut differs = facts(&held, &[holder()]);
    differs.copy = CopyFacts::Present(&other);
    assert_eq!(action(&differs), Action::Restore);
    let (deleting, twice) = (held.delete(), held.next().next());
    let mut going = facts(&twice, &[holder()]);
    going.copy = CopyFacts::Present(&deleting);
    assert_eq!(action(&going), Action::Restore, "it never lives again, however new the record");
    let mut lost = facts(&held, &[holder()]);
    lost.disk = None;
    assert_eq!(action(&lost), Action::Rebuild);
    lost.claim = ClaimFacts::Going;
    assert_eq!(action(&lost), Action::Nothing, "it is being deleted");
    let damaged = Unreadable::Damaged("checksum differs");
    let mut unreadable = facts(&held, &[holder()]);
    unreadable.disk.as_mut().unwrap().record = Err(&damaged);
    assert_eq!(action(&unreadable), Action::Restore);
    unreadable.copy = CopyFacts::Absent;
    assert_eq!(action(&unreadable), Action::Report);
}

#[test]
fn unfinished_writes() {
    let before = created();
    let held = before.attach(tag("n1"), Sharing::Single, 0, Nonce::random());
    let after = held.detach();
    let ahead =
        |record, copy, holders: &[Holder]| action(&Facts { copy, ..facts(record, holders) });
    let wanted = [holder()];
    let unwanted = [Holder { attachment: AttachmentFacts::Absent(SECOND), ..holder() }];
    let copy = CopyFacts::Present(&before);
    assert_eq!(ahead(&held, copy, &wanted), Action::FollowRecord);
    assert_eq!(ahead(&held, copy, &unwanted), Action::Undo);
    // What was written over an attachment that its holder uses is no attachment of its own.
    let grown = held.next();
    let joined = held.join(tag("n2"));
    let copy = CopyFacts::Present(&held);
    let known = Holder { is_new: false, ..unwanted[0].clone() };
    assert_eq!(ahead(&grown, copy, std::slice::from_ref(&known)), Action::FollowRecord);
    // A second node that nobody waits for leaves; carrying that out leaves the first in peace.
    let both = [known, unwanted[0].clone()];
    assert_eq!(ahead(&joined, copy, &both), Action::Undo);
    assert_eq!(ahead(&held, CopyFacts::Absent, &wanted), Action::FollowRecord);
    assert_eq!(ahead(&held, CopyFacts::Absent, &unwanted), Action::Report);
    assert_eq!(ahead(&after, CopyFacts::Present(&held), &[]), Action::FollowRecord);
}

#[test]
fn what_no_pv_names_is_never_exported() {
    let held = held();
    let detached = created();
    let unclaimed = |record, since| Facts {
        claim: ClaimFacts::Absent(since),
        copy: CopyFacts::Absent,
        ..facts(record, &[])
    };
    assert_eq!(action(&unclaimed(&held, SECOND)), Action::Fence(FenceCause::NoVolume));
    assert_eq!(action(&unclaimed(&detached, SECOND)), Action::Nothing, "may be just being made");
    assert_eq!(action(&unclaimed(&detached, SECOND * 3600)), Action::Report);
    let mut exported = unclaimed(&detached, SECOND);
    exported.disk.as_mut().unwrap().exported = Some(true);
    assert_eq!(action(&exported), Action::Close);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let held = held();
    let mut foreign = facts(&held, &[]);
    foreign.claim = ClaimFacts::Absent(SECOND * 9999);
    foreign.disk.as_mut().unwrap().is_ours = false;
    assert_eq!(action(&foreign), Action::Nothing);
    foreign.claim = ClaimFacts::Present;
    assert_eq!(action(&foreign), Action::Report);
    let absent = Unreadable::Absent;
    let mut plain = facts(&held, &[]);
    plain.claim = ClaimFacts::Absent(SECOND * 9999);
    plain.copy = CopyFacts::Absent;
    plain.disk.as_mut().unwrap().record = Err(&absent);
    assert_eq!(action(&plain), Action::Nothing);
    plain.claim = ClaimFacts::Present;
    assert_eq!(action(&plain), Action::Report, "nobody knows what it is");
    for (seen, expected) in [
        (FirstDriver::Well, Action::Static),
        (FirstDriver::NamesOther, Action::Report),
        (FirstDriver::Closed, Action::Report),
        (FirstDriver::Silent, Action::Report),
    ] {
        plain.first_driver = Some(seen);
        assert_eq!(action(&plain), expected, "{seen:?}");
    }
}

#[test]
fn a_fence_is_finished() {
    let fenced = held().fence(0, Nonce::random());
    assert_eq!(action(&facts(&fenced, &[gone(1)])), Action::Release);
    assert_eq!(action(&facts(&fenced, &[holder()])), Action::Nothing, "Kubernetes releases");
    let mut open = facts(&fenced, &[gone(1)]);
    open.disk.as_mut().unwrap().exported = None;
    assert_eq!(action(&open), Action::Close, "what the box did not say is not closed");
}

#[test]
fn of_two_holders_a_healthy_one_protects_the_other() {
    let both = created().attach(tag("n1"), Sharing::Multi, 0, Nonce::random()).join(tag("n2"));
    let still = Holder { io: Io::Still, ..gone(60) };
    assert_eq!(action(&facts(&both, &[still.clone(), holder()])), Action::Hold);
    let fence = Action::Fence(FenceCause::NodeGone);
    assert_eq!(action(&facts(&both, &[still.clone(), still])), fence);
}

#[test]
fn an_agent_that_shows_a_connection_that_works_holds_a_fence_and_nothing_less_does() {
    let still = |agent, holder| Holder { io: Io::Still, agent, ..holder };
    let unwanted = || Holder { attachment: AttachmentFacts::Absent(SECOND * 60), ..holder() };
    let table = [
        (still(AgentFacts::Live, gone(60)), Action::Hold),
        (still(AgentFacts::Answers, gone(60)), Action::Fence(FenceCause::NodeGone)),
        (still(AgentFacts::Unheard, gone(60)), Action::Fence(FenceCause::NodeGone)),
        (still(AgentFacts::Live, unwanted()), Action::Hold),
        (still(AgentFacts::Answers, unwanted()), Action::Fence(FenceCause::AttachmentGone)),
        // An operator's order needs no evidence.
        (
            Holder { out_of_service: true, ..still(AgentFacts::Live, gone(60)) },
            Action::Fence(FenceCause::OutOfService),
        ),
    ];
    let held = held();
    for (holder, expected) in table {
        let got = action(&facts(&held, std::slice::from_ref(&holder)));
        assert_eq!(got, expected, "{holder:?}");
    }
}

#[test]
fn a_suspect_whose_agent_answers_has_lost_the_api_server_only() {
    let held = held();
    for (agent, says) in
        [(AgentFacts::Unheard, false), (AgentFacts::Answers, true), (AgentFacts::Live, true)]
    {
        let suspect = Holder { presence: Presence::NotReady, agent, ..holder() };
        let verdict = verdict(&facts(&held, &[suspect]), RULES);
        assert_eq!(verdict.action, Action::Suspect);
        assert_eq!(verdict.reason.contains("its agent answers"), says, "{agent:?}");
    }
}

#[test]
fn where_the_nqn_cannot_change_orders_are_followed_and_the_rest_is_reported() {
    let fixed = created().attach(tag("n1"), Sharing::Single, 0, Nonce::ZERO);
    let usual = held();
    let tainted = Holder { out_of_service: true, ..holder() };
    let still = |holder| Holder { io: Io::Still, ..holder };
    let unwanted =
        |since| Holder { attachment: AttachmentFacts::Absent(since), io: Io::Still, ..holder() };
    let not_ready = Holder { presence: Presence::NotReady, ..holder() };
    let (taint, deleted) = (FenceCause::OutOfService, FenceCause::NodeGone);
    let table = [
        (&fixed, holder(), true, Action::Nothing),
        (&fixed, tainted.clone(), true, Action::Fence(taint)),
        (&fixed, still(gone(60)), true, Action::Fence(deleted)),
        (&fixed, gone(60), true, Action::ReadIo(deleted)),
        (&fixed, unwanted(SECOND * 60), true, Action::Report),
        (&fixed, unwanted(SECOND), true, Action::Wait(SECOND * 29)),
        (&fixed, not_ready.clone(), true, Action::Suspect),
        (&fixed, holder(), false, Action::Repair),
        // After a downgrade: the box exports it under a name that nobody was given.
        (&usual, holder(), true, Action::Close),
        (&usual, holder(), false, Action::Report),
        (&usual, not_ready, false, Action::Report),
        (&usual, tainted, false, Action::Fence(taint)),
        (&usual, still(gone(60)), false, Action::Fence(deleted)),
    ];
    for (record, holder, exported, expected) in table {
        let mut facts = facts(record, std::slice::from_ref(&holder));
        facts.mode = Mode::Static;
        let disk = facts.disk.as_mut().unwrap();
        (disk.exported, disk.as_recorded) = (Some(exported), exported && record.is_static());
        let verdict = verdict(&facts, RULES);
        assert_eq!(verdict.action, expected, "{holder:?}, exported: {exported}");
        if matches!(verdict.action, Action::Fence(_)) {
            assert!(verdict.reason.contains("cannot change the NQN"), "{}", verdict.reason);
        }
    }
}

fn any_holder() -> impl Strategy<Value = Holder> {
    (0..3u8, 0..100u32, any::<bool>(), 0..3u8, 0..4u8, 0..3usize).prop_map(
        |(presence, since, out_of_service, attachment, io, agent)| Holder {
            agent: [AgentFacts::Unheard, AgentFacts::Answers, AgentFacts::Live][agent],
            presence: match presence {
                0 => Presence::Ready,
                1 => Presence::NotReady,
                _ => Presence::Gone(SECOND * since),
            },
            out_of_service,
            attachment: match attachment {
                0 => AttachmentFacts::Absent(SECOND * since),
                _ => AttachmentFacts::Present,
            },
            io: [Io::Unread, Io::Untold, Io::Still, Io::Moving][usize::from(io)],
            ..holder()
        },
    )
}

proptest! {
    #[test]
    fn nothing_is_fenced_without_an_order_a_grace_and_a_look(holder in any_holder()) {
        let held = held();
        let action = action(&facts(&held, std::slice::from_ref(&holder)));
        if let Action::Fence(cause) = action {
            let ordered = cause == FenceCause::OutOfService && holder.out_of_service;
            let over = |since| since >= RULES.grace;
            let gone = matches!(holder.presence, Presence::Gone(since) if over(since))
                || matches!(holder.attachment, AttachmentFacts::Absent(since) if over(since));
            let quiet = matches!(holder.io, Io::Still | Io::Untold)
                && holder.agent != AgentFacts::Live;
            prop_assert!(ordered || (gone && quiet), "{cause:?} for {holder:?}");
        }
    }

    #[test]
    fn a_healthy_node_keeps_its_volume(io in 0..4usize) {
        let held = held();
        let io = [Io::Unread, Io::Untold, Io::Still, Io::Moving][io];
        prop_assert_eq!(action(&facts(&held, &[Holder { io, ..holder() }])), Action::Nothing);
    }
}
