//! Users, their groups and what the groups allow: `/user`, `/user/group`, and the check before
//! every command of a menu.
//!
//! Policies as in the RouterOS manual (User, groups): `read` to look, `write` to change, `test` for
//! `/system/resource` (published for 7.24.4: without it REST refuses that menu) and
//! `monitor-traffic`, `policy` beside `write` to change groups, `ssh` to log in. A login name that
//! nobody declared has every right, so that a rehearsal needs no set-up.

use std::collections::BTreeSet;

use super::catalog::{Menu, Verb};
use super::row::Row;
use super::store::Failure;
use super::value::Value;

/// Who is at the console when no session is named.
pub const ADMINISTRATOR: &str = "admin";

/// Every policy, in the order in which a group prints them.
const POLICIES: [&str; 17] = [
    "local",
    "telnet",
    "ssh",
    "ftp",
    "reboot",
    "read",
    "write",
    "policy",
    "test",
    "winbox",
    "password",
    "web",
    "sniff",
    "sensitive",
    "api",
    "romon",
    "rest-api",
];

/// What one login may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights(BTreeSet<&'static str>);

impl Rights {
    fn full() -> Self {
        Rights(POLICIES.into_iter().collect())
    }

    /// Exactly those policies of that name that there are.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let given: Vec<&str> = names.into_iter().map(str::trim).collect();
        Rights(POLICIES.into_iter().filter(|policy| given.contains(policy)).collect())
    }

    /// Whether the user gets in over SSH at all.
    pub fn may_log_in(&self) -> bool {
        self.0.contains("ssh")
    }

    /// Whether the other's are among them.
    pub fn cover(&self, other: &Rights) -> bool {
        other.0.is_subset(&self.0)
    }

    /// Whether the command may run.
    pub fn allow(&self, menu: Menu, verb: Verb) -> bool {
        let needed: &[&str] = match (menu, verb) {
            (Menu::SystemResource, _) | (_, Verb::MonitorTraffic) => &["read", "test"],
            (_, Verb::Find | Verb::Get | Verb::Print) => &["read"],
            (Menu::User | Menu::UserGroup, _) => &["write", "policy"],
            (_, Verb::Run) => &["read"],
            _ => &["write"],
        };
        needed.iter().all(|policy| self.0.contains(policy))
    }
}

#[derive(Debug, Clone)]
struct Group {
    name: String,
    rights: Rights,
}

#[derive(Debug, Clone)]
struct User {
    name: String,
    group: String,
}

/// Declared users and groups.
#[derive(Debug, Clone)]
pub struct Users {
    groups: Vec<Group>,
    users: Vec<User>,
}

impl Default for Users {
    /// The groups that every box has, and its administrator.
    fn default() -> Self {
        let group = |name: &str, rights| Group { name: name.to_owned(), rights };
        let read = "local,telnet,ssh,reboot,read,test,winbox,password,web,sniff,api,romon,rest-api";
        let write = format!("{read},write");
        Users {
            groups: vec![
                group("read", Rights::of(read.split(','))),
                group("write", Rights::of(write.split(','))),
                group("full", Rights::full()),
            ],
            users: vec![User { name: ADMINISTRATOR.to_owned(), group: "full".to_owned() }],
        }
    }
}

impl Users {
    /// What that login may do.
    pub fn rights(&self, user: &str) -> Rights {
        let group = self.users.iter().find(|known| known.name == user).map(|known| &known.group);
        let Some(group) = group else { return Rights::full() };
        let found = self.groups.iter().find(|known| known.name == *group);
        found.map_or(Rights(BTreeSet::new()), |group| group.rights.clone())
    }

    /// Declares a user of a group; with `policies` the group is made, or made anew.
    pub fn declare(&mut self, user: &str, group: &str, policies: Option<&str>) {
        if let Some(policies) = policies {
            let rights = Rights::of(policies.split(','));
            self.groups.retain(|known| known.name != group);
            self.groups.push(Group { name: group.to_owned(), rights });
        }
        self.users.retain(|known| known.name != user);
        self.users.push(User { name: user.to_owned(), group: group.to_owned() });
    }

