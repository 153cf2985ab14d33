//! Mappings: YAML text, checked and compiled. The format is described in `ingest/mappings/README.md`.
//!
//! [`yaml`] keeps the place of every value; [`shape`], [`variant`] and [`expr`] read their parts of a document;
//! [`MappingSet`] holds what came out. Nothing here sees a record: that is the decoder's part.

mod builtin;
mod expr;
mod path;
mod shape;
mod variant;
mod yaml;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path as FilePath;
use std::sync::Arc;

use event::{Class, Domain, Feed, Logsource};

use crate::error::MappingError;
pub(crate) use expr::{Base, Expr, FieldId, FieldTable, Part, Piece, Step, Way};
use expr::{Maps, Scope};
pub(crate) use path::{Path, strip_spaces};
pub(crate) use shape::{Pairs, Shape};
use variant::{ColumnSet, Common};
pub(crate) use variant::{Condition, Number, Test, TimeField, Variant, When};
use yaml::Node;

/// How late records may be where nothing says so: ten minutes, as cloud sources document.
const LATENESS_US: i64 = 600_000_000;

/// Every loaded source kind.
#[derive(Debug, Clone, Default)]
pub struct MappingSet {
    kinds: BTreeMap<Arc<str>, Arc<SourceKind>>,
}

/// One source kind: its shapes, its variants and the native fields they name.
#[derive(Debug, Clone)]
pub(crate) struct SourceKind {
    pub(crate) name: Arc<str>,
    pub(crate) title: String,
    pub(crate) lateness_us: i64,
    pub(crate) form: Form,
    pub(crate) fields: FieldTable,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) event_uid: Option<Expr>,
    pub(crate) variants: Vec<Variant>,
}

/// How events of a source kind become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// By the columns of its variants.
    Columns,
    /// The event is OCSF: attributes go to the columns of its own class, and variants only route.
    Ocsf,
}

impl MappingSet {
    /// The mappings that are shipped with the program.
    ///
    /// # Errors
    /// A defect of a shipped mapping, which the tests of this crate find.
    pub fn builtin() -> Result<Self, MappingError> {
        let mut set = Self::default();
        for (file, text) in builtin::FILES {
            set.load_text(file, text)?;
        }
        Ok(set)
    }

    /// Adds one mapping document; a source kind that is known already is replaced.
    ///
    /// # Errors
    /// The first thing wrong in it, with its place.
    pub fn load_text(&mut self, file: &str, text: &str) -> Result<(), MappingError> {
        let kind = SourceKind::parse(file, text)?;
        self.kinds.insert(Arc::clone(&kind.name), Arc::new(kind));
        Ok(())
    }

    /// Adds every `*.yml` and `*.yaml` of a directory, in order of name.
    ///
    /// # Errors
    /// An unreadable directory or file, or the first thing wrong in one.
    pub fn load_dir(&mut self, dir: &FilePath) -> Result<(), MappingError> {
        let unreadable = |path: &FilePath, e: std::io::Error| MappingError {
            file: path.display().to_string(),
            place: "file".to_owned(),
            problem: e.to_string(),
        };
        let entries = std::fs::read_dir(dir).map_err(|e| unreadable(dir, e))?;
        let mut files = entries
            .map(|e| e.map(|e| e.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| unreadable(dir, e))?;
        files.retain(|f| f.extension().is_some_and(|e| e == "yml" || e == "yaml"));
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(&file).map_err(|e| unreadable(&file, e))?;
            self.load_text(&file.display().to_string(), &text)?;
        }
        Ok(())
    }

    /// Name and title of every source kind, by name.
    pub fn source_kinds(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kinds.values().map(|kind| (kind.name.as_ref(), kind.title.as_str()))
    }

    /// How late records of a source kind may be, in microseconds of event time; ten minutes where unknown.
    pub fn lateness_us(&self, kind: &str) -> i64 {
        self.kinds.get(kind).map_or(LATENESS_US, |kind| kind.lateness_us)
    }

    /// The logsources that each source kind feeds, without duplicates, by name of the kind.
    pub fn logsources(&self) -> Vec<(&str, Vec<Logsource>)> {
        let of = |kind: &SourceKind| {
            let mut logsources: Vec<Logsource> =
                kind.variants.iter().flat_map(|v| v.logsources.iter().cloned()).collect();
            logsources.sort();
            logsources.dedup();
            logsources
        };
        self.kinds.values().map(|kind| (kind.name.as_ref(), of(kind))).collect()
    }

