//! Names: what parses, what is refused, and that no two share a slot.

use proptest::prelude::*;

use super::*;

fn backend(name: &str) -> BackendName {
    BackendName::parse(name).unwrap()
}

/// Names as callers send them, with slots, near-slots and reserved forms among them.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,62}",
        "h-[0-9a-f]{40}",
        "h-[0-9a-fA-F]{38,42}",
        "[a-zA-Z0-9_.-]{1,128}",
        "[a-z]{60,70}",
        "\\PC{1,32}",
    ]
}

proptest! {
    #[test]
    fn two_names_never_share_a_slot(one in name(), other in name()) {
        prop_assume!(one != other);
        if let (Ok(a), Ok(b)) = (Slot::for_name(&one), Slot::for_name(&other)) {
            prop_assert_ne!(a, b);
        }
    }

    #[test]
    fn the_slot_of_a_name_never_is_the_slot_of_the_hashed_names_slot(one in name()) {
        // Whoever asks for a volume under the slot of another one must not get that one.
        if let Ok(slot) = Slot::for_name(&one)
            && slot.as_str() != one
        {
            prop_assert_ne!(Slot::for_name(slot.as_str()).unwrap(), slot);
        }
    }

    #[test]
    fn a_name_that_is_a_slot_keeps_it(name in "[a-z][a-z0-9-]{0,62}") {
        prop_assume!(!name.starts_with("h-"));
        let slot = Slot::for_name(&name).unwrap();
        prop_assert_eq!(slot.as_str(), name.as_str());
    }

    #[test]
    fn whatever_becomes_a_slot_can_be_read_back(name in name()) {
        if let Ok(slot) = Slot::for_name(&name) {
            prop_assert_eq!(Slot::parse(slot.as_str()).unwrap(), slot);
        }
    }

    #[test]
    fn a_handle_reads_back_as_the_same_volume(
        box_name in "[a-c]{1,2}", slot in "[a-z][a-z0-9-]{0,62}", bare in "[a-c]{1,2}",
    ) {
        let bare = backend(&bare);
        let id = VolumeId { backend: backend(&box_name), slot: Slot::parse(&slot).unwrap() };
        prop_assert_eq!(VolumeId::parse(&id.handle(&bare), &bare).unwrap(), id);
    }

    #[test]
    fn two_handles_never_name_one_volume(one in "[ab]{1,2}(/[ab]{1,2})?", other in "[ab]{1,2}(/[ab]{1,2})?") {
        prop_assume!(one != other);
        let bare = backend("a");
        if let (Ok(a), Ok(b)) = (VolumeId::parse(&one, &bare), VolumeId::parse(&other, &bare)) {
            prop_assert_ne!(a, b);
        }
    }

    #[test]
    fn nothing_that_parses_has_a_character_that_a_line_could_stumble_over(text in "\\PC{0,40}|[ -~]{0,40}|[a-z/.-]{1,20}") {
        let parsed = [
            Slot::parse(&text).map(String::from),
            BackendName::parse(&text).map(String::from),
            NodeName::parse(&text).map(String::from),
            Nqn::parse(&text).map(String::from),
            VolumePath::parse(&text).map(String::from),
            ImagePath::parse(&text).map(String::from),
            Slot::for_name(&text).map(String::from),
        ];
        for text in parsed.into_iter().flatten() {
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:/".contains(&b)));
            prop_assert!(!text.split('/').any(|part| part == ".."));
        }
    }
}

#[test]
fn the_lengths_of_names_are_bounded() {
    assert_eq!(Slot::for_name(&"a".repeat(63)).unwrap().as_str(), "a".repeat(63));
    assert!(Slot::for_name(&"a".repeat(64)).unwrap().as_str().starts_with("h-"));
    assert!(Slot::for_name(&"A".repeat(128)).is_ok());
    for refused in ["", &"a".repeat(129), "line\nbreak", "nul\0"] {
        assert!(Slot::for_name(refused).is_err(), "{refused:?}");
    }
    assert!(Slot::parse(&"a".repeat(64)).is_err());
    assert!(BackendName::parse(&"a".repeat(33)).is_err());
    assert!(NodeName::parse(&"a".repeat(254)).is_err());
    assert!(Nqn::parse(&format!("nqn.{}", "a".repeat(219))).is_ok());
    assert!(Nqn::parse(&format!("nqn.{}", "a".repeat(220))).is_err());
    assert!(VolumePath::parse(&"a".repeat(256)).is_err());
}

#[test]
fn a_reserved_name_gets_a_slot_of_its_own() {
    let hashed = Slot::for_name("PVC").unwrap();
    let again = Slot::for_name(hashed.as_str()).unwrap();
    assert_ne!(again, hashed);
    assert!(again.as_str().starts_with("h-"));
}

#[test]
fn a_path_is_kept_without_its_leading_slash_and_never_climbs() {
    let path = VolumePath::parse("/pool/volumes").unwrap();
    assert_eq!((path.as_str(), path.pool()), ("pool/volumes", "pool"));
    assert_eq!(path.image(&Slot::parse("pvc-1").unwrap()).as_str(), "pool/volumes/pvc-1.img");
    for refused in ["", "/", "//pool", "pool/", "pool//x", "../x", "pool/../x", "pool/.x", "a b"] {
        assert!(VolumePath::parse(refused).is_err(), "{refused}");
    }
}

#[test]
fn a_backends_volumes_have_one_handle_each() {
    let bare = backend("main");
    let id = VolumeId::parse("pvc-1", &bare).unwrap();
    assert_eq!(id.backend, bare);
    assert!(VolumeId::parse("main/pvc-1", &bare).is_err());
    assert_eq!(VolumeId::parse("spare/pvc-1", &bare).unwrap().backend, backend("spare"));
    for refused in ["", "/pvc-1", "spare/", "spare/a/b", "Spare/a", "spare/../x"] {
        assert!(VolumeId::parse(refused, &bare).is_err(), "{refused}");
    }
}

#[test]
fn a_refusal_shows_the_value_shortened_and_escaped() {
    let long = format!("\n\"{}", "x".repeat(200));
    let shown = Refused::value(&long, "is wrong").to_string();
    assert!(shown.starts_with("\"\\n\\\"xxx"), "{shown}");
    assert!(shown.ends_with("x…\" is wrong"), "{shown}");
    assert!(shown.chars().count() < 110, "{shown}");
}
