//! Each row of the way in, by what was seen.

use std::collections::BTreeMap;

use super::super::row::State;
use super::*;
use crate::config::{Config, Sources};

fn config() -> BackendConfig {
    let pin = format!("SHA256:{}", "A".repeat(43));
    let text = format!(
        "[backends.main]\naddress = \"10.0.0.1\"\nuser = \"csi\"\nkey_path = \"/k\"\n\
         host_key = [\"{pin}\"]\nvolume_paths = [\"pool/volumes\"]\n"
    );
    let sources = Sources { file: None, environment: BTreeMap::new() };
    Config::parse(&sources, Some(&text)).unwrap().backends.into_values().next().unwrap()
}

fn survey(
    serves: Serves,
    first_lacks: &str,
    second_lacks: &str,
) -> Came<Result<Survey, ConnectError>> {
    let none = Vec::new;
    Came::Ended(Ok(Survey {
        banner: "SSH-2.0-ROSSSH".into(),
        kex: none(),
        host_key: none(),
        ciphers: none(),
        macs: none(),
        summary: "the box offers this".into(),
        serves,
        first_lacks: first_lacks.into(),
        second_lacks: second_lacks.into(),
        helps: vec!["`/ip/ssh set strong-crypto=yes`"],
    }))
}

#[test]
fn a_key_file_that_others_can_read_is_mended_with_chmod() {
    let row = key_file("/k", Err("mode 0644 of /k lets others read it; …".into()));
    assert_eq!((row.state, row.repairs), (State::Fault, vec!["chmod o-rwx /k".to_owned()]));
    let row = key_file("/k", Err("holds no private key: …".into()));
    assert!(row.repairs[0].starts_with("ssh-keygen"), "{row:?}");
    assert_eq!(key_file("/k", Ok("Ed25519 key".into())).state, State::Ok);
}

#[test]
fn a_box_that_cannot_be_reached_or_is_silent_is_a_fault() {
    let refused = ConnectError::Unreachable { address: "a:22".into(), reason: "refused".into() };
    for came in [Came::Ended(Err(refused)), Came::Late(Duration::from_secs(10))] {
        let row = address("a:22", &came);
        assert_eq!(row.state, State::Fault, "{row:?}");
        assert_eq!(row.repairs[0], "/ip/service/enable ssh");
    }
    assert_eq!(address("a:22", &Came::Ended(Ok(()))).state, State::Ok);
    let row = algorithms(&Came::Late(Duration::from_secs(10)), SecondSession::Auto);
    assert!(row.state == State::Fault && row.found.contains("within 10 s"), "{row:?}");
}

#[test]
fn algorithms_are_judged_by_who_may_use_them() {
    use SecondSession::{Auto, Forbid, Force};
    use State::{Fault, Ok as Good, Warning};
    let table = [
        (Serves::First, "", "", Auto, Good, ""),
        (Serves::First, "", "", Force, Good, ""),
        (Serves::First, "", "MAC x", Force, Fault, "second_session"),
        (Serves::Second, "MAC x", "", Auto, Warning, "/ip/ssh set strong-crypto=yes"),
        (Serves::Second, "MAC x", "", Forbid, Fault, "second_session = \"auto\""),
        (Serves::Second, "MAC x", "", Forbid, Fault, "/ip/ssh set strong-crypto=yes"),
        (Serves::Neither, "MAC x", "MAC y", Auto, Fault, "/ip/ssh set strong-crypto=yes"),
    ];
    for (serves, first, second, allowed, state, repair) in table {
        let row = algorithms(&survey(serves, first, second), allowed);
        assert_eq!(row.state, state, "{row:?}");
        assert!(row.repairs.join("\n").contains(repair), "{row:?}");
    }
}

#[test]
fn a_login_that_fails_names_what_mends_it() {
    let config = config();
    let address = || "a:22".to_owned();
    let wrong = ConnectError::HostKey {
        address: address(),
        offered: "SHA256:new".into(),
        pinned: "SHA256:old".into(),
    };
    let rows = login(&config, &Came::Ended(Err(wrong)));
    assert_eq!((rows[0].check, rows[0].state), ("host key", State::Fault));
    assert!(rows[0].repairs[0].starts_with("host_key = [\"SHA256:new\"]"), "{rows:?}");
    assert_eq!(rows[1].state, State::NotChecked);

    let refused = ConnectError::Refused { address: address(), user: "csi".into() };
    let rows = login(&config, &Came::Ended(Err(refused)));
    assert_eq!((rows[0].state, rows[1].state), (State::Ok, State::Fault));
    assert!(rows[1].repairs[0].starts_with("/user/ssh-keys/import user=csi"), "{rows:?}");

    let hung_up = ConnectError::Handshake { address: address(), reason: "closed".into() };
    for came in [Came::Ended(Err(hung_up)), Came::Late(Duration::from_secs(1))] {
        let rows = login(&config, &came);
        assert_eq!((rows.len(), rows[0].check, rows[0].state), (1, "login", State::Fault));
    }
    let rows = login(&config, &Came::Ended(Ok(())));
    assert!(rows.len() == 2 && rows.iter().all(|row| row.state == State::Ok), "{rows:?}");
}