    /// What the sources of each kind can give. A kind whose events are OCSF already may have rows of any class, and is not
    /// among them.
    pub fn feeds(&self) -> Vec<Feed> {
        let kinds = self.kinds.values().filter(|kind| kind.form == Form::Columns);
        kinds
            .map(|kind| Feed {
                kind: Arc::clone(&kind.name),
                rows: kind.variants.iter().map(Variant::rows).collect(),
            })
            .collect()
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Arc<SourceKind>> {
        self.kinds.values()
    }
}

const KEYS: [&str; 13] = [
    "source_kind",
    "title",
    "domain",
    "product",
    "lateness",
    "form",
    "shapes",
    "event_time",
    "event_uid",
    "columns",
    "maps",
    "column_sets",
    "variants",
];

impl SourceKind {
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, MappingError> {
        let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(|e| MappingError {
            file: file.to_owned(),
            place: e
                .location()
                .map_or("file".to_owned(), |l| format!("line {} column {}", l.line(), l.column())),
            problem: e.to_string(),
        })?;
        Self::read(&Node::root(file, &value))
    }

    fn read(node: &Node<'_>) -> Result<Self, MappingError> {
        node.only(&KEYS)?;
        let mut fields = FieldTable::default();
        let maps = read_maps(node)?;
        let mut scope = Scope { fields: &mut fields, maps: &maps };
        let common = Common {
            domain: variant::read_domain(&node.need("domain")?)?,
            product: node.need("product")?.text()?.into(),
            event_time: node
                .get("event_time")
                .map_or(Ok(Vec::new()), |t| variant::read_times(&t, &mut scope))?,
            columns: node.get("columns").map_or(Ok(Vec::new()), |c| c.entries())?,
            column_sets: read_column_sets(node)?,
        };
        check_columns_somewhere(&common)?;
        let event_uid = node.get("event_uid").map(|e| scope.expr(&e)).transpose()?;
        let variants = read_variants(node, &common, &mut scope)?;
        add_alert_fields(&variants, &mut fields);
        Ok(Self {
            name: kind_name(&node.need("source_kind")?)?,
            title: node.need("title")?.text()?,
            lateness_us: node.get("lateness").map_or(Ok(LATENESS_US), |l| read_duration(&l))?,
            form: node.get("form").map_or(Ok(Form::Columns), |f| read_form(&f))?,
            shapes: read_shapes(node)?,
            fields,
            event_uid,
            variants,
        })
    }
}

/// The fields from which typed entities and tags of product alerts are read, where a variant makes findings.
fn add_alert_fields(variants: &[Variant], fields: &mut FieldTable) {
    if variants.iter().any(|v| v.class == Class::DETECTION_FINDING) {
        for name in crate::product_alert::FIELDS {
            fields.id(name);
        }
    }
}

fn kind_name(node: &Node<'_>) -> Result<Arc<str>, MappingError> {
    let name = node.text()?;
    let sound =
        !name.is_empty() && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    if sound { Ok(name.into()) } else { Err(node.error("a source kind is named by a-z, 0-9 and _")) }
}

fn read_form(node: &Node<'_>) -> Result<Form, MappingError> {
    match node.text()?.as_str() {
        "columns" => Ok(Form::Columns),
        "ocsf" => Ok(Form::Ocsf),
        other => Err(node.error(format!("unknown form {other:?}; known are columns, ocsf"))),
    }
}

fn read_shapes(node: &Node<'_>) -> Result<Vec<Shape>, MappingError> {
    let list = node.need("shapes")?;
    let mut names = HashSet::new();
    list.items()
        .iter()
        .map(|item| {
            let named = item.get("name").and_then(|n| n.text().ok()).unwrap_or_else(|| "unnamed".to_owned());
            let item = item.clone().called("shapes", &named);
            if !names.insert(named) {
                return Err(item.error("a shape of this name is already there"));
            }
            Shape::read(&item)
        })
        .collect()
}

fn read_variants(
    node: &Node<'_>,
    common: &Common<'_>,
    scope: &mut Scope<'_>,
) -> Result<Vec<Variant>, MappingError> {
    let list = node.need("variants")?;
    let mut names = HashSet::new();
    list.items()
        .iter()
        .map(|item| {
            let named = item.get("name").and_then(|n| n.text().ok()).unwrap_or_else(|| "unnamed".to_owned());
            let item = item.clone().called("variants", &named);
            if !names.insert(named) {
                return Err(item.error("a variant of this name is already there"));
            }
            Variant::read(&item, common, scope)
        })
        .collect()
}

fn read_maps(node: &Node<'_>) -> Result<Maps, MappingError> {
    let Some(maps) = node.get("maps") else { return Ok(Maps::new()) };
    maps.entries()?
        .into_iter()
        .map(|(name, map)| {
            let entries = map.entries()?.into_iter().map(|(k, v)| Ok((k.to_lowercase(), v.text()?)));
            Ok((name, Arc::new(entries.collect::<Result<HashMap<_, _>, MappingError>>()?)))
        })
        .collect()
}

fn read_column_sets<'a>(node: &Node<'a>) -> Result<HashMap<String, ColumnSet<'a>>, MappingError> {
    let Some(sets) = node.get("column_sets") else { return Ok(HashMap::new()) };
    sets.entries()?.into_iter().map(|(name, set)| Ok((name, set.entries()?))).collect()
}

