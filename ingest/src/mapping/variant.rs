//! Variants: which events they take, and how their rows are made.

use std::collections::HashMap;
use std::sync::Arc;

use event::{Class, ClassSchema, Domain, Logsource, RowShape, Time};

use super::expr::{Expr, FieldId, Scope};
use super::yaml::Node;
use crate::error::MappingError;

/// Events of one meaning.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    pub(crate) name: Arc<str>,
    pub(crate) when: When,
    pub(crate) class: Class,
    pub(crate) activity_id: Number,
    pub(crate) severity_id: Number,
    pub(crate) product: Arc<str>,
    pub(crate) domain: Domain,
    pub(crate) logsources: Arc<[Logsource]>,
    /// Column by its index in [`ClassSchema::columns`].
    pub(crate) columns: Vec<(usize, Expr)>,
    /// Sigma field name and what replaces the record's field of that name; nothing hides it.
    pub(crate) native: Vec<(Arc<str>, Option<Expr>)>,
    pub(crate) event_time: Vec<TimeField>,
    /// Columns that must have a value.
    pub(crate) when_present: Vec<usize>,
}

/// Alternatives, of which one must hold. In an alternative all conditions must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct When {
    pub(crate) alternatives: Vec<Vec<(FieldId, Condition)>>,
}

impl When {
    /// The texts of which the field must equal one, whichever alternative holds; `None` where other values may do.
    pub(crate) fn texts_of(&self, field: FieldId) -> Option<Vec<&str>> {
        let mut all = Vec::new();
        for alternative in &self.alternatives {
            all.extend(alternative.iter().find(|(f, _)| *f == field).and_then(|(_, c)| c.equal_texts())?);
        }
        (!all.is_empty()).then_some(all)
    }

    /// Every field that a condition names.
    pub(crate) fn fields(&self) -> impl Iterator<Item = FieldId> {
        self.alternatives.iter().flatten().map(|(field, _)| *field)
    }
}

/// A condition on one native field. Texts are in lower case.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    Exists(bool),
    /// Any of these.
    Any(Vec<Test>),
}

/// A test of one text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Equals(Box<str>),
    Prefix(Box<str>),
    Contains(Box<str>),
}

/// An OCSF id: fixed, or mapped from a field with a default.
#[derive(Debug, Clone)]
pub(crate) enum Number {
    Fixed(i64),
    Mapped(Expr, i64),
}

/// A native field that may hold the event time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TimeField {
    pub(crate) field: FieldId,
    /// The field counts seconds from this time.
    pub(crate) since: Option<Time>,
}

/// Groups of columns by name, not yet bound to a class.
pub(super) type ColumnSet<'a> = Vec<(String, Node<'a>)>;

/// What the whole source kind gives its variants.
pub(super) struct Common<'a> {
    pub(super) domain: Domain,
    pub(super) product: Arc<str>,
    pub(super) event_time: Vec<TimeField>,
    pub(super) columns: ColumnSet<'a>,
    pub(super) column_sets: HashMap<String, ColumnSet<'a>>,
}

const KEYS: [&str; 13] = [
    "name",
    "when",
    "use",
    "class",
    "activity_id",
    "severity_id",
    "product",
    "domain",
    "logsource",
    "columns",
    "native",
    "event_time",
    "when_present",
];

