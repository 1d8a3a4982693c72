//! Commands of menus. Each takes the box once, so each is atomic; between two of them anything may
//! happen.

use std::sync::Arc;

use super::super::catalog::{Menu, Verb};
use super::super::disk;
use super::super::file;
use super::super::hosts::Hosts;
use super::super::print::{self, Style};
use super::super::row::Row;
use super::super::store::{Context, Failure, Store};
use super::super::syntax::{Expr, MenuCommand};
use super::super::system;
use super::super::value::{Array, Value};
use super::{Evaluator, Stop};

/// Arguments with their values.
type Named = Vec<(String, Value)>;

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Error(failure.0)
    }
}

impl Evaluator<'_> {
    pub(super) async fn menu(&mut self, command: &MenuCommand) -> Result<Value, Stop> {
        let mut given = Vec::new();
        for expr in &command.arguments.positional {
            given.push(self.expr(expr).await?);
        }
        let mut named = Named::new();
        for (name, expr) in &command.arguments.named {
            named.push((name.clone(), self.expr(expr).await?));
        }
        self.between_commands(command.menu, command.verb).await?;
        if !self.rights.allow(command.menu, command.verb) {
            return Err(Stop::Error(self.os.quirks().texts.not_permitted.clone()));
        }
        match command.verb {
            Verb::Print => self.print_menu(command, given, &named).await,
            Verb::Find => {
                let rows = self.rows(command.menu, command.filter.as_ref()).await?;
                Ok(Value::list(rows.iter().map(|row| Value::Id(row.id)).collect()))
            }
            Verb::Get => self.get(command.menu, given, &named),
            Verb::Add => self.add(command.menu, &named),
            Verb::MonitorTraffic => self.monitor(command, given, &named),
            Verb::Run => self.run_script(given, &named).await,
            _ => self.change(command, given, named),
        }
    }

    /// The rows of a menu that fulfil the conditions. All rows are read at one moment.
    pub(super) async fn rows(
        &mut self,
        menu: Menu,
        filter: Option<&Expr>,
    ) -> Result<Vec<Arc<Row>>, Stop> {
        let all = self.os.rows(menu);
        let Some(filter) = filter else { return Ok(all) };
        let outer = self.row.take();
        let mut found = Vec::new();
        for row in all {
            self.row = Some(row);
            let holds = self.expr(filter).await;
            let row = self.row.take();
            match holds {
                Ok(value) if value.as_bool() == Some(true) => found.extend(row),
                Ok(_) => {}
                Err(stop) => {
                    self.row = outer;
                    return Err(stop);
                }
            }
        }
        self.row = outer;
        Ok(found)
    }

    async fn print_menu(
        &mut self,
        command: &MenuCommand,
        given: Vec<Value>,
        named: &Named,
    ) -> Result<Value, Stop> {
        let flags = &command.arguments.flags;
        let has = |name: &str| flags.iter().any(|flag| flag == name);
        let quirks = self.os.quirks();
        let mut rows = self.rows(command.menu, command.filter.as_ref()).await?;
        let items = given.into_iter().chain(argument(named, "from").cloned()).collect::<Vec<_>>();
        if !items.is_empty() {
            let wanted = self.items(command.menu, &items)?;
            rows.retain(|row| wanted.contains(&row.id));
        }
        if let Some(path) = argument(named, "path").map(Value::to_string) {
            let prefix = format!("{}/", path.trim_matches('/'));
            rows.retain(|row| row.get("name").to_string().starts_with(&prefix));
        }
        let proplist = argument(named, "proplist").map(names_of);
        if has("count-only") {
            let count = Value::Number(i64::try_from(rows.len()).unwrap_or(i64::MAX));
            self.print(&count.to_string())?;
            return Ok(count);
        }
        if has("as-value") || has("value-list") {
            let detail = has("detail") || !quirks.as_value_needs_detail;
            let rows = print::as_value(command.menu, &rows, proplist.as_deref(), detail, &quirks);
            return Ok(match command.menu.is_single() {
                true => rows.into_iter().next().unwrap_or_default(),
                false => Value::list(rows),
            });
        }
        let style = if has("terse") {
            Style::Terse
        } else if has("detail") {
            Style::Detail
        } else {
            Style::Brief
        };
        let text = print::text(command.menu, &rows, proplist.as_deref(), style, &quirks);
        if !text.is_empty() {
            self.print(text.trim_end_matches('\n'))?;
        }
        Ok(Value::Nothing)
    }

    fn get(&self, menu: Menu, given: Vec<Value>, named: &Named) -> Result<Value, Stop> {
        let mut given = given.into_iter();
        let rows = self.os.rows(menu);
        let row = if menu.is_single() {
            rows.first()
        } else {
            let item = argument(named, "number").cloned().or_else(|| given.next());
            let id = self.items(menu, &item.into_iter().collect::<Vec<_>>())?.first().copied();
            rows.iter().find(|row| Some(row.id) == id)
        };
        let row = row.ok_or_else(|| Stop::Error(self.os.quirks().texts.no_such_item.clone()))?;
        match argument(named, "value-name").cloned().or_else(|| given.next()) {
            Some(name) => {
                let name = name.to_string();
                match print::knows(menu, row, &name) {
                    true => Ok(row.get(&name)),
                    false => {
                        Err(Stop::Error("input does not match any value of value-name".into()))
                    }
                }
            }
            None => {
                let all =
                    print::as_value(menu, std::slice::from_ref(row), None, true, &self.os.quirks());
                Ok(all.into_iter().next().unwrap_or_default())
            }
        }
    }

    fn add(&mut self, menu: Menu, named: &Named) -> Result<Value, Stop> {
        let os = self.os;
        let id = os.change_in_halves(
            |store, context, _| match menu {
                Menu::Disk => disk::add(store, context, named),
                Menu::SystemScript | Menu::SystemScheduler => {
                    let id = store.next_id();
                    store.automation.add(menu, id, named)
                }
                _ => file::add(store, context, named),
            },
            |half| self.comes_to_half(half),
        )?;
        id.map(Value::Id).ok_or(Stop::PowerCut)
    }

    /// `/system/script/run`: in a scope of its own, with the rights of the script, which must be
    /// among those of whoever runs it.
    async fn run_script(&mut self, given: Vec<Value>, named: &Named) -> Result<Value, Stop> {
        let items: Vec<Value> =
            given.into_iter().chain(argument(named, "number").cloned()).collect();
        for id in self.items(Menu::SystemScript, &items)? {
            let started = self.os.change(|store, _, _| Ok(store.automation.started(id)))?;
            let Some(script) = started else { continue };
            if !self.rights.cover(&script.rights()) {
                return Err(Stop::Error(self.os.quirks().texts.not_permitted.clone()));
            }
            let block = self.os.parse(script.text(), &self.os.quirks()).map_err(Stop::Error)?;
            self.script(script.rights(), &block).await?;
        }
        Ok(Value::Nothing)
    }

    fn monitor(
        &mut self,
        command: &MenuCommand,
        given: Vec<Value>,
        named: &Named,
    ) -> Result<Value, Stop> {
        let items: Vec<Value> =
            given.into_iter().chain(argument(named, "numbers").cloned()).collect();
        let wanted = self.items(Menu::Disk, &items)?;
        let samples = self.os.traffic(&wanted);
        if command.arguments.flags.iter().any(|flag| flag == "as-value") {
            let maps = samples.into_iter().map(|sample| {
                let map = sample.into_iter().map(|(name, value)| (name.to_owned(), value));
                Value::Array(Array { list: Vec::new(), map: map.collect() })
            });
            let mut maps: Vec<Value> = maps.collect();
            return Ok(if maps.len() == 1 { maps.remove(0) } else { Value::list(maps) });
        }
        for sample in samples {
            let text = print::monitor(&sample);
            self.print(&text)?;
        }
        Ok(Value::Nothing)
    }

    /// `set`, `unset`, `enable`, `disable`, `remove`. No items is success and changes nothing.
    fn change(
        &mut self,
        command: &MenuCommand,
        mut given: Vec<Value>,
        mut named: Named,
    ) -> Result<Value, Stop> {
        let menu = command.menu;
        let mut unset = command.arguments.unset.clone();
        if command.verb == Verb::Unset {
            let name = argument(&named, "value-name").cloned();
            let name = name.or_else(|| if given.len() > 1 { given.pop() } else { None });
            unset.extend(name.map(|name| name.to_string()));
        }
        if menu.is_single() {
            system::set(self.os, menu, &named);
            return Ok(Value::Nothing);
        }
        given.extend(argument(&named, "numbers").cloned());
        named.retain(|(name, _)| name != "numbers" && name != "value-name");
        match command.verb {
            Verb::Enable => named.push(("disabled".to_owned(), Value::Bool(false))),
            Verb::Disable => named.push(("disabled".to_owned(), Value::Bool(true))),
            _ => {}
        }
        let items = self.items(menu, &given)?;
        let os = self.os;
        let act = |store: &mut Store, context: Context<'_>, hosts: &Hosts| {
            for id in items {
                match (command.verb, menu) {
                    (Verb::Remove, Menu::Disk) => {
                        disk::remove(store, context, id, hosts.is_busy(id))?;
                    }
                    (Verb::Remove, Menu::SystemScript | Menu::SystemScheduler) => {
                        store.automation.remove(menu, id);
                    }
                    (Verb::Remove, _) => file::remove(store, context, id)?,
                    (_, Menu::SystemScript | Menu::SystemScheduler) => {
                        store.automation.set(menu, id, &named);
                    }
                    (_, Menu::UserGroup) => store.users.set_group(id, &named)?,
                    _ => disk::set(store, context, id, &named, &unset)?,
                }
            }
            Ok(())
        };
        let whole = os.change_in_halves(act, |half| self.comes_to_half(half))?;
        whole.map(|()| Value::Nothing).ok_or(Stop::PowerCut)
    }
}

/// `".id,slot"`, `{"slot"; "size"}`.
fn names_of(list: &Value) -> Vec<String> {
    match list {
        Value::Array(array) => array.list.iter().map(Value::to_string).collect(),
        text => text.to_string().split(',').map(|name| name.trim().to_owned()).collect(),
    }
}

fn argument<'a>(named: &'a Named, name: &str) -> Option<&'a Value> {
    named.iter().find(|(n, _)| n == name).map(|(_, value)| value)
}
