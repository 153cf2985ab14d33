//! Pages and the parameters that every list shares.

use event::{Domain, Severity, TenantId, Time};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use storage::{Cursor, Page, StorageError};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;

/// Rows of a page when the client does not say.
const LIMIT_DEFAULT: usize = 50;
/// Rows of a page at most.
const LIMIT_MAX: usize = 1_000;

/// One page of a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Paged<T> {
    /// The rows.
    pub(crate) items: Vec<T>,
    /// Pass it as `cursor` for the next page; absent after the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) next: Option<String>,
}

impl<T> From<Page<T>> for Paged<T> {
    fn from(page: Page<T>) -> Self {
        Self { items: page.items, next: page.next.map(|c| c.to_string()) }
    }
}

/// The tenant that a request speaks for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TenantParam {
    /// Tenant
    #[serde(default)]
    tenant: Option<String>,
}

impl TenantParam {
    pub(crate) fn of(tenant: &TenantId) -> Self {
        Self { tenant: Some(tenant.to_string()) }
    }

    pub(crate) fn id(&self) -> TenantId {
        self.tenant.as_deref().map_or_else(TenantId::default, TenantId::new)
    }
}

/// Where a page begins and how long it is.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// `next` of the page before
    #[serde(default)]
    cursor: Option<String>,
    /// Rows, 1 to 1000; default: 50
    #[serde(default)]
    limit: Option<usize>,
}

impl PageParams {
    pub(crate) fn cursor(&self) -> Result<Option<Cursor>, Problem> {
        self.cursor.as_deref().map(Cursor::parse).transpose().map_err(Problem::from)
    }

    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        Self::limit_of(self.limit)
    }

    /// The rows of a page, of what the client asked for.
    pub(crate) fn limit_of(asked: Option<usize>) -> Result<usize, Problem> {
        match asked.unwrap_or(LIMIT_DEFAULT) {
            limit @ 1..=LIMIT_MAX => Ok(limit),
            limit => Err(Problem::bad_request(format!(
                "limit is {limit}, but a page has 1 to {LIMIT_MAX} rows; `next` leads to the following page"
            ))),
        }
    }
}

/// What narrows a list of alerts or incidents.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SignalParams {
    /// Lowest severity
    #[param(inline)]
    pub(crate) severity: Option<Severity>,
    /// Telemetry domain it touches
    #[param(inline)]
    pub(crate) domain: Option<Domain>,
    /// Text anywhere in it; case of ASCII letters does not matter
    pub(crate) q: Option<String>,
    /// Alerts that began, incidents that were active at or after this event time
    #[param(inline)]
    pub(crate) since: Option<Time>,
    /// Alerts that began, incidents that were active before this event time
    #[param(inline)]
    pub(crate) until: Option<Time>,
}

/// The members of a comma-separated list.
pub(crate) fn parse_list<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, serde::de::value::Error> {
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    members.map(|member| T::deserialize(StrDeserializer::new(member))).collect()
}

/// A query parameter that takes a comma-separated list.
pub(crate) fn comma_separated<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_list(&text).map_err(D::Error::custom)
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Query { .. } | StorageError::Refused { .. } => {
                Problem::bad_request(error.to_string())
            }
            StorageError::Limit { .. } => {
                Problem::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
            StorageError::Unavailable { .. } | StorageError::Full { .. } | StorageError::Closed => {
                Problem::unavailable(error.to_string())
            }
            other => Problem::internal(&other),
        }
    }
}

/// Runs a blocking read of the state database off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(read).await {
        Ok(outcome) => outcome.map_err(Problem::from),
        Err(panic) => Err(Problem::internal(&panic)),
    }
}
