//! The definitions of joins: `joins.yml`, read and compiled once against the schemas of its classes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use event::{Class, ClassSchema, ColumnType, EntityType, Feed, RowShape};
use serde::Deserialize;

use super::key::Part;
use super::predicate::{Condition, Test};
use crate::error::CorrelateError;
use crate::parameters::Span;

/// The format this program reads.
const VERSION: u32 = 1;

/// All joins, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Definitions {
    pub(crate) joins: Vec<Definition>,
    /// The selections that a class takes part in.
    by_class: HashMap<Class, Vec<Place>>,
}

/// A selection: of which join, which side, which of the side's selections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) join: usize,
    pub(crate) side: Side,
    pub(crate) selection: usize,
}

/// One of the two events of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, Deserialize)]
pub(crate) enum Side {
    First,
    Second,
}

impl Side {
    pub(crate) const fn other(self) -> Side {
        match self {
            Side::First => Side::Second,
            Side::Second => Side::First,
        }
    }
}

/// One join.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub(crate) name: Arc<str>,
    pub(crate) relation: Arc<str>,
    /// How long the second event may come before the first, in microseconds.
    before_us: i64,
    /// How long the second event may come after the first, in microseconds.
    after_us: i64,
    pub(crate) same: Vec<Part>,
    pub(crate) differ: Vec<Part>,
    /// Places in `same` of the values whose rarity weighs the join.
    pub(crate) common: Vec<usize>,
    sides: [Vec<Selection>; 2],
    /// Of each side, the kinds of source that have no event for it.
    unrelated: [BTreeSet<Arc<str>>; 2],
}

/// The events of one class that may take one side, and what is kept of them.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    class: Class,
    pub(crate) conditions: Vec<Condition>,
    /// For each of `same`, where its values stand.
    pub(crate) same: Vec<Vec<Source>>,
    /// For each of `differ`, where its values stand.
    pub(crate) differ: Vec<Vec<Source>>,
    /// Entity types with the kept column that names them.
    pub(crate) anchors: Vec<(EntityType, usize)>,
    pub(crate) told: Template,
    /// Places in the class's schema of the columns that are kept.
    pub(crate) kept: Vec<usize>,
}

/// A value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// Place among the kept columns.
    pub(crate) column: usize,
    /// The host of the first URL in it, not all of it.
    pub(crate) is_host: bool,
}

/// An event in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Template(pub(crate) Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// The first kept column that has a value.
    Value(Vec<usize>),
}

impl Definition {
    pub(crate) fn selections(&self, side: Side) -> &[Selection] {
        &self.sides[side as usize]
    }

    /// The kinds of source that have no event for a side.
    pub(crate) fn unrelated(&self, side: Side) -> &BTreeSet<Arc<str>> {
        &self.unrelated[side as usize]
    }

    /// The times between which the other event of an event at `t` lies.
    pub(crate) fn window(&self, side: Side, t: i64) -> (i64, i64) {
        match side {
            Side::First => (t.saturating_sub(self.before_us), t.saturating_add(self.after_us)),
            Side::Second => (t.saturating_sub(self.after_us), t.saturating_add(self.before_us)),
        }
    }

    /// How long an event waits for others that are not late.
    pub(crate) fn keep_us(&self, side: Side) -> i64 {
        match side {
            Side::First => self.after_us,
            Side::Second => self.before_us,
        }
    }
}

impl Selection {
    /// Whether rows of that shape may meet the conditions and have a key.
    fn may_take(&self, rows: &RowShape) -> bool {
        let needed = self.conditions.iter().filter(|condition| condition.test != Test::Exists(false));
        let has = |source: &Source| rows.columns.contains(&self.kept[source.column]);
        rows.class == self.class
            && needed.map(|condition| condition.column).all(|column| rows.columns.contains(&column))
            && self.same.iter().chain(&self.differ).all(|sources| sources.iter().any(has))
    }
}

