//! Which items a command means: ids, slot names, lists of them.

use super::super::catalog::Menu;
use super::super::value::Value;
use super::{Evaluator, Stop};

impl Evaluator<'_> {
    /// Ids of the items that the values name. An empty list names none; a name or an id that does
    /// not exist is an error, and so is a row number, for those belong to an interactive session.
    pub(super) fn items(&self, menu: Menu, values: &[Value]) -> Result<Vec<u32>, Stop> {
        let rows = self.os.rows(menu);
        let name = if menu == Menu::Disk { "slot" } else { "name" };
        let mut ids = Vec::new();
        let mut queue: Vec<&Value> = values.iter().rev().collect();
        while let Some(value) = queue.pop() {
            match value {
                Value::Array(array) => queue.extend(array.list.iter().rev()),
                Value::Nothing => {}
                Value::Id(id) => {
                    ids.push(rows.iter().find(|row| row.id == *id).map(|row| row.id));
                }
                Value::Number(_) => {
                    return Err(Stop::Error("invalid internal item number".to_owned()));
                }
                other => {
                    let wanted = other.to_string();
                    let found = rows.iter().find(|row| {
                        row.get(name).to_string() == wanted
                            || Value::Id(row.id).to_string() == wanted
                    });
                    ids.push(found.map(|row| row.id));
                }
            }
        }
        let missing = || Stop::Error(self.os.quirks().texts.no_such_item.clone());
        ids.into_iter().map(|id| id.ok_or_else(missing)).collect()
    }
}
