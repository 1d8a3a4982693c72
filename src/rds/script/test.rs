use proptest::prelude::*;

use super::*;
use crate::rds::{Change, Export, NewDisk, Treatment, Unrecorded};
use crate::volume::{ImagePath, Nqn, Slot};

fn slot() -> Slot {
    Slot::parse("pvc-1").unwrap()
}

fn image() -> ImagePath {
    ImagePath::parse("pool/volumes/pvc-1.img").unwrap()
}

/// Where a RouterOS reader would see the string end: the first quote that no backslash precedes.
fn string_end(quoted: &str) -> Option<usize> {
    let bytes = quoted.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// What a RouterOS reader would make of the string, or `None` for a syntax error.
fn meaning(quoted: &str) -> Option<Vec<u8>> {
    let mut bytes = quoted[1..quoted.len() - 1].bytes();
    let mut read = Vec::new();
    while let Some(byte) = bytes.next() {
        read.push(match byte {
            b'$' => return None,
            b'\\' => match bytes.next()? {
                escaped @ (b'"' | b'\\' | b'$' | b'?') => escaped,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                high => {
                    let pair = [high, bytes.next()?];
                    let text = std::str::from_utf8(&pair).ok()?;
                    if text != text.to_uppercase() {
                        return None;
                    }
                    u8::from_str_radix(text, 16).ok()?
                }
            },
            plain => plain,
        });
    }
    Some(read)
}

proptest! {
    #[test]
    fn no_text_leaves_its_quotes_and_each_means_itself(text in any::<String>()) {
        let quoted = quote(&text);
        prop_assert_eq!(string_end(&quoted), Some(quoted.len() - 1));
        prop_assert!(quoted.bytes().all(|b| (0x20..=0x7e).contains(&b)));
        prop_assert_eq!(meaning(&quoted), Some(text.into_bytes()));
    }

    #[test]
    fn soups_of_special_characters_do_not_either(text in "[\"\\\\$?;{}\\[\\]()\n\r\t ]{0,40}") {
        let quoted = quote(&text);
        prop_assert_eq!(string_end(&quoted), Some(quoted.len() - 1));
        prop_assert_eq!(meaning(&quoted), Some(text.into_bytes()));
    }
}

#[test]
fn a_change_compares_cuts_and_sets_in_that_order_and_once() {
    let change = Change {
        slot: slot(),
        expect: "rds1 old".into(),
        comment: "rds1 new".into(),
        export: Some(Export {
            on: true,
            nqn: Nqn::parse("nqn.x:pvc-1.g1-aa").ok(),
            allow_host: Some(Nqn::parse("nqn.h").unwrap()),
            port: 4420,
        }),
        grow_to: None,
    };
    assert_eq!(
        line(&Command::Change(change), "tag"),
        ":onerror csiError in={ \
         :local csiItem [/disk/find where slot=\"pvc-1\" and comment=\"rds1 old\"]; \
         :if ([:len $csiItem]=1) do={ /disk/set $csiItem nvme-tcp-export=no; \
         /disk/set $csiItem comment=\"rds1 new\" nvme-tcp-server-nqn=\"nqn.x:pvc-1.g1-aa\" \
         nvme-tcp-server-port=4420 nvme-tcp-server-allow-host-name=\"nqn.h\" \
         nvme-tcp-export=yes } } do={ :put (\"tag error \" . $csiError) }; \
         :put (\"tag disks \" . [:serialize to=json options=json.no-string-conversion \
         value=[/disk/print detail as-value where slot=\"pvc-1\"]]); :put \"tag end\""
    );
}

#[test]
fn sizes_are_bytes_and_nothing_is_exported_when_it_is_made() {
    let bytes = 1500 * 1024 * 1024 * 1024;
    let disk = NewDisk { slot: slot(), image: image(), bytes, comment: "rds1".into() };
    let made = line(&Command::Create(disk.clone()), "tag");
    assert!(made.contains(" file-size=1610612736000 "), "{made}");
    assert!(made.contains("mount-filesystem=no nvme-tcp-export=no"), "{made}");
    let rebuilt = line(&Command::Rebuild(disk), "tag");
    assert!(!rebuilt.contains("file-size"), "the image has its size already: {rebuilt}");
}

#[test]
fn a_delete_says_so_before_it_removes_anything() {
    let line = line(
        &Command::Delete {
            slot: slot(),
            expect: "rds1 old".into(),
            deleting: "rds1 s=deleting".into(),
            image: image(),
        },
        "tag",
    );
    let at = |what: &str| line.find(what).unwrap_or_else(|| panic!("{what} is not in {line}"));
    assert!(at("nvme-tcp-export=no") < at("s=deleting"));
    assert!(at("s=deleting") < at("/disk/remove"));
    assert!(at("/disk/remove") < at("/file/remove"));
}

#[test]
fn every_line_stays_below_the_default_of_line_bytes_max() {
    let slot = Slot::parse(&format!("p{}", "x".repeat(62))).unwrap();
    let comment = "c".repeat(200);
    let change = Change {
        slot: slot.clone(),
        expect: comment.clone(),
        comment: comment.clone(),
        export: Some(Export {
            on: true,
            nqn: Nqn::parse(&format!("nqn.{}", "x".repeat(180))).ok(),
            allow_host: Some(Nqn::parse(&format!("nqn.{}", "x".repeat(70))).unwrap()),
            port: 65535,
        }),
        grow_to: Some(u64::MAX),
    };
    let image = ImagePath::parse(&format!("{}/{slot}.img", "d".repeat(100))).unwrap();
    let new = NewDisk { slot: slot.clone(), image: image.clone(), bytes: u64::MAX, comment };
    let delete =
        Command::Delete { slot, expect: new.comment.clone(), deleting: new.comment.clone(), image };
    for command in [Command::Change(change), Command::Create(new), delete] {
        let line = line(&command, "0123456789abcdef");
        assert!(line.len() < 4096, "{} bytes: {line}", line.len());
    }
}

#[test]
fn a_box_that_cannot_set_an_nqn_is_not_told_one() {
    let export = Export { on: true, nqn: None, allow_host: Nqn::parse("nqn.h").ok(), port: 4420 };
    let (expect, comment) = ("old".into(), "new".into());
    let change = Change { slot: slot(), expect, comment, export: Some(export), grow_to: None };
    let line = line(&Command::Change(change), "tag");
    assert!(
        line.contains(
            "/disk/set $csiItem nvme-tcp-export=no; /disk/set $csiItem comment=\"new\" \
             nvme-tcp-server-port=4420 nvme-tcp-server-allow-host-name=\"nqn.h\" \
             nvme-tcp-export=yes }"
        ),
        "{line}"
    );
}

#[test]
fn a_disk_without_a_record_is_changed_only_with_its_image_and_its_comment_stays() {
    let line = |comment: &str, what| {
        let (slot, image, comment, allow_host) =
            (slot(), image(), comment.to_owned(), String::new());
        line(&Command::Unrecorded(Unrecorded { slot, image, comment, allow_host, what }), "tag")
    };
    let path = "(file-path=\"pool/volumes/pvc-1.img\" or file-path=\"/pool/volumes/pvc-1.img\")";
    let close = line("", Treatment::Close);
    let found = format!("find where slot=\"pvc-1\" and {path}]");
    assert!(close.contains(&found) && !close.contains("comment"), "{close}");
    let commented = line("my volume", Treatment::Close);
    let found = format!("find where slot=\"pvc-1\" and {path} and comment=\"my volume\"]");
    assert!(commented.contains(&found), "{commented}");
    let export = Export { on: true, nqn: Nqn::parse("nqn.x:y").ok(), allow_host: None, port: 4420 };
    for (what, does) in [
        (Treatment::Close, "/disk/set $csiItem nvme-tcp-export=no }"),
        (Treatment::Reopen, "{ /disk/set $csiItem nvme-tcp-export=yes }"),
        (Treatment::Grow(7), "{ /disk/set $csiItem file-size=7 }"),
        (
            Treatment::Leave(Nqn::parse("nqn.none").unwrap()),
            "nvme-tcp-export=no; /disk/set $csiItem nvme-tcp-server-allow-host-name=\"nqn.none\" }",
        ),
        (
            Treatment::Export(export),
            "nvme-tcp-export=no; /disk/set $csiItem nvme-tcp-server-nqn=\"nqn.x:y\" \
             nvme-tcp-server-port=4420 nvme-tcp-server-allow-host-name=\"\" nvme-tcp-export=yes }",
        ),
        (Treatment::Remove, "nvme-tcp-export=no; /disk/remove $csiItem; :if ([:len"),
    ] {
        let said = line("", what.clone());
        assert!(said.contains(does), "{what:?}: {said}");
        let command = |comment: &str| {
            let (slot, image, comment, allow_host) =
                (slot(), image(), comment.to_owned(), String::new());
            Command::Unrecorded(Unrecorded { slot, image, comment, allow_host, what: what.clone() })
        };
        let (one, two) = (command(""), command("x"));
        assert_eq!(batch::batch(&[&one, &two], "t", 4096), None, "they share no line");
    }
}
