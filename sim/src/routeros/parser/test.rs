use super::*;
use proptest::prelude::*;

const NOW: Dialect = Dialect { version: Version::V7_24_4, terse_errors: false };

fn refusal(line: &str) -> String {
    match parse(line, NOW) {
        Ok(block) => panic!("{line} parsed: {block:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_way_to_write_a_path_is_the_same_command() {
    let want = parse("/disk/print detail", NOW).expect("parses");
    for line in
        ["/disk print detail", "disk print detail", "disk/print detail", " /disk/print  detail ;"]
    {
        assert_eq!(parse(line, NOW).as_ref(), Ok(&want), "{line}");
    }
    assert!(parse("/ip/service print; /ip service/print; /disk; print", NOW).is_ok());
}

#[test]
fn the_lines_of_a_driver_parse() {
    for line in [
        r#":put ("T system " . [:serialize to=json options=json.no-string-conversion value={version=[/system/resource/get version]; uptime=[:tostr [/system/resource get uptime]]}]); :put "T end""#,
        r#":onerror csiErr in={ /disk/print } do={ :put ("T error " . $csiErr) }; :put ("T items " . [:serialize to=json options=json.no-string-conversion value=[/disk/print detail as-value where slot="vol-1"]]); :put "T end""#,
        r#":if ([:len [/disk/find where slot="v"]]=0) do={ :if ([:len [/file/find where name="pool/dir/v.img"]]>0) do={ :error "image exists" }; /disk/add type=file slot="v" file-path="pool/dir/v.img" file-size=1073741824 mount-filesystem=no nvme-tcp-export=no comment="rds1 x" }"#,
        r#":local csiItem [/disk/find where slot="v" and comment="old"]; :if ([:len $csiItem]=1) do={ /disk/set $csiItem nvme-tcp-export=no; /disk/set $csiItem comment="new" nvme-tcp-server-nqn="nqn" nvme-tcp-server-port=4420 nvme-tcp-server-allow-host-name="h" nvme-tcp-export=yes }"#,
        r#":foreach csiRow in={ {a="x";b="y"}; {a="z";b="w"} } do={ :onerror e in={ :put ($csiRow->"a") } do={ :put $e } }"#,
        "/disk/print count-only where raid-member-failed",
        r#"/disk/print where !(slot="a" or slot="b") nvme-tcp-export size>10"#,
        ":do { /disk/remove [find slot=x] } on-error={ :put no }",
        ":for i from=1 to=3 step=1 do={ :put ($i * 2 + 1) }",
        ":local i 0; :while ($i < 3) do={ :set i ($i + 1) }",
    ] {
        assert_eq!(parse(line, NOW).err(), None, "{line}");
    }
}

#[test]
fn errors_read_as_routeros_writes_them() {
    for (line, text) in [
        ("/disk/frobnicate", "bad command name frobnicate (line 1 column 7)"),
        ("foo", "bad command name foo (line 1 column 1)"),
        ("/disk/add status=ready", "bad parameter status (line 1 column 11)"),
        (":put \"\\x\"", "syntax error (line 1 column 8)"),
        (":local _i 1", "syntax error (line 1 column 8)"),
        (":put \"a", "expected closing quote (line 1 column 8)"),
        (":put", "expected input value (line 1 column 5)"),
        ("/disk/print x y", "expected end of command (line 1 column 15)"),
        (":put a\n:put b", "expected end of command (line 1 column 7)"),
        ("/disk/print }", "syntax error (line 1 column 13)"),
    ] {
        assert_eq!(refusal(line), text, "{line:?}");
    }
}

#[test]
fn an_argument_of_a_later_version_is_unknown() {
    let old = Dialect { version: Version::V7_20_8, terse_errors: false };
    let line = r#"/disk/set v nvme-tcp-server-nqn="x""#;
    assert_eq!(
        parse(line, old).map_err(|e| e.text),
        Err("bad parameter nvme-tcp-server-nqn".to_owned())
    );
    assert!(parse(line, NOW).is_ok());
    let terse = Dialect { terse_errors: true, ..old };
    assert_eq!(parse(line, terse).map_err(|e| e.text), Err("expected end of command".to_owned()));
}

#[test]
fn nesting_has_a_bound() {
    for (open, close) in [("(", ")"), ("[", "]"), ("{", "}"), ("(!", ")")] {
        let line = format!(":put {}1{}", open.repeat(5_000), close.repeat(5_000));
        assert!(parse(&line, NOW).is_err());
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(line in any::<String>()) {
        let _ = parse(&line, NOW);
    }

    #[test]
    fn no_soup_of_tokens_makes_the_parser_panic(
        tokens in proptest::collection::vec(proptest::sample::select(vec![
            "/", "/disk", "print", " ", ";", "{", "}", "[", "]", "(", ")", "\"", "$", "$x", ":put",
            ":if", "do=", "else=", ":onerror", "e", "in=", ":foreach", "where", "find", "slot",
            "=", "~", "and", "or", "!", "->", ".", "1", "\\", "\\n", "add", "set", "as-value",
            ":local", ":set", ",", "-", "*1F", "10G", "#",
        ]), 0..40)
    ) {
        let _ = parse(&tokens.concat(), NOW);
    }
}
