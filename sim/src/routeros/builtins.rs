//! Commands of the language that only turn values into values.

use super::catalog::Builtin;
use super::json;
use super::quirks::Quirks;
use super::value::{Array, Value, parse_time};

/// Applies a pure command. The error is the text on the console.
pub fn apply(
    builtin: Builtin,
    given: &[Value],
    named: &[(String, Value)],
    quirks: &Quirks,
) -> Result<Value, String> {
    let first = given.first().cloned().unwrap_or_default();
    Ok(match builtin {
        Builtin::Len => Value::Number(first.length()),
        Builtin::TypeOf => Value::text(first.type_name()),
        Builtin::ToStr => Value::Text(first.to_string()),
        Builtin::ToNum => first.as_number().map_or(Value::Nothing, Value::Number),
        Builtin::ToBool => first.as_bool().map_or(Value::Nothing, Value::Bool),
        Builtin::ToId => match Value::from_bare_word(&first.to_string()) {
            id @ Value::Id(_) => id,
            _ => Value::Nothing,
        },
        Builtin::ToTime => match &first {
            Value::Number(seconds) => Value::Time(*seconds),
            other => parse_time(&other.to_string()).map_or(Value::Nothing, Value::Time),
        },
        Builtin::ToArray => to_array(first),
        Builtin::Pick => pick(&first, given.get(1), given.get(2)),
        Builtin::Find => find(&first, given.get(1), given.get(2)),
        Builtin::Serialize => serialize(named, quirks)?,
        Builtin::Deserialize => deserialize(named)?,
        _ => Value::Nothing,
    })
}

/// Seconds of a `:delay`: `3`, `3s`, `500ms` (less than a second counts as none).
pub fn seconds(value: &Value) -> i64 {
    match value {
        Value::Number(seconds) | Value::Time(seconds) => *seconds,
        other => parse_time(&other.to_string()).unwrap_or(0),
    }
}

fn to_array(value: Value) -> Value {
    match value {
        Value::Array(_) => value,
        Value::Nothing => Value::Array(Array::default()),
        Value::Text(text) if text.is_empty() => Value::Array(Array::default()),
        Value::Text(text) => Value::list(text.split(',').map(Value::text).collect()),
        single => Value::list(vec![single]),
    }
}

fn index(value: Option<&Value>) -> Option<usize> {
    usize::try_from(value?.as_number()?).ok()
}

/// `:pick value begin [end]`: one element or a slice, of a list or a text.
fn pick(value: &Value, begin: Option<&Value>, end: Option<&Value>) -> Value {
    let Some(begin) = index(begin) else {
        return Value::Nothing;
    };
    let end = index(end);
    let length = end.map_or(1, |end| end.saturating_sub(begin));
    match value {
        Value::Array(array) => {
            let mut slice = array.list.iter().skip(begin).take(length).cloned();
            match end {
                None => slice.next().unwrap_or_default(),
                Some(_) => Value::list(slice.collect()),
            }
        }
        other => {
            let bytes = other.to_string().into_bytes();
            let slice: Vec<u8> = bytes.into_iter().skip(begin).take(length).collect();
            Value::Text(String::from_utf8_lossy(&slice).into_owned())
        }
    }
}

/// `:find where what [from]`: the place, or nothing.
fn find(whole: &Value, part: Option<&Value>, from: Option<&Value>) -> Value {
    let Some(part) = part else {
        return Value::Nothing;
    };
    let start = index(from).map_or(0, |from| from.saturating_add(1));
    let place = match whole {
        Value::Array(array) => {
            let mut places = array.list.iter().enumerate().skip(start);
            places.find(|(_, value)| value.loosely_equals(part)).map(|(at, _)| at)
        }
        other => {
            let (text, part) = (other.to_string(), part.to_string());
            text.get(start..).and_then(|rest| rest.find(&part)).map(|at| at + start)
        }
    };
    let number = place.and_then(|at| i64::try_from(at).ok());
    number.map_or(Value::Nothing, Value::Number)
}

fn argument<'a>(named: &'a [(String, Value)], name: &str) -> Option<&'a Value> {
    named.iter().find(|(n, _)| n == name).map(|(_, value)| value)
}

fn serialize(named: &[(String, Value)], quirks: &Quirks) -> Result<Value, String> {
    let format = argument(named, "to").map(Value::to_string).unwrap_or_default();
    if format != "json" {
        return Err("input does not match any value of to".to_owned());
    }
    let options = argument(named, "options").map(Value::to_string).unwrap_or_default();
    let mut plain = false;
    for option in options.split([',', ';']).filter(|option| !option.is_empty()) {
        match option {
            "json.no-string-conversion" => plain = true,
            "json.pretty" => {}
            _ => return Err("input does not match any value of options".to_owned()),
        }
    }
    let value = argument(named, "value").ok_or("missing value(s) of argument(s) value")?;
    Ok(Value::Text(json::serialize(value, plain, quirks)))
}

fn deserialize(named: &[(String, Value)]) -> Result<Value, String> {
    let text = argument(named, "value").map(Value::to_string).unwrap_or_default();
    json::deserialize(&text).ok_or_else(|| "failure: cannot parse json".to_owned())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn pick_and_find_work_on_texts_and_lists() {
        let text = Value::text("abcdef");
        let n = Value::Number;
        assert_eq!(pick(&text, Some(&n(1)), Some(&n(3))), Value::text("bc"));
        assert_eq!(pick(&text, Some(&n(2)), None), Value::text("c"));
        assert_eq!(find(&text, Some(&Value::text("cd")), None), n(2));
        assert_eq!(find(&text, Some(&Value::text("x")), None), Value::Nothing);
        assert_eq!(find(&text, Some(&Value::text("a")), Some(&n(900))), Value::Nothing);
        let list = Value::list(vec![n(5), n(6)]);
        assert_eq!(pick(&list, Some(&n(1)), None), n(6));
        assert_eq!(find(&list, Some(&n(6)), None), n(1));
    }
}
