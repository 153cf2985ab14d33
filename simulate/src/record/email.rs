//! Mail as Defender for Office reports it: one row per message and recipient, rows for its links and attachments,
//! for clicks, and for what is done to it after delivery.

use event::Time;
use serde::Serialize;

use crate::clock::{Stamp, after};
use crate::dice::Guid;
use crate::record::process::Hashes;
use crate::record::{Recorder, Source};

/// What the filter made of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Clean,
    /// Newsletters and the like: bulk complaint level above the usual
    Bulk,
    SpamJunked,
    PhishBlocked,
    /// Seen as phishing, and delivered all the same because the recipient trusts the sender
    PhishDelivered,
}

/// The columns that follow from a verdict.
struct VerdictColumns {
    action: &'static str,
    location: &'static str,
    threats: &'static str,
    methods: &'static str,
    confidence: &'static str,
    bulk_level: u8,
    email_action: &'static str,
    policy: &'static str,
    authentication: &'static str,
    user_action: &'static str,
    user_policy: &'static str,
}

const PASSED: &str = "{\"SPF\":\"pass\",\"DKIM\":\"pass\",\"DMARC\":\"pass\",\"CompAuth\":\"pass\"}";
const FAILED: &str = "{\"SPF\":\"softfail\",\"DKIM\":\"none\",\"DMARC\":\"fail\",\"CompAuth\":\"fail\"}";

const DELIVERED: VerdictColumns = VerdictColumns {
    action: "Delivered",
    location: "Inbox/folder",
    threats: "",
    methods: "",
    confidence: "",
    bulk_level: 0,
    email_action: "No action taken",
    policy: "",
    authentication: PASSED,
    user_action: "",
    user_policy: "",
};

impl Verdict {
    const fn columns(self) -> VerdictColumns {
        match self {
            Verdict::Clean => DELIVERED,
            Verdict::Bulk => VerdictColumns { bulk_level: 5, ..DELIVERED },
            Verdict::SpamJunked => VerdictColumns {
                action: "Junked",
                location: "Junk folder",
                threats: "Spam",
                methods: "{\"Spam\":[\"Advanced filter\"]}",
                confidence: "{\"Spam\":\"Normal\"}",
                bulk_level: 7,
                email_action: "Move message to junk mail folder",
                policy: "Anti-spam",
                ..DELIVERED
            },
            Verdict::PhishBlocked => VerdictColumns {
                action: "Blocked",
                location: "Quarantine",
                threats: "Phish",
                methods: "{\"Phish\":[\"URL malicious reputation\",\"Spoof external domain\"]}",
                confidence: "{\"Phish\":\"High\"}",
                email_action: "Send to quarantine",
                policy: "Antiphishing spoof",
                authentication: FAILED,
                ..DELIVERED
            },
            Verdict::PhishDelivered => VerdictColumns {
                threats: "Phish",
                methods: "{\"Phish\":[\"Mixed analysis detection\"]}",
                confidence: "{\"Phish\":\"Normal\"}",
                authentication: FAILED,
                user_action: "Allow",
                user_policy: "Safe senders",
                ..DELIVERED
            },
        }
    }
}

