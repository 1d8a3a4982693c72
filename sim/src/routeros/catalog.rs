//! Which menus, commands and arguments exist, by version: what the parser accepts.
//!
//! Source: the command trees extracted per release (7.9 to 7.24). Menus that a storage driver and
//! the person rehearsing with it do not touch are absent here, and unknown like on a small box.

use super::property::{self, Kind};
use super::version::Version;

/// A place in the menu tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Menu {
    Root,
    Disk,
    File,
    System,
    SystemResource,
    SystemIdentity,
    SystemClock,
    SystemPackage,
    SystemScript,
    SystemScheduler,
    Ip,
    IpService,
    IpSsh,
    User,
    UserGroup,
}

/// A command of a menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Add,
    Set,
    Unset,
    Remove,
    Enable,
    Disable,
    Find,
    Get,
    Print,
    MonitorTraffic,
    Run,
}

/// A command of the language that takes values and returns one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    Put,
    Log,
    Len,
    TypeOf,
    ToStr,
    ToNum,
    ToBool,
    ToId,
    ToTime,
    ToArray,
    Pick,
    Find,
    Error,
    Return,
    Delay,
    Nothing,
    Serialize,
    Deserialize,
    Break,
    Continue,
    Exit,
}

impl Menu {
    /// The menu below this one with that name.
    pub fn child(self, word: &str) -> Option<Menu> {
        Some(match (self, word) {
            (Menu::Root, "disk") => Menu::Disk,
            (Menu::Root, "file") => Menu::File,
            (Menu::Root, "system") => Menu::System,
            (Menu::Root, "ip") => Menu::Ip,
            (Menu::Root, "user") => Menu::User,
            (Menu::System, "resource") => Menu::SystemResource,
            (Menu::System, "identity") => Menu::SystemIdentity,
            (Menu::System, "clock") => Menu::SystemClock,
            (Menu::System, "package") => Menu::SystemPackage,
            (Menu::System, "script") => Menu::SystemScript,
            (Menu::System, "scheduler") => Menu::SystemScheduler,
            (Menu::User, "group") => Menu::UserGroup,
            (Menu::Ip, "service") => Menu::IpService,
            (Menu::Ip, "ssh") => Menu::IpSsh,
            _ => return None,
        })
    }

    /// Menus with one fixed set of settings instead of a list of items.
    pub fn is_single(self) -> bool {
        matches!(
            self,
            Menu::SystemResource | Menu::SystemIdentity | Menu::SystemClock | Menu::IpSsh
        )
    }

    /// The command of that name in this menu.
    pub fn verb(self, word: &str) -> Option<Verb> {
        let verb = match word {
            "add" => Verb::Add,
            "set" => Verb::Set,
            "unset" => Verb::Unset,
            "remove" => Verb::Remove,
            "enable" => Verb::Enable,
            "disable" => Verb::Disable,
            "find" => Verb::Find,
            "get" => Verb::Get,
            "print" => Verb::Print,
            "monitor-traffic" => Verb::MonitorTraffic,
            "run" => Verb::Run,
            _ => return None,
        };
        self.has(verb).then_some(verb)
    }

    fn has(self, verb: Verb) -> bool {
        match self {
            Menu::Root | Menu::System | Menu::Ip => false,
            Menu::Disk => verb != Verb::Run,
            Menu::SystemScript => {
                !matches!(verb, Verb::Unset | Verb::Enable | Verb::Disable | Verb::MonitorTraffic)
            }
            Menu::SystemScheduler => {
                !matches!(verb, Verb::Unset | Verb::MonitorTraffic | Verb::Run)
            }
            Menu::File => {
                matches!(verb, Verb::Add | Verb::Remove | Verb::Find | Verb::Get | Verb::Print)
            }
            Menu::SystemIdentity | Menu::IpSsh => {
                matches!(verb, Verb::Set | Verb::Get | Verb::Print)
            }
            Menu::SystemResource | Menu::SystemClock => matches!(verb, Verb::Get | Verb::Print),
            Menu::IpService | Menu::User | Menu::SystemPackage => {
                matches!(verb, Verb::Find | Verb::Get | Verb::Print)
            }
            Menu::UserGroup => matches!(verb, Verb::Set | Verb::Find | Verb::Get | Verb::Print),
        }
    }
}

impl Verb {
    /// How many values without a name the command takes in that menu.
    pub fn positional(self, menu: Menu) -> usize {
        match self {
            Verb::Add | Verb::Find => 0,
            Verb::Get if menu.is_single() => 1,
            Verb::Set | Verb::Print if menu.is_single() => 0,
            Verb::Get | Verb::Unset => 2,
            _ => 1,
        }
    }

    /// Whether a bare word is a switch of the command.
    pub fn has_flag(self, word: &str, version: Version) -> bool {
        match self {
            Verb::Print => {
                matches!(
                    word,
                    "brief"
                        | "detail"
                        | "terse"
                        | "count-only"
                        | "as-value"
                        | "without-paging"
                        | "value-list"
                ) || (word == "show-sensitive" && version.at_least(7, 21))
            }
            Verb::MonitorTraffic => matches!(word, "once" | "as-value" | "without-paging"),
            Verb::Get => word == "as-value",
            _ => false,
        }
    }

