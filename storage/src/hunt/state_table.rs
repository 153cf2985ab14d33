//! A table of the state database for the query engine: columns, simple filters and limits go down to SQLite, rows come
//! up in batches from one read transaction.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::datasource::TableType;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::scalar::ScalarValue;
use event::TenantId;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::columns::{ColumnSpec, Kind, TableSpec};
use super::values::ColumnValues;
use crate::{StateDb, StorageError};

/// Rows of a batch: bodies are some kilobytes of JSON, so a batch stays at a few megabytes.
const BATCH_ROWS: usize = 2_048;

/// Batches read ahead of the query.
const BATCHES_AHEAD: usize = 2;

/// A table of one tenant's rows.
#[derive(Debug)]
pub(super) struct StateTable {
    spec: &'static TableSpec,
    schema: SchemaRef,
    tenant: TenantId,
    state: StateDb,
}

impl StateTable {
    pub(super) fn new(spec: &'static TableSpec, tenant: &TenantId, state: StateDb) -> Self {
        Self { spec, schema: spec.schema(), tenant: tenant.clone(), state }
    }
}

#[async_trait]
impl TableProvider for StateTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// SQLite narrows the rows; the engine checks them again, so that both need not compare alike in every corner.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        let support = |filter: &&Expr| match condition(self.spec, filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let all: Vec<usize> = (0..self.spec.columns.len()).collect();
        let projection = projection.unwrap_or(&all);
        let columns: Vec<&'static ColumnSpec> = projection.iter().map(|&i| &self.spec.columns[i]).collect();
        let schema = Arc::new(self.schema.project(projection)?);
        let (sql, values) = select(self.spec, &columns, &self.tenant, filters, limit);
        let rows = Rows { sql, values, columns, schema: Arc::clone(&schema), state: self.state.clone() };
        let plan = StreamingTableExec::try_new(schema, vec![Arc::new(rows)], None, None, false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// The statement behind a scan. The tenant is part of every one.
fn select(
    spec: &'static TableSpec,
    columns: &[&ColumnSpec],
    tenant: &TenantId,
    filters: &[Expr],
    limit: Option<usize>,
) -> (String, Vec<Value>) {
    let expressions: Vec<&str> = columns.iter().map(|c| c.sql).chain(["NULL"]).collect();
    let mut sql = format!("SELECT {} FROM {} WHERE t.tenant = ?1", expressions.join(", "), spec.from);
    let mut values = vec![Value::Text(tenant.as_str().to_owned())];
    for (expression, operator, value) in filters.iter().filter_map(|filter| condition(spec, filter)) {
        values.push(value);
        sql.push_str(&format!(" AND {expression} {operator} ?{}", values.len()));
    }
    if let Some(limit) = limit {
        sql.push_str(&format!(" LIMIT {limit}"));
    }
    (sql, values)
}

/// A filter as SQLite can take it: column, operator, value.
fn condition(spec: &'static TableSpec, filter: &Expr) -> Option<(&'static str, &'static str, Value)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    let (column, op, literal) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(literal, _)) => (column, *op, literal),
        (Expr::Literal(literal, _), Expr::Column(column)) => (column, op.swap()?, literal),
        _ => return None,
    };
    let spec = spec.columns.iter().find(|c| c.name == column.name)?;
    let operator = match op {
        Operator::Eq => "=",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        _ => return None,
    };
    Some((spec.sql, operator, literal_value(spec.kind, literal)?))
}

fn literal_value(kind: Kind, literal: &ScalarValue) -> Option<Value> {
    match (kind, literal) {
        (Kind::Time, ScalarValue::TimestampMicrosecond(Some(us), _)) => Some(Value::Integer(*us)),
        (Kind::Int, ScalarValue::Int64(Some(n))) => Some(Value::Integer(*n)),
        (
            Kind::Text,
            ScalarValue::Utf8(Some(text))
            | ScalarValue::Utf8View(Some(text))
            | ScalarValue::LargeUtf8(Some(text)),
        ) => Some(Value::Text(text.clone())),
        _ => None,
    }
}

/// The rows of one scan.
#[derive(Debug)]
struct Rows {
    sql: String,
    values: Vec<Value>,
    columns: Vec<&'static ColumnSpec>,
    schema: SchemaRef,
    state: StateDb,
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), BATCHES_AHEAD);
        let send = builder.tx();
        let (sql, values, columns) = (self.sql.clone(), self.values.clone(), self.columns.clone());
        let (schema, state) = (Arc::clone(&self.schema), self.state.clone());
        builder.spawn_blocking(move || {
            // A closed channel means that the query has ended: reading stops.
            let emit = |batch| send.blocking_send(Ok(batch)).is_ok();
            let read = |connection: &Connection| {
                read(connection, &sql, &values, &columns, &schema, emit).map_err(|e| fault(&state, &e))
            };
            state.read_pool().with(read).map_err(|e| DataFusionError::External(Box::new(e)))
        });
        builder.build()
    }
}

#[derive(Debug)]
enum Fault {
    Sqlite(rusqlite::Error),
    Arrow(arrow::error::ArrowError),
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Self {
        Fault::Sqlite(e)
    }
}

impl From<arrow::error::ArrowError> for Fault {
    fn from(e: arrow::error::ArrowError) -> Self {
        Fault::Arrow(e)
    }
}

fn fault(state: &StateDb, fault: &Fault) -> StorageError {
    match fault {
        Fault::Sqlite(e) => StorageError::sqlite(state.path(), e),
        Fault::Arrow(e) => StorageError::corrupt(state.path().display(), e),
    }
}

fn read(
    connection: &Connection,
    sql: &str,
    values: &[Value],
    columns: &[&'static ColumnSpec],
    schema: &SchemaRef,
    mut emit: impl FnMut(RecordBatch) -> bool,
) -> Result<(), Fault> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut batch = Batch::new(columns);
    while let Some(row) = rows.next()? {
        for (i, column) in batch.columns.iter_mut().enumerate() {
            column.push(row.get_ref(i)?)?;
        }
        batch.rows += 1;
        if batch.rows == BATCH_ROWS
            && !emit(std::mem::replace(&mut batch, Batch::new(columns)).finish(schema)?)
        {
            return Ok(());
        }
    }
    if batch.rows > 0 {
        emit(batch.finish(schema)?);
    }
    Ok(())
}

struct Batch {
    columns: Vec<ColumnValues>,
    rows: usize,
}

impl Batch {
    fn new(columns: &[&'static ColumnSpec]) -> Self {
        Self { columns: columns.iter().map(|c| ColumnValues::new(c.kind)).collect(), rows: 0 }
    }

    fn finish(self, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let columns = self.columns.into_iter().map(ColumnValues::finish).collect::<Result<_, _>>()?;
        RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
    }
}
