//! Label and field selectors: parsed once, then a plain predicate over an object.

use serde_json::Value;

use super::failure::Failure;
use super::kinds::Resource;

/// What a list or watch is narrowed to; empty matches everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Requirement {
    Exists(String),
    Missing(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

impl Selector {
    /// Parses a label selector and a field selector for one resource.
    ///
    /// # Errors
    ///
    /// 400 for what does not parse and for a field that this resource cannot be selected by.
    pub fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels =
            split(labels)?.into_iter().map(|text| requirement(&text)).collect::<Result<_, _>>()?;
        let fields = fields
            .split(',')
            .filter(|text| !text.trim().is_empty())
            .map(|text| field(resource, text))
            .collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|r| r.holds(&object["metadata"]["labels"]))
            && self.fields.iter().all(|(path, equal, wanted)| {
                let found = path.split('.').fold(object, |at, key| &at[key]);
                let found = match found {
                    Value::String(text) => text.clone(),
                    Value::Null => String::new(),
                    other => other.to_string(),
                };
                (found == *wanted) == *equal
            })
    }
}

impl Requirement {
    fn holds(&self, labels: &Value) -> bool {
        match self {
            Self::Exists(key) => labels[key].is_string(),
            Self::Missing(key) => !labels[key].is_string(),
            Self::In(key, values) => {
                labels[key].as_str().is_some_and(|v| values.iter().any(|w| w == v))
            }
            Self::NotIn(key, values) => {
                !labels[key].as_str().is_some_and(|v| values.iter().any(|w| w == v))
            }
        }
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Result<Vec<String>, Failure> {
    let mut parts = vec![String::new()];
    let mut inside = false;
    for c in text.chars() {
        match c {
            '(' if inside => return Err(unparsable(text)),
            '(' => inside = true,
            ')' if !inside => return Err(unparsable(text)),
            ')' => inside = false,
            ',' if !inside => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    if inside {
        return Err(unparsable(text));
    }
    Ok(parts.into_iter().map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect())
}

fn requirement(text: &str) -> Result<Requirement, Failure> {
    let one = |key: &str, value: &str| (key.trim().to_owned(), vec![value.trim().to_owned()]);
    let parsed = if let Some((key, value)) = text.split_once("!=") {
        let (key, values) = one(key, value);
        Requirement::NotIn(key, values)
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        let (key, values) = one(key, value);
        Requirement::In(key, values)
    } else if let Some((key, set)) = text.split_once(" notin ") {
        Requirement::NotIn(key.trim().to_owned(), members(set)?)
    } else if let Some((key, set)) = text.split_once(" in ") {
        Requirement::In(key.trim().to_owned(), members(set)?)
    } else if let Some(key) = text.strip_prefix('!') {
        Requirement::Missing(key.trim().to_owned())
    } else {
        Requirement::Exists(text.to_owned())
    };
    let (Requirement::Exists(key)
    | Requirement::Missing(key)
    | Requirement::In(key, _)
    | Requirement::NotIn(key, _)) = &parsed;
    if key.is_empty() || key.contains(|c: char| c.is_whitespace() || "()=!".contains(c)) {
        return Err(unparsable(text));
    }
    Ok(parsed)
}

fn members(set: &str) -> Result<Vec<String>, Failure> {
    let inner = set.trim().strip_prefix('(').and_then(|s| s.strip_suffix(')'));
    let inner = inner.ok_or_else(|| unparsable(set))?;
    Ok(inner.split(',').map(|v| v.trim().to_owned()).collect())
}

fn field(resource: &Resource, text: &str) -> Result<(String, bool, String), Failure> {
    let (path, equal, value) = if let Some((path, value)) = text.split_once("!=") {
        (path, false, value)
    } else if let Some((path, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (path, true, value)
    } else {
        return Err(Failure::bad_request(format!("invalid field selector: {text:?}")));
    };
    let path = path.trim();
    let known = path == "metadata.name"
        || (path == "metadata.namespace" && resource.namespaced)
        || resource.fields.contains(&path);
    if !known {
        return Err(Failure::bad_request(format!("field label not supported: {path}")));
    }
    Ok((path.to_owned(), equal, value.trim().to_owned()))
}

fn unparsable(text: &str) -> Failure {
    Failure::bad_request(format!("unable to parse requirement: {text:?}"))
}

#[cfg(test)]
mod test {
    use serde_json::json;

    use super::*;
    use crate::apiserver::kinds::by_name;

    #[test]
    fn label_selectors_select_what_they_say() {
        let pod = json!({"metadata": {"name": "p", "labels": {"app": "db", "tier": "a"}}});
        for (text, selected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("app=db", true),
            ("app==db,tier=a", true),
            ("app=db,tier=b", false),
            ("app!=db", false),
            ("other!=db", true),
            ("app in (web, db)", true),
            ("app in (web),tier", false),
            ("app notin (web)", true),
        ] {
            let selector = Selector::parse(by_name("pods").unwrap(), text, "").unwrap();
            assert_eq!(selector.matches(&pod), selected, "{text}");
        }
    }

    #[test]
    fn field_selectors_select_by_equality() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1"}});
        for (text, selected) in [
            ("metadata.name=p", true),
            ("metadata.name!=p", false),
            ("spec.nodeName==n1,metadata.name=p", true),
            ("spec.nodeName=n2", false),
            ("status.phase=", true),
        ] {
            let selector = Selector::parse(by_name("pods").unwrap(), "", text).unwrap();
            assert_eq!(selector.matches(&pod), selected, "{text}");
        }
    }

    #[test]
    fn what_does_not_parse_is_a_bad_request() {
        for (labels, fields) in [
            ("a in (b", ""),
            ("a)", ""),
            ("a b", ""),
            ("=b", ""),
            ("", "metadata.name"),
            ("", "spec.volumeName=x"),
        ] {
            let failure = Selector::parse(by_name("pods").unwrap(), labels, fields).unwrap_err();
            assert_eq!(failure.code, 400, "{labels} {fields}");
        }
    }
}
