//! What the user's group allows. Pure: the rows of `/user` and `/user/group` -> one row.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::rds::question::{self, Answers};
use crate::rds::script::quote;

use super::row::Row;

const CHECK: &str = "policies";
/// All that the driver needs, and no more: `test` is what `/system/resource` wants.
const NEEDED: [&str; 4] = ["ssh", "read", "write", "test"];
/// Groups that every box has; others may be in them, so they are not to be changed.
const BUILT_IN: [&str; 3] = ["read", "write", "full"];

/// What to ask.
pub fn questions(user: &str) -> [(&'static str, String); 2] {
    let user = quote(user);
    let group = format!("[/user/get [/user/find where name={user}] group]");
    let users = format!("/user/print as-value proplist=name,group where name={user}");
    let groups = format!("/user/group/print as-value proplist=name,policy where name={group}");
    [("user", question::rows(&users)), ("group", question::rows(&groups))]
}

/// Judges the group of `user`.
pub fn policies(user: &str, answers: Result<&Answers, &String>) -> Row {
    let (group, has) = match read(answers) {
        Ok(found) => found,
        Err(why) => {
            let found = format!("the group of user {user} cannot be read: {why}");
            return Row::warning(CHECK, found).mend(format!(
                "/user/print detail where name={}; /user/group/print detail",
                quote(user)
            ));
        }
    };
    let needed = BTreeSet::from(NEEDED.map(str::to_owned));
    let list = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>().join(",");
    let lacks = list(needed.difference(&has).collect());
    let surplus = list(has.difference(&needed).collect());
    let whose = format!("group {group} of user {user}");
    if !lacks.is_empty() {
        return mend(user, &group, Row::fault(CHECK, format!("{whose} lacks {lacks}")));
    }
    if !surplus.is_empty() {
        let found = format!("{whose} allows more than the driver needs: {surplus}");
        return mend(user, &group, Row::warning(CHECK, found));
    }
    Row::ok(CHECK, format!("{whose} allows {}, and no more", NEEDED.join(",")))
}

fn mend(user: &str, group: &str, row: Row) -> Row {
    let needed = NEEDED.join(",");
    if !BUILT_IN.contains(&group) {
        let group = quote(group);
        return row.mend(format!(
            "/user/group/set [/user/group/find where name={group}] policy={needed}"
        ));
    }
    let own = "rds-csi";
    row.mend(format!("/user/group/add name={own} policy={needed}"))
        .mend(format!("/user/set [/user/find where name={}] group={own}", quote(user)))
}

/// The group's name and its policies.
fn read(answers: Result<&Answers, &String>) -> Result<(String, BTreeSet<String>), String> {
    let answers = answers.map_err(Clone::clone)?;
    let row = |name: &str| -> Result<Value, String> {
        let text = answers.get(name).ok_or("no answer")?.as_ref().map_err(Clone::clone)?;
        let rows: Vec<Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        rows.into_iter().next().ok_or_else(|| "there is no such row".to_owned())
    };
    let user = row("user")?;
    let group = user["group"].as_str().ok_or("the row of the user names no group")?.to_owned();
    let policies = match &row("group")?["policy"] {
        // As a list in some channels, as one text in others.
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::String(text) => text.split([',', ';']).map(|word| word.trim().to_owned()).collect(),
        other => return Err(format!("its policies are {other}")),
    };
    let granted: Vec<String> = policies;
    let granted = granted.into_iter().filter(|word| !word.is_empty() && !word.starts_with('!'));
    Ok((group, granted.collect()))
}

#[cfg(test)]
mod test {
    use super::super::row::State;
    use super::*;

    fn answers(group: &str, policies: &str) -> Answers {
        let user = format!(r#"[{{"name":"csi","group":"{group}"}}]"#);
        let group = format!(r#"[{{"name":"{group}","policy":{policies}}}]"#);
        Answers::from([("user".into(), Ok(user)), ("group".into(), Ok(group))])
    }

    #[test]
    fn the_group_must_allow_exactly_what_the_driver_needs() {
        use State::*;
        let table = [
            ("own", r#"["ssh","read","write","test","!ftp"]"#, Ok, "and no more", ""),
            ("own", r#""ssh,read,write,test,!policy""#, Ok, "and no more", ""),
            (
                "own",
                r#""ssh;read;test""#,
                Fault,
                "lacks write",
                "/user/group/set [/user/group/find where name=\"own\"] policy=ssh,read,write,test",
            ),
            (
                "read",
                r#"["ssh","read","!write","!test"]"#,
                Fault,
                "lacks test,write",
                "/user/group/add name=rds-csi policy=ssh,read,write,test",
            ),
            (
                "full",
                r#"["ssh","read","write","test","ftp"]"#,
                Warning,
                "more than the driver needs: ftp",
                "/user/set [/user/find where name=\"csi\"] group=rds-csi",
            ),
            ("own", "7", Warning, "cannot be read", "/user/group/print detail"),
        ];
        for (group, list, state, found, repair) in table {
            let answers = answers(group, list);
            let row = policies("csi", Result::Ok(&answers));
            assert_eq!(row.state, state, "{row:?}");
            assert!(row.found.contains(found), "{row:?}");
            assert!(row.repairs.join("\n").contains(repair), "{row:?}");
            assert_eq!(row.repairs.is_empty(), state == Ok, "{row:?}");
        }
    }

    #[test]
    fn a_user_that_the_box_does_not_show_is_a_doubt_and_no_fault() {
        let nobody = Answers::from([("user".into(), Ok("[]".into()))]);
        let refused = Answers::from([("user".into(), Err("not enough permissions (9)".into()))]);
        for answers in [Result::Ok(&nobody), Result::Ok(&refused), Err(&"exit 1".to_owned())] {
            let row = policies("csi", answers);
            assert_eq!(row.state, State::Warning, "{row:?}");
        }
    }
}
