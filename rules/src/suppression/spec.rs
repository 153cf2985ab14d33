//! What is written about the suppression of a rule's alerts.

use std::collections::HashMap;
use std::sync::Arc;

use rsigma_parser::Timespan;
use serde::{Deserialize, Serialize};

/// The custom attribute of a Sigma rule that declares its suppression.
const ATTRIBUTE: &str = "asterism.suppress";

/// More fields than this name a single event.
const FIELDS_MAX: usize = 16;

/// An open window is kept for as long as it lasts.
const WINDOW_SECONDS_MAX: u64 = 90 * 86_400;

/// Suppression as declared.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct SuppressionSpec {
    /// Sigma field names, without spaces. Empty: all of a correlation's `group-by`.
    pub(crate) fields: Vec<Arc<str>>,
    pub(crate) span_us: i64,
    pub(crate) kind: WindowKind,
}

/// How long a window lasts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WindowKind {
    /// From the alert that passed.
    #[default]
    Fixed,
    /// From the last alert of the key.
    Sliding,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    fields: Vec<String>,
    window: String,
    #[serde(default)]
    kind: WindowKind,
}

impl TryFrom<Written> for SuppressionSpec {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let fields: Vec<Arc<str>> =
            written.fields.iter().map(|field| field.replace(' ', "").into()).collect();
        if fields.len() > FIELDS_MAX {
            return Err(format!("`fields` has {} names; it may have {FIELDS_MAX}", fields.len()));
        }
        if fields.iter().any(|field| field.is_empty()) {
            return Err("`fields` holds an empty name".to_owned());
        }
        let seconds = Timespan::parse(written.window.trim()).ok().map(|span| span.seconds);
        match seconds.filter(|seconds| (1..=WINDOW_SECONDS_MAX).contains(seconds)) {
            Some(seconds) => {
                Ok(Self { fields, span_us: seconds.cast_signed() * 1_000_000, kind: written.kind })
            }
            None => Err(format!(
                "`window` is {:?}; it must be a number with s, m, h, d or w, at most 90d",
                written.window
            )),
        }
    }
}

/// What a rule's own custom attributes declare.
pub(crate) fn declared<V: Serialize>(
    attributes: &HashMap<String, V>,
) -> Result<Option<SuppressionSpec>, String> {
    let Some(value) = attributes.get(ATTRIBUTE) else { return Ok(None) };
    let value = serde_json::to_value(value).and_then(serde_json::from_value);
    value.map(Some).map_err(|e| format!("`{ATTRIBUTE}`: {e}"))
}
