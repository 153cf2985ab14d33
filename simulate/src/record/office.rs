//! Microsoft 365 unified audit rows in the OfficeActivity shape.

use event::Time;
use serde::Serialize;

use crate::clock::Stamp;
use crate::company::{Company, Identity, Person};
use crate::record::{Recorder, Source};

/// The app id of Microsoft Graph, through which mail is read by programs.
const GRAPH: &str = "00000003-0000-0000-c000-000000000000";

/// How a client opens a mailbox.
#[derive(Clone, Copy)]
pub(crate) enum MailClient<'a> {
    Outlook,
    Web,
    /// A program with a token, by its app id
    Rest(&'a str),
}

impl<'a> MailClient<'a> {
    const fn info(self) -> &'static str {
        match self {
            MailClient::Outlook => "Client=MSExchangeRPC",
            MailClient::Web => "Client=OWA;Action=ViaProxy",
            MailClient::Rest(_) => "Client=REST;;",
        }
    }

    const fn app_id(self) -> &'static str {
        match self {
            MailClient::Rest(_) => GRAPH,
            _ => "00000002-0000-0ff1-ce00-000000000000",
        }
    }

    const fn client_app_id(self) -> &'a str {
        match self {
            MailClient::Rest(app) => app,
            MailClient::Outlook => "d3590ed6-52b3-4102-aeff-aad2292ab01c",
            MailClient::Web => "9199bf20-a13f-4107-85dc-02114787ef48",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Header<'a> {
    tenant_id: &'a str,
    record_type: &'static str,
    time_generated: Stamp,
    operation: &'static str,
    organization_id: &'a str,
    #[serde(rename = "OrganizationId_")]
    organization_id_again: &'a str,
    user_type: &'static str,
    user_key: String,
    office_workload: &'static str,
    result_status: &'static str,
    user_id: &'a str,
    #[serde(rename = "UserId_")]
    user_id_again: &'a str,
    office_id: &'a str,
    source_record_id: &'a str,
    source_system: &'static str,
    office_tenant_id: &'a str,
    #[serde(rename = "Type")]
    table: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MailboxRow<'a> {
    #[serde(flatten)]
    header: Header<'a>,
    external_access: &'static str,
    originating_server: &'static str,
    organization_name: String,
    #[serde(rename = "Logon_Type")]
    logon_type: &'static str,
    mailbox_guid: &'a str,
    #[serde(rename = "MailboxOwnerUPN")]
    mailbox_owner_upn: &'a str,
    mailbox_owner_sid: &'a str,
    logon_user_sid: &'a str,
    client_info_string: &'static str,
    #[serde(rename = "Client_IPAddress")]
    client_ip: &'a str,
    #[serde(rename = "ClientIP")]
    client_ip_again: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    folders: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    item: &'a str,
    operation_properties: &'static str,
    app_id: &'static str,
    client_app_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AdminRow<'a> {
    #[serde(flatten)]
    header: Header<'a>,
    external_access: &'static str,
    originating_server: &'static str,
    organization_name: String,
    #[serde(rename = "ClientIP")]
    client_ip: String,
    office_object_id: &'a str,
    parameters: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter<'a> {
    name: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FileRow<'a> {
    #[serde(flatten)]
    header: Header<'a>,
    #[serde(rename = "ClientIP")]
    client_ip: &'a str,
    event_source: &'static str,
    item_type: &'static str,
    user_agent: &'static str,
    #[serde(rename = "Site_")]
    site: String,
    #[serde(rename = "Site_Url")]
    site_url: &'a str,
    source_file_extension: &'a str,
    source_file_name: &'a str,
    source_relative_url: &'static str,
    office_object_id: String,
}

/// What happens to a file in SharePoint or OneDrive.
pub(crate) struct FileUse<'a> {
    /// `FileAccessed`, `FileModified`, `FileDownloaded`, ...
    pub(crate) operation: &'static str,
    pub(crate) ip: &'a str,
    pub(crate) user_agent: &'static str,
    pub(crate) site: &'a str,
    pub(crate) file: &'a str,
}

