use proptest::prelude::*;

use super::*;
use crate::volume::NodeName;

const SECRET: &[u8; 32] = b"one cluster's secret of 32 bytes";
const NQN: &str = "nqn.2000-02.com.mikrotik:pvc-1.g12-0a1b2c3d4e5f";
const VOLUME: &str = "nqn.2000-02.com.mikrotik:pvc-1";

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn keys() -> Keys {
    Keys::of(SECRET).unwrap()
}

fn word(nqn: &str, connection: Connection) -> VolumeWord {
    VolumeWord {
        nqn: nqn.into(),
        connection,
        mounts: 2,
        file_system: Some("ext4".into()),
        uuid: Some("0b7f".into()),
        formatting: Formatting::Done,
    }
}

fn report(volumes: Vec<VolumeWord>) -> Report {
    let boot_id = "boot-1".into();
    Report { driver: "d".into(), node: node("n1"), boot_id, volumes: Some(volumes) }
}

fn asked(node: &NodeName, challenge: Challenge) -> Asked<'_> {
    Asked { driver: "d", node, challenge }
}

/// The answer to `challenge`, opened by who asked `asked` of n1.
fn opened(report: &Report, challenge: Challenge, asked_for: Challenge) -> Result<Proven, Unproven> {
    let answer = seal(report, &keys(), &challenge).unwrap();
    open(&answer, &keys(), asked(&node("n1"), asked_for))
}

#[test]
fn what_was_sealed_is_read_again() {
    let challenge = Challenge::random();
    let said = report(vec![word(NQN, Connection::Live)]);
    let proven = opened(&said, challenge, challenge).unwrap();
    assert_eq!(proven.boot_id(), "boot-1");
    assert!(proven.sees() && proven.is_connected() && proven.is_connected_to(VOLUME));
    assert!(proven.has_controller_of(VOLUME) && !proven.has_controller_of("nqn.x:other"));
    let seen = proven.seen(NQN).unwrap();
    assert_eq!((seen.formatting, seen.uuid.as_deref()), (Formatting::Done, Some("0b7f")));
    assert_eq!(proven.seen("nqn.2000-02.com.mikrotik:pvc-1.g13-0a1b2c3d4e5f"), None);
}

#[test]
fn a_controller_of_whatever_generation_is_one_of_the_volume() {
    let challenge = Challenge::random();
    for (state, has, is_live) in [
        (Connection::Live, true, true),
        (Connection::Connecting, true, false),
        (Connection::Other, true, false),
        (Connection::Gone, false, false),
    ] {
        let said = report(vec![word("nqn.2000-02.com.mikrotik:pvc-1.g3-ffffffffffff", state)]);
        let proven = opened(&said, challenge, challenge).unwrap();
        assert_eq!(proven.has_controller_of(VOLUME), has, "{state:?}");
        assert_eq!(proven.is_connected_to(VOLUME), is_live, "{state:?}");
    }
}

#[test]
fn an_agent_that_could_not_ask_its_kernel_says_so() {
    let challenge = Challenge::random();
    let blind = Report { volumes: None, ..report(Vec::new()) };
    let proven = opened(&blind, challenge, challenge).unwrap();
    assert!(!proven.sees() && !proven.has_controller_of(VOLUME));
}

#[test]
fn each_answer_that_proves_nothing_is_refused_by_its_name() {
    let (challenge, other) = (Challenge::random(), Challenge::random());
    let said = report(Vec::new());
    let refusal = |answer: &[u8], keys: &Keys, driver: &str, name: &str| {
        let node = node(name);
        open(answer, keys, Asked { driver, node: &node, challenge }).unwrap_err()
    };
    let good = seal(&said, &keys(), &challenge).unwrap();
    let replayed = seal(&said, &keys(), &other).unwrap();
    let strange = Keys::of(b"two cluster's secret of 32 bytes").unwrap();
    assert_eq!(refusal(&replayed, &keys(), "d", "n1"), Unproven::Replayed);
    assert_eq!(refusal(&good, &strange, "d", "n1"), Unproven::WrongSeal);
    assert_eq!(refusal(&good, &keys(), "d", "n2"), Unproven::OtherNode(node("n1")));
    assert_eq!(refusal(&good, &keys(), "e", "n1"), Unproven::OtherDriver("d".into()));
    assert_eq!(refusal(b"", &keys(), "d", "n1"), Unproven::Formless);
    assert_eq!(refusal(b"{}", &keys(), "d", "n1"), Unproven::Formless);
    let long = [good.clone(), vec![b' '; ANSWER_MAX]].concat();
    assert_eq!(refusal(&long, &keys(), "d", "n1"), Unproven::Oversized);
}