impl Variant {
    pub(super) fn read(
        node: &Node<'_>,
        common: &Common<'_>,
        scope: &mut Scope<'_>,
    ) -> Result<Self, MappingError> {
        node.only(&KEYS)?;
        let class_node = node.need("class")?;
        let class_name = class_node.text()?;
        let class = Class::from_name(&class_name)
            .ok_or_else(|| class_node.error(format!("no OCSF class {class_name:?} in event/classes.yml")))?;
        let schema = ClassSchema::of(class);
        Ok(Self {
            name: node.need("name")?.text()?.into(),
            when: node.get("when").map_or(Ok(When::default()), |when| read_when(&when, scope))?,
            class,
            activity_id: Number::read(&node.need("activity_id")?, scope, 0)?,
            severity_id: node
                .get("severity_id")
                .map_or(Ok(Number::Fixed(1)), |n| Number::read(&n, scope, 1))?,
            product: node
                .get("product")
                .map_or(Ok(Arc::clone(&common.product)), |p| p.text().map(Into::into))?,
            domain: node.get("domain").map_or(Ok(common.domain), |d| read_domain(&d))?,
            logsources: read_logsources(node)?,
            columns: read_columns(node, common, schema, scope)?,
            native: read_native(node, scope)?,
            event_time: match node.get("event_time") {
                Some(list) => read_times(&list, scope)?,
                None => common.event_time.clone(),
            },
            when_present: match node.get("when_present") {
                Some(list) => list
                    .items()
                    .iter()
                    .map(|c| column_index(c, &c.text()?, schema))
                    .collect::<Result<_, _>>()?,
                None => Vec::new(),
            },
        })
    }

    pub(super) fn rows(&self) -> RowShape {
        let columns = &ClassSchema::of(self.class).columns;
        // What every row has is set by the decoder.
        let always = columns.iter().position(|column| column.name == "raw").unwrap_or_default();
        let product = columns.iter().position(|column| column.name == "product");
        let own = self.columns.iter().map(|(column, _)| *column);
        RowShape {
            class: self.class,
            logsources: Arc::clone(&self.logsources),
            columns: (0..=always).chain(product).chain(own).collect(),
        }
    }
}

impl Number {
    fn read(node: &Node<'_>, scope: &mut Scope<'_>, fallback: i64) -> Result<Self, MappingError> {
        if !node.is_map() {
            return Ok(Number::Fixed(node.int()?));
        }
        let default = node.get("default").map_or(Ok(fallback), |d| d.int())?;
        Ok(Number::Mapped(scope.expr(node)?, default))
    }
}

pub(super) fn read_domain(node: &Node<'_>) -> Result<Domain, MappingError> {
    let name = node.text()?;
    let known = || Domain::ALL.map(Domain::as_str).join(", ");
    Domain::ALL
        .into_iter()
        .find(|d| d.as_str() == name)
        .ok_or_else(|| node.error(format!("unknown domain {name:?}; known are {}", known())))
}

pub(super) fn read_times(node: &Node<'_>, scope: &mut Scope<'_>) -> Result<Vec<TimeField>, MappingError> {
    let item = |item: &Node<'_>| {
        if !item.is_map() {
            return Ok(TimeField { field: scope.fields.id(&item.text()?), since: None });
        }
        item.only(&["field", "seconds_since"])?;
        let since = item.need("seconds_since")?;
        let start = Time::parse(&since.text()?).map_err(|e| since.error(e.to_string()))?;
        Ok(TimeField { field: scope.fields.id(&item.need("field")?.text()?), since: Some(start) })
    };
    node.items().iter().map(item).collect()
}

fn read_when(node: &Node<'_>, scope: &mut Scope<'_>) -> Result<When, MappingError> {
    let mut alternatives = Vec::new();
    for alternative in node.items() {
        let conditions = alternative.entries()?.into_iter();
        let conditions = conditions.map(|(field, c)| Ok((scope.fields.id(&field), Condition::read(&c)?)));
        alternatives.push(conditions.collect::<Result<Vec<_>, MappingError>>()?);
    }
    Ok(When { alternatives })
}

impl Condition {
    fn read(node: &Node<'_>) -> Result<Self, MappingError> {
        if let Some(exists) = node.get("exists") {
            node.only(&["exists"])?;
            let exists = exists.value.as_bool().ok_or_else(|| exists.error("expected true or false"))?;
            return Ok(Condition::Exists(exists));
        }
        let mut tests = Vec::new();
        for item in node.items() {
            if item.is_map() {
                item.only(&["prefix", "contains", "equals"])?;
                for (kind, texts) in item.entries()? {
                    tests.extend(texts.texts()?.iter().map(|text| Test::new(&kind, text)));
                }
            } else {
                tests.push(Test::new("equals", &item.text()?));
            }
        }
        if tests.is_empty() { Err(node.error("a condition is missing")) } else { Ok(Condition::Any(tests)) }
    }

