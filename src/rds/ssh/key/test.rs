use super::*;
use proptest::prelude::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::symlink;

fn pem(label: &str, bytes: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(bytes))
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut wire = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    wire.extend(bytes);
    wire
}

/// The public front of a key file; nothing here signs anything.
fn openssh(cipher: &str, key_type: &str) -> String {
    let mut bytes = b"openssh-key-v1\0".to_vec();
    for part in [cipher.as_bytes(), b"bcrypt", b""] {
        bytes.extend(string(part));
    }
    bytes.extend(1u32.to_be_bytes());
    bytes.extend(string(&string(key_type.as_bytes())));
    pem("OPENSSH PRIVATE KEY", &bytes)
}

fn pkcs8(oid: &[u8]) -> String {
    let mut bytes = vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05];
    bytes.extend(oid);
    pem("PRIVATE KEY", &bytes)
}

fn parse(text: &str) -> Result<PrivateKey, KeyError> {
    PrivateKey::parse(Zeroizing::new(text.to_owned()))
}

#[test]
fn keys_that_the_box_takes_are_accepted() {
    let table = [
        (openssh("none", "ssh-ed25519"), "Ed25519"),
        (openssh("none", "ssh-rsa"), "RSA"),
        (format!("comment\n{}", openssh("none", "ssh-rsa")), "RSA"),
        (openssh("none", "ssh-rsa").replace('\n', "\r\n"), "RSA"),
        (pem("RSA PRIVATE KEY", b"\x30\x00"), "RSA"),
        (pkcs8(&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]), "RSA"),
    ];
    for (text, kind) in table {
        let key = parse(&text).expect(&text);
        assert_eq!(format!("{key:?}"), format!("{kind} key (hidden)"));
    }
}

#[test]
fn keys_that_cannot_work_are_refused_with_what_helps() {
    let rsa_encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n";
    let table = [
        (openssh("aes256-ctr", "ssh-ed25519"), "ssh-keygen -p"),
        (rsa_encrypted.to_owned(), "ssh-keygen -p"),
        (pem("ENCRYPTED PRIVATE KEY", b"x"), "ssh-keygen -p"),
        (openssh("none", "ecdsa-sha2-nistp256"), "RSA and Ed25519 keys only"),
        (openssh("aes256-ctr", "ecdsa-sha2-nistp256"), "RSA and Ed25519 keys only"),
        (pem("EC PRIVATE KEY", b"x"), "ECDSA"),
        (pkcs8(&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]), "ECDSA"),
        (pkcs8(&[0x06, 0x03, 0x2b, 0x65, 0x70]), "ssh-keygen -t ed25519"),
        (pkcs8(&[0x06, 0x01, 0x00]), "RSA and Ed25519 keys only"),
        (pem("DSA PRIVATE KEY", b"x"), "DSA"),
        (pem("CERTIFICATE", b"x"), "another type"),
        ("ssh-ed25519 AAAA me".to_owned(), "public half"),
        ("PuTTY-User-Key-File-3: ssh-ed25519".to_owned(), "puttygen"),
        (String::new(), "BEGIN"),
        (openssh("none", "ssh-rsa").replace("-----END", "END"), "cut off"),
        (pem("OPENSSH PRIVATE KEY", b"openssh-key-v1\0\0\0\0\x09"), "cut off"),
    ];
    for (text, expected) in table {
        let error = parse(&text).expect_err(&text).to_string();
        assert!(error.contains(expected), "{error}\nfor {text}");
    }
}

#[test]
fn a_file_that_others_can_read_is_refused_with_path_mode_and_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("id");
    fs::write(&path, openssh("none", "ssh-ed25519")).unwrap();
    for (mode, accepted) in
        [(0o400, true), (0o600, true), (0o440, true), (0o640, true), (0o644, false), (0o602, false)]
    {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        match PrivateKey::load(&path) {
            Ok(_) => assert!(accepted, "{mode:o}"),
            Err(error) => {
                assert!(!accepted, "{mode:o}: {error}");
                let error = error.to_string();
                for part in [&format!("{mode:04o}"), &path.display().to_string(), "chmod o-rwx"] {
                    assert!(error.contains(part), "{error}");
                }
            }
        }
    }
}

#[test]
fn kubelets_layout_of_a_secret_is_judged_by_the_file_behind_the_links() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("..2026_01_01_00_00_00.1");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("id"), openssh("none", "ssh-ed25519")).unwrap();
    symlink("..2026_01_01_00_00_00.1", dir.path().join("..data")).unwrap();
    symlink("..data/id", dir.path().join("id")).unwrap();
    let path = dir.path().join("id");

    fs::set_permissions(data.join("id"), Permissions::from_mode(0o440)).unwrap();
    PrivateKey::load(&path).unwrap();

    fs::set_permissions(data.join("id"), Permissions::from_mode(0o444)).unwrap();
    let error = PrivateKey::load(&path).unwrap_err().to_string();
    assert!(error.contains("..2026_01_01_00_00_00.1/id"), "{error}");
    assert!(error.contains("defaultMode: 0440"), "{error}");
}

#[test]
fn what_is_no_key_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(PrivateKey::load(dir.path()), Err(KeyError::NotAFile)));
    assert!(matches!(PrivateKey::load(&dir.path().join("none")), Err(KeyError::Unreadable(_))));
    let path = dir.path().join("id");
    for (content, expected) in [(vec![0xff; 10], "not text"), (vec![b'x'; 70_000], "too long")] {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let error = PrivateKey::load(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

proptest! {
    #[test]
    fn no_file_makes_the_parser_panic(bytes in any::<Vec<u8>>(), label in 0usize..3) {
        let label = ["OPENSSH PRIVATE KEY", "RSA PRIVATE KEY", "PRIVATE KEY"][label];
        let mut openssh = b"openssh-key-v1\0".to_vec();
        openssh.extend(&bytes);
        let _ = parse(&pem(label, &bytes));
        let _ = parse(&pem(label, &openssh));
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }
}