/// One message to one recipient.
#[derive(Clone)]
pub(crate) struct Mail<'a> {
    pub(crate) network_id: Guid,
    pub(crate) from_address: &'a str,
    pub(crate) from_name: &'a str,
    pub(crate) from_object: &'a str,
    pub(crate) from_ip: &'a str,
    pub(crate) to: &'a str,
    pub(crate) to_object: &'a str,
    pub(crate) subject: &'a str,
    /// `Inbound`, `Outbound` or `Intra-org`
    pub(crate) direction: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) urls: &'a [&'a str],
    /// File name and type
    pub(crate) attachments: &'a [(&'a str, &'static str)],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EmailRow<'a> {
    timestamp: Stamp,
    network_message_id: Guid,
    internet_message_id: &'a str,
    sender_mail_from_address: &'a str,
    sender_from_address: &'a str,
    sender_display_name: &'a str,
    sender_object_id: &'a str,
    sender_mail_from_domain: &'a str,
    sender_from_domain: &'a str,
    #[serde(rename = "SenderIPv4")]
    sender_ipv4: &'a str,
    #[serde(rename = "SenderIPv6")]
    sender_ipv6: &'static str,
    recipient_email_address: &'a str,
    recipient_object_id: &'a str,
    subject: &'a str,
    email_cluster_id: u32,
    email_direction: &'static str,
    delivery_action: &'static str,
    delivery_location: &'static str,
    threat_types: &'static str,
    threat_names: &'static str,
    detection_methods: &'static str,
    confidence_level: &'static str,
    bulk_complaint_level: u8,
    email_action: &'static str,
    email_action_policy: &'static str,
    email_action_policy_guid: &'static str,
    authentication_details: &'static str,
    attachment_count: usize,
    url_count: usize,
    email_language: &'static str,
    connectors: &'static str,
    org_level_action: &'static str,
    org_level_policy: &'static str,
    user_level_action: &'static str,
    user_level_policy: &'static str,
    report_id: &'a str,
    additional_fields: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UrlRow<'a> {
    timestamp: Stamp,
    network_message_id: Guid,
    url: &'a str,
    url_domain: &'a str,
    url_location: &'static str,
    report_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AttachmentRow<'a> {
    timestamp: Stamp,
    network_message_id: Guid,
    sender_from_address: &'a str,
    sender_display_name: &'a str,
    sender_object_id: &'a str,
    recipient_email_address: &'a str,
    recipient_object_id: &'a str,
    file_name: &'a str,
    file_type: &'static str,
    #[serde(rename = "SHA256")]
    sha256: String,
    file_size: i64,
    threat_types: &'static str,
    threat_names: &'static str,
    detection_methods: &'static str,
    report_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ClickRow<'a> {
    timestamp: Stamp,
    url: &'a str,
    action_type: &'static str,
    account_upn: &'a str,
    workload: &'static str,
    network_message_id: Guid,
    threat_types: &'static str,
    detection_methods: &'static str,
    #[serde(rename = "IPAddress")]
    ip_address: &'a str,
    is_clicked_through: bool,
    url_chain: &'a str,
    report_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PostDeliveryRow<'a> {
    timestamp: Stamp,
    network_message_id: Guid,
    internet_message_id: &'a str,
    action: &'static str,
    action_type: &'static str,
    action_trigger: &'static str,
    action_result: &'static str,
    recipient_email_address: &'a str,
    delivery_location: &'static str,
    source_location: &'static str,
    threat_types: &'static str,
    detection_methods: &'static str,
    report_id: &'a str,
}

