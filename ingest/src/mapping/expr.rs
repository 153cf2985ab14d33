//! Expressions: how the value of a column is made from native fields.

use std::collections::HashMap;
use std::sync::Arc;

use super::yaml::Node;
use crate::error::MappingError;

/// A native field of a source kind, by its number.
pub(crate) type FieldId = u16;

/// The native fields that a source kind's expressions name.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldTable {
    names: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, FieldId>,
}

impl FieldTable {
    /// The number of a field, new or known. Names count without their spaces.
    pub(crate) fn id(&mut self, name: &str) -> FieldId {
        let name: Arc<str> = super::path::strip_spaces(name).into();
        if let Some(id) = self.ids.get(&name) {
            return *id;
        }
        // A mapping names hundreds of fields and rules a few thousand; beyond 65,535 the last one is shared.
        let id = FieldId::try_from(self.names.len()).unwrap_or(FieldId::MAX);
        self.names.push(Arc::clone(&name));
        self.ids.insert(name, id);
        id
    }

    pub(crate) fn find(&self, name: &str) -> Option<FieldId> {
        self.ids.get(name).copied()
    }

    pub(crate) fn name(&self, id: FieldId) -> &str {
        &self.names[usize::from(id)]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (FieldId, &Arc<str>)> {
        (0..).zip(&self.names)
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// Where the raw value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Base {
    /// The first of these native fields that has a non-empty value.
    Fields(Vec<FieldId>),
    /// A path inside a field that holds JSON text or an object.
    Json(FieldId, Vec<Box<str>>),
    /// Fields and literal text; null if any field is missing or empty.
    Template(Vec<Piece>),
    /// A constant.
    Const(Box<str>),
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Literal(Box<str>),
    Field(FieldId),
}

/// What is done to the raw value, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// The value of this key in a list `KEY=value,KEY=value`.
    KeyValue(Box<str>),
    /// A part of the text.
    Part(Part),
    /// A value map; the default applies where it lacks the value.
    Map { entries: Arc<HashMap<String, String>>, default: Option<Box<str>> },
    /// Members of a list, by separator.
    Split(Box<str>),
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names)] // The words of the mapping format.
pub(crate) enum Part {
    Basename,
    Dirname,
    Extension,
    Host,
    Url,
    DomainPart,
    UserPart,
    Lower,
    Upper,
}

impl Part {
    const NAMES: [(&'static str, Part); 9] = [
        ("basename", Part::Basename),
        ("dirname", Part::Dirname),
        ("extension", Part::Extension),
        ("host", Part::Host),
        ("url", Part::Url),
        ("domain_part", Part::DomainPart),
        ("user_part", Part::UserPart),
        ("lower", Part::Lower),
        ("upper", Part::Upper),
    ];
}

/// One way to make a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Way {
    pub(crate) base: Base,
    pub(crate) steps: Vec<Step>,
}

/// Ways to make a value; the first non-empty result wins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expr {
    pub(crate) ways: Vec<Way>,
}

