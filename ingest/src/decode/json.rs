//! One view of a JSON value, wherever it lies: on the tape of the record, in JSON text inside it, or constant.

use std::borrow::Cow;
use std::fmt::Write as _;

use event::json::unescaped;
use serde_json::Value;

use super::tape::{Node, Tape};

/// A borrowed JSON value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Json<'a> {
    /// A node of the record's tape.
    Tape(&'a Tape<'a>, usize),
    /// A value of JSON that was text.
    Value(&'a Value),
    /// A constant of the mapping.
    Text(&'a str),
}

/// A scalar, or what else the value is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Beyond `i64`.
    Big(u64),
    Float(f64),
    Text(&'a str),
    /// Text as the record writes it, with escapes. Slots hold none: what they lead to is resolved.
    Escaped(&'a str),
    Object,
    List,
}

impl<'a> Json<'a> {
    #[inline]
    pub(crate) fn kind(self) -> Kind<'a> {
        match self {
            Json::Tape(tape, at) => match tape.node(at) {
                Some(Node::Text(span) | Node::Name(span, _)) => Kind::Text(tape.written(span)),
                Some(Node::Resolved(span)) => Kind::Text(tape.resolved(span)),
                Some(Node::Escaped(span)) => Kind::Escaped(tape.written(span)),
                Some(Node::Integer(span) | Node::Number(span)) => written_number(tape.written(span)),
                Some(Node::Bool(b)) => Kind::Bool(b),
                Some(Node::Object { .. }) => Kind::Object,
                Some(Node::List { .. }) => Kind::List,
                Some(Node::Null) | None => Kind::Null,
            },
            Json::Value(value) => match value {
                Value::Null => Kind::Null,
                Value::Bool(b) => Kind::Bool(*b),
                Value::Number(n) => number_kind(n),
                Value::String(text) => Kind::Text(text),
                Value::Array(_) => Kind::List,
                Value::Object(_) => Kind::Object,
            },
            Json::Text(text) => Kind::Text(text),
        }
    }

    /// The text of a value that is text, its escapes resolved.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        match self.kind() {
            Kind::Text(text) => Some(Cow::Borrowed(text)),
            Kind::Escaped(written) => Some(Cow::Owned(unescaped(written))),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn is_null(self) -> bool {
        match self {
            Json::Tape(tape, at) => matches!(tape.node(at), Some(Node::Null) | None),
            Json::Value(value) => value.is_null(),
            Json::Text(_) => false,
        }
    }

    /// Members of an object, in the order of the document.
    #[inline]
    pub(crate) fn entries(self) -> Entries<'a> {
        match self {
            Json::Tape(tape, at) => match tape.node(at) {
                Some(Node::Object { members, .. }) => Entries::Tape { tape, at: at + 1, left: members },
                _ => Entries::None,
            },
            Json::Value(Value::Object(map)) => Entries::Value(map.iter()),
            _ => Entries::None,
        }
    }

    /// Members of a list.
    pub(crate) fn members(self) -> Members<'a> {
        match self {
            Json::Tape(tape, at) => match tape.node(at) {
                Some(Node::List { members, .. }) => Members::Tape { tape, at: at + 1, left: members },
                _ => Members::None,
            },
            Json::Value(Value::Array(list)) => Members::Value(list.iter()),
            _ => Members::None,
        }
    }

    /// The member of an object; names count without their spaces.
    pub(crate) fn get(self, name: &str) -> Option<Json<'a>> {
        let found = self.entries().find(|(key, _)| *key == name);
        found
            .or_else(|| self.entries().find(|(key, _)| key.contains(' ') && key.replace(' ', "") == name))
            .map(|(_, v)| v)
    }

    /// The value at the end of a path. On a list, a step is an index or `name=value`.
    pub(crate) fn at(self, steps: &[Box<str>]) -> Option<Json<'a>> {
        steps.iter().try_fold(self, |at, step| at.step(step))
    }

    pub(crate) fn step(self, step: &str) -> Option<Json<'a>> {
        if !matches!(self.kind(), Kind::List) {
            return self.get(step);
        }
        if let Ok(index) = step.parse::<usize>() {
            return self.members().nth(index);
        }
        let (name, wanted) = step.split_once('=')?;
        let mut scratch = String::new();
        self.members().find(|m| {
            scratch.clear();
            m.get(name)
                .and_then(|v| v.scalar(&mut scratch))
                .is_some_and(|text| text.eq_ignore_ascii_case(wanted))
        })
    }

    /// XML made JSON: an object with `#text` counts as that text.
    #[inline]
    pub(crate) fn unwrapped(self) -> Json<'a> {
        match self.kind() {
            Kind::Object => self.get("#text").unwrap_or(self),
            _ => self,
        }
    }

    /// The text of a scalar in its JSON form without quotes; numbers and resolved escapes are added to `scratch`, which is
    /// empty.
    #[inline]
    pub(crate) fn scalar<'b>(self, scratch: &'b mut String) -> Option<&'b str>
    where
        'a: 'b,
    {
        if let Json::Tape(tape, at) = self
            && let Some(text) = tape.scalar(at)
        {
            return Some(text);
        }
        match self.kind() {
            Kind::Text(text) => Some(text),
            Kind::Escaped(written) => {
                scratch.push_str(&unescaped(written));
                Some(scratch)
            }
            Kind::Bool(true) => Some("true"),
            Kind::Bool(false) => Some("false"),
            Kind::Null | Kind::Object | Kind::List => None,
            number => {
                number.write_number(scratch);
                Some(scratch)
            }
        }
    }

    /// Writes the value as JSON text.
    pub(crate) fn write(self, out: &mut String) {
        match self.kind() {
            Kind::Null => out.push_str("null"),
            Kind::Bool(b) => out.push_str(if b { "true" } else { "false" }),
            Kind::Text(text) => write_text(text, out),
            Kind::Escaped(written) => write_text(&unescaped(written), out),
            Kind::Object => {
                out.push('{');
                for (i, (key, value)) in self.entries().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
            Kind::List => {
                out.push('[');
                for (i, member) in self.members().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    member.write(out);
                }
                out.push(']');
            }
            number => number.write_number(out),
        }
    }

    /// The same value, owned.
    pub(crate) fn to_value(self) -> Value {
        match self {
            Json::Value(value) => value.clone(),
            _ => match self.kind() {
                Kind::Null => Value::Null,
                Kind::Bool(b) => b.into(),
                Kind::Int(n) => n.into(),
                Kind::Big(n) => n.into(),
                Kind::Float(f) => f.into(),
                Kind::Text(text) => text.into(),
                Kind::Escaped(written) => unescaped(written).into(),
                Kind::List => self.members().map(Json::to_value).collect(),
                Kind::Object => self.entries().map(|(k, v)| (k.to_owned(), v.to_value())).collect(),
            },
        }
    }
}