/// A shared column may be unknown to the class of a variant, but not to every class: that is a slip.
fn check_columns_somewhere(common: &Common<'_>) -> Result<(), MappingError> {
    let shared = common.columns.iter().chain(common.column_sets.values().flatten());
    for (name, node) in shared {
        if !Class::all().any(|class| event::ClassSchema::of(class).column(name).is_some()) {
            return Err(node.error(format!("no class has a column {name:?}")));
        }
    }
    Ok(())
}

fn read_duration(node: &Node<'_>) -> Result<i64, MappingError> {
    let text = node.text()?;
    let bad = || node.error(format!("{text:?} is no duration; write 90s, 10m, 6h or 1d"));
    let unit_us: i64 = match text.chars().last() {
        Some('s') => 1_000_000,
        Some('m') => 60_000_000,
        Some('h') => 3_600_000_000,
        Some('d') => 86_400_000_000,
        _ => return Err(bad()),
    };
    let count: i64 = text[..text.len() - 1].trim().parse().map_err(|_| bad())?;
    count.checked_mul(unit_us).filter(|us| *us >= 0).ok_or_else(bad)
}

/// The domain whose telemetry a logsource of Sigma names, for records that come with nothing else.
pub(crate) fn domain_of(logsources: &[Logsource]) -> Domain {
    let product = logsources.iter().find_map(|l| l.product.as_deref()).unwrap_or_default();
    let category = logsources.iter().find_map(|l| l.category.as_deref()).unwrap_or_default();
    match (product, category) {
        (_, "dns" | "proxy" | "firewall" | "webserver")
        | ("zeek" | "cisco" | "fortigate" | "paloalto", _) => Domain::Network,
        ("azure" | "okta" | "onelogin" | "cisco_duo", _) => Domain::Identity,
        ("aws" | "gcp" | "m365" | "github" | "bitbucket" | "kubernetes", _) => Domain::App,
        _ => Domain::Endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_mappings_load() {
        let set = MappingSet::builtin().unwrap_or_else(|e| panic!("{e}"));
        for (file, _) in builtin::FILES {
            let kind = file.trim_end_matches(".yml");
            assert!(set.kinds.contains_key(kind), "{file} names its source kind");
        }
    }

    const SMALL: &str = "source_kind: door\ntitle: Doors\ndomain: endpoint\nproduct: Doors\nevent_time: [at]\nshapes:\n  - {name: flat, recognise: {has: [door]}}\n";

    fn problem(rest: &str) -> String {
        MappingSet::default().load_text("door.yml", &format!("{SMALL}{rest}")).unwrap_err().to_string()
    }

    #[test]
    fn complaints_name_file_and_place() {
        let variant = |body: &str| {
            format!("variants:\n  - {{name: open, class: base_event, activity_id: 1, {body}}}\n")
        };
        insta::assert_snapshot!(
            [
                problem("variants: []\nflavour: x\n"),
                problem("variants: [\n"),
                problem("variants:\n  - {name: open, class: door_activity, activity_id: 1}\n"),
                problem(&variant("columns: {door_name: x}")),
                problem(&variant("columns: {time: x}")),
                problem(&variant("columns: {message: {field: x, part: middle}}")),
                problem(&variant("columns: {message: {field: x, map: colours}}")),
                problem(&variant("columns: {message: {template: '{x'}}")),
                problem(&variant("columns: {message: {field: x, template: '{x}'}}")),
                problem(&variant("use: [nothing]")),
                problem(&variant("logsource: [{vendor: x}]")),
                problem(&variant("when: {x: {resembles: y}}")),
                problem(&format!("lateness: soon\n{}", variant("severity_id: 1"))),
                problem(&format!("columns: {{no_such: x}}\n{}", variant("severity_id: 1"))),
            ]
            .join("\n")
        );
    }

    #[test]
    fn only_events_of_an_envelope_are_numbered() {
        let numbered = SMALL.replace("[door]}", "[door]}, number: place");
        let mapping = format!("{numbered}variants: [{{name: v, class: base_event, activity_id: 1}}]\n");
        let error = MappingSet::default().load_text("door.yml", &mapping).unwrap_err().to_string();
        assert!(error.contains("only the events of an envelope"), "{error}");
    }

    #[test]
    fn durations_have_units() {
        let mapping =
            format!("{SMALL}lateness: 6h\nvariants: [{{name: v, class: base_event, activity_id: 1}}]\n");
        let mut set = MappingSet::default();
        set.load_text("door.yml", &mapping).unwrap();
        assert_eq!(set.lateness_us("door"), 21_600_000_000);
        assert_eq!(set.lateness_us("window"), LATENESS_US);
        assert_eq!(set.source_kinds().collect::<Vec<_>>(), [("door", "Doors")]);
    }
}
