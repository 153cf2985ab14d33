//! Sigma field names to OCSF columns: `taxonomy.yml`, compiled once.

use std::collections::HashMap;
use std::sync::LazyLock;

use event::{Class, ClassSchema};
use foldhash::fast::FixedState;
use serde::Deserialize;

/// What stands for a Sigma field in a class.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// The first of these columns that has a value in a row.
    First(Vec<usize>),
    /// One member `LABEL=value` for each column that has a value.
    Labelled(Vec<(String, usize)>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Entry {
    One(String),
    First(Vec<String>),
    Labelled(indexmap::IndexMap<String, String>),
}

static TABLE: LazyLock<HashMap<String, Vec<Entry>>> = LazyLock::new(|| {
    // Part of the program; `the_table_is_sound` reads it, so a defect cannot be released.
    serde_yaml_ng::from_str(include_str!("../taxonomy.yml"))
        .unwrap_or_else(|e| unreachable!("taxonomy.yml: {e}"))
});

type Sources = HashMap<Box<str>, Source, FixedState>;

/// What each field finds in each class: every batch asks for every field that rules of its logsources name.
static BY_CLASS: LazyLock<HashMap<Class, Sources, FixedState>> = LazyLock::new(|| {
    let of_class = |class| {
        let schema = ClassSchema::of(class);
        let mapped = |(field, entries): (&String, &Vec<Entry>)| {
            Some((field.as_str().into(), entries.iter().find_map(|e| e.source_in(schema))?))
        };
        // A rule may name a column itself.
        let own = schema.arrow.fields().iter().enumerate();
        let mut sources: Sources =
            own.map(|(i, column)| (column.name().as_str().into(), Source::First(vec![i]))).collect();
        sources.extend(TABLE.iter().filter_map(mapped));
        (class, sources)
    };
    Class::all().map(of_class).collect()
});

/// The columns (indexes into the Arrow schema) that stand for a Sigma field in a class, if any do. A rule may
/// also name a column itself.
pub(crate) fn source_of(class: Class, field: &str) -> Option<&'static Source> {
    BY_CLASS.get(&class)?.get(field)
}

impl Entry {
    fn source_in(&self, schema: &ClassSchema) -> Option<Source> {
        match self {
            Entry::One(column) => schema.index_of(column).map(|i| Source::First(vec![i])),
            Entry::First(columns) => {
                let found: Vec<usize> = columns.iter().filter_map(|c| schema.index_of(c)).collect();
                (!found.is_empty()).then_some(Source::First(found))
            }
            Entry::Labelled(columns) => {
                let index =
                    |(label, column): (&String, &String)| Some((label.clone(), schema.index_of(column)?));
                let found: Vec<(String, usize)> = columns.iter().filter_map(index).collect();
                (!found.is_empty()).then_some(Source::Labelled(found))
            }
        }
    }

    #[cfg(test)]
    fn columns(&self) -> Vec<&str> {
        match self {
            Entry::One(column) => vec![column],
            Entry::First(columns) => columns.iter().map(String::as_str).collect(),
            Entry::Labelled(columns) => columns.values().map(String::as_str).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        for (field, entries) in TABLE.iter() {
            for column in entries.iter().flat_map(Entry::columns) {
                let known = Class::all().any(|class| ClassSchema::of(class).index_of(column).is_some());
                assert!(known, "{field}: no class has a column {column}");
            }
        }
    }

    #[test]
    fn the_class_decides() {
        let file = Class::from_name("file_activity").unwrap();
        let index = |class, column| ClassSchema::of(class).index_of(column).unwrap();
        let process = Class::PROCESS_ACTIVITY;
        assert_eq!(
            source_of(process, "Image"),
            Some(&Source::First(vec![index(process, "process_file_path")]))
        );
        assert_eq!(
            source_of(file, "Image"),
            Some(&Source::First(vec![index(file, "actor_process_file_path")]))
        );
        assert_eq!(source_of(file, "file_path"), Some(&Source::First(vec![index(file, "file_path")])));
        assert_eq!(source_of(file, "NoSuchField"), None);
    }
}
