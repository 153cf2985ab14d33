//! The catalogue of one tenant: every class, and the tables of the state database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{TableType, ViewTable, provider_as_source};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast};
use datafusion::prelude::{SessionConfig, SessionContext, ident, lit};
use datafusion::scalar::ScalarValue;
use deltalake::DeltaTable;
use event::{Class, TenantId};

use super::columns::STATE_TABLES;
use super::state_table::StateTable;
use crate::lake::{TENANT, delta_error, table_schema};
use crate::{Lake, StateDb, StorageError};

pub(super) const CATALOG: &str = "asterism";
pub(super) const SCHEMA: &str = "public";

/// The names of all tables, in order.
pub(super) fn table_names() -> Vec<String> {
    let classes = Class::all().map(|class| class.name().to_owned());
    let mut names: Vec<String> = classes.chain(STATE_TABLES.iter().map(|t| t.name.to_owned())).collect();
    names.sort_unstable();
    names
}

/// The lake's tables as they were last seen: a query replays only what was committed since.
#[derive(Debug)]
pub(super) struct LakeTables {
    lake: Lake,
    /// Held only to copy a table out or in; a table is a few pointers.
    seen: Mutex<HashMap<Class, DeltaTable>>,
}

impl LakeTables {
    pub(super) fn new(lake: Lake) -> Self {
        Self { lake, seen: Mutex::new(HashMap::new()) }
    }

    /// The newest state of the table of a class; `None` while it was never written.
    async fn newest(&self, class: Class) -> Result<Option<DeltaTable>, StorageError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&class).cloned();
        let table = match seen {
            Some(mut table) => {
                let place = self.lake.location(class);
                table.update_incremental(None).await.map_err(|e| delta_error(&place, &e))?;
                table
            }
            None => self.lake.table(class).await?,
        };
        if table.version().is_none() {
            return Ok(None);
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(class, table.clone());
        Ok(Some(table))
    }
}

/// One tenant's catalogue, with one schema.
#[derive(Debug)]
pub(super) struct TenantCatalog {
    schema: Arc<TenantSchema>,
}

#[derive(Debug)]
struct TenantSchema {
    tenant: TenantId,
    lake: Arc<LakeTables>,
    state: StateDb,
    /// Of the query's session: the tables' object stores are registered there.
    runtime: Arc<RuntimeEnv>,
}

impl TenantCatalog {
    pub(super) fn new(
        tenant: &TenantId,
        lake: Arc<LakeTables>,
        state: StateDb,
        runtime: Arc<RuntimeEnv>,
    ) -> Self {
        Self { schema: Arc::new(TenantSchema { tenant: tenant.clone(), lake, state, runtime }) }
    }
}

impl CatalogProvider for TenantCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == SCHEMA).then(|| Arc::clone(&self.schema) as Arc<dyn SchemaProvider>)
    }
}

#[async_trait]
impl SchemaProvider for TenantSchema {
    fn table_names(&self) -> Vec<String> {
        table_names()
    }

    /// Only the tables that a query names are loaded.
    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if let Some(table) = STATE_TABLES.iter().find(|t| t.name == name) {
            return Ok(Some(Arc::new(StateTable::new(table, &self.tenant, self.state.clone()))));
        }
        let Some(class) = Class::from_name(name) else { return Ok(None) };
        self.class_table(class).await.map(Some)
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        Ok(self.table_exist(name).then_some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        Class::from_name(name).is_some() || STATE_TABLES.iter().any(|t| t.name == name)
    }
}

impl TenantSchema {
    async fn class_table(&self, class: Class) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        let external = |e: StorageError| DataFusionError::External(Box::new(e));
        let Some(table) = self.lake.newest(class).await.map_err(external)? else {
            return Ok(Arc::new(EmptyTable::new(table_schema(class))));
        };
        let session = SessionContext::new_with_config_rt(SessionConfig::new(), Arc::clone(&self.runtime));
        let place = self.lake.lake.location(class);
        table.update_datafusion_session(&session.state()).map_err(|e| external(delta_error(&place, &e)))?;
        self.tenant_view(class, table.table_provider().await?)
    }

    /// The rows of the tenant, with the columns the class has now: one that the table lacks yet is null.
    fn tenant_view(
        &self,
        class: Class,
        table: Arc<dyn TableProvider>,
    ) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        let (on_disk, wanted) = (table.schema(), table_schema(class));
        let columns = wanted.fields().iter().map(|field| {
            let name = field.name().as_str();
            match on_disk.field_with_name(name) {
                Ok(found) if found.data_type() == field.data_type() => ident(name),
                Ok(_) => cast(ident(name), field.data_type().clone()).alias(name),
                Err(_) => cast(lit(ScalarValue::Null), field.data_type().clone()).alias(name),
            }
        });
        let columns: Vec<Expr> = columns.collect();
        let plan = LogicalPlanBuilder::scan(class.name(), provider_as_source(table), None)?
            .filter(ident(TENANT).eq(lit(self.tenant.as_str())))?
            .project(columns)?
            .build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}
