use proptest::prelude::*;

use super::*;
use crate::volume::Slot;

fn record() -> Record {
    Record {
        cluster: ClusterTag::of("6a1f0c1e-4f5e-4e0c-8d33-0f5a5d7c9d11"),
        state: State::Attached,
        nodes: vec![NodeTag::of("c", &NodeName::parse("n1").unwrap())],
        sharing: Sharing::Single,
        generation: 12,
        nonce: Nonce::digest(&["x"]),
        revision: 34,
        formatted: Formatted::Never,
    }
}

fn any_record() -> impl Strategy<Value = Record> {
    let tag = |bytes| proptest::collection::vec(any::<u8>(), bytes);
    let nodes = proptest::collection::vec(tag(5), 0..=HOLDERS_MAX);
    (tag(6), 0..4usize, nodes, 0..2usize, any::<u64>(), tag(6), any::<u64>(), 0..3usize).prop_map(
        |(cluster, state, nodes, sharing, generation, nonce, revision, formatted)| Record {
            cluster: Tag(cluster.try_into().unwrap()),
            state: State::ALL[state],
            nodes: nodes.into_iter().map(|node| Tag(node.try_into().unwrap())).collect(),
            sharing: Sharing::ALL[sharing],
            generation,
            nonce: Tag(nonce.try_into().unwrap()),
            revision,
            formatted: Formatted::ALL[formatted],
        },
    )
}

proptest! {
    #[test]
    fn what_was_written_is_read_back_and_fits_into_a_comment(record in any_record()) {
        let text = record.text();
        prop_assert!(text.len() <= 200, "{} bytes: {text}", text.len());
        prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b" =,".contains(&b)));
        prop_assert_eq!(Record::parse(&text), Ok(record));
    }

    #[test]
    fn a_record_with_one_character_changed_is_never_read(
        record in any_record(), at in any::<prop::sample::Index>(), put in any::<char>()
    ) {
        let text = record.text();
        let at = at.index(text.len());
        let mut changed: Vec<char> = text.chars().collect();
        prop_assume!(changed[at] != put);
        changed[at] = put;
        let changed: String = changed.into_iter().collect();
        prop_assert!(Record::parse(&changed).is_err());
    }

    #[test]
    fn an_nqn_is_told_from_all_others_without_being_made(
        record in any_record(), base in "(nqn[.])?[a-z.:-]{0,8}( |[a-z]{190,200})?", at in any::<prop::sample::Index>(),
        put in "[a-f0-9]?",
    ) {
        let slot = Slot::parse("v").unwrap();
        let nqn = record.nqn(&base, &slot);
        let text = format!("{base}:{slot}.g{}-{}", record.generation, record.nonce);
        prop_assert_eq!(record.has_nqn(&text, &base, &slot), nqn.is_ok_and(|nqn| nqn.as_str() == text));
        let mut other = text.clone();
        let at = at.index(text.len() + 1);
        other.replace_range(at..(at + 1).min(text.len()), &put);
        let is_same = other == text && record.nqn(&base, &slot).is_ok();
        prop_assert_eq!(record.has_nqn(&other, &base, &slot), is_same);
    }

    #[test]
    fn nothing_that_a_person_writes_makes_it_panic(text in ".{0,300}") {
        prop_assert!(Record::parse(&text).is_err());
        let marked = format!("{PREFIX}{text}");
        prop_assert!(Record::parse(&marked).is_err());
    }
}

#[test]
fn a_comment_of_somebody_else_is_absent_and_not_damaged() {
    for comment in ["", "my disk", "rds1", "rds2 c=1"] {
        assert_eq!(Record::parse(comment), Err(Unreadable::Absent), "{comment}");
    }
    let truncated = &record().text()[..60];
    assert!(matches!(Record::parse(truncated), Err(Unreadable::Damaged(_))));
}

#[test]
fn a_comment_that_is_nothing_but_a_valid_checksum_is_damaged() {
    let comment = format!("rds1 k={}", checksum("rds1"));
    assert!(matches!(Record::parse(&comment), Err(Unreadable::Damaged(_))));
}

#[test]
fn generation_and_revision_never_fall() {
    let before = record();
    let node = NodeTag::of("c", &NodeName::parse("n2").unwrap());
    let nonce = Nonce::digest(&["y"]);
    let after = [
        before.attach(node, Sharing::Single, 0, nonce),
        before.join(node),
        before.leave(before.nodes[0]),
        before.detach(),
        before.fence(99, nonce),
        before.delete(),
    ];
    for after in after {
        assert_eq!(after.revision, before.revision + 1);
        assert!(after.generation >= before.generation);
    }
    assert_eq!(before.fence(99, nonce).generation, 100, "above what the copy has seen");
}

#[test]
fn a_volume_that_somebody_held_is_not_formatted_again() {
    assert_eq!(record().detach().formatted, Formatted::Maybe);
    assert_eq!(record().leave(record().nodes[0]).formatted, Formatted::Maybe);
    assert_eq!(record().fence(0, Nonce::ZERO).formatted, Formatted::Maybe);
    assert_eq!(Record::created(record().cluster).delete().formatted, Formatted::Never);
}

#[test]
fn the_nqn_names_generation_and_nonce() {
    let slot = Slot::parse("pvc-1").unwrap();
    let nqn = record().nqn("nqn.2000-02.com.mikrotik", &slot).unwrap();
    assert_eq!(nqn.as_str(), format!("nqn.2000-02.com.mikrotik:pvc-1.g12-{}", record().nonce));
}

#[test]
fn an_attachment_in_the_static_form_is_named_after_its_slot_and_its_fence_remembers_that() {
    let created = Record::created(ClusterTag::of("c"));
    let n1 = NodeTag::of("c", &NodeName::parse("n1").unwrap());
    let slot = Slot::parse("v").unwrap();
    let attach = |nonce| created.attach(n1, Sharing::Single, 0, nonce);
    let (fixed, usual) = (attach(Nonce::ZERO), attach(Nonce::random()));
    assert!(!created.is_static() && fixed.is_static() && !usual.is_static());
    assert_eq!(fixed.nqn("nqn.x", &slot).unwrap().as_str(), "v");
    assert!(usual.nqn("nqn.x", &slot).unwrap().as_str().starts_with("nqn.x:v.g1-"));
    let fence = |record: &Record| record.fence(0, Nonce::random());
    assert!(fence(&fixed).is_static() && !fence(&usual).is_static());
    assert!(!fixed.detach().is_static() && !fence(&fixed).detach().is_static());
    // A fenced volume is not exported; its record has a name of its own all the same.
    assert_ne!(fence(&fixed).nqn("nqn.x", &slot).unwrap().as_str(), "v");
    assert_eq!(Record::parse(&fixed.text()).as_ref(), Ok(&fixed));
}
