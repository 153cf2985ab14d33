//! The shipped mappings: one line each. Their order does not matter.

/// File name and text.
pub(super) const FILES: &[(&str, &str)] = &[
    ("aws_cloudtrail.yml", include_str!("../../mappings/aws_cloudtrail.yml")),
    ("azure_activity.yml", include_str!("../../mappings/azure_activity.yml")),
    ("azure_nsg_flow.yml", include_str!("../../mappings/azure_nsg_flow.yml")),
    ("defender_xdr.yml", include_str!("../../mappings/defender_xdr.yml")),
    ("duo_log.yml", include_str!("../../mappings/duo_log.yml")),
    ("entra_audit.yml", include_str!("../../mappings/entra_audit.yml")),
    ("entra_signin.yml", include_str!("../../mappings/entra_signin.yml")),
    ("gcp_audit.yml", include_str!("../../mappings/gcp_audit.yml")),
    ("github_audit.yml", include_str!("../../mappings/github_audit.yml")),
    ("google_workspace.yml", include_str!("../../mappings/google_workspace.yml")),
    ("kubernetes_audit.yml", include_str!("../../mappings/kubernetes_audit.yml")),
    ("m365_audit.yml", include_str!("../../mappings/m365_audit.yml")),
    ("mde_process_export.yml", include_str!("../../mappings/mde_process_export.yml")),
    ("okta_system_log.yml", include_str!("../../mappings/okta_system_log.yml")),
    ("onelogin_event.yml", include_str!("../../mappings/onelogin_event.yml")),
    ("sentinel_security_alert.yml", include_str!("../../mappings/sentinel_security_alert.yml")),
    ("windows_event.yml", include_str!("../../mappings/windows_event.yml")),
    ("zeek.yml", include_str!("../../mappings/zeek.yml")),
    ("ocsf.yml", include_str!("../../mappings/ocsf.yml")),
];
