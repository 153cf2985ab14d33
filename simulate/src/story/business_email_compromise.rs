//! A stolen mail session of someone in finance: no endpoint sees any of it.

use super::Script;
use crate::activity::identity;
use crate::clock::after;
use crate::company::{Job, Person};
use crate::names::PARTNERS;
use crate::record::email::{Mail, Verdict};
use crate::record::entra::{Device, DirectoryChange, LINUX_AGENT, Mfa, OUTLOOK_WEB, Outcome, Risk, Signin};
use crate::record::office::MailClient;

pub(super) fn play(script: &mut Script<'_>) {
    let victim = script.victim(|p, _| p.job == Job::Finance);
    morning(script, victim);
    lure(script, victim);
    stolen_session(script, victim);
    new_factor(script, victim);
    reading(script, victim);
    hiding(script, victim);
    false_invoice(script, victim);
    internal_lure(script, victim);
}

fn morning(script: &mut Script<'_>, victim: &Person) {
    script.meanwhile();
    let company = script.company();
    let at = after(script.timing.start, -70.0);
    identity::sign_in_to_domain(&mut script.rec, at, victim);
    script.rec.mail_sync(after(at, 30.0), victim, &company.nat_ip);
}

/// A page between the victim, who works from home, and the real sign-in keeps the session.
fn lure(script: &mut Script<'_>, victim: &Person) {
    let (delivered, clicked) = (script.at(0.0), script.at(0.05));
    let &(name, _) = script.rec.dice.pick(&PARTNERS);
    let from = format!("no-reply@{}", script.lure_domain);
    let url = format!("https://login.{}/{}", script.lure_domain, script.rec.dice.hex(5));
    let urls = [url.as_str()];
    let subject = format!("{name} shared \"Statement of account\" with you");
    let mail = Mail {
        network_id: script.rec.dice.guid(),
        from_address: &from,
        from_name: name,
        from_object: "",
        from_ip: &script.server_ip,
        to: victim.upn(),
        to_object: &victim.identity.object_id,
        subject: &subject,
        direction: "Inbound",
        verdict: Verdict::PhishDelivered,
        urls: &urls,
        attachments: &[],
    };
    script.rec.step = Some("phish_delivered");
    script.rec.mail(delivered, &mail);
    script.rec.step = Some("phish_clicked");
    script.rec.click(clicked, &mail, &url, &victim.home_ip, true);
}

fn stolen_session(script: &mut Script<'_>, victim: &Person) {
    let at = script.at(0.08);
    let ip = script.cloud_ip.clone();
    let signin = Signin {
        person: victim,
        ip: &ip,
        place: script.place,
        app: &OUTLOOK_WEB,
        device: Device::Unknown("Linux", "Firefox 115.0"),
        outcome: Outcome::Success,
        mfa: Mfa::Approved,
        risk: Risk::High("[\"attackerinTheMiddle\",\"unfamiliarFeatures\"]"),
        interactive: true,
        user_agent: LINUX_AGENT,
    };
    script.step("session_sign_in");
    script.rec.sign_in(at, &signin);
    let later = script.at(0.55);
    script.rec.sign_in(
        later,
        &Signin { mfa: Mfa::ClaimInToken, risk: Risk::Medium("[\"unfamiliarFeatures\"]"), ..signin },
    );
}

fn new_factor(script: &mut Script<'_>, victim: &Person) {
    let at = script.at(0.14);
    let ip = script.cloud_ip.clone();
    let who = &victim.identity;
    script.step("mfa_method_added");
    let change = DirectoryChange {
        operation: "User registered security info",
        category: "UserManagement",
        verb: "Update",
        by: who,
        ip: &ip,
        user_agent: LINUX_AGENT,
        target: (&who.object_id, &who.upn, "User"),
        properties: &[("StrongAuthenticationMethod", "[{\"MethodType\":6,\"Default\":true}]")],
    };
    script.rec.directory_change(at, &change);
    script.rec.directory_change(after(at, 1.0), &DirectoryChange { operation: "Update user", ..change });
}

