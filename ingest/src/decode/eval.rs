//! Values of expressions.

use std::borrow::Cow;
use std::cell::RefCell;

use serde_json::Value;

use super::json::{Json, Kind, parse_text};
use super::slots::Values;
use crate::mapping::{Base, Expr, FieldId, Part, Piece, Step, Way};

/// The value of an expression.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Out<'a> {
    /// A value of the record.
    Json(Json<'a>),
    /// Every value of a field that stands in members of a list.
    Listed(FieldId),
    /// Text of the record or the mapping.
    Text(&'a str),
    /// Text to be split into members.
    Split(&'a str, &'a str),
    /// Text in the scratch buffer.
    Scratch,
    /// Text of an object or list in the scratch buffer.
    ScratchJson,
}

/// An event whose expressions are evaluated.
pub(crate) struct Event<'a> {
    pub(crate) values: Values<'a>,
    /// JSON that was text in a field, read once an event.
    parsed: RefCell<Vec<(FieldId, Option<Value>)>>,
}

impl<'a> Event<'a> {
    pub(crate) fn new(values: Values<'a>) -> Self {
        Self { values, parsed: RefCell::new(Vec::new()) }
    }

    /// The first non-empty value of the expression's ways.
    #[inline]
    pub(crate) fn eval(&self, expr: &'a Expr, scratch: &mut String) -> Option<Out<'a>> {
        expr.ways.iter().find_map(|way| self.way(way, scratch))
    }

    #[inline]
    fn way(&self, way: &'a Way, scratch: &mut String) -> Option<Out<'a>> {
        if let Some(text) = self.plain_text(&way.base) {
            return self.steps_on_text(text, &way.steps, scratch);
        }
        let out = match &way.base {
            Base::Fields(fields) => fields.iter().find_map(|field| self.field(*field))?,
            Base::Const(text) => Out::Text(text),
            Base::Template(pieces) => self.template(pieces, scratch)?,
            Base::Json(field, path) => self.json(*field, path, scratch)?,
        };
        if way.steps.is_empty() { Some(out) } else { self.steps(out, &way.steps, scratch) }
    }

    /// The first of the fields that the record has, where that is plain text and not empty.
    #[inline]
    fn plain_text(&self, base: &Base) -> Option<&'a str> {
        let Base::Fields(fields) = base else { return None };
        let first = fields.iter().find(|field| self.values.has(**field))?;
        self.values.plain_text(*first).filter(|text| !is_empty(text))
    }

    /// The value of a field unless it is empty or a placeholder.
    #[inline]
    pub(crate) fn field(&self, field: FieldId) -> Option<Out<'a>> {
        match self.values.plain_text(field) {
            Some(text) => (!is_empty(text)).then_some(Out::Text(text)),
            None => self.field_of_any_form(field),
        }
    }

