//! The event lake: a Delta Lake table for each OCSF class, parted by tenant and event date.
//!
//! A table has the columns of its class and `date`, the day of `time` in UTC. Native fields are not stored: `raw` has
//! them. Any engine that reads Delta reads the lake.
//!
//! Each commit of a table carries a Delta transaction identifier `<topic>/<partition>` with the last offset written,
//! for every topic-partition in it. A row at or below that offset is already there, so records that are read again
//! after a crash are never written twice. All rows of a record (it may have been exploded) reach the writer in one
//! push and leave in one commit.

mod durable;
mod marks;
mod schema;
mod waiting;
mod writer;

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError, ensure_table_uri};
use event::Class;

use crate::StorageError;

pub use waiting::Waiting;
pub use writer::{Flushed, LakeWriter};

pub(crate) use schema::{TENANT, table_schema};

/// Where the lake is and how to reach it.
#[derive(Debug, Clone)]
pub struct Lake {
    root: Arc<str>,
    options: Arc<HashMap<String, String>>,
}

impl Lake {
    /// The lake at a folder or an object store URL (`s3://bucket/prefix`, with `options` for its client).
    /// A folder is made if it does not exist.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] where the place is no folder or the URL is unknown.
    pub fn open(location: &str, options: HashMap<String, String>) -> Result<Self, StorageError> {
        let url = ensure_table_uri(location).map_err(|e| delta_error(location, &e))?;
        Ok(Self { root: url.as_str().trim_end_matches('/').into(), options: Arc::new(options) })
    }

    /// Where the table of a class is.
    pub fn location(&self, class: Class) -> String {
        format!("{}/{}", self.root, class.name())
    }

    /// An error of the table of a class.
    fn error(&self, class: Class, error: &DeltaTableError) -> StorageError {
        delta_error(&self.location(class), error)
    }

    /// The table of a class, with its state where it exists.
    pub(crate) async fn table(&self, class: Class) -> Result<DeltaTable, StorageError> {
        let location = self.location(class);
        let at = |e: DeltaTableError| delta_error(&location, &e);
        let url = location.parse().map_err(|e| StorageError::unavailable(&location, e))?;
        let builder = DeltaTableBuilder::from_url(url).map_err(at)?;
        let builder = builder.with_storage_options(HashMap::clone(&self.options));
        let mut table = builder.build().map_err(at)?;
        if table.verify_deltatable_existence().await.map_err(at)? {
            table.load().await.map_err(at)?;
            schema::check(&location, &table, class)?;
        }
        Ok(table)
    }
}

/// Sorts an error of Delta Lake by what to do about it.
pub(crate) fn delta_error(place: &str, error: &DeltaTableError) -> StorageError {
    let (place, detail) = (place.to_owned(), error.to_string());
    if is_full(error) {
        return StorageError::Full { place, detail };
    }
    match error {
        DeltaTableError::Parquet { .. }
        | DeltaTableError::InvalidJsonLog { .. }
        | DeltaTableError::InvalidStatsJson { .. } => StorageError::Corrupt { place, detail },
        DeltaTableError::SchemaMismatch { .. } => StorageError::Schema {
            place,
            column: detail,
            found: "another type".to_owned(),
            expected: "that of its class".to_owned(),
        },
        _ => StorageError::Unavailable { place, detail },
    }
}

fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(kind, Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        next = error.source();
    }
    false
}
