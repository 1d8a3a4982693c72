//! `:serialize to=json` and `:deserialize from=json`.

use super::quirks::{JsonBool, Quirks};
use super::value::{Array, Value};

/// Writes a value as JSON.
///
/// Without `no_string_conversion` strings that look like numbers become floats, as the manual's own
/// example shows (`"1234"` becomes `1234.000000`).
pub fn serialize(value: &Value, no_string_conversion: bool, quirks: &Quirks) -> String {
    let mut out = String::new();
    write(&mut out, value, no_string_conversion, quirks, 0);
    out
}

fn write(out: &mut String, value: &Value, plain: bool, quirks: &Quirks, depth: usize) {
    match value {
        Value::Nothing => out.push_str("null"),
        Value::Bool(value) => out.push_str(match (quirks.json_bool, value) {
            (JsonBool::Literal, true) => "true",
            (JsonBool::Literal, false) => "false",
            (JsonBool::TrueText, true) => "\"true\"",
            (JsonBool::TrueText, false) => "\"false\"",
            (JsonBool::YesText, true) => "\"yes\"",
            (JsonBool::YesText, false) => "\"no\"",
        }),
        Value::Number(number) if quirks.json_numbers_as_text => quote(out, &number.to_string()),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::Text(text) => match text.parse::<f64>() {
            Ok(number) if !plain && number.is_finite() => out.push_str(&format!("{number:.6}")),
            _ => quote(out, text),
        },
        Value::Time(_) | Value::Id(_) => quote(out, &value.to_string()),
        Value::Array(array) => write_array(out, array, plain, quirks, depth),
    }
}

fn write_array(out: &mut String, array: &Array, plain: bool, quirks: &Quirks, depth: usize) {
    let between = if quirks.json_rows_on_lines && depth == 0 { ",\n" } else { "," };
    if array.map.is_empty() {
        out.push('[');
        for (at, value) in array.list.iter().enumerate() {
            if at > 0 {
                out.push_str(between);
            }
            write(out, value, plain, quirks, depth + 1);
        }
        out.push(']');
        return;
    }
    out.push('{');
    let unnamed = array.list.iter().enumerate().map(|(at, value)| (at.to_string(), value));
    let named = array.map.iter().map(|(key, value)| (key.clone(), value));
    for (at, (key, value)) in unnamed.chain(named).enumerate() {
        if at > 0 {
            out.push(',');
        }
        quote(out, &key);
        out.push(':');
        write(out, value, plain, quirks, depth + 1);
    }
    out.push('}');
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Reads JSON; none where it is not JSON.
pub fn deserialize(text: &str) -> Option<Value> {
    serde_json::from_str::<serde_json::Value>(text).ok().map(from_json)
}

fn from_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nothing,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Number(number),
            None => Value::Text(number.to_string()),
        },
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(list) => Value::list(list.into_iter().map(from_json).collect()),
        serde_json::Value::Object(map) => Value::Array(Array {
            list: Vec::new(),
            map: map.into_iter().map(|(key, value)| (key, from_json(value))).collect(),
        }),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn without_the_option_numeric_strings_become_floats() {
        let quirks = Quirks::default();
        let value = Value::list(vec![Value::text("1234"), Value::text("a"), Value::Number(7)]);
        assert_eq!(serialize(&value, false, &quirks), "[1234.000000,\"a\",7]");
        assert_eq!(serialize(&value, true, &quirks), "[\"1234\",\"a\",7]");
    }

    #[test]
    fn any_text_survives_the_way_there_and_back() {
        let quirks = Quirks::default();
        let text = Value::text("a\"b\\c\r\n\u{1}ü\u{7f}");
        assert_eq!(deserialize(&serialize(&text, true, &quirks)), Some(text));
    }
}