    /// The texts of which the field must equal one, if that is all there is to the condition.
    pub(crate) fn equal_texts(&self) -> Option<Vec<&str>> {
        let Condition::Any(tests) = self else { return None };
        tests.iter().map(|t| if let Test::Equals(text) = t { Some(text.as_ref()) } else { None }).collect()
    }
}

impl Test {
    fn new(kind: &str, text: &str) -> Self {
        let text = text.to_lowercase().into();
        match kind {
            "prefix" => Test::Prefix(text),
            "contains" => Test::Contains(text),
            _ => Test::Equals(text),
        }
    }
}

fn read_logsources(node: &Node<'_>) -> Result<Arc<[Logsource]>, MappingError> {
    let Some(list) = node.get("logsource") else { return Ok(Arc::new([])) };
    let logsource = |item: &Node<'_>| {
        item.only(&["product", "category", "service"])?;
        let key =
            |key: &str| Ok(item.get(key).map(|k| k.text()).transpose()?.map(|t| Arc::from(t.to_lowercase())));
        Ok(Logsource { product: key("product")?, category: key("category")?, service: key("service")? })
    };
    list.items().iter().map(logsource).collect::<Result<Vec<_>, _>>().map(Into::into)
}

/// Weaker entries first: the top's columns, the sets in use, the variant's own.
fn read_columns(
    node: &Node<'_>,
    common: &Common<'_>,
    schema: &ClassSchema,
    scope: &mut Scope<'_>,
) -> Result<Vec<(usize, Expr)>, MappingError> {
    let mut exprs: HashMap<usize, Expr> = HashMap::new();
    let mut enter = |name: &str, node: &Node<'_>, scope: &mut Scope<'_>| {
        let index = column_index(node, name, schema)?;
        // Null takes back what a weaker entry gave.
        match node.value.is_null() {
            true => exprs.remove(&index),
            false => exprs.insert(index, scope.expr(node)?),
        };
        Ok::<(), MappingError>(())
    };
    let known = |(name, _): &&(String, Node<'_>)| schema.column(name).is_some();
    for (name, node) in common.columns.iter().filter(known) {
        enter(name, node, scope)?;
    }
    for item in node.get("use").map_or_else(Vec::new, |uses| uses.items()) {
        let name = item.text()?;
        let set =
            common.column_sets.get(&name).ok_or_else(|| item.error(format!("no column set {name:?}")))?;
        for (name, node) in set.iter().filter(known) {
            enter(name, node, scope)?;
        }
    }
    if let Some(own) = node.get("columns") {
        for (name, column) in own.entries()? {
            enter(&name, &column, scope)?;
        }
    }
    let mut columns: Vec<(usize, Expr)> = exprs.into_iter().collect();
    columns.sort_unstable_by_key(|(index, _)| *index);
    Ok(columns)
}

fn column_index(node: &Node<'_>, name: &str, schema: &ClassSchema) -> Result<usize, MappingError> {
    let index = schema.columns.iter().position(|c| c.name == name);
    let index = index.ok_or_else(|| node.error(format!("class {} has no column {name:?}", schema.name)))?;
    if index < schema.envelope().len() {
        return Err(node.error(format!("column {name:?} belongs to the envelope, which the decoder fills")));
    }
    Ok(index)
}

fn read_native(
    node: &Node<'_>,
    scope: &mut Scope<'_>,
) -> Result<Vec<(Arc<str>, Option<Expr>)>, MappingError> {
    let Some(native) = node.get("native") else { return Ok(Vec::new()) };
    native
        .entries()?
        .into_iter()
        .map(|(name, expr)| {
            let expr = if expr.value.is_null() { None } else { Some(scope.expr(&expr)?) };
            Ok((name.into(), expr))
        })
        .collect()
}