impl Recorder<'_> {
    /// A message reaches one recipient: its row, and one for each link and attachment.
    pub(crate) fn mail(&mut self, at: Time, mail: &Mail<'_>) {
        let report = format!("{}-{}-1", mail.network_id, 1_000_000 + self.dice.below(u32::MAX as usize));
        let domain = mail.from_address.rsplit('@').next().unwrap_or("");
        let internet_id = format!("<{}@{domain}>", self.company.guid_of(&mail.network_id.to_string()));
        let cluster = Hashes::of(mail.subject, domain);
        let columns = mail.verdict.columns();
        let row = EmailRow {
            timestamp: Stamp::Ticks(at),
            network_message_id: mail.network_id,
            internet_message_id: &internet_id,
            sender_mail_from_address: mail.from_address,
            sender_from_address: mail.from_address,
            sender_display_name: mail.from_name,
            sender_object_id: mail.from_object,
            sender_mail_from_domain: domain,
            sender_from_domain: domain,
            sender_ipv4: mail.from_ip,
            sender_ipv6: "",
            recipient_email_address: mail.to,
            recipient_object_id: mail.to_object,
            subject: mail.subject,
            email_cluster_id: u32::from_str_radix(&cluster.md5()[..8], 16).unwrap_or(0),
            email_direction: mail.direction,
            delivery_action: columns.action,
            delivery_location: if mail.direction == "Outbound" {
                "On-premises/external"
            } else {
                columns.location
            },
            threat_types: columns.threats,
            threat_names: "",
            detection_methods: columns.methods,
            confidence_level: columns.confidence,
            bulk_complaint_level: columns.bulk_level,
            email_action: columns.email_action,
            email_action_policy: columns.policy,
            email_action_policy_guid: "",
            authentication_details: columns.authentication,
            attachment_count: mail.attachments.len(),
            url_count: mail.urls.len(),
            email_language: "en",
            connectors: "",
            org_level_action: "",
            org_level_policy: "",
            user_level_action: columns.user_action,
            user_level_policy: columns.user_policy,
            report_id: &report,
            additional_fields: "",
        };
        let id = format!("{report}/{}", mail.to);
        self.stream(Source::DefenderEmail, "EmailEvents", at, mail.to, &id, row);
        self.links(at, mail, &report);
        self.attachments(at, mail, &report);
    }

    fn links(&mut self, at: Time, mail: &Mail<'_>, report: &str) {
        for (i, url) in mail.urls.iter().enumerate() {
            let report = format!("{report}-u{i}");
            let row = UrlRow {
                timestamp: Stamp::Ticks(at),
                network_message_id: mail.network_id,
                url,
                url_domain: host_of(url),
                url_location: "Body",
                report_id: &report,
            };
            self.stream(Source::DefenderEmail, "EmailUrlInfo", at, mail.to, &format!("{report}/{url}"), row);
        }
    }

    fn attachments(&mut self, at: Time, mail: &Mail<'_>, report: &str) {
        for (i, (name, file_type)) in mail.attachments.iter().enumerate() {
            let report = format!("{report}-a{i}");
            let size = self.dice.log_normal(120_000.0, 1.2) as i64;
            let row = AttachmentRow {
                timestamp: Stamp::Ticks(at),
                network_message_id: mail.network_id,
                sender_from_address: mail.from_address,
                sender_display_name: mail.from_name,
                sender_object_id: mail.from_object,
                recipient_email_address: mail.to,
                recipient_object_id: mail.to_object,
                file_name: name,
                file_type,
                sha256: Hashes::of(name, mail.subject).sha256().to_lowercase(),
                file_size: size,
                threat_types: "",
                threat_names: "",
                detection_methods: "",
                report_id: &report,
            };
            let id = format!("{report}/{}/{name}", mail.to);
            self.stream(Source::DefenderEmail, "EmailAttachmentInfo", at, mail.to, &id, row);
        }
    }

    /// The recipient follows a link of `mail`. `threat` tells a click that Safe Links knows to be bad and that the
    /// user went through with.
    pub(crate) fn click(&mut self, at: Time, mail: &Mail<'_>, url: &str, ip: &str, threat: bool) {
        let report = format!("{}-click-{}", mail.network_id, self.dice.below(u32::MAX as usize));
        let chain = format!("[\"{url}\"]");
        let row = ClickRow {
            timestamp: Stamp::Ticks(at),
            url,
            action_type: "ClickAllowed",
            account_upn: mail.to,
            workload: "Email",
            network_message_id: mail.network_id,
            threat_types: if threat { "Phish" } else { "" },
            detection_methods: if threat { "{\"Phish\":[\"URL detonation reputation\"]}" } else { "" },
            ip_address: ip,
            is_clicked_through: threat,
            url_chain: &chain,
            report_id: &report,
        };
        self.stream(Source::DefenderEmail, "UrlClickEvents", at, mail.to, &format!("{report}/{url}"), row);
    }

    /// The filter changes its mind: zero-hour auto purge moves the mail to quarantine.
    pub(crate) fn purge(&mut self, at: Time, mail: &Mail<'_>) {
        let report = format!("{}-zap-{}", mail.network_id, self.dice.below(u32::MAX as usize));
        let domain = mail.from_address.rsplit('@').next().unwrap_or("");
        let internet_id = format!("<{}@{domain}>", self.company.guid_of(&mail.network_id.to_string()));
        let row = PostDeliveryRow {
            timestamp: Stamp::Ticks(at),
            network_message_id: mail.network_id,
            internet_message_id: &internet_id,
            action: "Moved to quarantine",
            action_type: "Phish ZAP",
            action_trigger: "SpecialAction",
            action_result: "Success",
            recipient_email_address: mail.to,
            delivery_location: "Quarantine",
            source_location: "Inbox/folder",
            threat_types: "Phish",
            detection_methods: "{\"Phish\":[\"URL detonation\"]}",
            report_id: &report,
        };
        let id = format!("{report}/{}", mail.to);
        self.stream(Source::DefenderEmail, "EmailPostDeliveryEvents", at, mail.to, &id, row);
    }

    /// A benign click some minutes after the mail.
    pub(crate) fn click_later(&mut self, at: Time, mail: &Mail<'_>, url: &str, ip: &str) {
        let minutes = self.dice.log_normal(6.0, 0.9).min(40.0);
        self.click(after(at, minutes * 60.0), mail, url, ip, false);
    }
}

/// The host of an absolute URL.
pub(crate) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}
