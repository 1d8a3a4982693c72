//! One item as the console sees it: what `where` tests, `get` returns and `print` shows.

use super::property::{DISK_FLAGS, Flag};
use super::value::Value;

/// One item of any menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The internal id.
    pub id: u32,
    /// Flags that are set.
    pub flags: Vec<Flag>,
    /// Properties in print order; `comment` and `disabled` among them.
    pub fields: Vec<(&'static str, Value)>,
}

impl Row {
    /// A property or a flag by name; nothing where the item has none of that name.
    pub fn get(&self, name: &str) -> Value {
        if name == ".id" {
            return Value::Id(self.id);
        }
        if let Some((_, value)) = self.fields.iter().find(|(field, _)| *field == name) {
            return value.clone();
        }
        if self.flags.iter().any(|flag| flag.name == name) {
            return Value::Bool(true);
        }
        match DISK_FLAGS.iter().any(|flag| flag.name == name) {
            true => Value::Bool(false),
            false => Value::Nothing,
        }
    }
}
