//! How the records of a topic are read: source kind and tenant.

use std::collections::HashMap;
use std::sync::Arc;

use event::TenantId;
use ingest::SourceKindHint;

use crate::config::Topic;

/// Source kind and tenant of a topic.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) hint: SourceKindHint,
    pub(crate) tenant: TenantId,
}

/// Routes by topic, with one for every other topic.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    routes: HashMap<Arc<str>, Route>,
    other: Route,
}

impl Topics {
    /// Every topic read in one way.
    pub(crate) fn all(hint: SourceKindHint, tenant: TenantId) -> Self {
        Self { routes: HashMap::new(), other: Route { hint, tenant } }
    }

    /// The configured topics; others (records over HTTP) are recognised by shape, for the default tenant.
    pub(crate) fn configured(topics: &[Topic]) -> Self {
        Self::configured_or(topics, SourceKindHint::Auto, TenantId::default())
    }

    /// The configured topics; others are read in one way.
    pub(crate) fn configured_or(topics: &[Topic], other: SourceKindHint, tenant: TenantId) -> Self {
        let route = |t: &Topic| Route { hint: hint(&t.source), tenant: TenantId::new(t.tenant.as_str()) };
        let routes = topics.iter().map(|t| (Arc::from(t.name.as_str()), route(t))).collect();
        Self { routes, ..Self::all(other, tenant) }
    }

    pub(crate) fn route(&self, topic: &str) -> &Route {
        self.routes.get(topic).unwrap_or(&self.other)
    }
}

/// `auto` or a source kind.
pub(crate) fn hint(source: &str) -> SourceKindHint {
    match source {
        "auto" => SourceKindHint::Auto,
        kind => SourceKindHint::Kind(kind.into()),
    }
}