fn reading(script: &mut Script<'_>, victim: &Person) {
    let (first, second) = (script.at(0.20), script.at(0.56));
    let ip = script.cloud_ip.clone();
    script.step("mailbox_read");
    for (start, count) in [(first, 6), (second, 3)] {
        for i in 0..count {
            script.rec.mail_read(after(start, 25.0 * f64::from(i)), victim, &ip, MailClient::Web, 12);
        }
    }
}

fn hiding(script: &mut Script<'_>, victim: &Person) {
    let (rule, forwarding) = (script.at(0.32), script.at(0.38));
    let (ip, outside) =
        (script.cloud_ip.clone(), format!("smtp:{}@{}", victim.identity.name, script.lure_domain));
    script.step("inbox_rule");
    let parameters = [
        ("AlwaysDeleteOutlookRulesBlob", "False"),
        ("Force", "False"),
        ("Name", "."),
        ("SubjectOrBodyContainsWords", "invoice;bank;payment;IBAN"),
        ("MoveToFolder", "RSS Feeds"),
        ("MarkAsRead", "True"),
        ("DeleteMessage", "True"),
        ("StopProcessingRules", "True"),
    ];
    script.rec.exchange_admin(rule, victim, &ip, "New-InboxRule", &parameters);
    script.step("mail_forwarding");
    let forward = [
        ("Identity", victim.upn()),
        ("ForwardingSmtpAddress", outside.as_str()),
        ("DeliverToMailboxAndForward", "True"),
    ];
    script.rec.exchange_admin(forwarding, victim, &ip, "Set-Mailbox", &forward);
}

/// A partner is asked to pay into another account.
fn false_invoice(script: &mut Script<'_>, victim: &Person) {
    let (company, at, ip) = (script.company(), script.at(0.62), script.cloud_ip.clone());
    let &(_, domain) = script.rec.dice.pick(&PARTNERS);
    let to = format!("accounts@{domain}");
    let attachment = [("Invoice_new_bank_details.pdf", "pdf")];
    let mail = Mail {
        network_id: script.rec.dice.guid(),
        from_address: victim.upn(),
        from_name: &victim.display_name,
        from_object: &victim.identity.object_id,
        from_ip: &company.mail_gateway_ip,
        to: &to,
        to_object: "",
        subject: "Re: Invoice 88213 - updated bank details",
        direction: "Outbound",
        verdict: Verdict::Clean,
        urls: &[],
        attachments: &attachment,
    };
    script.step("false_invoice");
    script.rec.mail_sent(at, victim, &ip, MailClient::Web, "Re: Invoice 88213 - updated bank details");
    script.rec.mail(after(at, 2.0), &mail);
}

/// Colleagues get a lure from a sender they trust.
fn internal_lure(script: &mut Script<'_>, victim: &Person) {
    let (company, at, ip) = (script.company(), script.at(0.85), script.cloud_ip.clone());
    let url = format!("https://login.{}/doc", script.lure_domain);
    let urls = [url.as_str()];
    script.step("internal_phish");
    script.rec.mail_sent(at, victim, &ip, MailClient::Web, "Shared document: bonus scheme");
    for i in 0..8 {
        let to = script.rec.anyone();
        let mail = Mail {
            network_id: script.rec.dice.guid(),
            from_address: victim.upn(),
            from_name: &victim.display_name,
            from_object: &victim.identity.object_id,
            from_ip: &company.mail_gateway_ip,
            to: to.upn(),
            to_object: &to.identity.object_id,
            subject: "Shared document: bonus scheme",
            direction: "Intra-org",
            verdict: Verdict::PhishDelivered,
            urls: &urls,
            attachments: &[],
        };
        script.rec.mail(after(at, 2.0 + f64::from(i)), &mail);
    }
}