    fn field_of_any_form(&self, field: FieldId) -> Option<Out<'a>> {
        let json = self.values.get(field)?.unwrapped();
        if self.values.is_listed(field) {
            return self.values.listed(field).any(has_value).then_some(Out::Listed(field));
        }
        match json.kind() {
            Kind::Text(text) => (!is_empty(text)).then_some(Out::Text(text)),
            _ => has_value(json).then_some(Out::Json(json)),
        }
    }

    fn template(&self, pieces: &[Piece], scratch: &mut String) -> Option<Out<'a>> {
        let mut value = String::new();
        scratch.clear();
        for piece in pieces {
            match piece {
                Piece::Literal(literal) => scratch.push_str(literal),
                Piece::Field(field) => {
                    let out = self.field(*field)?;
                    scratch.push_str(self.text(out, &mut value)?);
                }
            }
        }
        Some(Out::Scratch)
    }

    fn json(&self, field: FieldId, path: &[Box<str>], scratch: &mut String) -> Option<Out<'a>> {
        let json = self.values.get(field)?;
        match json.kind() {
            Kind::Object | Kind::List => {
                let found = json.at(path)?.unwrapped();
                match found.kind() {
                    Kind::Text(text) => (!is_empty(text)).then_some(Out::Text(text)),
                    _ => has_value(found).then_some(Out::Json(found)),
                }
            }
            Kind::Text(text) => self.json_of_text(field, text, path, scratch),
            _ => None,
        }
    }

    fn json_of_text(
        &self,
        field: FieldId,
        text: &str,
        path: &[Box<str>],
        scratch: &mut String,
    ) -> Option<Out<'a>> {
        let mut parsed = self.parsed.borrow_mut();
        let index = parsed.iter().position(|(f, _)| *f == field).unwrap_or_else(|| {
            parsed.push((field, parse_text(text)));
            parsed.len() - 1
        });
        let found = Json::Value(parsed[index].1.as_ref()?).at(path)?.unwrapped();
        if !has_value(found) {
            return None;
        }
        scratch.clear();
        if matches!(found.kind(), Kind::Object | Kind::List) {
            found.write(scratch);
            return Some(Out::ScratchJson);
        }
        let mut number = String::new();
        scratch.push_str(found.scalar(&mut number)?);
        Some(Out::Scratch)
    }

    fn steps(&self, out: Out<'a>, steps: &'a [Step], scratch: &mut String) -> Option<Out<'a>> {
        if let Out::Text(text) = out {
            return self.steps_on_text(text, steps, scratch);
        }
        if let [Step::Split(_)] = steps {
            return Some(out);
        }
        // Text in the scratch buffer is taken out first.
        let text = self.text(out, scratch)?.to_owned();
        let result = apply(&text, steps)?.into_owned();
        *scratch = result;
        Some(Out::Scratch)
    }

    /// Text of the record keeps its place as long as the steps only cut it.
    fn steps_on_text(&self, text: &'a str, steps: &'a [Step], scratch: &mut String) -> Option<Out<'a>> {
        match steps {
            [] => Some(Out::Text(text)),
            [Step::Split(separator)] => Some(Out::Split(text, separator)),
            steps => match apply(text, steps)? {
                Cow::Borrowed(text) => Some(Out::Text(text)),
                Cow::Owned(text) => {
                    *scratch = text;
                    Some(Out::Scratch)
                }
            },
        }
    }

    /// A value as one text: of several values the first, of an object or list its JSON.
    pub(crate) fn text<'s>(&self, out: Out<'a>, scratch: &'s mut String) -> Option<&'s str>
    where
        'a: 's,
    {
        match out {
            Out::Text(text) => Some(text),
            Out::Split(text, separator) => text.split(separator).map(str::trim).find(|t| !t.is_empty()),
            Out::Scratch | Out::ScratchJson => Some(scratch),
            Out::Listed(field) => {
                let first = self.values.listed(field).find(|json| has_value(*json))?;
                self.text(Out::Json(first), scratch)
            }
            Out::Json(json) => match json.kind() {
                Kind::Object => {
                    scratch.clear();
                    json.write(scratch);
                    Some(scratch)
                }
                Kind::List if json.members().count() == 1 => {
                    let first = json.members().next()?;
                    self.text(Out::Json(first), scratch)
                }
                Kind::List => {
                    scratch.clear();
                    json.write(scratch);
                    Some(scratch)
                }
                _ => {
                    scratch.clear();
                    json.scalar(scratch)
                }
            },
        }
    }

    /// The expression's value as one text.
    pub(crate) fn eval_text<'s>(&self, expr: &'a Expr, scratch: &'s mut String) -> Option<&'s str>
    where
        'a: 's,
    {
        let out = self.eval(expr, scratch)?;
        self.text(out, scratch)
    }
}

/// Whether text says nothing: empty, `-`, `N/A`.
#[inline]
pub(crate) fn is_empty(text: &str) -> bool {
    let text = text.trim_ascii();
    match text.len() {
        0 => true,
        1 => text == "-",
        3 => text.eq_ignore_ascii_case("n/a"),
        _ => false,
    }
}

fn has_value(json: Json<'_>) -> bool {
    match json.kind() {
        Kind::Null => false,
        Kind::Text(text) => !is_empty(text),
        Kind::List => json.members().any(has_value),
        Kind::Object => json.entries().next().is_some(),
        _ => true,
    }
}

fn apply<'t>(text: &'t str, steps: &'t [Step]) -> Option<Cow<'t, str>> {
    let mut text = Cow::Borrowed(text);
    for step in steps {
        text = match text {
            Cow::Borrowed(text) => apply_one(text, step)?,
            Cow::Owned(text) => Cow::Owned(apply_one(&text, step)?.into_owned()),
        };
        if is_empty(&text) {
            return None;
        }
    }
    Some(text)
}

