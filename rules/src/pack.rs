//! The rule pack that is part of the program.

macro_rules! pack {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../packs/first_light/", $file)))),*]
    };
}

const FIRST_LIGHT: &[(&str, &str)] = pack![
    "app_aws_access_key_created.yml",
    "app_aws_account_enumerated.yml",
    "app_aws_console_login_without_mfa.yml",
    "app_aws_trail_stopped.yml",
    "app_inbox_rule_hides_or_forwards.yml",
    "app_mail_read_by_api.yml",
    "app_mailbox_forwarding.yml",
    "app_oauth_consent.yml",
    "app_scripted_file_access.yml",
    "email_click_blocked.yml",
    "email_click_on_malicious_link.yml",
    "email_internal_phish.yml",
    "email_malicious_attachment_delivered.yml",
    "email_phish_or_malware_delivered.yml",
    "email_removed_after_delivery.yml",
    "endpoint_archive_with_password.yml",
    "endpoint_browser_child_shell.yml",
    "endpoint_browser_drops_program.yml",
    "endpoint_browser_secrets_copied.yml",
    "endpoint_domain_discovery.yml",
    "endpoint_double_extension.yml",
    "endpoint_download_folder_connects_out.yml",
    "endpoint_execution_from_downloads.yml",
    "endpoint_lsass_dump_tool.yml",
    "endpoint_lsass_full_access_by_interpreter.yml",
    "endpoint_lsass_read_by_unusual_program.yml",
    "endpoint_ntds_copied.yml",
    "endpoint_office_or_mail_child_shell.yml",
    "endpoint_powershell_download_cradle.yml",
    "endpoint_powershell_encoded.yml",
    "endpoint_psexec_client.yml",
    "endpoint_recovery_inhibited.yml",
    "endpoint_registry_hive_saved.yml",
    "endpoint_remote_execution_service_installed.yml",
    "endpoint_remote_service_shell.yml",
    "endpoint_run_key_to_user_folder.yml",
    "endpoint_suspicious_scheduled_task.yml",
    "endpoint_wmi_remote_process.yml",
    "identity_app_credential_added.yml",
    "identity_directory_bulk_download.yml",
    "identity_directory_replication.yml",
    "identity_google_suspicious_login.yml",
    "identity_legacy_protocol_sign_in.yml",
    "identity_mfa_method_changed.yml",
    "identity_okta_mfa_reset.yml",
    "identity_privileged_role_assigned.yml",
    "identity_risky_sign_in.yml",
    "identity_scripted_sign_in.yml",
    "identity_sign_in_medium_risk.yml",
    "identity_smart_lockout.yml",
    "identity_unfamiliar_sign_in_without_mfa.yml",
];

/// File name and text of every rule of the pack.
pub(crate) fn documents() -> Vec<(String, String)> {
    FIRST_LIGHT.iter().map(|(file, text)| (format!("first_light/{file}"), (*text).to_owned())).collect()
}
