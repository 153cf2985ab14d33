//! Filters and pages. A cursor holds the sort key of the last row, so new rows do not shift the pages after it.

use event::{ActionState, Domain, EntityType, IncidentId, IncidentStatus, RiskLevel, Severity, Time};
use rusqlite::types::Value;

use crate::StorageError;

/// Rows of a page at most; a larger request gets this many.
pub(super) const PAGE_ROWS_MAX: usize = 1_000;

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Cursor>,
}

/// Where a page begins: after the row with this sort value and id. As text it is opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    key: i64,
    id: String,
}

impl Cursor {
    pub(super) fn new(key: i64, id: impl Into<String>) -> Self {
        Self { key, id: id.into() }
    }

    /// Reads a cursor that a client sent back.
    ///
    /// # Errors
    /// [`StorageError::Query`] where it was not made by [`Cursor`]'s `Display`.
    pub fn parse(text: &str) -> Result<Self, StorageError> {
        let parts = text.split_once('~').and_then(|(key, id)| Some((key.parse().ok()?, id)));
        let (key, id) = parts.filter(|(_, id)| !id.is_empty()).ok_or_else(|| StorageError::Query {
            message: "not a cursor of this list".to_owned(),
            hint: Some("pass the `next` of the page before, unchanged".to_owned()),
        })?;
        Ok(Self { key, id: id.to_owned() })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}~{}", self.key, self.id)
    }
}

/// Order of incidents; the first row is the most pressing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncidentSort {
    /// Latest activity first.
    #[default]
    Recent,
    /// Highest score first.
    Score,
}

/// Which incidents. Each part that is set must hold; merged ones are left out unless their status is asked for.
#[derive(Debug, Clone, Default)]
pub struct IncidentFilter {
    /// Any of these; empty: all but `redirected`.
    pub status: Vec<IncidentStatus>,
    /// At least this severe.
    pub severity_min: Option<Severity>,
    /// Touches this telemetry domain.
    pub domain: Option<Domain>,
    /// In the hands of this analyst; the empty name means of nobody.
    pub assignee: Option<String>,
    /// Text in the id, title, summary, entities or techniques; case of ASCII letters does not matter.
    pub q: Option<String>,
    /// Active at or after.
    pub since: Option<Time>,
    /// Active before.
    pub until: Option<Time>,
    /// Order.
    pub sort: IncidentSort,
}

/// Which alerts, latest first.
#[derive(Debug, Clone, Default)]
pub struct AlertFilter {
    /// Of this incident (redirects are followed).
    pub incident: Option<IncidentId>,
    /// At least this severe.
    pub severity_min: Option<Severity>,
    /// Of this telemetry domain.
    pub domain: Option<Domain>,
    /// Of this rule.
    pub rule: Option<String>,
    /// Text in the alert; case of ASCII letters does not matter.
    pub q: Option<String>,
    /// Began at or after.
    pub since: Option<Time>,
    /// Began before.
    pub until: Option<Time>,
}

/// Which actions, latest first.
#[derive(Debug, Clone, Default)]
pub struct ActionFilter {
    /// In any of these states; empty: all.
    pub states: Vec<ActionState>,
    /// Of this incident.
    pub incident: Option<IncidentId>,
    /// With this verb.
    pub verb: Option<String>,
}

/// Which risks, the highest score first.
#[derive(Debug, Clone, Default)]
pub struct RiskFilter {
    /// Of these types of entities; empty: all.
    pub types: Vec<EntityType>,
    /// At least of this level.
    pub level_min: Option<RiskLevel>,
    /// Text in the name, another name, or what raised it; case of ASCII letters does not matter.
    pub q: Option<String>,
}

/// A `WHERE` under construction: conditions and the values they refer to.
#[derive(Debug)]
pub(super) struct Conditions {
    sql: String,
    pub(super) values: Vec<Value>,
}

impl Conditions {
    pub(super) fn of_tenant(tenant: &str) -> Self {
        Self { sql: "tenant = ?1".to_owned(), values: vec![Value::Text(tenant.to_owned())] }
    }

    /// Adds `condition`, in which each `?` stands for `value`.
    pub(super) fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        let place = format!("?{}", self.values.len());
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace('?', &place));
    }

    pub(super) fn and_some(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.and(condition, value);
        }
    }

    /// Adds a condition on one of several texts.
    pub(super) fn and_in<'a>(&mut self, column: &str, texts: impl Iterator<Item = &'a str>) {
        let places: Vec<String> = texts
            .map(|text| {
                self.values.push(Value::Text(text.to_owned()));
                format!("?{}", self.values.len())
            })
            .collect();
        self.sql.push_str(&format!(" AND {column} IN ({})", places.join(", ")));
    }

    /// Adds what comes after the cursor in descending order of `key`, then `id`.
    pub(super) fn after(&mut self, key: &str, cursor: Option<&Cursor>) {
        let Some(cursor) = cursor else { return };
        self.values.push(Value::Integer(cursor.key));
        self.values.push(Value::Text(cursor.id.clone()));
        let n = self.values.len();
        self.sql.push_str(&format!(" AND ({key}, id) < (?{}, ?{n})", n - 1));
    }

    /// Adds what comes behind a number, then a text, in ascending order of two columns.
    pub(super) fn beyond(&mut self, columns: &str, (number, text): (i64, &str)) {
        self.values.push(Value::Integer(number));
        self.values.push(Value::Text(text.to_owned()));
        let n = self.values.len();
        self.sql.push_str(&format!(" AND ({columns}) > (?{}, ?{n})", n - 1));
    }

    pub(super) fn sql(&self) -> &str {
        &self.sql
    }
}

/// `LIKE` pattern of a text that stands anywhere; `\` escapes.
pub(super) fn anywhere(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_the_way_through_a_client() {
        let cursor = Cursor::new(-5, "i-a~b");
        assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        for bad in ["", "x~y", "5", "5~", "99999999999999999999~a"] {
            assert!(matches!(Cursor::parse(bad), Err(StorageError::Query { .. })), "{bad}");
        }
    }
}
