//! Shapes: how a record is recognised, and where it carries its native fields.

use super::path::Path;
use super::yaml::Node;
use crate::error::MappingError;

/// One record shape of a source kind.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) recognise: Recognise,
    pub(crate) priority: i64,
    /// The list of events in an envelope.
    pub(crate) explode: Option<Path>,
    pub(crate) roots: Vec<Root>,
    /// Native field, and the paths that may hold it.
    pub(crate) rename: Vec<(String, Vec<Path>)>,
    pub(crate) pairs: Vec<Pairs>,
    pub(crate) json_text: Vec<Path>,
    /// Native fields that are constant where the record has none of that name.
    pub(crate) set: Vec<(String, Box<str>)>,
    /// The native field that numbers the events of an envelope, from 0.
    pub(crate) number: Option<String>,
}

/// Where native fields are looked up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Root {
    pub(crate) path: Path,
    /// Every child object of the path.
    pub(crate) children: bool,
}

/// What a record of the shape looks like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recognise {
    pub(crate) has: Vec<Path>,
    pub(crate) any: Vec<Path>,
    pub(crate) lacks: Vec<Path>,
    /// Path and accepted values, in lower case.
    pub(crate) equals: Vec<(Path, Vec<String>)>,
}

/// A list of name/value objects whose members become native fields.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pairs {
    pub(crate) at: Path,
    pub(crate) name: Path,
    pub(crate) value: Vec<Path>,
    pub(crate) prefix: String,
}

impl Shape {
    pub(super) fn read(node: &Node<'_>) -> Result<Self, MappingError> {
        node.only(&[
            "name",
            "recognise",
            "priority",
            "explode",
            "roots",
            "rename",
            "pairs",
            "json_text",
            "set",
            "number",
        ])?;
        Ok(Self {
            name: node.need("name")?.text()?,
            recognise: Recognise::read(&node.need("recognise")?)?,
            priority: node.get("priority").map_or(Ok(50), |p| p.int())?,
            explode: node.get("explode").map(|e| e.text()).transpose()?.map(|text| Path::parse(&text)),
            roots: roots(node)?,
            rename: rename(node)?,
            pairs: node
                .get("pairs")
                .map_or_else(Vec::new, |p| p.items())
                .iter()
                .map(Pairs::read)
                .collect::<Result<_, _>>()?,
            json_text: paths(node, "json_text")?,
            set: match node.get("set") {
                None => Vec::new(),
                Some(set) => set
                    .entries()?
                    .into_iter()
                    .map(|(name, v)| Ok((name, v.text()?.into())))
                    .collect::<Result<_, _>>()?,
            },
            number: number(node)?,
        })
    }
}

impl Recognise {
    fn read(node: &Node<'_>) -> Result<Self, MappingError> {
        node.only(&["has", "any", "lacks", "equals"])?;
        let equals = match node.get("equals") {
            None => Vec::new(),
            Some(equals) => equals
                .entries()?
                .into_iter()
                .map(|(path, values)| {
                    Ok((Path::parse(&path), values.texts()?.iter().map(|v| v.to_lowercase()).collect()))
                })
                .collect::<Result<_, MappingError>>()?,
        };
        let recognise =
            Self { has: paths(node, "has")?, any: paths(node, "any")?, lacks: paths(node, "lacks")?, equals };
        if recognise.has.is_empty() && recognise.any.is_empty() && recognise.equals.is_empty() {
            return Err(
                node.error("at least one of has, any, equals is needed, or the shape takes every record")
            );
        }
        Ok(recognise)
    }
}

impl Pairs {
    fn read(node: &Node<'_>) -> Result<Self, MappingError> {
        node.only(&["at", "name", "value", "prefix"])?;
        Ok(Self {
            at: Path::parse(&node.need("at")?.text()?),
            name: Path::parse(&node.need("name")?.text()?),
            value: node.need("value")?.texts()?.iter().map(|v| Path::parse(v)).collect(),
            prefix: node.get("prefix").map_or(Ok(String::new()), |p| p.text())?,
        })
    }
}

fn paths(node: &Node<'_>, key: &str) -> Result<Vec<Path>, MappingError> {
    let texts = node.get(key).map_or(Ok(Vec::new()), |list| list.texts())?;
    Ok(texts.iter().map(|text| Path::parse(text)).collect())
}

fn number(node: &Node<'_>) -> Result<Option<String>, MappingError> {
    let Some(number) = node.get("number") else { return Ok(None) };
    if node.get("explode").is_none() {
        return Err(number.error("only the events of an envelope (`explode`) have a number"));
    }
    number.text().map(Some)
}

fn roots(node: &Node<'_>) -> Result<Vec<Root>, MappingError> {
    let Some(list) = node.get("roots") else {
        return Ok(vec![Root { path: Path::parse(""), children: false }]);
    };
    let root = |item: &Node<'_>| {
        let mut path = Path::parse(&item.text()?);
        let children = path.steps.last().is_some_and(|s| s.as_ref() == "*");
        if children {
            path.steps.pop();
        }
        if path.steps.iter().any(|s| s.as_ref() == "*") {
            return Err(item.error("`*` may only be the last step of a root"));
        }
        Ok(Root { path, children })
    };
    list.items().iter().map(root).collect()
}

fn rename(node: &Node<'_>) -> Result<Vec<(String, Vec<Path>)>, MappingError> {
    let Some(rename) = node.get("rename") else { return Ok(Vec::new()) };
    let entry = |(name, paths): (String, Node<'_>)| {
        Ok((name, paths.texts()?.iter().flat_map(|text| Path::readings(text)).collect()))
    };
    rename.entries()?.into_iter().map(entry).collect()
}