    /// `/user`.
    pub fn rows(&self) -> Vec<Row> {
        let users = self.users.iter().map(|user| {
            vec![("name", Value::text(&user.name)), ("group", Value::text(&user.group))]
        });
        numbered(users)
    }

    /// `/user/group`. A policy that the group lacks is printed with an exclamation mark.
    pub fn group_rows(&self) -> Vec<Row> {
        let groups = self.groups.iter().map(|group| {
            let word = |policy: &&'static str| match group.rights.0.contains(policy) {
                true => Value::text(*policy),
                false => Value::Text(format!("!{policy}")),
            };
            let policies = POLICIES.iter().map(word).collect();
            vec![("name", Value::text(&group.name)), ("policy", Value::list(policies))]
        });
        numbered(groups)
    }

    /// `/user/group/set policy=`: exactly these.
    pub fn set_group(&mut self, id: u32, named: &[(String, Value)]) -> Result<(), Failure> {
        let at = usize::try_from(id).unwrap_or(usize::MAX).wrapping_sub(1);
        let group = self.groups.get_mut(at).ok_or_else(|| Failure::new("no such item"))?;
        let Some((_, policies)) = named.iter().find(|(name, _)| name == "policy") else {
            return Ok(());
        };
        let words = policies.to_string();
        let words: Vec<&str> = words.split([',', ';']).map(str::trim).collect();
        let unknown = |word: &&&str| !POLICIES.contains(&word.trim_start_matches('!'));
        if words.iter().any(|word| unknown(&word)) {
            return Err(Failure::new("input does not match any value of policy"));
        }
        group.rights = Rights::of(words);
        Ok(())
    }
}

fn numbered(items: impl Iterator<Item = Vec<(&'static str, Value)>>) -> Vec<Row> {
    (1..).zip(items).map(|(id, fields)| Row { id, flags: Vec::new(), fields }).collect()
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::routeros::{Quirks, RouterOs, Version};

    #[test]
    fn a_group_allows_what_its_policies_say() {
        let table = [
            ("read", Menu::Disk, Verb::Print, true),
            ("read", Menu::Disk, Verb::Set, false),
            ("read", Menu::SystemResource, Verb::Get, false),
            ("read,test", Menu::SystemResource, Verb::Get, true),
            ("read,write", Menu::Disk, Verb::Add, true),
            ("write", Menu::Disk, Verb::Find, false),
            ("read,write", Menu::UserGroup, Verb::Set, false),
            ("write,policy", Menu::UserGroup, Verb::Set, true),
        ];
        for (policies, menu, verb, allowed) in table {
            let rights = Rights::of(policies.split(','));
            assert_eq!(rights.allow(menu, verb), allowed, "{policies} {menu:?} {verb:?}");
        }
        assert!(!Rights::of(["read"]).may_log_in());
    }

    #[tokio::test]
    async fn a_user_without_write_is_told_so_and_changes_nothing() {
        let os = RouterOs::new(Version::V7_24_4, Quirks::default());
        os.declare_user("reader", "readers", Some("ssh,read,test"));
        let over = tokio_util::sync::CancellationToken::new();
        let session = os.session("reader", over).unwrap();
        let add = "/file/add name=storage-pool/x type=directory";
        let refused = session.exec(add).await.unwrap();
        assert_eq!(refused.text(), "not enough permissions (9)\r\n");
        let looked = session.exec(":put [:len [/file/find where name=\"storage-pool/x\"]]");
        assert_eq!(looked.await.unwrap().text(), "0\r\n");

        let set = "/user/group/set [/user/group/find where name=\"readers\"] policy=ssh,read,write";
        assert_eq!(os.exec(set).text(), "");
        assert_eq!(session.exec(add).await.unwrap().text(), "");
    }
}