impl Kind<'_> {
    pub(crate) fn write_number(self, out: &mut String) {
        // Writing to a string cannot fail.
        let _infallible = match self {
            Kind::Int(n) => {
                super::when::with_int(n, |digits| out.push_str(digits));
                Ok(())
            }
            Kind::Big(n) => write!(out, "{n}"),
            Kind::Float(f) if f.fract() == 0.0 && f.abs() < 1e15 => write!(out, "{f:.1}"),
            Kind::Float(f) => write!(out, "{f}"),
            _ => Ok(()),
        };
    }

    /// What the value is, for messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool(_) => "a boolean",
            Kind::Int(_) | Kind::Big(_) | Kind::Float(_) => "a number",
            Kind::Text(_) | Kind::Escaped(_) => "text",
            Kind::Object => "an object",
            Kind::List => "a list",
        }
    }
}

/// A number of valid JSON. What is no integer of 64 bits is the nearest float.
fn written_number<'a>(text: &str) -> Kind<'a> {
    if let Ok(n) = text.parse() {
        return Kind::Int(n);
    }
    match (text.parse(), text.parse()) {
        (Ok(n), _) => Kind::Big(n),
        (_, Ok(f)) => Kind::Float(f),
        (Err(_), Err(_)) => Kind::Null,
    }
}

