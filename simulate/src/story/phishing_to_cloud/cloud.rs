//! The cloud, with the victim's session.

use super::Cast;
use crate::clock::after;
use crate::names::DOCUMENTS;
use crate::record::cloud_app::{CloudActivity, SHAREPOINT};
use crate::record::entra::{
    Device, DirectoryChange, EVERYDAY_APPS, LINUX_AGENT, Mfa, OFFICE_HOME, Outcome, Risk, SCRIPT_AGENT,
    Signin,
};
use crate::record::office::{FileUse, MailClient};
use crate::story::Script;

pub(super) fn cloud_sign_in(script: &mut Script<'_>, cast: &Cast<'_>) {
    let at = script.at(0.62);
    script.step("stolen_session_sign_in");
    let ip = script.cloud_ip.clone();
    let signin = Signin {
        person: cast.victim,
        ip: &ip,
        place: script.place,
        app: &OFFICE_HOME,
        device: Device::Unknown("Linux", "Firefox 115.0"),
        outcome: Outcome::Success,
        mfa: Mfa::ClaimInToken,
        risk: Risk::High("[\"anomalousToken\",\"unfamiliarFeatures\"]"),
        interactive: true,
        user_agent: LINUX_AGENT,
    };
    script.rec.sign_in(at, &signin);
    let again = Signin { app: &EVERYDAY_APPS[4], risk: Risk::Medium("[\"unfamiliarFeatures\"]"), ..signin };
    script.rec.sign_in(after(at, 40.0), &again);
}

pub(super) fn app_abuse(script: &mut Script<'_>, cast: &Cast<'_>) {
    let (consent, credential) = (script.at(0.68), script.at(0.71));
    let (by, ip) = (&cast.victim.identity, script.cloud_ip.clone());
    let app = script.company().guid_of(&format!("app/{}", script.number)).to_string();
    let change = DirectoryChange {
        operation: "Consent to application",
        category: "ApplicationManagement",
        verb: "Assign",
        by,
        ip: &ip,
        user_agent: LINUX_AGENT,
        target: (&app, "Mail Archive Pro", "ServicePrincipal"),
        properties: &[
            ("ConsentContext.IsAdminConsent", "\"False\""),
            (
                "ConsentAction.Permissions",
                "\"[[Id: , ClientId: , PrincipalId: , Scope: Mail.ReadWrite Files.Read.All offline_access, ConsentType: Principal]]\"",
            ),
        ],
    };
    script.step("app_consent");
    script.rec.directory_change(consent, &change);
    let grant = DirectoryChange {
        operation: "Add delegated permission grant",
        properties: &[
            ("DelegatedPermissionGrant.Scope", "\"Mail.ReadWrite Files.Read.All offline_access\""),
            ("DelegatedPermissionGrant.ConsentType", "\"Principal\""),
        ],
        ..change
    };
    script.rec.directory_change(after(consent, 0.3), &grant);
    script.step("app_credential");
    let key = format!(
        "[\"[KeyIdentifier={},KeyType=Password,KeyUsage=Verify,DisplayName=sync]\"]",
        script.rec.dice.guid()
    );
    let add = DirectoryChange {
        operation: "Add service principal credentials",
        verb: "Update",
        properties: &[("KeyDescription", &key)],
        ..change
    };
    script.rec.directory_change(credential, &add);
}

pub(super) fn mailbox(script: &mut Script<'_>, cast: &Cast<'_>) {
    let (read, rule) = (script.at(0.76), script.at(0.84));
    let (ip, forward) = (script.cloud_ip.clone(), format!("smtp:archive@{}", script.lure_domain));
    let app = script.company().guid_of(&format!("app/{}", script.number)).to_string();
    script.step("mailbox_read");
    for i in 0..5 {
        script.rec.mail_read(after(read, 12.0 * f64::from(i)), cast.victim, &ip, MailClient::Rest(&app), 30);
    }
    script.step("inbox_rule");
    let parameters = [
        ("AlwaysDeleteOutlookRulesBlob", "False"),
        ("Force", "False"),
        ("Name", ".."),
        ("SubjectOrBodyContainsWords", "invoice;payment;phish;hacked"),
        ("ForwardTo", forward.as_str()),
        ("DeleteMessage", "True"),
        ("StopProcessingRules", "True"),
    ];
    script.rec.exchange_admin(rule, cast.victim, &ip, "New-InboxRule", &parameters);
}

pub(super) fn mass_download(script: &mut Script<'_>, cast: &Cast<'_>) {
    let at = script.at(0.90);
    let ip = script.cloud_ip.clone();
    script.step("mass_download");
    for i in 0..60 {
        let file = format!("{:02}_{}", i, DOCUMENTS[i % DOCUMENTS.len()]);
        let download = FileUse {
            operation: "FileDownloaded",
            ip: &ip,
            user_agent: SCRIPT_AGENT,
            site: "finance",
            file: &file,
        };
        let now = after(at, 2.5 * i as f64);
        script.rec.file_used(now, cast.victim, &download);
        if i % 10 == 0 {
            let place = script.place;
            script.rec.cloud_activity(
                now,
                &CloudActivity {
                    person: cast.victim,
                    action: "FileDownloaded",
                    application: SHAREPOINT,
                    ip: &ip,
                    place,
                    user_agent: SCRIPT_AGENT,
                    object: &file,
                },
            );
        }
    }
}