fn apply_one<'t>(text: &'t str, step: &'t Step) -> Option<Cow<'t, str>> {
    match step {
        Step::KeyValue(key) => key_value(text, key).map(Cow::Borrowed),
        Step::Part(part) => part_of(text, *part),
        Step::Map { entries, default } => {
            let lower = super::when::lower(text, |lower| entries.get(lower));
            match (lower, default) {
                (Some(mapped), _) => Some(Cow::Borrowed(mapped)),
                (None, Some(default)) => Some(Cow::Borrowed(default)),
                (None, None) => Some(Cow::Borrowed(text)),
            }
        }
        Step::Split(separator) => {
            text.split(separator.as_ref()).map(str::trim).find(|t| !t.is_empty()).map(Cow::Borrowed)
        }
    }
}

fn key_value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.split([',', ';']).find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case(key).then(|| value.trim())
    })
}

fn part_of(text: &str, part: Part) -> Option<Cow<'_, str>> {
    let borrowed = match part {
        Part::Basename => Some(split_path(text).1),
        Part::Dirname => split_path(text).0,
        Part::Extension => split_path(text).1.rsplit_once('.').map(|(_, extension)| extension),
        Part::Host => host(text),
        Part::Url => is_url(text).then_some(text),
        Part::DomainPart => match text.split_once('\\') {
            Some((domain, _)) => Some(domain),
            None => text.rsplit_once('@').map(|(_, domain)| domain),
        },
        Part::UserPart => match text.split_once('\\') {
            Some((_, user)) => Some(user),
            None => Some(text.split_once('@').map_or(text, |(user, _)| user)),
        },
        Part::Lower => return Some(Cow::Owned(text.to_lowercase())),
        Part::Upper => return Some(Cow::Owned(text.to_uppercase())),
    };
    borrowed.map(Cow::Borrowed)
}

/// Directory and name. A backslash separates if there is one: registry names and Windows arguments hold slashes.
fn split_path(text: &str) -> (Option<&str>, &str) {
    let separator = if text.contains('\\') { '\\' } else { '/' };
    let trimmed = text.trim_end_matches(separator);
    match trimmed.rsplit_once(separator) {
        Some((directory, name)) => (Some(directory), name),
        None => (None, trimmed),
    }
}

/// Whether the text begins with a scheme and names a host.
fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            && !rest.is_empty()
    })
}

/// The host of a URL, or of `host:port`.
fn host(text: &str) -> Option<&str> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(v6) = authority.strip_prefix('[') {
        return v6.split(']').next();
    }
    match authority.split_once(':') {
        // Several colons without brackets are an IPv6 address.
        Some((_, port)) if port.contains(':') => Some(authority),
        Some((host, _)) => Some(host),
        None => Some(authority),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_texts() {
        let part = |text, p| part_of(text, p).map(Cow::into_owned);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(part(r"C:\Windows\System32\cmd.exe", Part::Basename), some("cmd.exe"));
        assert_eq!(part(r"C:\Windows\System32\cmd.exe", Part::Dirname), some(r"C:\Windows\System32"));
        assert_eq!(part(r"HKLM\Software\Classes\text/html", Part::Basename), some("text/html"));
        assert_eq!(part("/usr/bin/sh", Part::Basename), some("sh"));
        assert_eq!(part("sh", Part::Dirname), None);
        assert_eq!(part("a.tar.gz", Part::Extension), some("gz"));
        assert_eq!(part("https://u@files.example:8443/a?b", Part::Host), some("files.example"));
        assert_eq!(part("https://files.example/a", Part::Url), some("https://files.example/a"));
        assert_eq!(part("0f8fad5b-d9cb-469f-a165-70867728950e", Part::Url), None);
        assert_eq!(part("://files.example", Part::Url), None);
        assert_eq!(part("[2001:db8::1]:443", Part::Host), some("2001:db8::1"));
        assert_eq!(part("2001:db8::1", Part::Host), some("2001:db8::1"));
        assert_eq!(part(r"CORP\ann", Part::DomainPart), some("CORP"));
        assert_eq!(part("ann@corp.example", Part::DomainPart), some("corp.example"));
        assert_eq!(part("ann@corp.example", Part::UserPart), some("ann"));
        assert_eq!(part("ann", Part::DomainPart), None);
    }

    #[test]
    fn key_value_lists() {
        assert_eq!(key_value("SHA1=AA,MD5=BB, sha256=CC", "SHA256"), Some("CC"));
        assert_eq!(key_value("SHA1=AA", "MD5"), None);
    }

    #[test]
    fn placeholders_are_empty() {
        for text in ["", "  ", "-", " - ", "N/A", "n/a"] {
            assert!(is_empty(text), "{text:?}");
        }
        for text in ["0", "--", "none", "n"] {
            assert!(!is_empty(text), "{text:?}");
        }
    }
}
