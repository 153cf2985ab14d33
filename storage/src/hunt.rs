//! Hunting: SQL over the lake and the state database in one catalogue.
//!
//! A query belongs to a tenant, and its catalogue is made for that tenant: each table is a view of its rows alone, so no
//! SQL text reaches another's. It only reads. Each query sees what was committed when it began to plan.

mod catalog;
mod columns;
mod guard;
mod json;
mod result;
mod state_table;
mod values;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use event::TenantId;

use crate::{Lake, StateDb, StorageError};
use catalog::{CATALOG, LakeTables, SCHEMA, TenantCatalog};

pub use result::HuntResult;

/// Hunting queries over a lake and a state database. Clones share caches.
#[derive(Debug, Clone)]
pub struct Hunt {
    lake: Arc<LakeTables>,
    state: StateDb,
    /// Parquet footers and object store clients, shared by all queries.
    runtime: Arc<RuntimeEnv>,
}

/// What one query may take. Each bound says what happens at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HuntLimits {
    /// Rows of the result; the rest is left out, and [`HuntResult::is_truncated`] says so.
    pub rows_max: usize,
    /// Memory of sorts, joins and groups; beyond it they spill to disk, and where they cannot, the query fails.
    pub memory_bytes_max: usize,
    /// Time from the start of planning to the last row; beyond it the query fails.
    pub time_max: Duration,
}

impl Default for HuntLimits {
    /// 10,000 rows, 512 MiB, one minute.
    fn default() -> Self {
        Self { rows_max: 10_000, memory_bytes_max: 512 << 20, time_max: Duration::from_secs(60) }
    }
}

/// Spill files of all queries together: what a sort of a day's events takes, and far from filling a disk.
const SPILL_BYTES_MAX: u64 = 8 << 30;

/// Parquet footers kept in memory.
const FOOTER_BYTES_MAX: usize = 64 << 20;

impl Hunt {
    /// Over a lake and a state database.
    ///
    /// # Errors
    /// [`StorageError::Bug`] where the query engine cannot be set up.
    pub fn new(lake: Lake, state: StateDb) -> Result<Self, StorageError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_max_temp_directory_size(SPILL_BYTES_MAX)
            .with_metadata_cache_limit(FOOTER_BYTES_MAX)
            .build_arc()
            .map_err(|e| result::hunt_error(&e))?;
        Ok(Self { lake: Arc::new(LakeTables::new(lake)), state, runtime })
    }

    /// Over a data directory (`state.db` and `lake/` in it), beside a process that may be writing there.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] where the directory holds no state database.
    pub fn open(data_dir: &Path) -> Result<Self, StorageError> {
        let state = StateDb::open_read_only(data_dir.join("state.db"))?;
        let lake = Lake::open(&data_dir.join("lake").to_string_lossy(), Default::default())?;
        Self::new(lake, state)
    }

    /// Runs one statement for a tenant.
    ///
    /// # Errors
    /// [`StorageError::Query`] where the statement is wrong, [`StorageError::Refused`] where it would do more than
    /// read, [`StorageError::Limit`] at a limit, and the errors of the lake and the state database.
    pub async fn query(
        &self,
        sql: &str,
        tenant: &TenantId,
        limits: HuntLimits,
    ) -> Result<HuntResult, StorageError> {
        let deadline = tokio::time::Instant::now() + limits.time_max;
        let start = async {
            let statement = guard::parse(sql)?;
            let session = self.session(tenant, limits)?;
            let state = session.state();
            guard::check_tables(&state, &statement)?;
            let plan = state.statement_to_plan(statement).await.map_err(|e| result::hunt_error(&e))?;
            guard::check_plan(&plan)?;
            let frame = session.execute_logical_plan(plan).await.map_err(|e| result::hunt_error(&e))?;
            frame.execute_stream().await.map_err(|e| result::hunt_error(&e))
        };
        let started = tokio::time::timeout_at(deadline, start).await;
        let stream = started.map_err(|_| result::too_slow(limits.time_max))??;
        Ok(HuntResult::new(stream, limits, deadline))
    }

    /// The names of all tables, in order.
    pub fn table_names() -> Vec<String> {
        catalog::table_names()
    }

    fn session(&self, tenant: &TenantId, limits: HuntLimits) -> Result<SessionContext, StorageError> {
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.runtime)
            .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes_max)))
            .build_arc()
            .map_err(|e| result::hunt_error(&e))?;
        let session = SessionContext::new_with_config_rt(config(), runtime);
        json::register(&session);
        let catalog =
            TenantCatalog::new(tenant, Arc::clone(&self.lake), self.state.clone(), session.runtime_env());
        session.register_catalog(CATALOG, Arc::new(catalog));
        Ok(session)
    }
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    let options = config.options_mut();
    // Needles are what hunters look for: filters run inside the scan, cheapest first, and rows they drop are not decoded.
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    options.execution.parquet.schema_force_view_types = true;
    // Event time is UTC; so is `now()`.
    options.execution.time_zone = Some("UTC".to_owned());
    config
}
