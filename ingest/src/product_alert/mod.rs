//! Alerts that products report: detection findings with typed entities.

/// Native fields that hold typed entities, tags and origin of a product's alert.
pub(crate) const FIELDS: [&str; 9] = [
    "Entities", "ExtendedProperties", "Tactics", "Techniques", "ProviderName", "ProductName", "AlertId", "EntityType",
    "AttackTechniques",
];
