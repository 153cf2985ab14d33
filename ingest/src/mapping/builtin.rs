//! The shipped mappings: one line each. Their order does not matter.

/// File name and text.
pub(super) const FILES: &[(&str, &str)] = &[
    ("windows_event.yml", include_str!("../../mappings/windows_event.yml")),
];
