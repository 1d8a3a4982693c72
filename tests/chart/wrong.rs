//! Wrong values, made from the schema: in every place something of another type, a key that nobody
//! knows, or a value out of bounds. Each comes with the pointer to where it stands.

use serde_json::{Map, Value, json};

/// A key that nobody knows, and that is no name of a label or a box either.
pub const UNKNOWN: &str = "no such key!";

/// What is wrong with a set of values, and where.
#[derive(Debug, Clone)]
pub struct Wrong {
    /// The values.
    pub values: Value,
    /// JSON pointers to what must be complained of.
    pub places: Vec<String>,
    /// JSON pointers to objects that have a key which nobody knows.
    pub closed: Vec<String>,
}

/// Every scalar and every list is of another type; every object has one key too many.
pub fn types(schema: &Value) -> Wrong {
    walk(schema, &|schema| match schema["type"].as_str() {
        // In the place of a list of objects stands a list of one, see `walk`.
        Some("array") => Some(json!({"not": "a list"})),
        _ => Some(json!(["not", "a", "scalar"])),
    })
}

/// Every value that has bounds is out of them, and of the right type.
pub fn bounds(schema: &Value) -> Wrong {
    walk(schema, &|schema| {
        let bound = |key: &str| schema[key].as_f64();
        if let Some(most) = bound("maximum") {
            return Some(json!((most + 1.0) as u64));
        }
        if let Some(least) = bound("minimum").or(bound("exclusiveMinimum")) {
            return Some(json!((least - 1.0) as i64));
        }
        let is_bound = ["pattern", "enum"].iter().any(|key| !schema[*key].is_null());
        if is_bound {
            return Some(json!(" ! "));
        }
        (!schema["minLength"].is_null()).then(|| json!(""))
    })
}

/// Objects by depth, each with a text in its place.
pub fn objects(schema: &Value) -> Vec<Wrong> {
    let mut levels = Vec::new();
    for depth in 1.. {
        let mut wrong = empty();
        wrong.values = flatten(schema, "", depth, &mut wrong.places);
        if wrong.places.is_empty() {
            return levels;
        }
        levels.push(wrong);
    }
    levels
}

fn empty() -> Wrong {
    Wrong { values: json!({}), places: Vec::new(), closed: Vec::new() }
}

fn walk(schema: &Value, spoil: &dyn Fn(&Value) -> Option<Value>) -> Wrong {
    let mut wrong = empty();
    wrong.values = below(schema, "", spoil, &mut wrong).unwrap_or_default();
    wrong
}

fn below(
    schema: &Value,
    path: &str,
    spoil: &dyn Fn(&Value) -> Option<Value>,
    wrong: &mut Wrong,
) -> Option<Value> {
    if schema["type"] == "object" {
        let mut object = Map::new();
        for (key, schema) in members(schema) {
            let path = format!("{path}/{}", key.replace('/', "~1"));
            if let Some(value) = below(&schema, &path, spoil, wrong) {
                object.insert(key, value);
            }
        }
        if schema["additionalProperties"] == false {
            object.insert(UNKNOWN.into(), json!(1));
            wrong.closed.push(path.to_owned());
        }
        return Some(Value::Object(object));
    }
    if schema["type"] == "array" && schema["items"]["type"] == "object" {
        let member = below(&schema["items"], &format!("{path}/0"), spoil, wrong);
        return Some(json!([member?]));
    }
    if let Some(spoiled) = spoil(schema) {
        wrong.places.push(path.to_owned());
        return Some(spoiled);
    }
    let member = spoil(schema.get("items")?)?;
    wrong.places.push(format!("{path}/0"));
    Some(json!([member]))
}

/// The keys that an object may have; where any may, one.
fn members(schema: &Value) -> Vec<(String, Value)> {
    let named = schema["properties"].as_object().into_iter().flatten();
    let mut members: Vec<_> = named.map(|(key, schema)| (key.clone(), schema.clone())).collect();
    let by_name = schema["patternProperties"].as_object().into_iter().flatten();
    let of_any = by_name.map(|(_, schema)| schema).chain([&schema["additionalProperties"]]);
    let of_any = of_any.filter(|schema| schema.is_object());
    members.extend(of_any.map(|schema| ("main".to_owned(), schema.clone())));
    members
}

fn flatten(schema: &Value, path: &str, depth: usize, places: &mut Vec<String>) -> Value {
    if depth == 0 && schema["type"] == "object" {
        places.push(path.to_owned());
        return json!("not an object");
    }
    let mut object = Map::new();
    for (key, schema) in members(schema) {
        if schema["type"] == "object" {
            let path = format!("{path}/{key}");
            let value = flatten(&schema, &path, depth.saturating_sub(1), places);
            object.insert(key, value);
        }
    }
    Value::Object(object)
}

/// Texts, numbers and lists that may be anything.
pub fn free(schema: &Value) -> Vec<String> {
    let any = walk(schema, &|schema| (schema["type"] != "boolean").then(|| json!(0))).places;
    let bound = bounds(schema).places;
    let is_bound = |place: &String| bound.contains(place) || bound.contains(&format!("{place}/0"));
    any.into_iter().filter(|place| !is_bound(place)).collect()
}

/// Objects that take any key: what they hold is Kubernetes' own, or helm's.
pub fn open(schema: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let others = &schema["additionalProperties"];
    if schema["type"] == "object" && *others != false && !others.is_object() {
        found.push(path.to_owned());
    }
    for (key, schema) in members(schema) {
        found.extend(open(&schema, &format!("{path}/{key}")));
    }
    if schema["items"].is_object() {
        found.extend(open(&schema["items"], &format!("{path}/0")));
    }
    found
}