fn number_kind<'a>(number: &serde_json::Number) -> Kind<'a> {
    match (number.as_i64(), number.as_u64()) {
        (Some(n), _) => Kind::Int(n),
        (None, Some(n)) => Kind::Big(n),
        (None, None) => number.as_f64().map_or(Kind::Null, Kind::Float),
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let mut plain_from = 0;
    for (i, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain_from..i]);
        plain_from = i + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other => {
                let _infallible = write!(out, "\\u{other:04x}");
            }
        }
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

/// See [`Json::entries`].
pub(crate) enum Entries<'a> {
    None,
    Tape { tape: &'a Tape<'a>, at: usize, left: u32 },
    Value(serde_json::map::Iter<'a>),
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, Json<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Entries::None => None,
            Entries::Tape { tape, at, left } => {
                *left = left.checked_sub(1)?;
                let key = tape.text(*at)?;
                let value = *at + 1;
                *at = tape.after(value);
                Some((key, Json::Tape(tape, value)))
            }
            Entries::Value(iter) => iter.next().map(|(k, v)| (k.as_str(), Json::Value(v))),
        }
    }
}

/// See [`Json::members`].
pub(crate) enum Members<'a> {
    None,
    Tape { tape: &'a Tape<'a>, at: usize, left: u32 },
    Value(std::slice::Iter<'a, Value>),
}

impl<'a> Iterator for Members<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Members::None => None,
            Members::Tape { tape, at, left } => {
                *left = left.checked_sub(1)?;
                let here = *at;
                *at = tape.after(here);
                Some(Json::Tape(tape, here))
            }
            Members::Value(iter) => iter.next().map(Json::Value),
        }
    }
}

/// Reads text that holds JSON, or JSON text inside JSON text (up to three times), into an object or list.
pub(crate) fn parse_text(text: &str) -> Option<Value> {
    let mut value: Value = Value::String(text.to_owned());
    for _ in 0..3 {
        let Value::String(text) = &value else { break };
        let trimmed = text.trim_start();
        if !trimmed.starts_with(['{', '[', '"']) {
            return None;
        }
        value = serde_json::from_str(trimmed).ok()?;
    }
    (value.is_object() || value.is_array()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::super::names::Names;
    use super::super::scan::scan;
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let text = r#"{"a":[1,-2,3.5,18446744073709551615,true,null,"q\"\\\n\u0001ü"],"b":{"c":{}},"d":[]}"#;
        let mut tape = Tape { record: text, ..Tape::default() };
        scan(&mut tape, &mut Names::default(), &mut Vec::new(), 64).unwrap();
        let json = Json::Tape(&tape, 0);
        let mut out = String::new();
        json.write(&mut out);
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected);
        assert_eq!(json.to_value(), expected);
    }

    #[test]
    fn steps_through_lists() {
        let value = serde_json::json!({"t": [{"type": "App", "n": 1}, {"type": "User", "n": 2}]});
        let at = |path: &[&str]| {
            let steps: Vec<Box<str>> = path.iter().map(|s| (*s).into()).collect();
            Json::Value(&value).at(&steps).map(Json::to_value)
        };
        assert_eq!(at(&["t", "type=user", "n"]), Some(2.into()));
        assert_eq!(at(&["t", "0", "n"]), Some(1.into()));
        assert_eq!(at(&["t", "type=none", "n"]), None);
    }

    #[test]
    fn json_in_text_is_read_twice() {
        assert_eq!(parse_text(r#""{\"a\":1}""#), Some(serde_json::json!({"a": 1})));
        assert_eq!(parse_text("plain"), None);
        assert_eq!(parse_text("{broken"), None);
    }
}
