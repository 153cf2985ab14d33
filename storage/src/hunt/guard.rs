//! What a hunting statement may be: one statement that reads, over tables that exist.

use datafusion::common::TableReference;
use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::Statement as Sql;

use super::catalog::{self, CATALOG, SCHEMA};
use super::result::hunt_error;
use crate::StorageError;

/// A longer text is no query that a person wrote.
const SQL_BYTES_MAX: usize = 256 * 1024;

/// Reads the one statement of `sql` and refuses what is not for reading.
pub(super) fn parse(sql: &str) -> Result<Statement, StorageError> {
    if sql.len() > SQL_BYTES_MAX {
        let remedy = "shorten the query".to_owned();
        return Err(StorageError::Limit {
            what: "the query".to_owned(),
            limit: format!("{SQL_BYTES_MAX} bytes"),
            remedy,
        });
    }
    let mut statements = DFParser::parse_sql(sql).map_err(|e| hunt_error(&e))?;
    let (statement, more) = (statements.pop_front(), !statements.is_empty());
    match statement {
        Some(_) if more => Err(query("one statement at a time", "send the others as queries of their own")),
        Some(statement) if reads(&statement) => Ok(statement),
        Some(statement) => Err(StorageError::Refused { statement: name_of(&statement) }),
        None => Err(query("the query is empty", "try: SELECT * FROM incidents ORDER BY score DESC LIMIT 10")),
    }
}

fn query(message: &str, hint: &str) -> StorageError {
    StorageError::Query { message: message.to_owned(), hint: Some(hint.to_owned()) }
}

fn reads(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(sql) => matches!(
            sql.as_ref(),
            Sql::Query(_)
                | Sql::Explain { .. }
                | Sql::ExplainTable { .. }
                | Sql::ShowTables { .. }
                | Sql::ShowColumns { .. }
                | Sql::ShowFunctions { .. }
        ),
        Statement::Explain(explain) => reads(&explain.statement),
        _ => false,
    }
}

/// The first words of a statement: `DROP TABLE`.
fn name_of(statement: &Statement) -> String {
    let text = statement.to_string();
    let words = text.split_whitespace().take_while(|w| w.chars().all(|c| c.is_ascii_uppercase()));
    let name: Vec<&str> = words.take(3).collect();
    if name.is_empty() { "this statement".to_owned() } else { name.join(" ") }
}

/// Refuses tables that do not exist, with the names that come nearest.
pub(super) fn check_tables(state: &SessionState, statement: &Statement) -> Result<(), StorageError> {
    let references = state.resolve_table_references(statement).map_err(|e| hunt_error(&e))?;
    let is_function = |reference: &TableReference| state.table_functions().contains_key(reference.table());
    references.into_iter().filter(|reference| !is_function(reference)).try_for_each(check_table)
}

fn check_table(reference: TableReference) -> Result<(), StorageError> {
    let asked = reference.to_string();
    let table = reference.resolve(CATALOG, SCHEMA);
    let names = catalog::table_names();
    let ours = table.catalog.as_ref() == CATALOG && table.schema.as_ref() == SCHEMA;
    let information = table.schema.as_ref() == "information_schema";
    if information || (ours && names.iter().any(|name| name.as_str() == table.table.as_ref())) {
        return Ok(());
    }
    let near = nearest(&table.table, &names);
    let hint =
        if near.is_empty() { "SHOW TABLES lists them".to_owned() } else { format!("did you mean {near}?") };
    Err(query(&format!("there is no table {asked}"), &hint))
}

/// Up to three names that resemble `name`, the nearest first.
fn nearest(name: &str, names: &[String]) -> String {
    let mut scored: Vec<(f64, &String)> = names.iter().map(|n| (likeness(name, n), n)).collect();
    scored.retain(|(likeness, _)| *likeness >= 0.5);
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let near: Vec<&str> = scored.iter().take(3).map(|(_, n)| n.as_str()).collect();
    near.join(", ")
}

/// 1 for the same name; a name that is a part of another is near, too (`process` and `process_activity`).
fn likeness(a: &str, b: &str) -> f64 {
    let part = a.len() >= 4 && b.contains(a);
    normalized_levenshtein(a, b).max(if part { 0.75 } else { 0.0 })
}

/// The second line: a plan that would change anything is refused whatever its text was.
pub(super) fn check_plan(plan: &LogicalPlan) -> Result<(), StorageError> {
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let refused = |_| StorageError::Refused { statement: plan.display().to_string() };
    options.verify_plan(plan).map_err(refused)
}
