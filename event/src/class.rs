//! OCSF classes and their flat Arrow schemas, read from `classes.yml`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::batch::entity_list_type;
use crate::entity::{EntityType, Role};

/// An OCSF class, by its `class_uid`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct Class(u32);

impl Class {
    /// Known sources without a better home.
    pub const BASE_EVENT: Class = Class(0);
    /// Process launched, ended, opened or injected into.
    pub const PROCESS_ACTIVITY: Class = Class(1007);
    /// An alert.
    pub const DETECTION_FINDING: Class = Class(2004);
    /// An incident.
    pub const INCIDENT_FINDING: Class = Class(2005);
    /// A sign-in or logon.
    pub const AUTHENTICATION: Class = Class(3002);
    /// Rights given to a user or an application, or taken away.
    pub const USER_ACCESS_MANAGEMENT: Class = Class(3005);
    /// An action on the world.
    pub const REMEDIATION_ACTIVITY: Class = Class(7001);

    /// The class with this `class_uid`, if the model carries it.
    pub fn from_uid(uid: u32) -> Option<Self> {
        CLASSES.contains_key(&uid).then_some(Class(uid))
    }

    /// The class of this OCSF name (`process_activity`).
    pub fn from_name(name: &str) -> Option<Self> {
        CLASSES.values().find(|schema| schema.name == name).map(|schema| schema.class)
    }

    /// OCSF `class_uid`.
    pub const fn uid(self) -> u32 {
        self.0
    }

    /// OCSF `category_uid`: the thousands of the class, without the extension.
    pub const fn category_uid(self) -> u32 {
        self.0 % 100_000 / 1_000
    }

    /// OCSF name, which is also the table name in the lake.
    pub fn name(self) -> &'static str {
        &ClassSchema::of(self).name
    }

    /// Every class of the model, by `class_uid`.
    pub fn all() -> impl Iterator<Item = Class> {
        let mut uids: Vec<u32> = CLASSES.keys().copied().collect();
        uids.sort_unstable();
        uids.into_iter().map(Class)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The type of a flat column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text (`Utf8View`).
    String,
    /// A list of texts.
    Strings,
    /// Signed 64-bit integer.
    Int,
    /// Boolean.
    Bool,
    /// Microseconds, UTC.
    Time,
    /// 64-bit float.
    Float,
    /// The text of a JSON value, which becomes a value again in OCSF JSON.
    Json,
}

impl ColumnType {
    /// Every type.
    pub(crate) const ALL: [ColumnType; 7] = [
        ColumnType::String,
        ColumnType::Strings,
        ColumnType::Int,
        ColumnType::Bool,
        ColumnType::Time,
        ColumnType::Float,
        ColumnType::Json,
    ];

    /// The Arrow type.
    pub fn arrow(self) -> DataType {
        match self {
            ColumnType::String | ColumnType::Json => DataType::Utf8View,
            ColumnType::Strings => DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true))),
            ColumnType::Int => DataType::Int64,
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ColumnType::Float => DataType::Float64,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "string" => ColumnType::String,
            "strings" => ColumnType::Strings,
            "int" => ColumnType::Int,
            "bool" => ColumnType::Bool,
            "time" => ColumnType::Time,
            "float" => ColumnType::Float,
            "json" => ColumnType::Json,
            _ => return None,
        })
    }
}

/// One flat column: its name, where it stands in OCSF JSON, and the entity it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Column name.
    pub name: String,
    /// OCSF attribute path; `hashes#3` is the fingerprint with `algorithm_id` 3.
    pub path: String,
    /// Type.
    pub column_type: ColumnType,
    /// The entity that a value of this column names.
    pub entity: Option<(EntityType, Role)>,
}

/// The flat schema of one class: envelope first, then `entities`, then the columns of the class.
#[derive(Debug)]
pub struct ClassSchema {
    /// The class.
    pub class: Class,
    /// OCSF name.
    pub name: String,
    /// Columns in Arrow order, without `entities`.
    pub columns: Vec<Column>,
    /// The Arrow schema: `columns` and, after the envelope, `entities`.
    pub arrow: SchemaRef,
    by_name: HashMap<String, usize>,
}

/// A defect of `classes.yml`: a bug of this crate, shown by its tests.
#[derive(Debug, thiserror::Error)]
#[error("classes.yml: {0}")]
pub struct SchemaError(String);

impl ClassSchema {
    /// The schema of a class.
    pub fn of(class: Class) -> &'static ClassSchema {
        // A `Class` is only made from a known uid or a constant that the tests check.
        CLASSES.get(&class.0).unwrap_or_else(|| unreachable!("class {} has a schema", class.0))
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.by_name.get(name).map(|&i| &self.columns[i])
    }

    /// The position of a column in the Arrow schema.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        if name == ENTITIES {
            return Some(ENVELOPE_LEN);
        }
        self.by_name.get(name).map(|&i| if i < ENVELOPE_LEN { i } else { i + 1 })
    }

    /// The envelope columns, which every class has in this order.
    pub fn envelope(&self) -> &[Column] {
        &self.columns[..ENVELOPE_LEN]
    }

    /// The columns after the envelope and `entities`.
    pub fn own_columns(&self) -> &[Column] {
        &self.columns[ENVELOPE_LEN..]
    }
}

/// Name of the entity list column.
pub(crate) const ENTITIES: &str = "entities";

/// Number of envelope columns before `entities`.
pub(crate) const ENVELOPE_LEN: usize = 12;

