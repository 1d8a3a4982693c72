//! Values of the script language: what variables hold, what commands return.
//!
//! Pure data. Conversion rules live here and nowhere else, so that `where`, `set` and `:serialize`
//! cannot disagree about what `yes` or `10G` means.

use std::collections::BTreeMap;
use std::fmt;

/// A value of the script language.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Value {
    /// An unset variable, an absent property, what a silent command returns.
    #[default]
    Nothing,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// Seconds; printed as `1w2d03:04:05`.
    Time(i64),
    /// The internal id of an item, printed as `*1F`.
    Id(u32),
    /// Text.
    Text(String),
    /// A list, a map, or both at once.
    Array(Array),
}

/// Elements without a key in order, and elements with a key sorted by key, as RouterOS keeps them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Array {
    /// Elements without a key.
    pub list: Vec<Value>,
    /// Elements with a key.
    pub map: BTreeMap<String, Value>,
}

impl Array {
    /// How many elements there are, with and without a key.
    pub fn count(&self) -> usize {
        self.list.len() + self.map.len()
    }
}

impl Value {
    /// Text from anything that is text.
    pub fn text(text: impl Into<String>) -> Self {
        Value::Text(text.into())
    }

    /// A list of values.
    pub fn list(list: Vec<Value>) -> Self {
        Value::Array(Array { list, map: BTreeMap::new() })
    }

    /// What `:typeof` says.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Nothing => "nothing",
            Value::Bool(_) => "bool",
            Value::Number(_) => "num",
            Value::Time(_) => "time",
            Value::Id(_) => "id",
            Value::Text(_) => "str",
            Value::Array(_) => "array",
        }
    }

    /// Roughly how many bytes the value takes; none where arrays lie deeper than `nesting`.
    pub fn weight(&self, nesting: usize) -> Option<usize> {
        let Value::Array(array) = self else {
            return Some(if let Value::Text(text) = self { text.len() + 16 } else { 16 });
        };
        let deeper = nesting.checked_sub(1)?;
        let mut sum: usize = 16;
        for value in &array.list {
            sum = sum.saturating_add(value.weight(deeper)?);
        }
        for (key, value) in &array.map {
            sum = sum.saturating_add(key.len()).saturating_add(value.weight(deeper)?);
        }
        Some(sum)
    }

    /// What `:len` says.
    pub fn length(&self) -> i64 {
        let length = match self {
            Value::Nothing => 0,
            Value::Array(array) => array.count(),
            other => other.to_string().len(),
        };
        i64::try_from(length).unwrap_or(i64::MAX)
    }

    /// The types a bare word may have: number, time, id, else text.
    pub fn from_bare_word(word: &str) -> Self {
        if let Some(id) = parse_id(word) {
            return Value::Id(id);
        }
        if let Some(number) = parse_number(word) {
            return Value::Number(number);
        }
        match parse_time(word) {
            Some(seconds) => Value::Time(seconds),
            None => Value::text(word),
        }
    }

    /// As a condition: booleans, the words for them, and numbers other than zero.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            Value::Number(value) => Some(*value != 0),
            Value::Text(text) => match text.as_str() {
                "yes" | "true" => Some(true),
                "no" | "false" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// As a whole number.
    pub fn as_number(&self) -> Option<i64> {
        match self {
            Value::Number(value) | Value::Time(value) => Some(*value),
            Value::Bool(value) => Some(i64::from(*value)),
            Value::Text(text) => parse_number(text),
            _ => None,
        }
    }

    /// Equality as `=` sees it: `yes` equals `true`, `"4420"` equals `4420`, `"*1F"` equals `*1F`.
    pub fn loosely_equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Array(a), Value::Array(b)) => a == b,
            (Value::Array(a), one) | (one, Value::Array(a)) => {
                a.map.is_empty() && a.list.len() == 1 && a.list[0].loosely_equals(one)
            }
            (Value::Bool(a), b) | (b, Value::Bool(a)) => b.as_bool() == Some(*a),
            (Value::Number(a), b @ Value::Text(_)) | (b @ Value::Text(_), Value::Number(a)) => {
                b.as_number() == Some(*a)
            }
            (Value::Nothing, b) | (b, Value::Nothing) => b.to_string().is_empty(),
            (a, b) => a == b || a.to_string() == b.to_string(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nothing => Ok(()),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "{value}"),
            Value::Time(seconds) => f.write_str(&time_text(*seconds)),
            Value::Id(id) => write!(f, "*{id:X}"),
            Value::Text(text) => f.write_str(text),
            Value::Array(array) => {
                let mut first = true;
                for value in &array.list {
                    if !std::mem::take(&mut first) {
                        f.write_str(";")?;
                    }
                    write!(f, "{value}")?;
                }
                for (key, value) in &array.map {
                    if !std::mem::take(&mut first) {
                        f.write_str(";")?;
                    }
                    write!(f, "{key}={value}")?;
                }
                Ok(())
            }
        }
    }
}