#[test]
fn a_later_format_is_refused_as_such_and_not_as_damaged() {
    let challenge = Challenge::random();
    for (text, expected) in [
        (&br#"{"format":2,"new":true}"#[..], Unproven::OtherFormat(2)),
        (&br#"{"format":1}"#[..], Unproven::Unreadable(String::new())),
    ] {
        let tag = crate::volume::hex(&keys().tag(text).unwrap());
        let answer = [tag.as_bytes(), b"\n", text].concat();
        let refusal = open(&answer, &keys(), asked(&node("n1"), challenge)).unwrap_err();
        let is_it = std::mem::discriminant(&refusal) == std::mem::discriminant(&expected);
        assert!(is_it, "{refusal:?}");
    }
}

#[test]
fn a_listener_learns_no_name_and_cannot_compare_two_answers() {
    let said = report(vec![word(NQN, Connection::Live)]);
    let answers: Vec<String> = (0..2)
        .map(|_| seal(&said, &keys(), &Challenge::random()).unwrap())
        .map(|answer| String::from_utf8(answer).unwrap())
        .collect();
    assert!(answers.iter().all(|answer| !answer.contains("pvc-1")), "{answers:?}");
    let hidden = |answer: &str| {
        let (_, rest) = answer.split_once("\"nqn\":\"").unwrap();
        rest[..64].to_owned()
    };
    assert_ne!(hidden(&answers[0]), hidden(&answers[1]));
}

#[test]
fn a_secret_that_is_too_short_makes_no_keys() {
    assert!(Keys::of(b"").is_err() && Keys::of(&SECRET[1..]).is_err());
    assert!(!format!("{:?}", keys()).contains('['), "a key is never printed");
}

#[test]
fn a_report_that_nobody_could_read_is_not_sent() {
    let many = vec![word(NQN, Connection::Live); 3000];
    assert!(seal(&report(many), &keys(), &Challenge::random()).is_err());
    let kernel_max = vec![word(NQN, Connection::Live); 1000];
    assert!(seal(&report(kernel_max), &keys(), &Challenge::random()).is_ok());
}

#[test]
fn an_nqn_is_split_only_where_this_driver_made_it() {
    for (nqn, volume, parts) in [
        (NQN, VOLUME, Some((12, "0a1b2c3d4e5f"))),
        ("nqn.x:v.g0-000000000000", "nqn.x:v", Some((0, "000000000000"))),
        (VOLUME, VOLUME, None),
        ("pvc-1", "pvc-1", None),
        ("nqn.x:v.g012-0a1b2c3d4e5f", "nqn.x:v.g012-0a1b2c3d4e5f", None),
        ("nqn.x:v.g+1-0a1b2c3d4e5f", "nqn.x:v.g+1-0a1b2c3d4e5f", None),
        ("nqn.x:v.g1-0A1B2C3D4E5F", "nqn.x:v.g1-0A1B2C3D4E5F", None),
        ("nqn.x:v.g1-0a1b2c3d4e5", "nqn.x:v.g1-0a1b2c3d4e5", None),
        ("nqn.x.g1-0a1b2c3d4e5f", "nqn.x.g1-0a1b2c3d4e5f", None),
    ] {
        assert_eq!((volume_name(nqn), generation(nqn)), (volume, parts), "{nqn}");
    }
}

proptest! {
    #[test]
    fn an_answer_that_was_changed_anywhere_is_refused(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let challenge = Challenge::random();
        let mut answer =
            seal(&report(vec![word(NQN, Connection::Live)]), &keys(), &challenge).unwrap();
        let at = at.index(answer.len());
        answer[at] ^= flip;
        let node = node("n1");
        prop_assert!(open(&answer, &keys(), asked(&node, challenge)).is_err(), "byte {}", at);
    }

    #[test]
    fn an_answer_that_was_cut_or_prolonged_is_refused(
        at in any::<prop::sample::Index>(), more in prop::collection::vec(any::<u8>(), 1..9),
    ) {
        let challenge = Challenge::random();
        let answer = seal(&report(vec![word(NQN, Connection::Live)]), &keys(), &challenge).unwrap();
        let node = node("n1");
        let cut = &answer[..at.index(answer.len())];
        prop_assert!(open(cut, &keys(), asked(&node, challenge)).is_err());
        let longer = [answer.clone(), more].concat();
        prop_assert!(open(&longer, &keys(), asked(&node, challenge)).is_err());
    }

    #[test]
    fn nothing_that_is_sent_to_us_makes_us_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let node = node("n1");
        prop_assert!(open(&bytes, &keys(), asked(&node, Challenge::random())).is_err());
    }

    #[test]
    fn a_challenge_is_read_as_it_was_printed_and_in_no_other_form(text in "[0-9a-fA-F]{63,65}") {
        let exact = text.len() == 64 && !text.bytes().any(|b| b.is_ascii_uppercase());
        prop_assert_eq!(Challenge::parse(&text).map(|it| it.to_string()).ok(), exact.then_some(text));
    }
}