impl Definitions {
    pub(crate) fn parse(text: &str) -> Result<Self, CorrelateError> {
        let file: File = serde_yaml_ng::from_str(text).map_err(|e| wrong("", &e.to_string()))?;
        if file.version != VERSION {
            let text = format!("version {} is not {VERSION}, the one this program reads", file.version);
            return Err(wrong("", &text));
        }
        let mut definitions = Self::default();
        for written in file.joins {
            if definitions.joins.iter().any(|known| *known.name == *written.name) {
                return Err(wrong(&written.name, "the name is taken"));
            }
            definitions.add(written.compiled()?);
        }
        // A join is one byte in stored reasons.
        if definitions.joins.len() > 255 {
            return Err(wrong("", "more than 255 joins"));
        }
        Ok(definitions)
    }

    fn add(&mut self, definition: Definition) {
        let join = self.joins.len();
        for side in [Side::First, Side::Second] {
            for (selection, of) in definition.selections(side).iter().enumerate() {
                self.by_class.entry(of.class).or_default().push(Place { join, side, selection });
            }
        }
        self.joins.push(definition);
    }

    /// What no source of a kind can give, nothing waits for.
    pub(crate) fn relate(&mut self, feeds: &[Feed]) {
        for join in &mut self.joins {
            join.unrelated = [&join.sides[0], &join.sides[1]].map(|selections| {
                Feed::unrelated(feeds, |rows| selections.iter().any(|selection| selection.may_take(rows)))
            });
        }
    }