impl<'c> Recorder<'c> {
    fn office_header<'a>(
        &self,
        at: Time,
        id: &'a str,
        who: &'a Identity,
        operation: &'static str,
        workload: (&'static str, &'static str),
    ) -> Header<'a>
    where
        'c: 'a,
    {
        let company: &'c Company = self.company;
        let tenant: &'a str = &company.entra_tenant;
        Header {
            tenant_id: tenant,
            record_type: workload.1,
            time_generated: Stamp::Seconds(at),
            operation,
            organization_id: tenant,
            organization_id_again: tenant,
            user_type: "Regular",
            user_key: format!("1003{}", who.object_id[..12].replace('-', "").to_uppercase()),
            office_workload: workload.0,
            result_status: "Succeeded",
            user_id: &who.upn,
            user_id_again: &who.upn,
            office_id: id,
            source_record_id: id,
            source_system: "OfficeActivityManager",
            office_tenant_id: tenant,
            table: "OfficeActivity",
        }
    }

    /// `items` mails of `owner` are read.
    pub(crate) fn mail_read(
        &mut self,
        at: Time,
        owner: &Person,
        ip: &str,
        client: MailClient<'_>,
        items: usize,
    ) {
        let folders = self.folders(items);
        let bind = "[{\"Name\":\"MailAccessType\",\"Value\":\"Bind\"},{\"Name\":\"IsThrottled\",\"Value\":\"False\"}]";
        self.mailbox_row(at, "MailItemsAccessed", "50", owner, ip, client, (folders, "", bind));
    }

    /// `owner`'s mailbox is opened by a client that synchronises it.
    pub(crate) fn mail_sync(&mut self, at: Time, owner: &Person, ip: &str) {
        let sync = "[{\"Name\":\"MailAccessType\",\"Value\":\"Sync\"},{\"Name\":\"IsThrottled\",\"Value\":\"False\"}]";
        self.mailbox_row(
            at,
            "MailItemsAccessed",
            "50",
            owner,
            ip,
            MailClient::Outlook,
            (String::new(), "", sync),
        );
    }

    /// `owner` sends a mail.
    pub(crate) fn mail_sent(
        &mut self,
        at: Time,
        owner: &Person,
        ip: &str,
        client: MailClient<'_>,
        subject: &str,
    ) {
        let item = format!("{{\"Subject\":\"{subject}\",\"ParentFolder\":{{\"Path\":\"\\\\Drafts\"}}}}");
        self.mailbox_row(at, "Send", "2", owner, ip, client, (String::new(), &item, "[]"));
    }

    #[allow(clippy::too_many_arguments)]
    fn mailbox_row(
        &mut self,
        at: Time,
        operation: &'static str,
        record_type: &'static str,
        owner: &Person,
        ip: &str,
        client: MailClient<'_>,
        detail: (String, &str, &'static str),
    ) {
        let id = self.dice.guid().to_string();
        let row = MailboxRow {
            header: self.office_header(at, &id, &owner.identity, operation, ("Exchange", record_type)),
            external_access: "False",
            originating_server: "AM9PR09MB4871 (15.20.7249.026)\r\n",
            organization_name: self.organization(),
            logon_type: "Owner",
            mailbox_guid: &owner.mailbox_guid,
            mailbox_owner_upn: &owner.identity.upn,
            mailbox_owner_sid: &owner.identity.sid,
            logon_user_sid: &owner.identity.sid,
            client_info_string: client.info(),
            client_ip: ip,
            client_ip_again: ip,
            folders: detail.0,
            item: detail.1,
            operation_properties: detail.2,
            app_id: client.app_id(),
            client_app_id: client.client_app_id(),
        };
        self.push_json(Source::Office, at, &owner.identity.upn, id.clone(), &row);
    }

    fn folders(&mut self, items: usize) -> String {
        let mut text = String::from("[{\"FolderItems\":[");
        for i in 0..items {
            if i > 0 {
                text.push(',');
            }
            text.push_str("{\"InternetMessageId\":\"<");
            text.push_str(&self.dice.hex(16).to_uppercase());
            text.push_str("@AM9PR09MB4871.eurprd09.prod.outlook.com>\"}");
        }
        text.push_str("],\"Id\":\"LgAAAAAM7KyTTmWeRac2KXBEz/7aAQARGHK+grzLTpRJraC1QR6kAAAAAAEMAAAB\",\"Path\":\"\\\\Inbox\"}]");
        text
    }

    /// A cmdlet of Exchange Online runs: inbox rules, forwarding, permissions.
    pub(crate) fn exchange_admin(
        &mut self,
        at: Time,
        who: &Person,
        ip: &str,
        operation: &'static str,
        parameters: &[(&'static str, &str)],
    ) {
        let id = self.dice.guid().to_string();
        let port = self.dice.between(1_024, 65_000);
        let list: Vec<Parameter<'_>> =
            parameters.iter().map(|&(name, value)| Parameter { name, value }).collect();
        let row = AdminRow {
            header: self.office_header(at, &id, &who.identity, operation, ("Exchange", "ExchangeAdmin")),
            external_access: "False",
            originating_server: "AM9PR09MB4871 (15.20.7249.026)",
            organization_name: self.organization(),
            client_ip: format!("{ip}:{port}"),
            office_object_id: &who.identity.upn,
            parameters: serde_json::to_string(&list).unwrap_or_else(|_| "[]".to_owned()),
        };
        self.push_json(Source::Office, at, &who.identity.upn, id.clone(), &row);
    }

    /// A file of SharePoint or OneDrive is used.
    pub(crate) fn file_used(&mut self, at: Time, who: &Person, file: &FileUse<'_>) {
        let id = self.dice.guid().to_string();
        let host = self.company.domain.split('.').next().unwrap_or("company");
        let site_url = format!("https://{host}.sharepoint.com/sites/{}/", file.site);
        let row = FileRow {
            header: self.office_header(
                at,
                &id,
                &who.identity,
                file.operation,
                ("SharePoint", "SharePointFileOperation"),
            ),
            client_ip: file.ip,
            event_source: "SharePoint",
            item_type: "File",
            user_agent: file.user_agent,
            site: self.company.guid_of(file.site).to_string(),
            site_url: &site_url,
            source_file_extension: file.file.rsplit('.').next().unwrap_or(""),
            source_file_name: file.file,
            source_relative_url: "Shared Documents",
            office_object_id: format!("{site_url}Shared Documents/{}", file.file),
        };
        self.push_json(Source::Office, at, &who.identity.upn, id.clone(), &row);
    }

    fn organization(&self) -> String {
        format!("{}.onmicrosoft.com", self.company.domain.split('.').next().unwrap_or("company"))
    }
}
