//! Typed ids. Derived ids are content hashes: the same input gives the same id on every run.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Takes an id as it stands (read back from storage, or given by a source).
            pub fn new(id: impl Into<std::sync::Arc<str>>) -> Self {
                Self(id.into())
            }

            /// Derives the id from the parts that define it; 96 bits of BLAKE3, in hex.
            pub fn derive(parts: &[&[u8]]) -> Self {
                Self(format!(concat!($prefix, "{}"), &content_hash($prefix.as_bytes(), parts)[..24]).into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &self.0)
            }
        }
    };
}

id!(
    /// A tenant: the boundary nothing crosses.
    TenantId, ""
);
id!(
    /// An alert: derived from tenant, rule and event, or the id its product gave it.
    AlertId, "a-"
);
id!(
    /// An incident: derived from tenant and root alert.
    IncidentId, "i-"
);
id!(
    /// An action command: derived from tenant, verb, target, arguments and cause.
    ActionId, "c-"
);
id!(
    /// An effect: derived from tenant, target and effect kind, so two commands for one state share it.
    EffectId, "e-"
);

id!(
    /// A suggested merge: derived from tenant and the alerts of its join.
    SuggestionId, "s-"
);
id!(
    /// A campaign: derived from tenant and the first alert that names one of its artefacts.
    CampaignId, "g-"
);
id!(
    /// An analyst's input: derived from everything it says.
    InputId, "n-"
);

impl Default for TenantId {
    /// The tenant of a single-tenant installation.
    fn default() -> Self {
        Self::new("default")
    }
}

/// BLAKE3 of the parts, each preceded by its length so that no two lists of parts collide.
fn content_hash(domain: &[u8], parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in std::iter::once(&domain).chain(parts) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_depend_on_the_split_of_parts() {
        let ab_c = AlertId::derive(&[b"ab", b"c"]);
        let a_bc = AlertId::derive(&[b"a", b"bc"]);
        assert_ne!(ab_c, a_bc);
        assert_eq!(ab_c, AlertId::derive(&[b"ab", b"c"]));
        assert!(ab_c.as_str().starts_with("a-") && ab_c.as_str().len() == 26);
    }
}