    pub(crate) fn places(&self, class: Class) -> &[Place] {
        self.by_class.get(&class).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn selection(&self, place: Place) -> &Selection {
        &self.joins[place.join].selections(place.side)[place.selection]
    }
}

fn wrong(join: &str, what: &str) -> CorrelateError {
    let place = if join.is_empty() { "joins".to_owned() } else { format!("joins: {join}") };
    CorrelateError::Parameters(format!("{place}: {what}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    joins: Vec<WrittenJoin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenJoin {
    name: String,
    relation: String,
    window: WrittenWindow,
    same: Vec<Part>,
    #[serde(default)]
    differ: Vec<Part>,
    #[serde(default)]
    common: Vec<Part>,
    first: Vec<WrittenSelection>,
    second: Vec<WrittenSelection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWindow {
    before: Span,
    after: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSelection {
    class: String,
    #[serde(default, rename = "where")]
    conditions: BTreeMap<String, WrittenTest>,
    key: HashMap<Part, OneOrMore>,
    anchors: BTreeMap<EntityType, OneOrMore>,
    told: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenTest {
    Values(OneOrMore),
    Shape(WrittenShape),
}

/// One of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenShape {
    prefix: Option<OneOrMore>,
    suffix: Option<OneOrMore>,
    contains: Option<OneOrMore>,
    exists: Option<bool>,
}

/// A text, number or boolean, or a list of these.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Scalar),
    More(Vec<Scalar>),
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Bool(bool),
    Int(i64),
    Text(String),
}

impl OneOrMore {
    fn texts(&self) -> Vec<String> {
        let all = match self {
            OneOrMore::One(one) => std::slice::from_ref(one),
            OneOrMore::More(more) => more,
        };
        let text = |scalar: &Scalar| match scalar {
            Scalar::Bool(value) => value.to_string(),
            Scalar::Int(value) => value.to_string(),
            Scalar::Text(value) => value.clone(),
        };
        all.iter().map(text).collect()
    }
}

impl WrittenJoin {
    fn compiled(self) -> Result<Definition, CorrelateError> {
        let name = self.name.clone();
        let wrong = |what: &str| wrong(&name, what);
        if self.same.is_empty() || self.first.is_empty() || self.second.is_empty() {
            return Err(wrong("`same`, `first` and `second` must not be empty"));
        }
        let place = |part: &Part| self.same.iter().position(|same| same == part);
        let common: Option<Vec<usize>> = self.common.iter().map(place).collect();
        let common = common.ok_or_else(|| wrong("what is `common` must be among what is `same`"))?;
        let compile = |written: &[WrittenSelection]| -> Result<Vec<Selection>, CorrelateError> {
            written.iter().map(|one| one.compiled(&self).map_err(|what| wrong(&what))).collect()
        };
        Ok(Definition {
            name: name.as_str().into(),
            relation: self.relation.as_str().into(),
            before_us: self.window.before.0,
            after_us: self.window.after.0,
            common,
            sides: [compile(&self.first)?, compile(&self.second)?],
            same: self.same,
            differ: self.differ,
            unrelated: Default::default(),
        })
    }
}

/// The columns of a selection, as they are asked for.
struct Kept {
    schema: &'static ClassSchema,
    columns: Vec<usize>,
}

impl Kept {
    fn place(&mut self, name: &str) -> Result<usize, String> {
        let index = index_of(self.schema, name)?;
        let is_text = column_type(self.schema, name) == Some(ColumnType::String);
        if !is_text {
            return Err(format!("`{name}` of {} is no text", self.schema.name));
        }
        let known = self.columns.iter().position(|kept| *kept == index);
        Ok(known.unwrap_or_else(|| {
            self.columns.push(index);
            self.columns.len() - 1
        }))
    }

    fn sources(&mut self, written: &OneOrMore) -> Result<Vec<Source>, String> {
        let source = |text: String| {
            let inner = text.strip_prefix("host(").and_then(|rest| rest.strip_suffix(')'));
            Ok(Source { column: self.place(inner.unwrap_or(&text))?, is_host: inner.is_some() })
        };
        written.texts().into_iter().map(source).collect()
    }

    fn template(&mut self, text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (names, after) =
                after.split_once('}').ok_or_else(|| format!("`told` lacks a closing brace: {text:?}"))?;
            let columns = names.split('|').map(|name| self.place(name)).collect::<Result<_, _>>()?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Value(columns));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Template(pieces))
    }
}

impl WrittenSelection {
    fn compiled(&self, join: &WrittenJoin) -> Result<Selection, String> {
        let class = Class::from_name(&self.class).ok_or_else(|| format!("no class `{}`", self.class))?;
        let mut kept = Kept { schema: ClassSchema::of(class), columns: Vec::new() };
        let mut parts = |parts: &[Part]| -> Result<Vec<Vec<Source>>, String> {
            let sources = |part: &Part| match self.key.get(part) {
                Some(written) => kept.sources(written),
                None => Err(format!("the key of {} lacks `{}`", self.class, part.name())),
            };
            parts.iter().map(sources).collect()
        };
        let (same, differ) = (parts(&join.same)?, parts(&join.differ)?);
        if let Some(part) = self.key.keys().find(|p| !join.same.contains(p) && !join.differ.contains(p)) {
            return Err(format!("`{}` of {} is neither `same` nor `differ`", part.name(), self.class));
        }
        let mut anchors = Vec::new();
        for (entity_type, columns) in &self.anchors {
            for column in columns.texts() {
                anchors.push((*entity_type, kept.place(&column)?));
            }
        }
        let told = kept.template(&self.told)?;
        let conditions = self
            .conditions
            .iter()
            .map(|(column, test)| test.compiled(kept.schema, column))
            .collect::<Result<_, _>>()?;
        Ok(Selection { class, conditions, same, differ, anchors, told, kept: kept.columns })
    }
}

impl WrittenTest {
    fn compiled(&self, schema: &'static ClassSchema, name: &str) -> Result<Condition, String> {
        let column = index_of(schema, name)?;
        let lower = |words: &OneOrMore| -> Vec<String> {
            words.texts().iter().map(|word| word.to_ascii_lowercase()).collect()
        };
        let of = column_type(schema, name);
        let test = match (self, of) {
            (WrittenTest::Values(values), Some(ColumnType::Int)) => {
                let number =
                    |text: String| text.parse().map_err(|_| format!("{text:?} is no number, as `{name}` is"));
                Some(Test::Numbers(values.texts().into_iter().map(number).collect::<Result<_, _>>()?))
            }
            (WrittenTest::Values(values), Some(ColumnType::String)) => Some(Test::words(lower(values))),
            (WrittenTest::Shape(shape), of) => shape.test(of == Some(ColumnType::String), lower),
            _ => None,
        };
        let test = test.ok_or_else(|| format!("`{name}` of {} cannot be asked that", schema.name))?;
        Ok(Condition { column, test })
    }
}

impl WrittenShape {
    fn test(&self, is_text: bool, lower: impl Fn(&OneOrMore) -> Vec<String>) -> Option<Test> {
        match (&self.prefix, &self.suffix, &self.contains, self.exists) {
            (Some(words), None, None, None) if is_text => Some(Test::Prefix(lower(words))),
            (None, Some(words), None, None) if is_text => Some(Test::Suffix(lower(words))),
            (None, None, Some(words), None) if is_text => Some(Test::Contains(lower(words))),
            (None, None, None, Some(exists)) => Some(Test::Exists(exists)),
            _ => None,
        }
    }
}

fn index_of(schema: &'static ClassSchema, name: &str) -> Result<usize, String> {
    schema.index_of(name).ok_or_else(|| format!("no column `{name}` in {}", schema.name))
}

fn column_type(schema: &'static ClassSchema, name: &str) -> Option<ColumnType> {
    schema.columns.iter().find(|column| column.name == name).map(|column| column.column_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../joins.yml");

    #[test]
    fn the_shipped_joins_compile() {
        let definitions = Definitions::parse(SHIPPED).unwrap();
        let names: Vec<&str> = definitions.joins.iter().map(|join| &*join.name).collect();
        assert_eq!(
            names,
            [
                "click_to_browser",
                "download_to_execution",
                "attachment_to_file",
                "signin_to_connection",
                "session_to_new_address",
                "consent_to_mail_read",
                "logon_to_execution",
                "rule_to_forwarding"
            ]
        );
        assert_eq!(definitions.places(Class::PROCESS_ACTIVITY).len(), 4);
        let click = &definitions.joins[0];
        assert_eq!(click.window(Side::First, 0), (-10_000_000, 600_000_000));
        assert_eq!(click.window(Side::Second, 0), (-600_000_000, 10_000_000));
    }

    #[test]
    fn a_join_does_not_wait_for_what_has_nothing_for_it() {
        let mut definitions = Definitions::parse(SHIPPED).unwrap();
        let feed = |kind: &str, class: Class, columns: &[&str]| {
            let schema = ClassSchema::of(class);
            let columns = columns.iter().map(|name| schema.index_of(name).unwrap()).collect();
            let rows = vec![RowShape { class, logsources: Arc::from([]), columns }];
            Feed { kind: kind.into(), rows }
        };
        let signin = ["activity_id", "status_id", "user_email", "src_endpoint_ip"];
        let logon = [&signin[..], &["logon_type_id", "logon_id", "device_hostname"]].concat();
        definitions.relate(&[
            feed("cloud", Class::AUTHENTICATION, &signin),
            feed("windows", Class::AUTHENTICATION, &logon),
            feed("other", Class::PROCESS_ACTIVITY, &logon[..1]),
        ]);
        let join = definitions.joins.iter().find(|join| &*join.name == "logon_to_execution").unwrap();
        assert_eq!(*join.unrelated(Side::First), BTreeSet::from(["cloud".into(), "other".into()]));
        assert_eq!(join.unrelated(Side::Second).len(), 3);
    }

    #[test]
    fn a_wrong_definition_says_which_and_what() {
        let mut said = Vec::new();
        for (text, other) in [
            ("version: 1", "version: 7"),
            ("same: [user, domain]", "same: [user, colour]"),
            ("class: dns_activity", "class: dns"),
            ("domain: query_hostname", "domain: query_host"),
            ("domain: query_hostname", "ip: query_hostname"),
            (
                "told: \"{actor_process_name} on {device_hostname} looked",
                "told: \"{actor_process_name on {device_hostname} looked",
            ),
            ("where: {activity_id: [1, 3, 5]}", "where: {activity_id: [one]}"),
            ("where: {activity_id: [1, 3, 5]}", "where: {activity_id: {prefix: 1}}"),
            ("name: download_to_execution", "name: click_to_browser"),
            ("common: [file]", "common: [app]"),
        ] {
            let changed = SHIPPED.replacen(text, other, 1);
            assert_ne!(changed, SHIPPED, "{text}");
            said.push(Definitions::parse(&changed).unwrap_err().to_string());
        }
        insta::assert_snapshot!(said.join("\n"));
    }
}