    /// Whether the command takes `name=…` in that menu on that version.
    pub fn has_argument(self, menu: Menu, name: &str, version: Version) -> bool {
        match self {
            Verb::Add => name == "copy-from" && menu == Menu::Disk || settable(menu, name, version),
            Verb::Set => name == "numbers" && !menu.is_single() || settable(menu, name, version),
            Verb::Unset => matches!(name, "numbers" | "value-name"),
            Verb::Remove | Verb::Enable | Verb::Disable => name == "numbers",
            Verb::Find => false,
            Verb::Get => matches!(name, "number" | "value-name"),
            Verb::Run => name == "number",
            Verb::Print => {
                matches!(name, "proplist" | "from")
                    || (name == "path" && menu == Menu::File && version.at_least(7, 18))
            }
            Verb::MonitorTraffic => {
                matches!(name, "numbers" | "interval" | "duration")
                    || (name == "proplist" && version.at_least(7, 19))
            }
        }
    }
}

/// Whether `add` and `set` of that menu take the property on that version.
fn settable(menu: Menu, name: &str, version: Version) -> bool {
    match menu {
        Menu::Disk => property::disk(name)
            .is_some_and(|p| p.kind != Kind::ReadOnly && version.at_least(7, p.since)),
        Menu::File => matches!(name, "name" | "type" | "contents"),
        Menu::SystemIdentity => name == "name",
        Menu::UserGroup => name == "policy",
        Menu::SystemScript => matches!(name, "name" | "source" | "policy" | "comment"),
        Menu::SystemScheduler => matches!(
            name,
            "name"
                | "on-event"
                | "start-time"
                | "start-date"
                | "interval"
                | "policy"
                | "comment"
                | "disabled"
        ),
        Menu::IpSsh => matches!(name, "strong-crypto" | "host-key-type"),
        _ => false,
    }
}

impl Builtin {
    /// The command behind `:word`, on that version.
    pub fn find(word: &str, version: Version) -> Option<Builtin> {
        Some(match word {
            "put" => Builtin::Put,
            "log" => Builtin::Log,
            "len" => Builtin::Len,
            "typeof" => Builtin::TypeOf,
            "tostr" => Builtin::ToStr,
            "tonum" => Builtin::ToNum,
            "tobool" => Builtin::ToBool,
            "toid" => Builtin::ToId,
            "totime" => Builtin::ToTime,
            "toarray" => Builtin::ToArray,
            "pick" => Builtin::Pick,
            "find" => Builtin::Find,
            "error" => Builtin::Error,
            "return" => Builtin::Return,
            "delay" => Builtin::Delay,
            "nothing" => Builtin::Nothing,
            "serialize" => Builtin::Serialize,
            "deserialize" => Builtin::Deserialize,
            "break" if version.at_least(7, 22) => Builtin::Break,
            "continue" if version.at_least(7, 22) => Builtin::Continue,
            "exit" if version.at_least(7, 22) => Builtin::Exit,
            _ => return None,
        })
    }

    /// The least and the most values without a name.
    pub fn positional(self) -> (usize, usize) {
        match self {
            Builtin::Nothing
            | Builtin::Serialize
            | Builtin::Deserialize
            | Builtin::Break
            | Builtin::Continue
            | Builtin::Exit => (0, 0),
            Builtin::Return | Builtin::Error => (0, 1),
            Builtin::Log => (2, 2),
            Builtin::Pick | Builtin::Find => (2, 3),
            _ => (1, 1),
        }
    }

    /// Whether the command takes `name=…`.
    pub fn has_argument(self, name: &str, version: Version) -> bool {
        match self {
            Builtin::Serialize => {
                matches!(name, "value" | "to" | "options" | "delimiter" | "order")
                    || (name == "file-name" && version.at_least(7, 18))
            }
            Builtin::Deserialize => matches!(name, "value" | "from" | "options" | "delimiter"),
            Builtin::Put | Builtin::Error => name == "message",
            Builtin::Delay => name == "delay-time",
            _ => false,
        }
    }
}

/// Words that start a command with a grammar of its own.
pub const CONTROL_WORDS: [&str; 9] =
    ["local", "global", "set", "if", "foreach", "for", "while", "do", "onerror"];

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_nqn_argument_exists_from_7_21() {
        let known = |v| Verb::Set.has_argument(Menu::Disk, "nvme-tcp-server-nqn", v);
        assert!(!known(Version::V7_20_8));
        assert!(known(Version::V7_21_5));
        assert!(known(Version::V7_24_4));
    }

    #[test]
    fn read_only_properties_are_no_arguments() {
        for name in ["size", "free", "write-ops", "nvme-tcp-server-allow-host-nqn", "status"] {
            assert!(!Verb::Set.has_argument(Menu::Disk, name, Version::V7_24_4), "{name}");
        }
        assert!(Verb::Add.has_argument(Menu::Disk, "file-path", Version::V7_20_8));
    }
}
