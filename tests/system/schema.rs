//! JSON against the schemas of an OpenAPI document: as much of JSON Schema as the document uses, and no silence about
//! the rest.

use serde_json::{Map, Value};

/// Keywords that say something about values, and those that do not need checking.
const CHECKED: [&str; 13] = [
    "$ref",
    "oneOf",
    "type",
    "format",
    "enum",
    "minimum",
    "maximum",
    "items",
    "prefixItems",
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
];
const SILENT: [&str; 5] = ["description", "title", "default", "example", "examples"];

/// Where `value` does not follow `schema`. A member that the schema does not name is a fault too: the document would
/// lack it unseen.
pub fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut check = Check { document, faults: Vec::new() };
    check.value(schema, value, "$");
    check.faults
}

struct Check<'d> {
    document: &'d Value,
    faults: Vec<String>,
}

impl Check<'_> {
    fn value(&mut self, schema: &Value, value: &Value, at: &str) {
        let Some(schema) = schema.as_object() else {
            return self.fault(at, format!("no schema: {schema}"));
        };
        for keyword in schema.keys().map(String::as_str) {
            if !CHECKED.contains(&keyword) && !SILENT.contains(&keyword) {
                self.fault(at, format!("{keyword} is not checked"));
            }
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target =
                reference.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer)).cloned();
            match target {
                Some(target) => self.value(&target, value, at),
                None => self.fault(at, format!("{reference} leads nowhere")),
            }
        }
        if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
            let fits =
                choices.iter().filter(|choice| faults(self.document, choice, value).is_empty()).count();
            if fits != 1 {
                self.fault(at, format!("{fits} of {} choices fit {value}", choices.len()));
            }
        }
        self.kind(schema, value, at);
        match value {
            Value::Object(members) => self.object(schema, members, at),
            Value::Array(items) => self.array(schema, items, at),
            Value::Number(number) => self.number(schema, number.as_f64().unwrap_or(f64::NAN), at),
            Value::String(text) => self.text(schema, text, at),
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn kind(&mut self, schema: &Map<String, Value>, value: &Value, at: &str) {
        let kinds: Vec<&str> = match schema.get("type") {
            None => return,
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            Some(kind) => kind.as_str().into_iter().collect(),
        };
        let is = |kind: &&str| match *kind {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => false,
        };
        if !kinds.iter().any(is) {
            self.fault(at, format!("{value} is no {}", kinds.join(" or ")));
        }
    }

    fn object(&mut self, schema: &Map<String, Value>, members: &Map<String, Value>, at: &str) {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !name.as_str().is_some_and(|name| members.contains_key(name)) {
                self.fault(at, format!("{name} is required"));
            }
        }
        // A reference or a choice has looked at the members itself.
        if !schema.contains_key("type") {
            return;
        }
        for (name, member) in members {
            let at = format!("{at}.{name}");
            let own = schema.get("properties").and_then(|p| p.get(name));
            match own.or(schema.get("additionalProperties").filter(|other| other.is_object())) {
                // `{}`: any value.
                Some(Value::Object(any)) if any.is_empty() => {}
                Some(schema) => self.value(schema, member, &at),
                None => self.fault(&at, "is not documented".to_owned()),
            }
        }
    }

    fn array(&mut self, schema: &Map<String, Value>, items: &[Value], at: &str) {
        if let Some(tuple) = schema.get("prefixItems").and_then(Value::as_array) {
            if tuple.len() != items.len() {
                self.fault(at, format!("{} items instead of {}", items.len(), tuple.len()));
            }
            tuple.iter().zip(items).for_each(|(schema, item)| self.value(schema, item, at));
        } else if let Some(schema) = schema.get("items") {
            items.iter().enumerate().for_each(|(i, item)| self.value(schema, item, &format!("{at}[{i}]")));
        }
    }

    fn number(&mut self, schema: &Map<String, Value>, number: f64, at: &str) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        if bound("minimum").is_some_and(|min| number < min)
            || bound("maximum").is_some_and(|max| number > max)
        {
            self.fault(at, format!("{number} is out of bounds"));
        }
    }

    fn text(&mut self, schema: &Map<String, Value>, text: &str, at: &str) {
        if schema.get("enum").and_then(Value::as_array).is_some_and(|known| !known.iter().any(|k| k == text))
        {
            self.fault(at, format!("{text:?} is none of the documented values"));
        }
        let is_time = || text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok();
        match schema.get("format").and_then(Value::as_str) {
            Some("date-time") if !is_time() => self.fault(at, format!("{text:?} is no RFC 3339 time in UTC")),
            None | Some("date-time") => {}
            Some(format) => self.fault(at, format!("format {format} is not checked")),
        }
    }

    fn fault(&mut self, at: &str, what: String) {
        self.faults.push(format!("{at}: {what}"));
    }
}

#[test]
fn the_checker_finds_what_does_not_follow() {
    let document =
        serde_json::json!({"components": {"schemas": {"Colour": {"type": "string", "enum": ["red"]}}}});
    let schema = serde_json::json!({
        "type": "object",
        "required": ["colour", "at"],
        "properties": {
            "colour": {"$ref": "#/components/schemas/Colour", "description": "d"},
            "at": {"type": "string", "format": "date-time"},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer", "minimum": 0}]},
            "maybe": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Colour"}]},
        },
    });
    let found = |value: Value| faults(&document, &schema, &value);
    let good = serde_json::json!({"colour": "red", "at": "2026-03-02T07:00:00.000001Z", "pair": ["a", 1], "maybe": null});
    assert_eq!(found(good.clone()), Vec::<String>::new());
    for (member, bad) in [
        ("colour", serde_json::json!("blue")),
        ("at", serde_json::json!("yesterday")),
        ("pair", serde_json::json!(["a"])),
        ("pair", serde_json::json!(["a", -1])),
        ("maybe", serde_json::json!(7)),
        ("unknown", serde_json::json!(1)),
    ] {
        let mut value = good.clone();
        value[member] = bad;
        assert_eq!(found(value).len(), 1, "{member}");
    }
    assert_eq!(found(serde_json::json!({"colour": "red"})).len(), 1);
}