impl Expr {
    /// The text that the expression has for every event.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self.ways.as_slice() {
            [Way { base: Base::Const(text), steps }, ..] if steps.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The field whose value the expression is, where nothing else is to it.
    pub(crate) fn one_field(&self) -> Option<FieldId> {
        match self.ways.as_slice() {
            [Way { base: Base::Fields(fields), steps }] if steps.is_empty() => match fields.as_slice() {
                [field] => Some(*field),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Value maps by name. Keys are lower case.
pub(crate) type Maps = HashMap<String, Arc<HashMap<String, String>>>;

/// What expressions are read against.
pub(super) struct Scope<'a> {
    pub(super) fields: &'a mut FieldTable,
    pub(super) maps: &'a Maps,
}

impl Scope<'_> {
    /// Reads an expression, or a list of them.
    pub(super) fn expr(&mut self, node: &Node<'_>) -> Result<Expr, MappingError> {
        let mut ways: Vec<Way> = Vec::new();
        for item in node.items() {
            let way = self.way(&item)?;
            // A list of plain fields is one look-up.
            match (ways.last_mut(), &way.base) {
                (Some(Way { base: Base::Fields(known), steps }), Base::Fields(more))
                    if steps.is_empty() && way.steps.is_empty() =>
                {
                    known.extend(more);
                }
                _ => ways.push(way),
            }
        }
        if ways.is_empty() {
            return Err(node.error("an expression is missing"));
        }
        Ok(Expr { ways })
    }

    fn way(&mut self, node: &Node<'_>) -> Result<Way, MappingError> {
        if !node.is_map() {
            return Ok(Way { base: Base::Fields(vec![self.fields.id(&node.text()?)]), steps: Vec::new() });
        }
        node.only(&["field", "json", "template", "const", "kv", "part", "map", "default", "split", "int"])?;
        let base = self.base(node)?;
        if let Some(int) = node.get("int")
            && int.text()? != "auto"
        {
            return Err(int.error("the only form is `int: auto`"));
        }
        Ok(Way { base, steps: self.steps(node)? })
    }

    fn base(&mut self, node: &Node<'_>) -> Result<Base, MappingError> {
        let given: Vec<Node<'_>> =
            ["field", "json", "template", "const"].iter().filter_map(|k| node.get(k)).collect();
        if given.len() != 1 {
            return Err(node.error("an expression has exactly one of field, json, template, const"));
        }
        if let Some(field) = node.get("field") {
            return Ok(Base::Fields(field.texts()?.iter().map(|name| self.fields.id(name)).collect()));
        }
        if let Some(json) = node.get("json") {
            let steps = json.texts()?;
            let [field, rest @ ..] = steps.as_slice() else {
                return Err(json.error("expected [field, step, ...]"));
            };
            if rest.is_empty() {
                return Err(json.error("expected a path after the field"));
            }
            return Ok(Base::Json(self.fields.id(field), rest.iter().map(|s| s.as_str().into()).collect()));
        }
        if let Some(template) = node.get("template") {
            return self.template(&template);
        }
        Ok(Base::Const(node.need("const")?.text()?.into()))
    }

    fn template(&mut self, node: &Node<'_>) -> Result<Base, MappingError> {
        let text = node.text()?;
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| node.error("`{` without `}`"))?;
            if name.is_empty() {
                return Err(node.error("`{}` names no field"));
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.into()));
            }
            pieces.push(Piece::Field(self.fields.id(name)));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.into()));
        }
        if !pieces.iter().any(|p| matches!(p, Piece::Field(_))) {
            return Err(node.error("a template names at least one {field}; use const for fixed text"));
        }
        Ok(Base::Template(pieces))
    }

    fn steps(&self, node: &Node<'_>) -> Result<Vec<Step>, MappingError> {
        let mut steps = Vec::new();
        if let Some(split) = node.get("split") {
            steps.push(Step::Split(split.text()?.into()));
        }
        if let Some(key) = node.get("kv") {
            steps.push(Step::KeyValue(key.text()?.into()));
        }
        if let Some(part) = node.get("part") {
            let name = part.text()?;
            let known = Part::NAMES.iter().find(|(n, _)| *n == name);
            let names = || Part::NAMES.map(|(n, _)| n).join(", ");
            steps.push(Step::Part(
                known.ok_or_else(|| part.error(format!("unknown part {name:?}; known are {}", names())))?.1,
            ));
        }
        if let Some(map) = node.get("map") {
            let name = map.text()?;
            let entries =
                self.maps.get(&name).ok_or_else(|| map.error(format!("no map {name:?} under `maps`")))?;
            let default = node.get("default").map(|d| d.text()).transpose()?.map(Into::into);
            steps.push(Step::Map { entries: Arc::clone(entries), default });
        } else if let Some(default) = node.get("default") {
            return Err(default.error("`default` belongs to `map`"));
        }
        Ok(steps)
    }
}