static CLASSES: LazyLock<HashMap<u32, ClassSchema>> = LazyLock::new(|| {
    // The text is part of the program; its tests read it, so a defect cannot be released.
    parse(include_str!("../classes.yml")).unwrap_or_else(|e| unreachable!("{e}"))
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    envelope: Vec<String>,
    groups: HashMap<String, Vec<String>>,
    classes: Vec<ClassEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassEntry {
    uid: u32,
    name: String,
    groups: Vec<String>,
    columns: Vec<String>,
}

fn parse(text: &str) -> Result<HashMap<u32, ClassSchema>, SchemaError> {
    let document: Document = serde_yaml_ng::from_str(text).map_err(|e| SchemaError(e.to_string()))?;
    if document.envelope.len() != ENVELOPE_LEN {
        return Err(SchemaError(format!("the envelope has {} columns", document.envelope.len())));
    }
    document
        .classes
        .iter()
        .map(|entry| class_schema(entry, &document).map(|schema| (entry.uid, schema)))
        .collect()
}

fn class_schema(entry: &ClassEntry, document: &Document) -> Result<ClassSchema, SchemaError> {
    let mut lines: Vec<&String> = document.envelope.iter().collect();
    for group in &entry.groups {
        let columns = document.groups.get(group);
        lines.extend(columns.ok_or_else(|| SchemaError(format!("{}: no group {group}", entry.name)))?);
    }
    lines.extend(&entry.columns);
    let columns = lines.into_iter().map(|line| column(line)).collect::<Result<Vec<_>, _>>()?;
    let mut by_name = HashMap::new();
    for (i, column) in columns.iter().enumerate() {
        if by_name.insert(column.name.clone(), i).is_some() {
            return Err(SchemaError(format!("{}: column {} twice", entry.name, column.name)));
        }
    }
    let arrow = Arc::new(arrow_schema(&columns));
    Ok(ClassSchema { class: Class(entry.uid), name: entry.name.clone(), columns, arrow, by_name })
}

fn arrow_schema(columns: &[Column]) -> Schema {
    const REQUIRED: [&str; 8] =
        ["time", "ingest_time", "tenant", "event_uid", "class_uid", "activity_id", "source", "topic"];
    let field = |c: &Column| {
        let required = REQUIRED.contains(&c.name.as_str()) || c.name == "partition" || c.name == "offset";
        Field::new(&c.name, c.column_type.arrow(), !required)
    };
    let mut fields: Vec<Field> = columns[..ENVELOPE_LEN].iter().map(field).collect();
    fields.push(Field::new(ENTITIES, entity_list_type(), false));
    fields.extend(columns[ENVELOPE_LEN..].iter().map(field));
    Schema::new(fields)
}

/// Reads `[name=N] path type [@entity/role]`.
fn column(line: &str) -> Result<Column, SchemaError> {
    let bad = |what: &str| SchemaError(format!("{line:?}: {what}"));
    let mut words = line.split_whitespace().peekable();
    let name = words.next_if(|w| w.starts_with("name=")).map(|w| w["name=".len()..].to_owned());
    let path = words.next().ok_or_else(|| bad("no path"))?.to_owned();
    let column_type = words.next().and_then(ColumnType::from_name).ok_or_else(|| bad("unknown type"))?;
    let entity = match words.next() {
        None => None,
        Some(mark) => Some(entity_mark(mark).ok_or_else(|| bad("unknown entity mark"))?),
    };
    let name = name.unwrap_or_else(|| path.replace(['.', '#'], "_"));
    Ok(Column { name, path, column_type, entity })
}

fn entity_mark(mark: &str) -> Option<(EntityType, Role)> {
    let (entity_type, role) = mark.strip_prefix('@')?.split_once('/')?;
    Some((EntityType::from_name(entity_type)?, Role::from_name(role)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_classes_is_sound() {
        let classes = parse(include_str!("../classes.yml")).expect("classes.yml parses");
        for class in [
            Class::BASE_EVENT,
            Class::PROCESS_ACTIVITY,
            Class::DETECTION_FINDING,
            Class::INCIDENT_FINDING,
            Class::AUTHENTICATION,
            Class::REMEDIATION_ACTIVITY,
        ] {
            assert!(classes.contains_key(&class.uid()), "{}", class.uid());
        }
        for schema in classes.values() {
            for (i, field) in schema.arrow.fields().iter().enumerate() {
                assert_eq!(schema.index_of(field.name()), Some(i), "{}.{}", schema.name, field.name());
            }
        }
    }

    #[test]
    fn every_schema_is_as_committed() {
        for class in Class::all() {
            let schema = ClassSchema::of(class);
            let lines: Vec<String> = schema
                .columns
                .iter()
                .map(|c| {
                    let entity = c.entity.map(|(t, r)| format!(" @{t}/{r}")).unwrap_or_default();
                    let nullable = if schema.arrow.field_with_name(&c.name).unwrap().is_nullable() {
                        ""
                    } else {
                        " required"
                    };
                    format!("{} {:?} {}{nullable}{entity}", c.name, c.column_type, c.path)
                })
                .collect();
            insta::with_settings!({snapshot_path => "../goldens", prepend_module_to_snapshot => false, omit_expression => true}, {
                insta::assert_snapshot!(class.name(), lines.join("\n"));
            });
        }
    }

    #[test]
    fn categories_follow_ocsf() {
        assert_eq!(Class::from_uid(201_002).unwrap().category_uid(), 1);
        assert_eq!(Class::AUTHENTICATION.category_uid(), 3);
        assert_eq!(Class::from_name("email_activity").unwrap().uid(), 4009);
    }
}
