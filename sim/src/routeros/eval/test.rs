use crate::routeros::{Quirks, RouterOs, Setup, Version};

fn fresh() -> RouterOs {
    let os = RouterOs::with(Setup {
        quirks: Quirks { crlf: false, ..Quirks::default() },
        ..Setup::default()
    });
    assert_eq!(run(&os, "/file/add name=storage-pool/csi type=directory"), "");
    os
}

fn run(os: &RouterOs, line: &str) -> String {
    os.exec(line).text()
}

const CREATE: &str = r#"/disk/add type=file slot="v" file-path="storage-pool/csi/v.img" file-size=1073741824 mount-filesystem=no nvme-tcp-export=no comment="rds1 a""#;

#[test]
fn expressions_have_the_values_of_the_manual() {
    let os = fresh();
    for (line, want) in [
        (":put (1 + 2 * 3)", "7"),
        (":put ((1 + 2) * 3)", "9"),
        (":put (10 - 2 - 3)", "5"),
        (r#":put ("a" . 1 . "b")"#, "a1b"),
        (":put (7 % 4 = 3 and !(1 > 2))", "true"),
        (r#":put ("abc" ~ "^a.c\$")"#, "true"),
        (r#":local m {a=1; b="x"}; :put ($m->"b"); :put [:len $m]"#, "x\n2"),
        (r#":local m {{a="x"};{a="y"}}; :foreach r in=$m do={ :put ($r->"a") }"#, "x\ny"),
        (r#":foreach k,v in={a=1; b=2} do={ :put "$k=$v" }"#, "a=1\nb=2"),
        (":for i from=3 to=1 do={ :put $i }", "3\n2\n1"),
        (":local i 0; :while ($i < 2) do={ :set i ($i + 1) }; :put $i", "2"),
        (r#":put "a\_b\"c\24 \41""#, "a b\"c$ A"),
        (":put [:typeof [:toarray \"\"]]", "array"),
        (":put [:pick \"abcdef\" 1 3]", "bc"),
        (":put (1,2,3)", "1;2;3"),
        (r#":local m {a=1}; :set ($m->"b") 2; :put $m"#, "a=1;b=2"),
        (":put [:serialize to=json value={}]", "[]"),
        (":put [:tostr 1d2h]", "1d02:00:00"),
        (":put (9223372036854775807 + 1)", "failure: number out of range"),
        (":put (1 / 0)", "division by zero"),
        (":put [:nothing]", ""),
    ] {
        assert_eq!(run(&os, line), format!("{want}\n"), "{line}");
    }
}

#[test]
fn a_syntax_error_runs_nothing_and_a_runtime_error_keeps_what_came_before() {
    let os = fresh();
    let refused = run(&os, &format!("{CREATE}; :put \"\\x\""));
    assert!(refused.starts_with("syntax error"), "{refused}");
    assert_eq!(run(&os, "/disk/print count-only where slot=v"), "0\n");
    assert_eq!(run(&os, &format!("{CREATE}; /disk/remove nosuch; :put end")), "no such item\n");
    assert_eq!(run(&os, "/disk/print count-only where slot=v"), "1\n");
}

#[test]
fn errors_are_caught_where_the_line_says_so() {
    let os = fresh();
    let line = r#":onerror e in={ :put a; :error "b"; :put c } do={ :put "caught $e" }; :put end"#;
    assert_eq!(run(&os, line), "a\ncaught b\nend\n");
    assert_eq!(run(&os, ":do { :error x } on-error={ :put y }; :put z"), "y\nz\n");
    assert_eq!(run(&os, ":do { :error x }; :put z"), "x\n");
}

#[test]
fn the_driver_s_life_of_a_volume_runs() {
    let os = fresh();
    let guarded = format!(
        r#":onerror e in={{ :if ([:len [/disk/find where slot="v"]]=0) do={{ {CREATE} }} }} do={{ :put ("error " . $e) }}; :put end"#
    );
    assert_eq!(run(&os, &guarded), "end\n");
    assert_eq!(run(&os, &guarded), "end\n", "a second time changes nothing");
    let swap = r#":local csiItem [/disk/find where slot="v" and comment="rds1 a"]; :if ([:len $csiItem]=1) do={ /disk/set $csiItem nvme-tcp-export=no; /disk/set $csiItem comment="rds1 b" nvme-tcp-server-nqn="nqn.x:v.g1" nvme-tcp-server-port=4420 nvme-tcp-server-allow-host-name="nqn.h" nvme-tcp-export=yes }"#;
    assert_eq!(run(&os, swap), "");
    let read = r#":put [:serialize to=json options=json.no-string-conversion value=[/disk/print detail as-value proplist="slot,file-path,file-size,size,comment,nvme-tcp-export,nvme-tcp-server-port,nvme-tcp-server-nqn,nvme-tcp-server-allow-host-name" where type=file]]"#;
    assert_eq!(
        run(&os, read),
        "[{\"comment\":\"rds1 b\",\"file-path\":\"/storage-pool/csi/v.img\",\
         \"file-size\":1073741824,\"nvme-tcp-export\":true,\
         \"nvme-tcp-server-allow-host-name\":\"nqn.h\",\"nvme-tcp-server-nqn\":\"nqn.x:v.g1\",\
         \"nvme-tcp-server-port\":4420,\"size\":1073741824,\"slot\":\"v\"}]\n"
    );
    assert_eq!(
        run(&os, "/disk/set v file-size=2147483648; :put [/disk/get v size]"),
        "2147483648\n"
    );
    assert_eq!(run(&os, "/disk/set v file-size=1"), "failure: cannot make file smaller\n");
    let delete = r#"/disk/set v nvme-tcp-export=no; /disk/remove [find slot="v"]; :put [:len [/file/find where name="storage-pool/csi/v.img"]]; /file/remove [/file/find where name="storage-pool/csi/v.img"]; :put [:len [/file/find where name="storage-pool/csi/v.img"]]"#;
    assert_eq!(run(&os, delete), "1\n0\n", "remove leaves the file");
}

#[test]
fn what_the_manual_warns_of_happens() {
    let os = fresh();
    let shadow = ":local slot nvme1; :put [:len [/disk/find where slot=$slot]]";
    assert_eq!(run(&os, shadow), "21\n", "a variable named like a property finds every row");
    assert_eq!(
        run(&os, ":local csiSlot nvme1; :put [:len [/disk/find where slot=$csiSlot]]"),
        "1\n"
    );
    assert_eq!(run(&os, ":put [/disk/print count-only]"), "21\n21\n", "count-only shows twice");
    assert_eq!(run(&os, "/disk/get nvme1 size"), "", "get alone shows nothing");
    assert_eq!(run(&os, "/disk/remove [find slot=nosuch]"), "", "nothing found is success");
    assert_eq!(
        run(&os, ":put [/disk/add type=file slot=a file-path=storage-pool/a.img file-size=1M]"),
        "*19\n"
    );
}

#[test]
fn ids_are_never_used_twice() {
    let os = fresh();
    let add = ":put [/disk/add type=file slot=a file-path=storage-pool/a.img file-size=1M]";
    let first = run(&os, add);
    run(&os, "/disk/remove a; /file/remove storage-pool/a.img");
    assert_ne!(run(&os, add), first);
}

#[test]
fn below_7_21_the_nqn_is_the_slot() {
    let os = RouterOs::new(Version::V7_20_8, Quirks::default());
    os.exec(
        "/disk/add type=file slot=a file-path=storage-pool/a.img file-size=1M nvme-tcp-export=yes",
    );
    assert!(os.connect_host("h", "a", 4420).is_ok());
    let json =
        run(&os, ":put [:serialize to=json value=[/disk/print detail as-value where slot=a]]");
    assert!(!json.contains("nqn"), "{json}");
    assert!(run(&os, "/disk/set a nvme-tcp-server-nqn=x").starts_with("bad parameter"));
}

#[test]
fn long_chains_and_deep_nests_do_not_exhaust_the_stack() {
    let os = fresh();
    assert_eq!(run(&os, &format!(":put ({}1)", "1+".repeat(20_000))), "20001\n");
    let keys = format!(":local a {{1}}; :put ($a{})", "->0".repeat(15_000));
    assert_eq!(run(&os, &keys), "\n");
    let flags = format!("/disk/print count-only where {}", "block-device ".repeat(4_000));
    assert_eq!(run(&os, &flags), "5\n");
    for depth in 1..60 {
        let open = "(1 or 1 and 1 = 1 . 1 + 1 * ".repeat(depth);
        let line = format!(":put {open}1{}", ")".repeat(depth));
        let answer = run(&os, &line);
        assert!(!answer.is_empty(), "{line}");
        let blocks = format!("{}:put 1{}", ":if (true) do={".repeat(depth), "}".repeat(depth));
        let answer = run(&os, &blocks);
        assert!(answer == "1\n" || answer.starts_with("syntax error"), "{answer}");
    }
}

#[test]
fn nothing_runs_for_ever() {
    let os = fresh();
    for line in [
        ":while (true) do={}",
        ":for i from=1 to=99999999 do={ :nothing }",
        ":local a {1}; :while (true) do={ :set a {$a} }",
        ":local a {1}; :while (true) do={ :set a {$a;$a} }",
        ":local a (1,2); :while (true) do={ :set a ($a,$a) }",
        ":local a \"x\"; :while (true) do={ :set a ($a . $a) }",
        ":while (true) do={ :put \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" }",
    ] {
        assert!(run(&os, line).contains("failure:"), "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn no_line_makes_the_box_panic(
        tokens in proptest::collection::vec(proptest::sample::select(vec![
            "/disk/", "/file/", "print ", "detail ", "terse ", "as-value ", "proplist=\".id,slot\" ",
            "where ", "find ", "[find slot=nvme1] ", "[", "]", "(", ")", "{", "}", ";", ":put ", "$x",
            ":local x ", ":set x ", ":if (true) do={", ":foreach x in=", ":onerror e in={", "do={",
            "add type=file slot=a file-path=storage-pool/a file-size=", "set ", "remove ", "get ",
            "nvme1 ", "size ", "comment=", "\"ä\" ", "1 ", "-9223372036854775808 ", "9223372036854775807",
            "1T ", "*1 ", " . ", " + ", " / ", "->", "~", "\"(\"", "=", "yes ", "nvme-tcp-export=yes ",
            ":pick \"äb\" 1 2", ":len ", ":tostr ", ":find \"ä\" \"b\" 0", ":serialize to=json value=",
            "monitor-traffic nvme1 once ", "unset ", "disable ", "copy-from=nvme1 ", ":totime ",
            "99999999999999999w ", "99999:99999:99999 ",
        ]), 1..24)
    ) {
        let os = fresh();
        os.change_quirks(|quirks| quirks.wrap_width = 7);
        let _ = os.exec(&tokens.concat());
        let _ = os.exec("/disk print detail; /disk print; /disk print terse; /file print detail");
    }
}

#[test]
fn a_batch_isolates_each_of_its_rows() {
    let os = fresh();
    let line = r#":foreach csiRow in={ {t="A";s="nvme1"}; {t="B";s="nosuch"}; {t="C";s="nvme2"} } do={ :onerror csiErr in={ /disk/set ($csiRow->"s") comment=($csiRow->"t") } do={ :put (($csiRow->"t") . " error " . $csiErr) }; :put (($csiRow->"t") . " items " . [:serialize to=json options=json.no-string-conversion value=[/disk/print detail as-value proplist="slot,comment" where slot=($csiRow->"s")]]); :put (($csiRow->"t") . " end") }"#;
    assert_eq!(
        run(&os, line),
        "A items [{\"comment\":\"A\",\"slot\":\"nvme1\"}]\nA end\nB error no such item\nB items []\n\
         B end\nC items [{\"comment\":\"C\",\"slot\":\"nvme2\"}]\nC end\n"
    );
}
