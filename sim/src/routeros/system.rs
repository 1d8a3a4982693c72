//! Menus with little in them: `/system/…`, `/ip/service`, `/ip/ssh`.

use super::catalog::Menu;
use super::file::date_text;
use super::machine::RouterOs;
use super::row::Row;
use super::store::{Context, Store};
use super::value::Value;

/// The rows of such a menu; one row where the menu is a set of settings.
pub fn rows(store: &Store, menu: Menu, context: Context<'_>, uptime: i64) -> Vec<Row> {
    let row = |fields| vec![Row { id: 1, flags: Vec::new(), fields }];
    let text = |text: &str| Value::text(text);
    match menu {
        Menu::SystemResource => row(resource(context, uptime)),
        Menu::SystemIdentity => row(vec![("name", text(&store.identity))]),
        Menu::SystemClock => {
            let date = date_text(context.now);
            let (day, time) = date.split_once(' ').unwrap_or_default();
            row(vec![("time", text(time)), ("date", text(day)), ("time-zone-name", text("UTC"))])
        }
        Menu::IpSsh => row(vec![
            ("ciphers", text("auto")),
            ("strong-crypto", Value::Bool(false)),
            ("host-key-type", text("rsa")),
            ("host-key-size", Value::Number(2048)),
            ("password-authentication", text("yes-if-no-key")),
        ]),
        Menu::IpService => services(context),
        Menu::SystemPackage => packages(context),
        Menu::User => store.users.rows(),
        Menu::UserGroup => store.users.group_rows(),
        Menu::SystemScript | Menu::SystemScheduler => store.automation.rows(menu),
        Menu::Root | Menu::System | Menu::Ip | Menu::Disk | Menu::File => Vec::new(),
    }
}

fn resource(context: Context<'_>, uptime: i64) -> Vec<(&'static str, Value)> {
    let text = |text: &str| Value::text(text);
    vec![
        ("uptime", Value::Time(uptime)),
        ("version", Value::Text(context.version.resource_text())),
        ("free-memory", Value::Number(32_212_254_720)),
        ("total-memory", Value::Number(34_359_738_368)),
        ("cpu", text("ARM64")),
        ("cpu-count", Value::Number(16)),
        ("cpu-frequency", Value::Number(2000)),
        ("cpu-load", Value::Number(2)),
        ("free-hdd-space", Value::Number(104_857_600)),
        ("total-hdd-space", Value::Number(134_217_728)),
        ("architecture-name", text("arm64")),
        ("board-name", text("RDS2216-2XG-4S+4XS-2XQ")),
        ("platform", text("MikroTik")),
    ]
}

/// What a ROSE Data Server is shipped with.
fn packages(context: Context<'_>) -> Vec<Row> {
    let row = |(id, name): (u32, &str)| Row {
        id,
        flags: Vec::new(),
        fields: vec![
            ("name", Value::text(name)),
            ("version", Value::Text(context.version.to_string())),
            ("disabled", Value::Bool(false)),
        ],
    };
    (1..).zip(["routeros", "rose-storage"]).map(row).collect()
}

fn services(context: Context<'_>) -> Vec<Row> {
    let ports = [("ssh", 22), ("www", 80), ("winbox", 8291), ("api", 8728)];
    let max = i64::try_from(context.quirks.max_sessions).unwrap_or(i64::MAX);
    let row = |(id, (name, port)): (u32, (&str, i64))| Row {
        id,
        flags: Vec::new(),
        fields: vec![
            ("name", Value::text(name)),
            ("port", Value::Number(port)),
            ("max-sessions", Value::Number(max)),
            ("disabled", Value::Bool(name != "ssh")),
        ],
    };
    (1..).zip(ports).map(row).collect()
}

/// `set` of a menu of settings. Only the identity is kept.
pub fn set(os: &RouterOs, menu: Menu, named: &[(String, Value)]) {
    if menu != Menu::SystemIdentity {
        return;
    }
    if let Some((_, name)) = named.iter().find(|(argument, _)| argument == "name") {
        os.set_identity(name.to_string());
    }
}
