//! What the box runs by itself: `/system/script`, and of `/system/scheduler` what starts with the
//! box (`start-time=startup`). Both are configuration: a backup has them, a reset takes them.
//!
//! A scheduler's `on-event` is a script's name or a script (the RouterOS manual, Scheduler). Events
//! of other times are kept and never run.

use std::collections::BTreeMap;

use super::catalog::Menu;
use super::row::Row;
use super::store::Failure;
use super::user::Rights;
use super::value::Value;

/// Policies of a script that names none (the RouterOS manual, Scripting).
const DEFAULT_POLICY: &str = "ftp,reboot,read,write,policy,test,password,sniff,sensitive,romon";

/// Items of one menu at most.
const ITEMS_MAX: usize = 256;

/// One item of either menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    name: String,
    /// `source` or `on-event`.
    text: String,
    /// `startup`, or another time; scripts have none.
    start_time: String,
    policy: String,
    disabled: bool,
    runs: i64,
}

impl Item {
    /// What it runs.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it may do.
    pub fn rights(&self) -> Rights {
        Rights::of(self.policy.split([',', ';']))
    }

    fn row(&self, id: u32, menu: Menu) -> Row {
        let text = |text: &str| Value::text(text);
        let mut fields = vec![("name", text(&self.name))];
        let policy = self.policy.split([',', ';']).map(text).collect();
        if menu == Menu::SystemScheduler {
            fields.push(("start-time", text(&self.start_time)));
            fields.push(("on-event", text(&self.text)));
        } else {
            fields.push(("source", text(&self.text)));
        }
        fields.push(("policy", Value::list(policy)));
        fields.push(("run-count", Value::Number(self.runs)));
        fields.push(("disabled", Value::Bool(self.disabled)));
        Row { id, flags: Vec::new(), fields }
    }

    /// Takes what was given. The interval and the date of a scheduler change nothing here.
    fn set(&mut self, named: &[(String, Value)]) {
        for (name, value) in named {
            match name.as_str() {
                "name" => self.name = value.to_string(),
                "source" | "on-event" => self.text = value.to_string(),
                "start-time" => self.start_time = value.to_string(),
                "policy" => self.policy = value.to_string(),
                "disabled" => self.disabled = value.as_bool().unwrap_or(false),
                _ => {}
            }
        }
    }
}

/// Both menus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Automation {
    scripts: BTreeMap<u32, Item>,
    schedulers: BTreeMap<u32, Item>,
}

impl Automation {
    fn items(&mut self, menu: Menu) -> &mut BTreeMap<u32, Item> {
        match menu {
            Menu::SystemScheduler => &mut self.schedulers,
            _ => &mut self.scripts,
        }
    }

    /// Every item of that menu.
    pub fn rows(&self, menu: Menu) -> Vec<Row> {
        let items = match menu {
            Menu::SystemScheduler => &self.schedulers,
            _ => &self.scripts,
        };
        items.iter().map(|(id, item)| item.row(*id, menu)).collect()
    }

    /// `add`, under that id.
    pub fn add(&mut self, menu: Menu, id: u32, named: &[(String, Value)]) -> Result<u32, Failure> {
        let mut item = Item {
            name: String::new(),
            text: String::new(),
            start_time: String::new(),
            policy: DEFAULT_POLICY.to_owned(),
            disabled: false,
            runs: 0,
        };
        item.set(named);
        if item.name.is_empty() {
            return Err(Failure::new("missing value(s) of argument(s) name"));
        }
        let items = self.items(menu);
        if items.values().any(|other| other.name == item.name) {
            return Err(Failure::new("failure: item with this name already exists"));
        }
        if items.len() >= ITEMS_MAX {
            return Err(Failure::new("failure: too many items"));
        }
        items.insert(id, item);
        Ok(id)
    }

    /// `set`, `enable`, `disable`.
    pub fn set(&mut self, menu: Menu, id: u32, named: &[(String, Value)]) {
        if let Some(item) = self.items(menu).get_mut(&id) {
            item.set(named);
        }
    }

    /// `remove`.
    pub fn remove(&mut self, menu: Menu, id: u32) {
        self.items(menu).remove(&id);
    }

    /// The script of that id, which is about to run.
    pub fn started(&mut self, id: u32) -> Option<Item> {
        let script = self.scripts.get_mut(&id)?;
        script.runs += 1;
        Some(script.clone())
    }

    /// What runs when the box starts, in the order of the ids, as script and rights: of an event
    /// that names a script, that script, with the rights of the event.
    pub fn at_startup(&mut self) -> Vec<(String, Rights)> {
        let is_due = |event: &&mut Item| event.start_time == "startup" && !event.disabled;
        let mut due = Vec::new();
        for event in self.schedulers.values_mut().filter(is_due) {
            event.runs += 1;
            let rights = event.rights();
            let script = self.scripts.values_mut().find(|script| script.name == event.text);
            match script {
                Some(script) => {
                    script.runs += 1;
                    due.push((script.text.clone(), rights));
                }
                None => due.push((event.text.clone(), rights)),
            }
        }
        due
    }
}