/// `*1F` to 31. File ids over REST have two stars; both are read.
fn parse_id(word: &str) -> Option<u32> {
    let digits = word.strip_prefix('*')?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

/// Decimal and `0x` numbers.
pub fn parse_number(word: &str) -> Option<i64> {
    if let Some(hex) = word.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok();
    }
    let digits = word.strip_prefix('-').unwrap_or(word);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    word.parse().ok()
}

/// Sizes as arguments take them: bytes, or with a binary suffix (`file-size=1T` makes
/// 1 099 511 627 776 bytes; observed on an RDS2216 with 7.24).
pub fn parse_size(word: &str) -> Option<i64> {
    let (digits, shift) = match word.char_indices().next_back()? {
        (at, 'k' | 'K') => (&word[..at], 10),
        (at, 'M') => (&word[..at], 20),
        (at, 'G') => (&word[..at], 30),
        (at, 'T') => (&word[..at], 40),
        _ => (word, 0),
    };
    parse_number(digits)?.checked_mul(1 << shift)
}

/// `1w2d3h4m5s`, `03:04:05`, `1d03:04:05`.
pub fn parse_time(word: &str) -> Option<i64> {
    let mut rest = word;
    let mut seconds: i64 = 0;
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return None;
        }
        if rest[digits..].starts_with(':') {
            let parts: Vec<&str> = rest.split(':').collect();
            let [hours, minutes, secs] = parts[..] else {
                return None;
            };
            let clock = |part: &str| part.parse::<i64>().ok().filter(|n| (0..=99_999).contains(n));
            let of_day = clock(hours)? * 3600 + clock(minutes)? * 60 + clock(secs)?;
            return seconds.checked_add(of_day);
        }
        let count: i64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let factor = match unit {
            'w' => 604_800,
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(count.checked_mul(factor)?)?;
        rest = &rest[digits + 1..];
        any = true;
    }
    any.then_some(seconds)
}

/// Seconds as RouterOS prints them in scripts: `1w2d03:04:05`.
fn time_text(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let total = seconds.unsigned_abs();
    let (weeks, days) = (total / 604_800, total % 604_800 / 86_400);
    let clock = format!("{:02}:{:02}:{:02}", total % 86_400 / 3600, total % 3600 / 60, total % 60);
    let mut text = sign.to_owned();
    if weeks > 0 {
        text += &format!("{weeks}w");
    }
    if days > 0 {
        text += &format!("{days}d");
    }
    text + &clock
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn bare_words_get_the_type_they_look_like() {
        for (word, value) in [
            ("42", Value::Number(42)),
            ("0x1f", Value::Number(31)),
            ("*1F", Value::Id(31)),
            ("1d2h", Value::Time(93_600)),
            ("00:00:05", Value::Time(5)),
            ("10G", Value::text("10G")),
            ("file", Value::text("file")),
            ("*xyz", Value::text("*xyz")),
        ] {
            assert_eq!(Value::from_bare_word(word), value, "{word}");
        }
    }

    #[test]
    fn size_suffixes_are_binary() {
        assert_eq!(parse_size("1T"), Some(1_099_511_627_776));
        assert_eq!(parse_size("200M"), Some(209_715_200));
        assert_eq!(parse_size("9999999999T"), None);
        assert_eq!(parse_size("1e3"), None);
        assert_eq!(parse_size("ä"), None);
    }

    #[test]
    fn times_print_as_routeros_prints_them() {
        assert_eq!(Value::Time(5).to_string(), "00:00:05");
        assert_eq!(Value::Time(604_800 + 2 * 86_400 + 3 * 3600 + 61).to_string(), "1w2d03:01:01");
        assert_eq!(parse_time("1w2d03:01:01"), Some(604_800 + 2 * 86_400 + 3 * 3600 + 61));
    }

    #[test]
    fn equality_bridges_words_and_types() {
        assert!(Value::Bool(true).loosely_equals(&Value::text("yes")));
        assert!(Value::Number(4420).loosely_equals(&Value::text("4420")));
        assert!(Value::Id(31).loosely_equals(&Value::text("*1F")));
        assert!(!Value::text("a").loosely_equals(&Value::text("b")));
        assert!(Value::Nothing.loosely_equals(&Value::text("")));
    }
}
